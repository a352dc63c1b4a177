"""A setting's type decides how its flag is written and how its value in a file is checked."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from ..errors import InputError
from ..files import read_json_object

KINDS: dict[Any, tuple[str, str]] = {       # what a value is called, in --help and in an error
    int: ("N", "a whole number"), float: ("X", "a number"), str: ("TEXT", "a text"),
    bool: ("", "true or false"),
}


def add_flag(group: Any, name: str, hint: Any, text: str, default: Any = None) -> None:
    """--name-with-hyphens. A flag that is not given leaves nothing behind."""
    shown = f"{default:g}" if isinstance(default, float) else default
    text += "" if default is None else f" [{shown}]"
    group.add_argument("--" + name.replace("_", "-"), dest=name, default=argparse.SUPPRESS,
                       help=text.replace("%", "%%"), **flag_options(hint))


def flag_options(hint: Any) -> dict[str, Any]:
    """The arguments of add_argument for a field of this type; `none` where None is allowed."""
    kind, optional = without_none(hint)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), "metavar": "NAME"}
    return {"type": reader(kind, optional), "metavar": KINDS[kind][0]}


def without_none(hint: Any) -> tuple[Any, bool]:
    """int | None -> (int, True)"""
    if isinstance(hint, UnionType):
        return next(kind for kind in get_args(hint) if kind is not NoneType), True
    return hint, False


def reader(kind: type, optional: bool) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if optional and text == "none":
            return None
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {KINDS[kind][1]}") from None
    return read


def positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def parse_file(path: Path) -> dict[str, Any]:
    if path.suffix not in (".toml", ".json"):
        raise InputError(f"{path}: a file of settings must be named .toml or .json")
    if path.suffix == ".json":
        return read_json_object(path)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error


def check_type(path: Path, name: str, value: Any, hint: Any) -> Any:
    """The value, a whole number as float where one is due; InputError if it is of another type."""
    kind, optional = without_none(hint)
    if value is None and optional:
        return value
    if kind is dict:
        raise InputError(f"{path}: {name} is a section, so it must hold settings")
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        expected = f"one of {', '.join(get_args(kind))}"
    else:
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is kind:
            return value
        expected = KINDS[kind][1]
    raise InputError(f"{path}: {name} must be {expected}, not {value!r}")
