"""Ask a fine-tuned model.

RUN is the folder of a fine-tuning, a directory with a fine-tuned model, or a name on the Hugging
Face hub. What is asked stands on the command line, in a file (--file), or comes in through a pipe,
a line each; questions and choices are JSON objects with the keys of their training examples.
On a terminal the answers are for people, elsewhere for programs: JSON, one object a line.

examples:
  tinyalbert predict runs/reviews "I would see it again at once."
  tinyalbert predict runs/reviews --file new.csv > answers.jsonl
  tinyalbert predict runs/names "enter the duke of york and his men"
  echo '{"question": "Who came?", "context": "The duke came."}' | tinyalbert predict runs/squad
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ..errors import InputError
from .finetune import READING, add_reading, reading
from .flags import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a folder, or a name on the hub")
    parser.add_argument("text", metavar="TEXT", nargs="*", default=[], help="what is asked")
    parser.add_argument("--file", metavar="FILE", type=Path,
                        help="many, written as examples are; labels may be missing")
    parser.add_argument("--json", action="store_true", help="answers for programs, always")
    parser.add_argument("--batch-size", metavar="N", type=positive, default=32,
                        help="inputs at a time [32]")
    parser.add_argument("--backend", choices=("numpy", "cupy"), default="numpy",
                        help="array library: numpy, or cupy on a GPU [numpy]")
    add_reading(parser, *READING)


def run(args: argparse.Namespace) -> None:
    from ..finetuning.finetuned import FineTuned
    finetuned = FineTuned.load(args.model, backend=args.backend)
    task = finetuned.task
    if args.text and args.file:
        raise InputError("give either TEXT or --file")
    if not all(text.strip() for text in args.text):
        raise InputError("TEXT is empty: there is nothing to answer")
    if not args.text and not args.file and sys.stdin.isatty():
        print("One text a line; Ctrl-D ends.", file=sys.stderr)
    examples = (list(map(task.of_text, args.text)) if args.text else
                task.read(args.file or Path("-"), labelled=False, **reading(args, task.name)))
    predictions = finetuned.predict(examples, batch_size=args.batch_size,
                                    progress=bool(args.file) and sys.stderr.isatty())
    readable = sys.stdout.isatty() and not args.json
    for example, prediction in zip(examples, predictions, strict=True):
        print(task.show(example, prediction) if readable
              else json.dumps(prediction, ensure_ascii=False))
