"""The command `tinyalbert`: one small module for each subcommand, loaded when it is asked for.

A module's docstring is its `--help`. It has `add_arguments(parser)` and `run(args)`, which may
return an exit status. Here: the parser, and what becomes of errors. Statuses: 0 done, 1 failed,
2 wrong input (one sentence on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import re
import shutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from .. import __version__
from ..errors import InputError

COMMANDS = {
    "pretrain": "train an ALBERT from scratch on a text",
    "tokenizer": "train a SentencePiece vocabulary, encode and decode with it",
    "finetune": "teach a pretrained model a task on your own examples",
    "predict": "ask a fine-tuned model",
    "fill-mask": "predict the words behind [MASK]",
    "evaluate": "measure what a trained model can do",
    "report": "write the HTML page and the pictures of a training",
    "serve": "show a page that export web wrote",
    "params": "lite in what sense? parameters, FLOPs and memory of models, side by side",
    "convert": "turn Google's TensorFlow checkpoints into a Hugging Face directory",
    "export": "take a trained model to other languages and to the browser",
    "gradcheck": "compare the hand-written gradients with measured slopes",
    "doctor": "say what this computer offers and what is missing",
}
EXAMPLES = """
examples:
  tinyalbert pretrain                                  five minutes on presidents' speeches
  tinyalbert pretrain --corpus books/ --out runs/books
  mpiexec -n 8 tinyalbert pretrain --corpus books/     eight processes, one model
  tinyalbert fill-mask runs/sotu "We the [MASK] of the United States"
  tinyalbert COMMAND --help                            more about each, with examples
"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Room for our flags, which are long."""

    def __init__(self, prog: str, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns - 2, 100)
        super().__init__(prog, **{**options, "max_help_position": 32, "width": width})


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes as InputErrors and the nearest flag as a suggestion.

    command: the module that fills this parser, loaded when its command is on the command line, so
    that `tinyalbert --help` waits for nothing.
    """

    def __init__(self, *, command: str | None = None, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=Formatter, **options)
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                          help="show the traceback of an error")
        self.command = command

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.command:
            module, self.command = load(self.command), None
            self.description = module.__doc__
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].split("=")[0]
            near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
            self.error(f"unknown argument {flag!r}"
                       + (f", did you mean {near[0]!r}?" if near else ""))
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def load(command: str) -> ModuleType:
    return importlib.import_module(f".{command.replace('-', '_')}", __name__)


def make_parser() -> Parser:
    parser = Parser(prog="tinyalbert", description=importlib.import_module("tinyalbert").__doc__,
                    epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"tinyalbert {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, help in COMMANDS.items():
        commands.add_parser(name, command=name, help=help)
    return parser


def with_hyphens(argument: str) -> str:
    """--hidden_size=8 -> --hidden-size=8"""
    return re.sub(r"^--\w[\w-]*", lambda flag: flag[0].replace("_", "-"), argument)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (sys.argv by default); returns the exit status, except for --help and
    --version, which raise SystemExit(0) as argparse does."""
    argv = [with_hyphens(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")    # a console that cannot show "▁" shows "?"
    try:
        args = make_parser().parse_args(argv)
        status = args.run(args)
        sys.stdout.flush()
        return status or 0
    except InputError as error:
        if "--debug" in argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:     # `tinyalbert params | head`: what is left has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
