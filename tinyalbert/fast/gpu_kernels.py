"""Launching the kernels of gpu.cu on CuPy arrays.

CuPy compiles the source when the first kernel is asked for, and keeps the result on disk. A kernel
sees addresses and nothing else: shapes, types and layouts are checked, or made right, here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Array, array_module

SOURCE = Path(__file__).with_name("gpu.cu").read_text("utf-8")
BLOCK = 256         # threads, where each has an element
COLUMNS = 4         # of a row for each thread, where a block has a row
f32, i32, i64 = np.float32, np.int32, np.int64      # as the kernels declare their numbers


@functools.cache
def kernel(xp: Any, name: str) -> Any:
    return xp.RawKernel(SOURCE, name)


def launch(name: str, grid: tuple[int, ...], threads: int, x: Array, *args: Any) -> None:
    """args: arrays, None for no array, and numbers of exactly the type that the kernel declares."""
    if 0 in grid:                           # CuPy would launch a block all the same
        return
    arrays = [a for a in (x, *args) if hasattr(a, "flags") and a.ndim]
    assert all(a.flags.c_contiguous for a in arrays), f"{name}: an array is not plain"
    pointers = (i64(0) if a is None else a for a in args)
    kernel(array_module(x), name)(grid, (threads,), (x, *pointers))


def by_element(name: str, x: Array, *args: Any) -> None:
    """A thread for each element of x; the kernel's arguments are x, args, elements."""
    launch(name, (-(-x.size // BLOCK),), BLOCK, x, *args, i64(x.size))


def by_row(name: str, x: Array, *args: Any) -> None:
    """A block for each row of x; the kernel's arguments are x, args, columns."""
    columns = x.shape[-1]
    threads = 32 * min(max(columns // (32 * COLUMNS), 1), 32)
    launch(name, (x.size // max(columns, 1),), threads, x, *args, i32(columns))


def new(x: Array, *shape: int, dtype: Any = f32) -> Array:
    """An array of this shape, or of x's, where x is, with anything in it."""
    return array_module(x).empty(shape or x.shape, dtype)


def plain(x: Array, dtype: Any = None) -> Array:
    """x, or a copy of it, row after row in memory."""
    return array_module(x).ascontiguousarray(x, dtype)


def rows_of(x: Array) -> Array:
    """[..., H] -> [rows, H]"""
    return plain(x.reshape(-1, x.shape[-1]))
