"""Predict the words behind [MASK], the likeliest first.

MODEL is the folder of a training, a directory with a model, or a name on the Hugging Face Hub, of
an ALBERT or a BERT. Without a text, every line of the standard input is one.

examples:
  tinyalbert fill-mask runs/sotu "We the [MASK] of the United States"
  tinyalbert fill-mask runs/sotu --top-k 10 < sentences.txt
  tinyalbert fill-mask albert-base-v2 "The capital of France is [MASK]."
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder, or a name on the hub")
    parser.add_argument("text", metavar="TEXT", nargs="*", help="a text with one [MASK] or several")
    parser.add_argument("--top-k", metavar="N", type=int, default=5, help="predictions each [5]")


def run(args: argparse.Namespace) -> None:
    from ..fill_mask import fill_mask, format_candidates
    from ..pipelines.loading import load
    model, tokenizer = load(args.model, "ForMaskedLM")
    if not args.text and sys.stdin.isatty():
        print("One sentence with [MASK] a line; Ctrl-D ends.", file=sys.stderr)
    lines = [" ".join(args.text)] if args.text else sys.stdin
    for text in filter(None, map(str.strip, lines)):
        print(format_candidates(text, fill_mask(model, tokenizer, text, args.top_k)), end="\n\n",
              flush=True)
