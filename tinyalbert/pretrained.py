"""What every model can do with its parameters as a whole: hand them out and take them in.

`state_dict` speaks Hugging Face: its names, and its layout [out, in] for linear weights, which are
[in, out] here. Comparing a model with PyTorch's therefore takes three lines:

    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    theirs(...).loss.backward(); model.backward(cache)
    ours.state_dict(gradients=True)[name]  vs  theirs.get_parameter(name).grad
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .backend import Backend
from .config import AlbertConfig
from .errors import InputError
from .layer import Layer

# Where Hugging Face's module tree differs from ours.
RENAMED = (("feed_forward.LayerNorm.", "full_layer_layer_norm."), ("feed_forward.", ""),
           ("pooler.dense.", "pooler."))


class PreTrainedModel(Layer):
    """A layer that is a whole model: it has a configuration, a backend and a precision."""

    config: AlbertConfig
    backend: Backend
    dtype: Any

    def state_dict(self, *, gradients: bool = False, tied: bool = True) -> dict[str, np.ndarray]:
        """Every tensor, or its gradient, on the host, by Hugging Face name and layout.

        A tensor that is used in several places (the tied decoder; the shared half under partial
        sharing) stands under each of its names, as in PyTorch's `state_dict`; with tied=False
        only under the first, as in files.
        """
        named = self.walk() if tied else self.named_parameters().items()
        return {hugging_face_name(name): to_hugging_face(
                    name, self.backend.to_numpy(p.grad if gradients else p.data)).copy()
                for name, p in named}

    def load_state_dict(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Copy tensors named as in `state_dict` into the parameters; a tied tensor may stand under
        any one of its names. InputError if one is missing, unknown, or of the wrong shape."""
        names = {hugging_face_name(name): (name, p) for name, p in self.walk()}
        unknown = [key for key in tensors if key not in names]
        if unknown:
            raise InputError(f"unexpected tensor {unknown[0]!r} (and {len(unknown) - 1} more)"
                             if len(unknown) > 1 else f"unexpected tensor {unknown[0]!r}")
        given = {id(names[key][1]) for key in tensors}
        for key, (_, parameter) in names.items():
            if id(parameter) not in given:
                raise InputError(f"missing tensor {key!r}")
        for key, tensor in tensors.items():
            name, parameter = names[key]
            expected = to_hugging_face(name, parameter.data).shape
            if tensor.shape != expected:
                raise InputError(f"tensor {key!r} has shape {list(tensor.shape)}, the "
                                 f"configuration asks for {list(expected)}")
        for key, tensor in tensors.items():
            name, parameter = names[key]
            value = to_hugging_face(name, tensor)       # the transposition undoes itself
            parameter.data[...] = self.backend.asarray(value, dtype=self.dtype)

    def num_parameters(self) -> int:
        """Shared and tied parameters are counted once."""
        return sum(parameter.data.size for parameter in self.named_parameters().values())


def hugging_face_name(name: str) -> str:
    for ours, theirs in RENAMED:
        name = name.replace(ours, theirs)
    return name


def to_hugging_face(name: str, array: Any) -> Any:
    """Linear weights are transposed; tables, and the decoder that is tied to one, are not."""
    is_table = name.endswith(("embeddings.weight", "decoder.weight"))
    return array.T if array.ndim == 2 and not is_table else array
