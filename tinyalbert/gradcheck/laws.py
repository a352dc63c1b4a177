"""The laws of the protocol (see layer.py): a sentence for each that a layer breaks.

No slope shows them. The gradients of such a layer may all be right, until it is applied twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..layer import Layer
from .experiment import Experiment, to_host

NOT_REPEATABLE = ("forward is not repeatable: the same seed gives another output. Dropout must "
                  "draw from the `rng` that forward is given, and from nothing else.")


def is_repeatable(e: Experiment) -> bool:
    """The same seed, the same output. Without it nothing can be measured."""
    once, again = (np.array(to_host(e.forward()[0])) for _ in range(2))
    return bool(np.allclose(once, again, rtol=1e-9, atol=1e-12, equal_nan=True))


def forward_laws(e: Experiment) -> Iterator[str]:
    held, before = attributes(e.layer), state(e)
    e.forward()
    for name in changed(before, state(e)):
        yield f"forward writes to `{name}`."
    now = attributes(e.layer)
    for name in now:
        if name not in held or now[name] is not held[name]:
            yield (f"forward leaves `{name}` on the layer, where the next application overwrites "
                   "it. What backward needs belongs in the cache.")


def backward_laws(e: Experiment) -> Iterator[str]:
    _, cache = e.forward()
    dy, given, remembered = e.dy.copy(), state(e), copies(cache)
    d_inputs = e.backward(dy, cache)
    if changed({"": to_host(e.dy)}, {"": to_host(dy)}):
        yield "backward writes to dy, which the caller may still need."
    for name in changed(given, state(e)):
        yield f"backward writes to `{name}`."
    if changed(remembered, copies(cache)):
        yield "backward writes to its cache."
    name, first = next(iter(e.arguments.items()))
    if getattr(first, "dtype", np.dtype(int)).kind == "f" and d_inputs[0] is None:
        yield f"backward returns no gradient for `input {name}`."
    for name, gradient in e.gradients().items():
        if gradient.shape != e.tensors()[name].shape:
            yield (f"the gradient of `{name}` has shape {list(gradient.shape)} instead of "
                   f"{list(e.tensors()[name].shape)}: transposed, or summed over the wrong axes.")


def addition_law(e: Experiment) -> Iterator[str]:
    for name in not_doubled(e):
        yield (f"backward overwrites the gradient of `{name}`: a second call must double it. Write "
               "`+=`, not `=`.")


def not_doubled(e: Experiment) -> list[str]:
    """The parameters whose gradient is not twice as large after two calls."""
    once, twice = e.gradients(), e.gradients(calls=2)
    return [name for name in e.parameters if not np.allclose(
        2 * once[name], twice[name], rtol=0, equal_nan=True,
        atol=1e-9 * np.nanmax(np.abs(once[name]), initial=0))]


# --- before and after


def state(e: Experiment) -> dict[str, np.ndarray]:
    return {name: np.array(to_host(tensor)) for name, tensor in e.tensors().items()}


def copies(cache: Any) -> dict[str, np.ndarray]:
    """Every array in a cache, however it is nested, by its place."""
    if hasattr(cache, "dtype"):
        return {"": np.array(to_host(cache))}
    if not isinstance(cache, (tuple, list)):
        return {}
    return {f"{i}.{place}": array for i, part in enumerate(cache)
            for place, array in copies(part).items()}


def attributes(layer: Layer | None, prefix: str = "") -> dict[str, Any]:
    """What a layer and its sub-layers hold, by path: the objects themselves."""
    held: dict[str, Any] = {}
    for name, value in vars(layer).items() if layer else ():
        for key, child in enumerate(value) if isinstance(value, list) else [("", value)]:
            path = f"{prefix}{name}.{key}".rstrip(".")
            held[path] = child
            if isinstance(child, Layer):
                held |= attributes(child, f"{path}.")
    return held


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    return [name for name, array in before.items()
            if not np.array_equal(array, after[name], equal_nan=True)]
