"""What a layer is: it owns parameters, and nothing about a call.

    y, cache = layer.forward(x, ...)        leaves the layer as it was
    dx       = layer.backward(dy, cache)    its only side effect: parameter.grad += ...
    y        = layer(x, ...)                evaluates: no dropout, the cache dropped

ALBERT applies one layer twelve times. What one application must remember for its backward pass
therefore cannot live on the layer; it lives in the cache that this application returned. Twelve
applications have twelve caches and one gradient, and the gradients only ever add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .backend import Array, Backend, array_module
from .errors import InputError


class Parameter:
    """An array that learns, and the gradient of the loss with respect to it."""

    __slots__ = ("data", "grad")

    def __init__(self, data: Array) -> None:
        self.data = data
        self.grad = array_module(data).zeros(data.shape, data.dtype)

    def __repr__(self) -> str:
        return f"Parameter{tuple(self.data.shape)}"


class Layer:
    """The base of every layer. Parameters and sub-layers are found by walking the attributes."""

    def forward(self, *inputs: Any, **kwargs: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def backward(self, dy: Any, cache: Any) -> Any:
        raise NotImplementedError

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Evaluate: forward without dropout, the cache dropped."""
        return self.forward(*inputs, **kwargs)[0]

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter under every name that reaches it: shared ones come up repeatedly."""
        for name, value in vars(self).items():
            for key, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                path = f"{prefix}{name}" if key is None else f"{prefix}{name}.{key}"
                if isinstance(child, Parameter):
                    yield path, child
                elif isinstance(child, Layer):
                    yield from child.walk(f"{path}.")

    def named_parameters(self) -> dict[str, Parameter]:
        """Every parameter once, under the first name that reaches it."""
        first: dict[int, tuple[str, Parameter]] = {}
        for name, parameter in self.walk():
            first.setdefault(id(parameter), (name, parameter))
        return dict(first.values())

    def zero_grad(self) -> None:
        for parameter in self.named_parameters().values():
            parameter.grad[...] = 0


FLOATS = ("float32", "float64", np.float32, np.float64)


class Initializer:
    """How new parameters are made: on which backend, in which precision, from which seed.

    Matrices and tables are drawn from a normal distribution of standard deviation `std`, redrawn
    beyond two of them, as in Google's code (Hugging Face does not cut); biases are 0, gains 1.
    """

    def __init__(self, backend: Backend, dtype: Any, seed: int, std: float) -> None:
        if dtype not in FLOATS:
            raise InputError("dtype must be float32 (for work) or float64 (for checks), "
                             f"not {dtype}")
        self.backend, self.dtype, self.std = backend, np.dtype(dtype), std
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int) -> Parameter:
        z = self.rng.standard_normal(shape)
        while (far := np.abs(z) > 2).any():
            z[far] = self.rng.standard_normal(int(far.sum()))
        return self._parameter(z * self.std)

    def zeros(self, *shape: int) -> Parameter:
        return self._parameter(np.zeros(shape))

    def ones(self, *shape: int) -> Parameter:
        return self._parameter(np.ones(shape))

    def _parameter(self, values: np.ndarray) -> Parameter:
        return Parameter(self.backend.asarray(values.astype(self.dtype)))
