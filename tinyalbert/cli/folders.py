"""The folder that a training writes to: nothing in it is lost unless that is asked for."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import delete


def add_existing(parser: argparse.ArgumentParser) -> None:
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true",
                          help="go on from the last checkpoint in RUN, with the settings in RUN")
    existing.add_argument("--overwrite", action="store_true",
                          help="delete the training that is in RUN")


def prepare_folder(out: Path, files: Sequence[str], *, resume: bool, overwrite: bool) -> None:
    """As `check_folder`, and delete what is to be overwritten."""
    for path in check_folder(out, files, resume=resume, overwrite=overwrite):
        delete(path)


def check_folder(out: Path, files: Sequence[str], *, resume: bool, overwrite: bool) -> list[Path]:
    """Make the folder and see that it can be written; InputError if that fails, or if it is in use
    and neither resume nor overwrite is given. Returns what is to be deleted before it is used.

    files: what a training leaves there, and therefore all that overwrite may delete.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            held = [path.name for path in out.iterdir()]
        if not held or resume:
            return []
        if not overwrite:
            raise InputError(f"{out} is not empty: add --resume to go on with the training in it, "
                             "--overwrite to delete it, or give another --out")
        if foreign := sorted(set(held) - set(files)):
            raise InputError(f"{out} holds {foreign[0]!r}, which is not of a training: nothing was "
                             "deleted, give another --out")
        return [out / name for name in held]
    except OSError as error:
        raise InputError(f"cannot write to the folder {out}: {error.strerror}") from error
