"""The strict double itself: that it refuses what a GPU's arrays would, and computes the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from strict_array import FUNCTIONS, METHODS, StrictArray, StrictBackend

from tinyalbert.backend import array_module, get_backend


@pytest.fixture
def strict() -> StrictArray:
    return get_backend(StrictBackend()).asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


HOST = np.ones(3)
REFUSED: dict[str, Callable[[StrictArray], Any]] = {
    "float()": lambda x: float(x[0, 0]),
    "int()": lambda x: int(x[0, 0]),
    "bool()": lambda x: bool(x[0, 0] > 0),
    "if": lambda x: 1 if (x > 0) else 0,
    "range()": lambda x: range(x[0, 0].astype(int)),
    "a loop": lambda x: list(x),
    "in": lambda x: 1.0 in x,
    "max()": lambda x: max(x[0]),
    "np.asarray": lambda x: np.asarray(x),
    "np.array of a list of them": lambda x: np.array([x, x]),
    "a function of NumPy": lambda x: np.sum(x),
    "a ufunc of NumPy": lambda x: np.exp(x),
    "array + x": lambda x: HOST + x,
    "x + array": lambda x: x + HOST,
    "x += array": lambda x: x.__iadd__(HOST),
    "array += x": lambda x: HOST.copy().__iadd__(x[0]),
    "x @ array": lambda x: x @ HOST,
    "array @ x": lambda x: HOST[:2] @ x,
    "x > array": lambda x: x > HOST,
    "x + 0-d array": lambda x: x + np.array(1.0),
    "float32 x + float64 scalar": lambda x: x.astype(np.float32) + np.float64(1),
    "x + list": lambda x: x + [1.0, 2.0, 3.0],
    "x[array]": lambda x: x[np.array([0, 1])],
    "x[list]": lambda x: x[[0, 1]],
    "x[mask]": lambda x: x[x > 2],
    "x[...] = array": lambda x: x.__setitem__(..., HOST),
    "array[x]": lambda x: HOST[x[0].astype(int)],
    "array[...] = x": lambda x: HOST.copy().__setitem__(..., x[0]),
    "xp function of an array": lambda x: array_module(x).exp(HOST),
    "xp function that is not listed": lambda x: array_module(x).linalg,
    "np.add.at": lambda x: np.add.at(x, 0, 1.0),
}


@pytest.mark.parametrize("misuse", REFUSED.values(), ids=REFUSED.keys())
def test_the_strict_array_refuses(strict: StrictArray, misuse: Callable[..., Any]) -> None:
    before = strict.get()
    with pytest.raises((TypeError, AttributeError)):
        misuse(strict)
    assert np.array_equal(strict.get(), before)


def test_the_strict_array_computes(strict: StrictArray) -> None:
    x, xp = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), array_module(strict)
    y = 1 - (strict @ strict.T + 2) / np.float64(4)
    y *= y >= -3
    assert np.array_equal(y.get(), (1 - (x @ x.T + 2) / 4) * [[True, False], [False, False]])
    assert isinstance(strict.sum(), StrictArray) and strict.sum().shape == ()
    assert strict.sum((0,)).get().tolist() == [5, 7, 9]
    assert xp.where(strict > 2, 0, strict).get().tolist() == [[1, 2, 0], [0, 0, 0]]
    assert xp.arange(3).get().tolist() == [0, 1, 2]
    strict[1] = 0                                   # a view of the same memory, as in NumPy
    strict.reshape(-1)[1:3] -= 1
    assert strict.get().tolist() == [[1, 1, 2], [0, 0, 0]]


def test_the_strict_array_wraps_indices_as_cupy_does(strict: StrictArray) -> None:
    rows = get_backend(StrictBackend()).asarray([0, 3, -1])
    assert strict[rows].get().tolist() == [[1, 2, 3], [4, 5, 6], [4, 5, 6]]
    assert strict[..., rows].get().tolist() == [[1, 1, 3], [4, 4, 6]]


@pytest.mark.gpu
def test_cupy_has_what_the_double_has() -> None:
    cupy = pytest.importorskip("cupy", reason="needs CuPy and a GPU")
    assert all(hasattr(cupy, name) for name in FUNCTIONS)
    assert all(hasattr(cupy.ndarray, name) for name in METHODS)
