"""Compare every hand-written gradient of a tiny ALBERT with the slope that moving the numbers has.

The exit status is 1 if a gradient is wrong.

examples:
  tinyalbert gradcheck
  tinyalbert gradcheck --hidden-act relu --num-hidden-groups 3 --dropout 0
"""

from __future__ import annotations

import argparse
import inspect
from typing import get_type_hints

from .flags import add_flag
from .settings import MODEL_HELP

HELP = MODEL_HELP | {
    "dropout": "probability at every place that has dropout",
    "elements": "numbers measured one by one in each tensor",
    "seed": "of the weights, the input and the dropout",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from ..gradcheck import example
    hints = get_type_hints(example.run)
    for name, parameter in inspect.signature(example.run).parameters.items():
        add_flag(parser, name, hints[name], HELP[name], parameter.default)


def run(args: argparse.Namespace) -> int:
    from ..gradcheck import example
    names = inspect.signature(example.run).parameters
    report = example.run(**{name: value for name, value in vars(args).items() if name in names})
    return 0 if report.ok else 1
