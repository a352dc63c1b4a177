"""Count the parameters of models, side by side, from their configuration alone.

MODEL is a preset, the folder of a training or of a Hugging Face model, or a config.json. Flags
change all of them.

examples:
  tinyalbert params                                      the published sizes
  tinyalbert params albert-base-v2 runs/sotu
  tinyalbert params albert-base-v2 --sharing none        as many as BERT's layers have
"""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from ..config import AlbertConfig
from ..errors import InputError
from ..pretraining.config import PRESETS
from .settings import HINTS, MODEL_HELP, add_flag, given_settings

PUBLISHED = ["albert-base-v2", "albert-large-v2", "albert-xlarge-v2", "albert-xxlarge-v2"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tinyalbert params [MODEL ...] [SETTINGS]"
    parser.add_argument("models", metavar="MODEL", nargs="*", default=PUBLISHED,
                        help=f"{', '.join(PRESETS)}, a folder or a config.json")
    settings = parser.add_argument_group("settings")
    for name, text in MODEL_HELP.items():
        add_flag(settings, name, HINTS[name], text)


def run(args: argparse.Namespace) -> None:
    from ..params import format_table
    changes = given_settings(args)
    print(format_table({name: find_config(name).replace(**changes) for name in args.models}))


def find_config(name: str) -> AlbertConfig:
    """The configuration of a preset, a folder or a file; InputError if it is none of them."""
    if name in PRESETS:
        return PRESETS[name][0]
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if path.exists():
        return AlbertConfig.from_json_file(path)
    near = difflib.get_close_matches(name, PRESETS, n=1)
    raise InputError(f"{name!r} is neither a preset nor the folder or config.json of a model"
                     + (f": did you mean {near[0]!r}?" if near else ""))
