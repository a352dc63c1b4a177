"""The one door between the textbook and speed.

`functional.py` is written to be read. A function there that is marked `@accelerated` may be served
by a twin of the same name, with the same arguments and the same result up to rounding, from

    fast/cpu.py     NumPy arrays: blocked, in place, on every core
    fast/gpu.py     CuPy arrays of float32: kernels of our own, products in the backend's precision

When the argument's array library has no twin, or inside `with textbook():`, or when the
environment variable TINYALBERT_TEXTBOOK is set, the textbook itself runs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

_textbook_only = bool(os.environ.get("TINYALBERT_TEXTBOOK"))


def accelerated(function: F) -> F:
    """Let the twin of this textbook function, if there is one for its arrays, serve the call."""

    @functools.wraps(function)
    def call(first: Any, *args: Any, **kwargs: Any) -> Any:
        twins = None if _textbook_only else twins_of(first)
        return getattr(twins, function.__name__, function)(first, *args, **kwargs)

    return call  # type: ignore[return-value]


def twins_of(x: Any) -> Any:
    """The module whose functions serve this array; None if the textbook does."""
    if type(x) is np.ndarray:
        from . import cpu
        return cpu
    from ..backend import backend_of
    if x.dtype == np.float32 and backend_of(x).has_kernels:
        from . import gpu
        return gpu
    return None


@contextmanager
def textbook() -> Iterator[None]:
    """Inside this block every operation runs as it is written in `functional.py`."""
    global _textbook_only
    before, _textbook_only = _textbook_only, True
    try:
        yield
    finally:
        _textbook_only = before


_prepared: ContextVar[dict[Any, Any] | None] = ContextVar("prepared", default=None)


@contextmanager
def same_weights() -> Iterator[None]:
    """Inside this block nobody writes to a weight. What a twin makes of one, to multiply faster, it
    may keep until the end of the block: twelve applications, one preparation."""
    before = _prepared.set({})
    try:
        yield
    finally:
        _prepared.reset(before)


def prepared() -> dict[Any, Any] | None:
    """What this thread has kept in its block; None outside of any."""
    return _prepared.get()
