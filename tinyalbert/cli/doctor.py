"""Say what this computer offers: Python, NumPy and its matrix products, GPU, optional packages.

What is missing is named with the command that installs it. The exit status is 1 if something is
broken that tinyalbert cannot do without.

example:
  tinyalbert doctor
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from ..doctor import examine, print_findings
    return 0 if print_findings(examine()) else 1
