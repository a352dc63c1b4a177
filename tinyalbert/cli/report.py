"""Write what a training has learned: one HTML page, RUN/report.html, and pictures, RUN/figures.

That of a pretraining can be written while it is going on, too.

examples:
  tinyalbert report runs/sotu
  tinyalbert report runs/sotu --sentence "The president signed the bill." --open
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from ..errors import InputError
from ..finetuning.finetuned import SETTINGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="RUN", help="the folder of a training")
    parser.add_argument("--sentence", metavar="TEXT",
                        help="of a pretraining: whose attention is shown")
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def run(args: argparse.Namespace) -> None:
    if (Path(args.folder) / SETTINGS).exists():
        if args.sentence:
            raise InputError("--sentence is for a pretraining: of a fine-tuning, dev is shown")
        from ..report.finetuning import write_finetuning_report
        page = write_finetuning_report(args.folder)
    else:
        from ..report.page import write_report
        page = write_report(args.folder, sentence=args.sentence)
    print(f"page      {page}\npictures  {page.parent / 'figures'}")
    if args.open:
        webbrowser.open(page.resolve().as_uri())
