"""Whole files: nothing half written, and one clear sentence where reading or writing fails."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any

from .errors import InputError

PARTIAL = ".partial"        # ends the name of what is being written, or was when a process died


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write beside `path`, then rename: at any moment there is the old file or the new one.

    Missing folders are made, and what a killed process left half written is deleted. InputError if
    it fails; the old file, if any, is then still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{PARTIAL}"):
                leftover.unlink()


def delete(path: Path) -> None:
    """A file, or a folder with all that is in it. InputError if that fails."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError as error:
        raise InputError(f"cannot delete {path}: {error.strerror}") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """InputError if the file is missing or holds anything but a JSON object."""
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object, not a {type(values).__name__}")
    return values


def write_json(path: Path, values: Any) -> None:
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
