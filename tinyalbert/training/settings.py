"""Settings that explain themselves: fields of a dataclass, flags of a command, keys of a file."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, help: str) -> Any:
    """A field with its explanation, which `--help` prints."""
    return field(default=default, metadata={"help": help})
