"""What every model can do with its parameters as a whole: hand them out, take them in, be saved.

`state_dict` speaks Hugging Face: its names, and its layout [out, in] for linear weights, which are
[in, out] here. Comparing a model with PyTorch's therefore takes three lines:

    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    theirs(...).loss.backward(); model.backward(cache)
    ours.state_dict(gradients=True)[name]  vs  theirs.get_parameter(name).grad

Files are Hugging Face's too: config.json and model.safetensors, in a directory or on its hub.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .backend import Backend, get_backend
from .config import AlbertConfig, AnyConfig, EncoderConfig
from .errors import InputError
from .layer import Blueprint, Initializer, Layer, Parameter
from .names import BUFFER, hugging_face_name, to_hugging_face, without_prefix

logger = logging.getLogger("tinyalbert")


class Loading(NamedTuple):
    """How the names in a file and those of a model met."""

    missing_keys: list[str]         # newly initialized
    unexpected_keys: list[str]      # not used


class PreTrainedModel(Layer):
    """A layer that is a whole model: it has a configuration, a backend and a precision."""

    config_class: type[EncoderConfig] = AlbertConfig
    config: AnyConfig
    backend: Backend
    dtype: Any

    def begin(self, config: AnyConfig, backend: str, dtype: Any, seed: int,
              init: Initializer | None) -> Initializer:
        """What every constructor does first. `init` is the outer model's, if there is one."""
        if init is None:
            if not isinstance(config, self.config_class):
                raise InputError(f"{type(self).__name__} needs {self.config_class.__name__}, not "
                                 f"{type(config).__name__}")
            init = Initializer(get_backend(backend), dtype, seed, config.initializer_range)
        self.config, self.backend, self.dtype = config, init.backend, init.dtype
        return init

    @classmethod
    def from_pretrained(cls, name_or_directory: str | Path, *, backend: str = "numpy",
                        dtype: Any = np.float32, seed: int = 0, output_loading_info: bool = False,
                        ignore_mismatched_sizes: bool = False, **changes: Any) -> Any:
        """The model of a directory, or of a name on the Hugging Face hub ("albert-base-v2").

        Heads that the file lacks are newly initialized (from `seed`) and named in a warning; what
        the file has beyond this class is not used. changes: of the configuration, as num_labels=3.
        ignore_mismatched_sizes: initialize anew what has another shape, instead of raising.
        output_loading_info: return (model, {"missing_keys": [...], "unexpected_keys": [...]}).

        Raises InputError if a file is missing or damaged, if the encoder itself is incomplete, or
        if a tensor has a shape that the configuration does not ask for.
        """
        from .hub import local_directory
        from .weights import FILE, INDEX, SHARDS, open_tensors
        directory = local_directory(name_or_directory, ["config.json", FILE, INDEX, SHARDS])
        config: Any = cls.config_class.from_json_file(directory / "config.json").replace(**changes)
        tensors = open_tensors(directory)
        init = Blueprint(get_backend(backend), dtype, seed, config.initializer_range)
        model = cls(config, init=init)          # type: ignore[call-arg]
        loading = model.fill(tensors, ignore_mismatched_sizes)
        lacking = [key for key in loading.missing_keys if is_of_encoder(key)]
        if lacking:
            raise InputError(f"{directory} lacks {len(lacking)} tensors of the encoder that its "
                             f"config.json describes, first {lacking[0]!r}")
        for parameter in model.named_parameters().values():
            init.begin(parameter)
        if loading.missing_keys and not output_loading_info:
            logger.warning("%s: not in %s and newly initialized: %s. Train the model before you "
                           "rely on them.", cls.__name__, directory,
                           ", ".join(loading.missing_keys))
        if loading.unexpected_keys:
            # A head too many is usual, a layer too many is not.
            surplus = any(map(is_of_encoder, loading.unexpected_keys))
            logger.log(logging.WARNING if surplus else logging.INFO, "%s: in %s and not used: %s",
                       cls.__name__, directory, ", ".join(loading.unexpected_keys))
        return (model, loading._asdict()) if output_loading_info else model

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json and model.safetensors, which `from_pretrained` reads, here and in
        Transformers. InputError if the directory cannot be written."""
        self.config.save_pretrained(directory, architectures=[type(self).__name__],
                                    dtype=np.dtype(self.dtype).name)
        from .weights import write_tensors
        write_tensors(Path(directory), self.state_dict(tied=False))

    def state_dict(self, *, gradients: bool = False, tied: bool = True) -> dict[str, np.ndarray]:
        """Every tensor, or its gradient, on the host, by Hugging Face name and layout.

        The decoder is tied to the word embeddings and stands under both names, as in PyTorch's
        `state_dict`; with tied=False only under the embeddings', as in files. (What layers share
        under partial sharing stands under every layer's name in both.)
        """
        tensors = {}
        for name, parameter in self.walk():
            if tied or ".decoder." not in name:
                array = self.backend.to_numpy(parameter.grad if gradients else parameter.data)
                tensors[self.hugging_face_name(name)] = to_hugging_face(name, array).copy()
        return tensors

    def load_state_dict(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copy tensors named as in `state_dict` into the parameters; a tied tensor may stand under
        any one of its names. InputError if one is missing, unknown, or of the wrong shape."""
        names = {self.hugging_face_name(name) for name, _ in self.walk()}
        unknown = [key for key in tensors if key not in names]
        if unknown:
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            raise InputError(f"unexpected tensor {unknown[0]!r}{more}")
        loading = self.fill(tensors)
        if loading.missing_keys:
            raise InputError(f"missing tensor {loading.missing_keys[0]!r}")

    def fill(self, tensors: Mapping[str, np.ndarray], ignore_mismatched: bool = False) -> Loading:
        """Give every parameter that the file has its tensor, whatever prefix either side uses, and
        say which names did not meet. InputError for a wrong shape, before anything is changed."""
        in_file = {without_prefix(key): key for key in tensors if not BUFFER.search(key)}
        unused = dict(in_file)
        missing: dict[int, str] = {}
        meetings: dict[int, tuple[str, str, Parameter]] = {}    # each parameter once
        copies: list[tuple[str, str]] = []                      # of what is shared or tied here
        for name, parameter in self.walk():
            key = in_file.get(without_prefix(self.hugging_face_name(name)))
            if key is None or (ignore_mismatched and mismatch(tensors, key, name, parameter)):
                missing.setdefault(id(parameter), self.hugging_face_name(name))
            else:
                unused.pop(without_prefix(key), None)
                first, *_ = meetings.setdefault(id(parameter), (key, name, parameter))
                copies += [(first, key)] if first != key else []
        for key, name, parameter in meetings.values():
            if expected := mismatch(tensors, key, name, parameter):
                raise InputError(f"tensor {key!r} has shape {list(shape_of(tensors, key))}, the "
                                 f"configuration asks for {list(expected)}")
        for first, key in copies:
            if not np.array_equal(tensors[first], tensors[key]):
                raise InputError(f"tensors {first!r} and {key!r} are one and the same in this "
                                 "model, and here they differ")
        for key, name, parameter in meetings.values():
            array = to_hugging_face(name, tensors[key])         # the transposition undoes itself
            parameter.data = self.backend.asarray(np.array(array, self.dtype, order="C"))
        return Loading([name for i, name in missing.items() if i not in meetings],
                       list(unused.values()))

    def hugging_face_name(self, name: str) -> str:
        return hugging_face_name(name, self.config.model_type)

    def num_parameters(self) -> int:
        """Shared and tied parameters are counted once."""
        return sum(parameter.data.size for parameter in self.named_parameters().values())


def mismatch(tensors: Mapping[str, np.ndarray], key: str, name: str,
             parameter: Parameter) -> tuple[int, ...] | None:
    """The shape that the tensor in the file should have; None if it has it."""
    expected = to_hugging_face(name, parameter.data).shape
    return None if shape_of(tensors, key) == expected else expected


def shape_of(tensors: Mapping[str, np.ndarray], key: str) -> tuple[int, ...]:
    """Files know it without reading the tensor."""
    in_header = getattr(tensors, "shape", None)
    return in_header(key) if in_header else tensors[key].shape


def is_of_encoder(key: str) -> bool:
    """Without these a model is not the one that was trained; a pooler or a head may be new."""
    return without_prefix(key).startswith(("embeddings.", "encoder."))
