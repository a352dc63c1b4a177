"""What a layer is: it owns parameters, and nothing about a call.

    y, cache = layer.forward(x, ...)        leaves the layer as it was
    dx       = layer.backward(dy, cache)    its only side effect: parameter.grad += ...
    y        = layer(x, ...)                evaluates: no dropout, the cache dropped

ALBERT applies one layer twelve times. What one application must remember for its backward pass
therefore cannot live on the layer; it lives in the cache that this application returned. Twelve
applications have twelve caches and one gradient, and the gradients only ever add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from .backend import Array, Backend, array_module
from .errors import InputError


class Parameter:
    """An array that learns, and the gradient of the loss with respect to it: zeros of the same
    shape, made when first asked for, so that a model which only answers never has them."""

    __slots__ = ("data", "_grad")

    def __init__(self, data: Array) -> None:
        self.data = data
        self._grad: Array | None = None

    @property
    def grad(self) -> Array:
        if self._grad is None:
            self._grad = array_module(self.data).zeros(self.data.shape, self.data.dtype)
        return self._grad

    @grad.setter
    def grad(self, value: Array) -> None:
        self._grad = value

    def freeze(self) -> None:
        """Make it an error to write to the array, where the library knows how."""
        if isinstance(self.data, np.ndarray):
            self.data.flags.writeable = False

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


def flat_gradients(parameters: Mapping[str, Parameter]) -> Array:
    """One array [P] of zeros that holds every gradient, one after the other: each parameter's grad
    becomes a view of its part. So all of them can be sent, or set to 0, at once."""
    arrays = [parameter.data for parameter in parameters.values()]
    flat = array_module(arrays[0]).zeros(sum(array.size for array in arrays), arrays[0].dtype)
    start = 0
    for parameter in parameters.values():
        stop = start + parameter.data.size
        parameter.grad = flat[start:stop].reshape(parameter.data.shape)
        start = stop
    return flat


Draw: TypeAlias = Callable[[tuple[int, ...]], np.ndarray]      # a shape -> values
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
        return self.parameter(shape, self.truncated_normal)

    def zeros(self, *shape: int) -> Parameter:
        return self.parameter(shape, np.zeros)

    def ones(self, *shape: int) -> Parameter:
        return self.parameter(shape, np.ones)

    def parameter(self, shape: tuple[int, ...], draw: Draw) -> Parameter:
        return Parameter(self.backend.asarray(draw(shape).astype(self.dtype)))

    def truncated_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        z = self.rng.standard_normal(shape)
        while (far := np.abs(z) > 2).any():
            z[far] = self.rng.standard_normal(int(far.sum()))
        return z * self.std


class Blueprint(Initializer):
    """Every parameter with its shape and without memory, for values that come from a file."""

    def __init__(self, backend: Backend, dtype: Any, seed: int, std: float) -> None:
        super().__init__(backend, dtype, seed, std)
        self.waiting: dict[int, tuple[Array, Draw]] = {}    # a stand-in; how to draw

    def parameter(self, shape: tuple[int, ...], draw: Draw) -> Parameter:
        parameter = Parameter(np.broadcast_to(np.zeros((), self.dtype), shape))
        self.waiting[id(parameter)] = parameter.data, draw
        return parameter

    def begin(self, parameter: Parameter) -> None:
        """Unless the file had it: the values that a new model would begin with."""
        nothing, draw = self.waiting[id(parameter)]
        if parameter.data is nothing:
            parameter.data = super().parameter(nothing.shape, draw).data
