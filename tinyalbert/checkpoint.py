"""Checkpoints from which training goes on as if it had never stopped.

    <directory>/step-00000200/model.safetensors        weights, Hugging Face names
                              optimizer.safetensors    both moments of every parameter
                              state.json               the rest, and the checksums of the two

A checkpoint is written into a folder of another name, flushed to the disk and then renamed, so one
that exists is complete. Reading verifies the checksums and falls back to the checkpoint before.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import InputError
from .files import write_atomically

PARTIAL = ".partial"


class Checkpoint(NamedTuple):
    step: int
    model: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    state: dict[str, Any]


def save_checkpoint(directory: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write step-<step>, then delete all but the newest `keep`. InputError if the disk is full or
    the folder cannot be written; what was there before is left as it was."""
    folder = directory / f"step-{checkpoint.step:08}"
    partial = folder.with_name(folder.name + PARTIAL)
    files = {"model.safetensors": to_safetensors(checkpoint.model),
             "optimizer.safetensors": to_safetensors(checkpoint.optimizer)}
    state = {"step": checkpoint.step, "state": checkpoint.state,
             "crc32": {name: zlib.crc32(content) for name, content in files.items()}}
    files["state.json"] = json.dumps(state, indent=1).encode()
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for name, content in files.items():
            write_atomically(partial / name, content)
        if folder.exists():                     # the same step again, from a resumed run
            shutil.rmtree(folder)
        os.rename(partial, folder)
        flush_folder(directory)
    except OSError as error:
        raise InputError(f"cannot write checkpoint {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in list_checkpoints(directory)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def load_checkpoint(directory: Path, warn: Any = print) -> Checkpoint | None:
    """The newest intact checkpoint, or None if there is none at all. A damaged one is named to
    `warn` and passed over; if all are damaged that is an InputError."""
    folders = list_checkpoints(directory)
    for folder in reversed(folders):
        try:
            return read_checkpoint(folder)
        except InputError as error:
            warn(f"{error}; trying the checkpoint before it")
    if folders:
        raise InputError(f"every checkpoint in {directory} is damaged: start again with --overwrite")
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """InputError if a file is missing, truncated, changed or not a checkpoint of ours."""
    try:
        contents = {name: (folder / f"{name}.safetensors").read_bytes()
                    for name in ("model", "optimizer")}
        saved = json.loads((folder / "state.json").read_text("utf-8"))
        for name, content in contents.items():
            if zlib.crc32(content) != saved["crc32"][f"{name}.safetensors"]:
                raise InputError(f"checkpoint {folder} is damaged: {name}.safetensors has another "
                                 "checksum than when it was written")
        return Checkpoint(int(saved["step"]), load(contents["model"]), load(contents["optimizer"]),
                          dict(saved["state"]))
    except OSError as error:
        raise InputError(f"checkpoint {folder} is incomplete: {error}") from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} is not a checkpoint of tinyalbert: {error}") from error


def list_checkpoints(directory: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path for path in directory.glob("step-*") if not path.name.endswith(PARTIAL))


def to_safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """The file as Transformers writes it: contiguous tensors and the format that it asks for."""
    return save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
                metadata={"format": "pt"})


def flush_folder(directory: Path) -> None:
    """Make a rename survive a power cut, where the system allows a folder to be opened."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
