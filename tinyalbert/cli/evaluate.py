"""Measure what a trained model can do.

examples:
  tinyalbert evaluate classify runs/reviews test.csv
  tinyalbert evaluate qa runs/squad dev-v2.0.json --predictions answers.jsonl
  tinyalbert evaluate blimp runs/sotu blimp/*.jsonl --limit 100
  tinyalbert evaluate blimp --help
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_atomically
from ..finetuning.finetuned import TASKS
from .finetune import FORMATS, HELP, add_reading, reading
from .flags import positive

if TYPE_CHECKING:
    import numpy as np

    from ..scoring import Accuracy, MinimalPair

CHANCE = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(metavar="TASK", dest="task", required=True)
    blimp = tasks.add_parser("blimp", help="grammar: the better one of two sentences",
                             description=inspect.getdoc(evaluate_blimp))
    blimp.add_argument("model", metavar="MODEL",
                       help="the folder of a training or a model, or a name on the hub")
    blimp.add_argument("files", metavar="FILE", nargs="+", type=Path,
                       help="BLiMP's, one JSON object a line")
    blimp.add_argument("--limit", metavar="N", type=positive,
                       help="only the first N pairs of each file, for a quick look")
    blimp.add_argument("--whole-words", action="store_true",
                       help="with a piece, hide the later ones of its word: fairer to long words")
    blimp.add_argument("--backend", choices=("numpy", "cupy"), default="numpy",
                       help="array library: numpy, or cupy on a GPU [numpy]")
    blimp.add_argument("--json", action="store_true", help="the same for programs, in JSON")
    blimp.set_defaults(work=evaluate_blimp)
    for name in TASKS:
        task = tasks.add_parser(name, help=f"a fine-tuned model: {HELP[name]}",
                                description="The metrics of a fine-tuned model on examples with "
                                            "their labels.", epilog=f"FILE: {FORMATS[name]}.")
        task.add_argument("model", metavar="RUN", help="a folder, or a name on the hub")
        task.add_argument("file", metavar="FILE", type=Path, help="the examples")
        task.add_argument("--predictions", metavar="OUT.jsonl", type=Path,
                          help="write every answer there")
        task.add_argument("--batch-size", metavar="N", type=positive, default=32,
                          help="inputs at a time [32]")
        task.add_argument("--backend", choices=("numpy", "cupy"), default="numpy",
                          help="array library: numpy, or cupy on a GPU [numpy]")
        task.add_argument("--json", action="store_true", help="the same for programs, in JSON")
        add_reading(task, name)
        task.set_defaults(work=evaluate_finetuned)


def run(args: argparse.Namespace) -> None:
    args.work(args)


def evaluate_finetuned(args: argparse.Namespace) -> None:
    from ..finetuning.finetuned import FineTuned
    finetuned = FineTuned.load(args.model, args.task, backend=args.backend)
    examples = finetuned.task.read(args.file, **reading(args, args.task))
    metrics, predictions = finetuned.evaluate(examples, batch_size=args.batch_size,
                                              progress=sys.stderr.isatty())
    if args.predictions:
        write_atomically(args.predictions, *((json.dumps(prediction, ensure_ascii=False) + "\n")
                                             .encode() for prediction in predictions))
    if args.json:
        print(json.dumps({"model": args.model, "examples": len(examples), **metrics}, indent=2))
        return
    print(f"{len(examples):,} examples")
    for name, value in metrics.items():
        print(f"{name:16} {value:.4f}")


def evaluate_blimp(args: argparse.Namespace) -> None:
    """Of two sentences that differ in one point, does the model give the grammatical one the higher
    pseudo-log-likelihood? BLiMP (Warstadt et al. 2020) has 67 files of 1,000 such pairs, from
    github.com/alexwarstadt/blimp. Guessing gets half of them right, and so does a tie."""
    from ..pipelines.loading import load
    from ..scoring import accuracy, prefers_good, read_blimp
    pairs = [pair for path in args.files for pair in read_blimp(path, args.limit)]
    model, tokenizer = load(args.model, "ForMaskedLM", backend=args.backend)
    preferences = prefers_good(model, tokenizer, pairs, whole_words=args.whole_words, progress=True)
    phenomena = by_group(pairs, preferences, lambda pair: (pair.field, pair.phenomenon))
    paradigms = by_group(pairs, preferences,
                         lambda pair: (pair.field, pair.phenomenon, pair.paradigm))
    if not args.json:
        print(format_table(phenomena, paradigms, accuracy(preferences)))
        return
    print(json.dumps({
        "model": args.model, "whole_words": args.whole_words, "chance": CHANCE,
        **accuracy(preferences)._asdict(),
        "phenomena": [{"field": field, "phenomenon": phenomenon, **result._asdict()}
                      for (field, phenomenon), result in phenomena.items()],
        "paradigms": [{"field": field, "phenomenon": phenomenon, "paradigm": paradigm,
                       **result._asdict()}
                      for (field, phenomenon, paradigm), result in paradigms.items()]}, indent=2))


def by_group(pairs: Sequence[MinimalPair], preferences: np.ndarray,
             key: Callable[[MinimalPair], tuple[str, ...]]) -> dict[tuple[str, ...], Accuracy]:
    """The accuracy of each group of pairs, in the order of their keys."""
    from ..scoring import accuracy
    members: dict[tuple[str, ...], list[int]] = {}
    for i, pair in enumerate(pairs):
        members.setdefault(key(pair), []).append(i)
    return {name: accuracy(preferences[members[name]]) for name in sorted(members)}


def format_table(phenomena: dict[tuple[str, ...], Accuracy],
                 paradigms: dict[tuple[str, ...], Accuracy], whole: Accuracy) -> str:
    """Every phenomenon, its paradigms under it, and all of them together."""
    rows: list[tuple[str, Accuracy]] = []
    for phenomenon, result in phenomena.items():
        rows.append((f"{phenomenon[0]}: {phenomenon[1]}", result))
        rows += [(f"  {name[-1]}", of_paradigm) for name, of_paradigm in paradigms.items()
                 if name[:2] == phenomenon]
    rows.append(("all", whole))
    width = max(len(label) for label, _ in rows)
    lines = [f"{'':{width}}  {'pairs':>6}  {'right':>7}  std. error"]
    lines += [f"{label:{width}}  {result.pairs:6}  {result.accuracy:7.1%}  "
              f"{result.standard_error:10.1%}" for label, result in rows]
    return "\n".join([*lines, f"{'chance':{width}}  {'':6}  {CHANCE:7.1%}"])
