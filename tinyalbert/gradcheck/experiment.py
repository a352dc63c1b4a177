"""Measuring a slope: move the numbers, evaluate twice, divide.

An experiment is a layer (or a pair of functions) together with everything that one evaluation
needs: its arguments, the seed of its dropout, the upstream gradient dy. The same experiment can be
repeated at will, and that is all a gradient check asks for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..backend import Array, backend_of
from ..errors import InputError
from ..layer import Layer, Parameter
from ..pretrained import PreTrainedModel
from .report import Row

# h: the best first, the others if it disagrees. The last is for a slope of 0 among large numbers
# (masked scores): what rounding does to a slope shrinks with h, and a constant has no curve.
STEPS = (1e-5, 1e-4, 1e-6, 1e-3, 1e-7, 1e-1)
DIRECTIONS = 2                              # random ones, for a tensor too large for every element


@dataclass
class Experiment:
    """L = Σ dy · forward(arguments), to be evaluated as often as one likes."""

    title: str
    layer: Layer | None                     # None for a pair of functions
    functions: tuple[Callable[..., Any], Callable[..., Any]]
    arguments: dict[str, Any]
    seed: int
    tolerance: float
    dropout: bool
    elements: int

    @classmethod
    def of(cls, layer: Any, inputs: tuple[Any, ...], arguments: dict[str, Any], seed: int,
           tolerance: float, dropout: bool, elements: int) -> Experiment:
        pair = isinstance(layer, tuple)
        forward, backward = layer if pair else (layer.forward, layer.backward)
        signature = inspect.signature(forward)
        bound = signature.bind_partial(*inputs, **arguments)
        given = dict(zip(signature.parameters, bound.args, strict=False)) | bound.kwargs
        title = forward.__name__ if pair else type(layer).__name__
        return cls(title, None if pair else layer, (forward, backward),
                   {name: in_float64(value) for name, value in given.items()},
                   seed, tolerance, dropout, elements)

    # --- evaluate

    def forward(self) -> tuple[Array, Any]:
        """y, or a model's loss, and the cache. Dropout begins with the same seed every time."""
        signature, arguments = inspect.signature(self.functions[0]), self.arguments
        if "rng" in signature.parameters:
            rng = np.random.default_rng(self.seed) if self.dropout else None
            arguments = arguments | {"rng": rng}
        given = signature.bind_partial(**arguments)
        result = self.functions[0](*given.args, **given.kwargs)
        y, cache = result if isinstance(result, tuple) else (result, result)
        y = getattr(y, "loss", y)
        if not hasattr(y, "dtype"):
            raise InputError(f"the gradients of {self.title} cannot be checked: its forward must "
                             "return an array, or an output with a loss (pass the labels)")
        return y, cache

    def backward(self, dy: Array, cache: Any) -> tuple[Any, ...]:
        """The gradients of the first inputs; those of the parameters are added where they live."""
        if isinstance(self.layer, PreTrainedModel):
            self.functions[1](cache, dy)
            return ()
        dx = self.functions[1](dy, cache)
        return dx if isinstance(dx, tuple) else (dx,)

    @cached_property
    def dy(self) -> Array:
        """The upstream gradient. Random: with all ones, a layer norm has no gradient at all."""
        y, _ = self.forward()
        dy = np.random.default_rng([self.seed, 1]).standard_normal(y.shape)
        return backend_of(y).asarray(dy)

    # --- what is differentiated

    @property
    def parameters(self) -> dict[str, Parameter]:
        return self.layer.named_parameters() if self.layer else {}

    def tensors(self) -> dict[str, Array]:
        """The live arrays by name: inputs of floating-point numbers, then parameters."""
        inputs = {f"input {name}": value for name, value in self.arguments.items()
                  if getattr(value, "dtype", np.dtype(int)).kind == "f"}
        return inputs | {name: parameter.data for name, parameter in self.parameters.items()}

    def gradients(self, calls: int = 1) -> dict[str, np.ndarray]:
        """What `calls` forward and backward passes say, on the host."""
        for parameter in self.parameters.values():
            parameter.grad = parameter.data * 0
        for _ in range(calls):
            _, cache = self.forward()
            d_inputs = self.backward(self.dy.copy(), cache)
        named = {f"input {name}": dx for name, dx in zip(self.arguments, d_inputs, strict=False)
                 if dx is not None}
        for name in named.keys() - self.tensors().keys():
            raise InputError(f"backward returns a gradient for {name}, which holds no "
                             "floating-point numbers: pass an array of floats")
        named |= {name: parameter.grad for name, parameter in self.parameters.items()}
        if not named:
            raise InputError(f"{self.title} has no parameters, and its backward returns no "
                             "gradient: there is nothing to check")
        return {name: to_host(gradient) for name, gradient in named.items()}

    # --- measure

    def slope(self, tensor: Array, direction: np.ndarray, step: float) -> float:
        """(L(x + h v) - L(x - h v)) / 2h. The outputs are subtracted before they are summed, which
        loses fewer digits than subtracting two sums; copied, because y may be x itself."""
        start, move = tensor.copy(), step * backend_of(tensor).asarray(direction)
        tensor[...] = start + move
        above = self.forward()[0].copy()
        tensor[...] = start - move
        below = self.forward()[0].copy()
        tensor[...] = start
        return float(to_host((self.dy * (above - below)).sum())) / (2 * step)

    @cached_property
    def resolution(self) -> float:
        """The smallest slope that the rounding of y, ten units in its last digit, lets one see."""
        y, _ = self.forward()
        size = max(np.linalg.norm(to_host(self.dy * y)), np.finfo(np.float64).tiny)
        return float(10 * np.finfo(np.float64).eps * size) / STEPS[0]

    def check(self, name: str, gradient: np.ndarray) -> Row:
        """Compare one tensor's gradient with measured slopes, until one is wrong at every step."""
        tensor = self.tensors()[name]
        if gradient.shape != tensor.shape:
            return Row(name, tensor.shape, np.inf, False)
        length = float(np.linalg.norm(gradient))
        smallest = self.resolution / self.tolerance
        largest, worst = length, 0.0
        for direction in self.directions(tensor.shape):
            expected = float((gradient * direction).sum())
            for step in STEPS:
                slope = self.slope(tensor, direction, step)
                error = abs(slope - expected) / max(length, abs(slope), smallest)
                if error <= self.tolerance:
                    break
            largest, worst = max(largest, abs(slope)), max(worst, error)
            if not error <= self.tolerance:     # not a number is not right either
                return Row(name, tensor.shape, error, False)
        return Row(name, tensor.shape, worst, True, "zero" if largest <= self.resolution else "")

    def rows(self) -> list[Row]:
        return [self.check(name, gradient) for name, gradient in self.gradients().items()]

    def directions(self, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
        """Every element by itself if they are few; otherwise random signs, then some elements."""
        rng = np.random.default_rng([self.seed, 2])
        size = int(np.prod(shape))
        if size > self.elements:
            yield from rng.choice([-1.0, 1.0], (DIRECTIONS, *shape))
        for i in sample(size, self.elements, rng):
            yield one_hot(shape, i)

    # --- leave no trace

    @contextmanager
    def borrowed_parameters(self) -> Iterator[None]:
        """Within: float64, gradients 0, gains and biases moved. Afterwards: as they were."""
        rng = np.random.default_rng([self.seed, 3])
        parameters = list(self.parameters.values())
        kept = [(parameter.data, parameter.grad) for parameter in parameters]
        try:
            for parameter in parameters:
                values = parameter.data.astype(np.float64)
                if values.ndim == 1:
                    values += backend_of(values).asarray(rng.uniform(-0.3, 0.3, values.shape))
                parameter.data, parameter.grad = values, values * 0
            yield
        finally:
            for parameter, (data, grad) in zip(parameters, kept, strict=True):
                parameter.data, parameter.grad = data, grad


def sample(size: int, at_most: int, rng: np.random.Generator) -> np.ndarray:
    """All of range(size), or as many of it as asked for, at random."""
    return np.arange(size) if size <= at_most else rng.choice(size, at_most, replace=False)


def one_hot(shape: tuple[int, ...], index: int) -> np.ndarray:
    direction = np.zeros(shape)
    direction.flat[index] = 1
    return direction


def in_float64(value: Any) -> Any:
    """A copy of an array or list, in float64 if it has floating-point numbers; else the value."""
    if isinstance(value, list):
        value = np.array(value)
    if not hasattr(value, "dtype"):
        return value
    return value.astype(np.float64) if value.dtype.kind == "f" else value.copy()


def to_host(array: Array) -> np.ndarray:
    return backend_of(array).to_numpy(array)
