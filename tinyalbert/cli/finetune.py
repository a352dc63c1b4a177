"""Teach a pretrained model a task on your own examples, and keep the best weights.

MODEL is the folder of a training, a directory with a model, or a name on the Hugging Face hub. The
best weights, the tokenizer, metrics and a report are left in RUN, which Hugging Face Transformers
loads too. Ctrl-C saves before it stops.

examples:
  tinyalbert finetune classify --model runs/sotu --train reviews.csv
  tinyalbert finetune classify --model albert-base-v2 --train pairs.tsv --dev dev.tsv --recipe rte
  tinyalbert finetune classify --model runs/sotu --train shakespeare-genre --out runs/genre
  tinyalbert finetune ner --model runs/sotu --train train.conll --dev dev.conll --epochs 5
  tinyalbert finetune qa --model albert-base-v2 --train train-v2.0.json --dev dev-v2.0.json
  tinyalbert finetune classify --help
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_type_hints

from ..backend import get_backend
from ..errors import InputError
from ..files import read_json_object
from ..finetuning.config import RECIPES, FinetuneConfig
from ..finetuning.finetuned import SETTINGS, TASKS, task_class
from ..published import PUBLISHED
from .flags import add_flag
from .folders import add_existing, check_folder

HELP = {
    "classify": "a label or a number for a text, or for a pair of texts",
    "ner": "names and other entities in a text",
    "qa": "the place in a text where the answer to a question stands",
    "choice": "which of several endings or answers fits",
    "summarize": "a short text for a long one",
    "extract": "the sentences of a text that sum it up",
}
FORMATS = {
    "classify": ".csv, .tsv or .jsonl with a text and its label",
    "ner": "CoNLL: a word and its tag a line, a blank line between sentences",
    "qa": "SQuAD's JSON, 1.1 or 2.0",
    "choice": "SWAG's .csv, or RACE-like .jsonl",
    "summarize": ".csv, .tsv or .jsonl with a text and its summary, or a folder of CNN stories",
    "extract": ".csv, .tsv or .jsonl with a text and its summary, or a folder of CNN stories",
}
BUILT_IN = {"classify": "shakespeare-genre, sotu-period", "ner": "shakespeare-names",
            "summarize": "sotu-telegram"}
HINTS = get_type_hints(FinetuneConfig)
RUN_FILES = ("config.json", "model.safetensors", "finetune.json", "metrics.jsonl", "checkpoints",
             "predictions.jsonl", "report.html", "figures", "spiece.model", "vocab.txt",
             "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(metavar="TASK", dest="task", required=True)
    for name in TASKS:
        task = tasks.add_parser(
            name, help=HELP[name], description=f"Learn {HELP[name]}.",
            usage=f"tinyalbert finetune {name} --model MODEL --train FILE [--dev FILE] "
                  "[--test FILE]\n           [--out RUN] [--resume | --overwrite] [SETTINGS]",
            epilog=f"FILE: {FORMATS[name]}."
                   + (f"\nBuilt in, to try it: {BUILT_IN[name]}." if name in BUILT_IN else ""))
        task.add_argument("--model", metavar="MODEL", required=True,
                          help="what to begin with: a folder, or a name on the hub")
        task.add_argument("--train", metavar="FILE", type=Path, required=True,
                          help="the examples to learn from")
        task.add_argument("--dev", metavar="FILE", type=Path,
                          help="those that decide which weights are kept [a part of --train]")
        task.add_argument("--test", metavar="FILE", type=Path,
                          help="those that are looked at once, at the end")
        task.add_argument("--out", metavar="RUN", type=Path,
                          help=f"folder of the training [runs/{name}-<train>]")
        add_existing(task)
        add_reading(task, name)
        settings: Any = task.add_argument_group("training")
        settings.add_argument("--recipe", metavar="NAME", choices=RECIPES,
                              help="values for all of these at once: careful, if a model stays "
                                   "at chance, or the paper's for a data set: "
                                   f"{', '.join(list(RECIPES)[2:])} [default]")
        for field in fields(FinetuneConfig):
            add_flag(settings, field.name, HINTS[field.name], field.metadata["help"],
                     field.default)


SUMMARIES: list[tuple[str, str, Callable[[str], Any], str]] = [
    ("--text-column", "NAME", str, "column of the text [by its usual names]"),
    ("--summary-column", "NAME", str, "column of the summary [likewise]")]
READING: dict[str, list[tuple[str, str, Callable[[str], Any], str]]] = {
    "summarize": SUMMARIES,
    "extract": SUMMARIES,
    "ner": [
        ("--word-column", "N", int, "column of the word, counted from 0 [the most varied]"),
        ("--tag-column", "N", int, "column of the tag [the last that looks like tags]")],
    "classify": [
        ("--columns", "A,B", lambda text: text.split(","),
         "names of the columns, if the first line does not hold them"),
        ("--text-column", "NAME", str, "column of the text [by its usual names]"),
        ("--pair-column", "NAME", str, "column of the second text [likewise]"),
        ("--label-column", "NAME", str, "column of the label [likewise]")],
}


def add_reading(parser: argparse.ArgumentParser, *tasks: str) -> None:
    """The flags that say how files of these tasks are to be read."""
    flags = {row[0]: row for task in tasks for row in READING.get(task, ())}
    group = parser.add_argument_group("reading files") if flags else parser
    for flag, metavar, kind, help in flags.values():
        group.add_argument(flag, metavar=metavar, type=kind, help=help)


def reading(args: argparse.Namespace, task: str) -> dict[str, Any]:
    """What the task's `read` is to be told."""
    names = [flag.lstrip("-").replace("-", "_") for flag, *_ in READING.get(task, ())]
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}


def run(args: argparse.Namespace) -> int | None:
    out = args.out or Path("runs", f"{args.task}-{args.train.name.split('.')[0]}")
    config = config_of(args, out)
    train, dev, test = read_all(args)
    get_backend(config.backend)
    replaces = check_folder(out, RUN_FILES, resume=args.resume, overwrite=args.overwrite)
    from ..finetuning.finetune import finetune
    from ..training.numbers import TrainingError
    try:
        finetune(args.task, args.model, train, dev, out, config, test=test, resume=args.resume,
                 replaces=replaces)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except InputError as error:
        if args.model in PUBLISHED and "hub" in str(error):
            raise InputError(f"{error} (or pretrain a small model first: tinyalbert pretrain)"
                             ) from error
        raise
    folder = shlex.quote(str(out))
    if find_spec("matplotlib"):
        from ..report.finetuning import write_finetuning_report
        print(f"\nThe report: {write_finetuning_report(out)}")
    print(f"The best weights: {out}. Ask them:\n  tinyalbert predict {folder} TEXT")
    return None


def config_of(args: argparse.Namespace, out: Path) -> FinetuneConfig:
    """Those of the recipe, or without one of the training that is resumed, changed by the flags."""
    config = RECIPES[args.recipe or "default"]
    if args.resume and not args.recipe and (out / SETTINGS).exists():
        config = config.replace(**read_json_object(out / SETTINGS).get("settings", {}))
    return config.replace(**{name: value for name, value in vars(args).items() if name in HINTS})


def read_all(args: argparse.Namespace) -> tuple[Sequence[Any], Any, Any]:
    """The examples to learn from, those to choose by, those to judge by."""
    from ..finetuning.demos import DEMOS, demo_examples
    if str(args.train) in DEMOS:
        train, dev = demo_examples(str(args.train), args.task)
        return train, dev, None
    read = task_class(args.task).read
    options = reading(args, args.task)
    return tuple(path and read(path, **options)  # type: ignore[return-value]
                 for path in (args.train, args.dev, args.test))
