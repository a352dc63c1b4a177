"""Checkpoints from which training goes on as if it had never stopped.

    <directory>/step-00000200/model.safetensors        weights, Hugging Face names
                              optimizer.safetensors    both moments of every parameter
                              state.json               the step and the rest
                              crc32.json               the checksums of these three

A checkpoint is written into a folder of another name, flushed to the disk and then renamed, so one
that exists is complete. Reading verifies the checksums and falls back to the checkpoint before.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load

from ..errors import InputError
from ..files import PARTIAL, write_atomically
from ..weights import serialize

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


class Checkpoint(NamedTuple):
    step: int
    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]               # anything that JSON can hold


def save_checkpoint(directory: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write step-<step>; then delete all but the newest `keep` up to this step, and any of later
    steps: those were passed over as damaged. InputError if the disk is full or the folder cannot
    be written; what was there before is left as it was."""
    step, model, optimizer, state = checkpoint
    folder = directory / f"step-{step:08}"
    partial = folder.with_name(folder.name + PARTIAL)
    files = dict(zip(FILES, (b"".join(serialize(model)), b"".join(serialize(optimizer)),
                             to_json({"step": step, "state": state})), strict=True))
    files["crc32.json"] = to_json(checksums(files))
    try:
        for name, content in files.items():
            write_atomically(partial / name, content)
        flush_folder(partial)
        if folder.exists():                     # damaged, or it would have been resumed from
            shutil.rmtree(folder)
        os.rename(partial, folder)
        flush_folder(directory)
    except OSError as error:
        raise InputError(f"cannot write checkpoint {folder}: {error.strerror}") from error
    finally:
        for leftover in directory.glob(f"*{PARTIAL}"):
            shutil.rmtree(leftover, ignore_errors=True)
    kept = [path for path in list_checkpoints(directory) if path <= folder][-keep:]
    for path in set(list_checkpoints(directory)).difference(kept):
        discard(path)
    return folder


def discard(folder: Path) -> None:
    """Renamed first, so that one which is only half deleted is not listed."""
    with contextlib.suppress(OSError):
        shutil.rmtree(folder.rename(folder.with_name(folder.name + PARTIAL)))


def load_checkpoint(directory: Path, warn: Callable[[str], Any]) -> Checkpoint | None:
    """The newest intact checkpoint, or None if there is none at all. A damaged one is named to
    `warn` and passed over; if all are damaged that is an InputError."""
    folders = list_checkpoints(directory)
    for folder in reversed(folders):
        try:
            return read_checkpoint(folder)
        except InputError as error:
            warn(f"{error}; passed over")
    if folders:
        raise InputError(f"every checkpoint in {directory} is damaged: begin anew (--overwrite)")
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """InputError if a file is missing, truncated or changed."""
    try:
        files = {name: (folder / name).read_bytes() for name in FILES}
        intact = json.loads((folder / "crc32.json").read_bytes()) == checksums(files)
    except OSError as error:
        raise InputError(f"checkpoint {folder} is damaged: {error.strerror}: "
                         f"{error.filename}") from error
    except ValueError:
        intact = False
    if not intact:
        raise InputError(f"checkpoint {folder} is damaged: its files do not have the checksums in "
                         "its crc32.json")
    model, optimizer, rest = files.values()
    return Checkpoint(model=load(model), optimizer=load(optimizer), **json.loads(rest))


def list_checkpoints(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted(directory.glob("step-" + 8 * "[0-9]"))


def checksums(files: dict[str, bytes]) -> dict[str, int]:
    return {name: zlib.crc32(content) for name, content in files.items()}


def to_json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def flush_folder(directory: Path) -> None:
    """Make new and renamed files survive a power cut, where the system can open a folder."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
