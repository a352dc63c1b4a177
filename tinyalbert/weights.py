"""Weights as safetensors files: what Hugging Face Transformers reads and writes.

    8 bytes       n, the length of the header
    n bytes       JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest      each tensor's bytes, row by row, little-endian; the offsets count from here

A large model comes in several such files (shards) and an index that says which tensor is where.
Pickles (`pytorch_model.bin`) are refused, because reading one can run any code that is in it, and
so are TensorFlow's files; the message holds the command that converts them.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import struct
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import BinaryIO, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from .errors import InputError
from .files import read_json_object, write_atomically

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-" + 5 * "[0-9]" + "-of-" + 5 * "[0-9]" + ".safetensors"

# NumPy has no BF16: these are the upper 16 bits of a float32.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
CODES = {"float64": "F64", "float32": "F32", "float16": "F16"}

# save_file refuses tensors that share memory, hence the clones.
FROM_PICKLES = (
    "import torch; from safetensors.torch import save_file; "
    "save_file({name: tensor.contiguous().clone() for path in $paths for name, tensor in "
    'torch.load(path, map_location="cpu", weights_only=True).items()}, $output, {"format": "pt"})')
FROM_H5 = ("from transformers import AutoModelForPreTraining as Model; "
           "Model.from_pretrained($directory, from_tf=True).save_pretrained($directory)")


class Entry(NamedTuple):
    file: BinaryIO
    dtype: str
    shape: tuple[int, ...]
    start: int                          # of the tensor's bytes in the file


class WeightFiles(Mapping[str, np.ndarray]):
    """Tensors by name, each read from its file when it is asked for, and every time anew.

    F16 and BF16 become float32, which is exact; F32 and F64 stay as they are. Other dtypes hold no
    weights (old checkpoints have a buffer of position ids), and asking for one is an InputError.
    """

    def __init__(self, entries: dict[str, Entry], files: contextlib.ExitStack) -> None:
        self._entries = entries
        # Open as long as this lives: should a training replace the files while they are read, the
        # tensors are still all of one model.
        weakref.finalize(self, files.close)

    def __getitem__(self, name: str) -> np.ndarray:
        file, dtype, shape, start = self._entries[name]
        if dtype not in DTYPES:
            raise InputError(f"tensor {name!r} in {file.name} cannot be read as weights: its dtype "
                             f"is {dtype}, not one of {', '.join(DTYPES)}")
        try:
            file.seek(start)
            flat = np.fromfile(file, DTYPES[dtype], count=math.prod(shape))
            if dtype == "BF16":
                flat = (flat.astype(np.uint32) << 16).view(np.float32)
            elif dtype == "F16":
                flat = flat.astype(np.float32)
            return flat.reshape(shape)
        except (OSError, ValueError) as error:      # 65 dimensions are too many for NumPy
            raise InputError(f"cannot read tensor {name!r} in {file.name}: {error}") from error

    def __contains__(self, name: object) -> bool:   # Mapping's own would read the tensor
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._entries[name].shape

    def dtype(self, name: str) -> str:
        """As in the file: "F32", "BF16", "I64"..."""
        return self._entries[name].dtype


def open_tensors(directory: Path) -> WeightFiles:
    """The tensors of `model.safetensors`, else of the shards in `model.safetensors.index.json`.

    InputError if there is neither, or if a file is damaged or missing.
    """
    shards: dict[str, set[str]] = {}
    if not (directory / FILE).is_file():
        if not (directory / INDEX).is_file():
            raise InputError(why_no_weights(directory))
        shards = read_index(directory / INDEX)
    entries: dict[str, Entry] = {}
    with contextlib.ExitStack() as files:
        for shard in shards or [FILE]:
            path = directory / shard
            try:
                header = read_header(files.enter_context(open(path, "rb", buffering=0)))
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from error
            if shards and header.keys() != shards[shard]:
                name = min(header.keys() ^ shards[shard])
                raise InputError(f"{path} and {INDEX} disagree about tensor {name!r}: only one of "
                                 "them has it, so download or save both again")
            entries |= header
        return WeightFiles(entries, files.pop_all())


def why_no_weights(directory: Path) -> str:
    """What is wrong with a directory without safetensors, and the command that mends it."""
    if not directory.is_dir():
        return f"no such directory: {directory}"
    pickles = sorted(directory.glob("pytorch_model*.bin")) or sorted(directory.glob("*.bin"))
    if pickles:
        return (f"{pickles[0]} is a pickle, which can run any code when it is read: convert it "
                "where PyTorch is installed, with "
                + python(FROM_PICKLES, paths=pickles, output=directory / FILE))
    if any(directory.glob("*model.ckpt*")):
        command = ["tinyalbert", "convert", str(directory), "--out", str(directory / "converted")]
        return (f"{directory} holds a TensorFlow checkpoint: convert it with "
                f"{shlex.join(command)} and load that")
    if (directory / "tf_model.h5").is_file():
        return (f"{directory / 'tf_model.h5'} is TensorFlow's: convert it where TensorFlow, "
                "PyTorch and transformers<5 are installed, with "
                + python(FROM_H5, directory=directory))
    return f"{directory} holds no weights: neither {FILE} nor {INDEX} is there"


def python(program: str, **values: object) -> str:
    """The shell command for a program, with JSON (which has only double quotes) for its $names."""
    literals = {name: json.dumps(value, default=str, ensure_ascii=False)
                for name, value in values.items()}
    return "python -c " + shlex.quote(Template(program).substitute(literals))


def read_index(path: Path) -> dict[str, set[str]]:
    """The names of the tensors in each shard; InputError if the file is no such index."""
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f'{path} is no index of weights: it has no "weight_map" with tensor names '
                         "and files")
    shards: dict[str, set[str]] = {}
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not re.fullmatch(r"[\w.-]+\.safetensors", shard):
            raise InputError(f"{path} must give a .safetensors file in the same directory for "
                             f"tensor {name!r}, not {shard!r}")
        shards.setdefault(shard, set()).add(name)
    return shards


def read_header(file: BinaryIO) -> dict[str, Entry]:
    """Where each tensor is. InputError if the header contradicts itself or the file's size."""
    try:
        with safe_open(file.name, framework="numpy"):
            pass                        # all checks are made here, before anything is believed
    except SafetensorError as error:
        if file.read(19) == b"version https://git":
            raise InputError(f"{file.name} is only Git LFS's pointer to the weights: run `git lfs "
                             "pull` in its directory") from error
        raise InputError(f"{file.name} is damaged or no safetensors file ({error}): download or "
                         "save it again") from error
    length, = struct.unpack("<Q", file.read(8))
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: Entry(file, info["dtype"], tuple(info["shape"]),
                        8 + length + info["data_offsets"][0]) for name, info in header.items()}


def write_tensors(directory: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write `model.safetensors`: at any moment there is the old model or the new one.

    Shards of a former model are deleted afterwards, since some programs load every *.safetensors
    that they find. InputError if it cannot be written; the former model is then still there.
    """
    write_atomically(directory / FILE, *serialize(tensors))
    for stale in [directory / INDEX, *directory.glob(SHARDS)]:
        try:
            stale.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot delete {stale}, which belongs to the model that was here "
                             f"before: {error.strerror}") from error


def serialize(tensors: Mapping[str, np.ndarray]) -> Iterator[bytes | memoryview]:
    """The file in pieces: as a whole, which is what the library makes, it would be a second copy.

    The widest dtype comes first: then every tensor begins at a multiple of its element's size.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}      # Transformers asks for it
    names = sorted(tensors, key=lambda name: -tensors[name].itemsize)
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": CODES[tensor.dtype.name], "shape": tensor.shape,
                        "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in names:
        tensor = tensors[name]
        yield np.ascontiguousarray(tensor, dtype=tensor.dtype.newbyteorder("<")).data
