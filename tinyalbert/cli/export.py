"""Take a trained model to other languages.

examples:
  tinyalbert export onnx runs/sotu --out exported/sotu
  tinyalbert export onnx runs/reviews --out exported/reviews --int8
  tinyalbert export onnx albert-base-v2 --out exported/albert --int8 --evaluate text.txt
  tinyalbert export web runs/sotu --out site
"""

from __future__ import annotations

import argparse
import inspect
import shlex
from pathlib import Path

from ..errors import InputError
from ..export.tasks import DEFAULT_OPSET, OPSETS, TASKS
from .finetune import add_reading, reading


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    onnx = actions.add_parser("onnx", help="a graph that every language with an ONNX runtime opens",
                              description=inspect.getdoc(export_onnx))
    onnx.add_argument("model", metavar="RUN_OR_NAME",
                      help="the folder of a training or a model, or a name on the hub")
    onnx.add_argument("--out", metavar="DIR", type=Path, required=True, help="where it goes")
    onnx.add_argument("--task", metavar="TASK",
                      help=f"{', '.join(TASKS)} [what it was trained for; after pretraining "
                           "fill-mask]")
    onnx.add_argument("--int8", action="store_true",
                      help="a second graph in 8 bits, and what that costs")
    onnx.add_argument("--evaluate", metavar="FILE", type=Path,
                      help="measure that on this: a text, or labelled examples of the task [on "
                           "what the training held out]")
    onnx.add_argument("--attentions", action="store_true",
                      help="answer the attentions of every application of a layer, too")
    onnx.add_argument("--opset", metavar="N", type=int, default=DEFAULT_OPSET,
                      help=f"version of ONNX, {OPSETS[0]} to {OPSETS[-1]}; an older runtime needs "
                           "an older one [%(default)s]")
    onnx.add_argument("--overwrite", action="store_true",
                      help="replace the exported model that is in DIR")
    add_reading(onnx, "classify", "ner")
    onnx.set_defaults(work=export_onnx)
    web = actions.add_parser("web", help="a page in the browser to play with",
                             description=inspect.getdoc(export_web))
    web.add_argument("model", metavar="RUN_OR_NAME",
                     help="a masked language model or a classifier of texts")
    web.add_argument("--out", metavar="SITE", type=Path, required=True, help="where it goes")
    web.add_argument("--runtime", metavar="NODE_MODULES", type=Path,
                     help="take the two npm packages from there [fetched once, then kept]")
    web.set_defaults(work=export_web)


def run(args: argparse.Namespace) -> None:
    args.work(args)


def export_onnx(args: argparse.Namespace) -> None:
    """Write a model as an ONNX graph, with its tokenizer: a folder for Transformers.js, Optimum
    and every ONNX runtime. Shared weights are stored once."""
    from ..export.folder import export_onnx
    if args.evaluate and not args.int8:
        raise InputError("--evaluate measures what 8 bits cost: add --int8")
    exported = export_onnx(args.model, args.out, task=args.task, attentions=args.attentions,
                           int8=args.int8, opset=args.opset, overwrite=args.overwrite)
    print(f"{type(exported.model).__name__} for {exported.task}: "
          f"{exported.model.num_parameters():,} parameters\n")
    for name, size in exported.files.items():
        print(f"{size:14,}  {args.out / name}")
    if args.int8:
        print_agreement(args, exported.task)


def export_web(args: argparse.Namespace) -> None:
    """Write a page that runs the model in the browser: candidates for a blank or labels of a text,
    and where each head looks. Once it is written no network is needed."""
    from ..export.web import export_web
    site = export_web(args.model, args.out, node_modules=args.runtime)
    print(f"The page is in {site}:\n  tinyalbert serve {shlex.quote(str(site))}")


def print_agreement(args: argparse.Namespace, task: str) -> None:
    """A row for each metric. Where nobody asked for it, that it cannot be measured is no error."""
    from ..export.agreement import measure
    try:
        agreement = measure(args.model, args.out, task, args.evaluate, **reading_of(args, task))
    except InputError as error:
        if args.evaluate:
            raise
        print(f"\nwhat 8 bits cost was not measured: {error}")
        return
    print(f"\nwhat 8 bits cost, by {agreement.asked}:")
    print(f"{'':14}{'float32':>9}{'int8':>9}")
    for name, (float32, int8) in agreement.metrics.items():
        print(f"{name:14}{float32:9.4f}{int8:9.4f}")


def reading_of(args: argparse.Namespace, task: str) -> dict:
    """What the flags say about reading FILE."""
    names = {"text-classification": "classify", "token-classification": "ner"}
    return reading(args, names.get(task, ""))
