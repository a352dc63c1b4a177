"""Lite in what sense? Parameters, arithmetic and memory of models, side by side, from their
configuration alone.

MODEL is a published name, a preset, the folder of a training or of a Hugging Face model, or a
config.json. Settings change all of them.

examples:
  tinyalbert params                                      ALBERT and BERT
  tinyalbert params albert-base-v2 runs/sotu --exact
  tinyalbert params albert-base-v2 --sharing none        as many as BERT's layers have
  tinyalbert params albert-xxlarge-v2 bert-large-uncased --tokens 512 --batch 8
  tinyalbert params --paper                              the paper's tables 1, 3, 4 and 12
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ..config import AnyConfig, config_from_dict
from ..config_checks import LARGEST_SIZE
from ..errors import InputError
from ..files import read_json_object
from .flags import add_flag
from .settings import HINTS, MODEL_HELP, given_settings

DEFAULT = ["albert-base-v2", "bert-base-uncased", "albert-xxlarge-v2", "bert-large-uncased"]
SECTIONS = {        # of model_costs: heading, unit
    "components": ("parameters", ""),
    "totals": ("parameters, in all", ""),
    "bytes": ("lite: what is kept or sent for every parameter, with heads", "B"),
    "flops": ("not lite: arithmetic", "FLOPs"),
    "activation_bytes": ("not lite: activations in training", "B"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "tinyalbert params [MODEL ...] [--paper] [OPTIONS] [SETTINGS]"
    parser.add_argument("models", metavar="MODEL", nargs="*",
                        help=f"a name, a folder or a config.json [{', '.join(DEFAULT)}]")
    parser.add_argument("--tokens", type=positive, metavar="T",
                        help="length of a sequence; 15 %% of it is masked in training [128]")
    parser.add_argument("--batch", type=positive, default=32, metavar="B",
                        help="sequences of a training step [32]")
    parser.add_argument("--exact", action="store_true", help="every digit")
    parser.add_argument("--json", action="store_true", help="the same for programs, in JSON")
    parser.add_argument("--paper", action="store_true",
                        help="instead: the paper's tables 1, 3, 4 and 12 next to exact counts")
    settings = parser.add_argument_group("settings")
    for name, text in MODEL_HELP.items():
        add_flag(settings, name, HINTS[name], text)


def positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def run(args: argparse.Namespace) -> None:
    changes = given_settings(args)
    if args.paper:
        if args.models or changes or args.json:
            raise InputError("--paper stands alone: it prints the tables for the paper's models")
        from ..paper import format_tables
        print(format_tables())
        return
    from ..params import model_costs
    configs = {name: find_config(name).replace(**changes) for name in args.models or DEFAULT}
    tokens = sequence_length(configs, args.tokens)
    costs = {name: model_costs(config, tokens, args.batch) for name, config in configs.items()}
    if args.json:
        print(json.dumps({"tokens": tokens, "batch": args.batch, "models": costs}, indent=2))
    else:
        print(format_table(costs, exact if args.exact else human))
        print(f"\na sequence: {tokens} tokens, 15 % masked; a step: {args.batch} sequences")


def sequence_length(configs: Mapping[str, AnyConfig], wanted: int | None) -> int:
    """The tokens asked for, or 128, or what all models have positions for if that is less."""
    name = min(configs, key=lambda name: configs[name].max_position_embeddings)
    positions = configs[name].max_position_embeddings
    if wanted and wanted > positions:
        raise InputError(f"--tokens {wanted} is more than {name} has positions for ({positions})")
    return wanted or min(128, positions)


def find_config(name: str) -> AnyConfig:
    """The configuration of a published model, a preset, a folder or a file; InputError if it is
    none of them."""
    from ..pretraining.config import PRESETS
    from ..published import PUBLISHED
    known = {preset: model for preset, (model, _) in PRESETS.items()} | PUBLISHED
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_dir():
        path = path / "config.json"
    if path.exists():
        return config_from_dict(read_json_object(path))
    near = difflib.get_close_matches(name, known, n=1)
    raise InputError(f"{name!r} is neither a known model nor the folder or config.json of one"
                     + (f": did you mean {near[0]!r}?" if near else ""))


# --- text ---------------------------------------------------------------------------------------


def format_table(costs: Mapping[str, dict[str, dict[str, int]]],
                 number: Callable[[int, str], str]) -> str:
    """What `model_costs` counts, a column for each model."""
    first = next(iter(costs.values()))
    rows: list[list[str]] = [["", *costs]]
    for section, (heading, unit) in SECTIONS.items():
        rows += [[], [heading]]
        rows += [["  " + name, *(number(cost[section][name], unit) for cost in costs.values())]
                 for name in first[section]]
    cells = [row for row in rows if len(row) > 1]
    label, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("".join([row[0].ljust(label) if row[1:] else "".join(row),
                              *(cell.rjust(width + 2)
                                for cell, width in zip(row[1:], widths, strict=False))])
                     for row in rows)


def exact(value: int, unit: str) -> str:
    return f"{value:,} {unit}".rstrip()


def human(value: int, unit: str) -> str:
    """11_683_584 -> 11.7M, 46_734_336 B -> 46.7 MB: decimal prefixes, one decimal place."""
    if value < 1000:
        return exact(value, unit) if value else "-"
    scaled, prefixes = value / 1000, list("kMGTPE" if unit else "kMBT")     # billions of parameters
    while scaled >= 999.95 and prefixes[1:]:
        scaled, prefixes = scaled / 1000, prefixes[1:]
    return f"{scaled:.1f}{' ' if unit else ''}{prefixes[0]}{unit}"
