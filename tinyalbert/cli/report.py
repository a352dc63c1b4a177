"""Write what a training has learned: one HTML page, RUN/report.html, and pictures, RUN/figures.

Works while the training is going on, too.

examples:
  tinyalbert report runs/sotu
  tinyalbert report runs/sotu --sentence "The president signed the bill." --open
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="the folder of a training")
    parser.add_argument("--sentence", metavar="TEXT", 
                        help="whose attention is shown (of a pretraining)")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def run(args: argparse.Namespace) -> None:
    if (Path(args.folder) / "finetune.json").exists():
        from ..report.finetuning import write_finetuning_report
        page = write_finetuning_report(args.folder)
    else:
        from ..report.page import write_report
        page = write_report(args.folder, sentence=args.sentence)
    print(f"page      {page}\npictures  {page.parent / 'figures'}")
    if args.open:
        webbrowser.open(page.resolve().as_uri())
