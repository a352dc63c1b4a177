"""Matrix products in float32 on the processor's matrix unit (tiles.py), on every core.

A *blocked* product finds its numbers in the caches. Both matrices are cut into *panels* of 32 rows
(of a) or 32 columns (of b) and *packed*: laid out in the order in which the unit reads them, two
tiles of each of the three parts for every 32 numbers of depth. Two panels make 32 x 32 results,
four tiles that stay in the unit while it sums over up to DEPTH numbers. A panel of b is read from
afar once for GROUP panels of a, which stay in a core's own cache.

    for each GROUP of panels of a, for each DEPTH:      pack them
        for each panel of b, for each panel of the GROUP:
            clear the sums; for each chunk of 32: add the products; store the sums

The error is float32's, that of any order of the sum, and the result the same bit for bit however
many threads work. Small products and all other types go to NumPy, and so do matrices whose largest
number is infinite, nan or extreme: see SMALLEST.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import finalize

import numpy as np

from . import prepared
from .parallel import for_blocks, num_threads
from .tiles import CHUNK, DEPTH, GROUP, PANEL, SHAPES, STEP, pack, product

Array = np.ndarray
LARGE = 1 << 20                     # bytes, for `for_blocks`: each piece of work is worth a thread
FEW = 1 << 25                       # multiplications that are not worth the packing

# The unit takes what is below 2^-126 for 0. While the largest number of each matrix is between
# these, that is far below the rounding of the largest results, and nothing overflows.
SMALLEST, LARGEST = 2.0**-56, 2.0**56


class Packed(NamedTuple):
    """A matrix b made ready for `matmul(a, b)`; as long as it is used, nobody may write to it."""

    matrix: Array                   # [K, N]
    panels: Array                   # [N / 32, K / 32, STEP / 4], both rounded up
    usual: bool                     # the numbers are of a size that the unit can take


def matmul(a: Array, b: Array | Packed, out: Array | None = None,
           bias: Array | None = None) -> Array:
    """a @ b, plus a bias [N] for every row, for matrices [M, K] and [K, N] of any strides. A b that
    does not change, as a weight that is not trained, can be `packed` once: the unit then pays from
    16 rows of a on."""
    matrix = b.matrix if isinstance(b, Packed) else b
    b = ready(b) if matrix is b else b
    if not (fits(a, matrix, out) and worth_it(a, matrix, ready=b is not matrix)):
        return plus(np.matmul(a, matrix, out=out), bias)
    b = b if isinstance(b, Packed) else packed(b)
    y = np.empty((len(a), matrix.shape[1]), np.float32) if out is None else out
    x, turned = contiguous(a)
    sizes: list[Any] = [0]

    rows, columns, parts = up(len(a), PANEL), len(b.panels), num_threads()
    groups = up(rows, GROUP)

    def part(s: slice) -> None:                 # of the rows, or of the columns where rows are few
        if groups >= parts:
            first, last = (GROUP * (groups * i // parts) for i in (s.start, s.stop))
            panels = first, min(last, rows), 0, columns
        else:
            first, last = (columns * i // parts for i in (s.start, s.stop))
            panels = 0, rows, first, last
        room = empty_panels(1, GROUP * min(DEPTH, b.panels.shape[1]))[0]
        sizes.append(product(x, turned, b.panels, *panels, y, room, SHAPES))
        if bias is not None:            # while they are in the core's cache
            first, last, left, right = (PANEL * n for n in panels)
            y[first:last, left:right] += bias[left:right]

    for_blocks(parts, LARGE, part)
    return y if b.usual and usual(sizes) else plus(np.matmul(a, matrix, out=y), bias)


def weigh(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x @ weight + bias. A weight that comes up again in a block of `same_weights` is packed once
    for the rest of it."""
    kept = prepared() if weight.flags.writeable else None       # else `ready` keeps it
    if kept is None or not (fits(x, weight, None) and worth_it(x, weight, ready=False)):
        return matmul(x, weight, bias=bias)
    key = weight.__array_interface__["data"], weight.shape, weight.strides
    if key not in kept:                 # it may be the only time
        kept[key] = None
        return matmul(x, weight, bias=bias)
    kept[key] = kept[key] or packed(weight)
    return matmul(x, kept[key], bias=bias)


def plus(y: Array, bias: Array | None) -> Array:
    if bias is not None:
        y += bias
    return y


def packed(b: Array) -> Packed:
    """b [K, N] of float32, packed on every core; half again as large as b."""
    x, turned = contiguous(b)
    panels = empty_panels(up(b.shape[1], PANEL), up(b.shape[0], CHUNK))
    sizes: list[Any] = [0]
    parts, chunks = num_threads(), panels.shape[1]
    for_blocks(parts, panels.nbytes // parts, lambda s: sizes.append(
        pack(x, not turned, turned, 0, 0, panels, chunks * s.start // parts,
             chunks * s.stop // parts)))
    return Packed(b, panels, usual(sizes))


_ready: dict[int, tuple[Array, bool]] = {}


def ready(b: Array) -> Array | Packed:
    """What nobody may write to, as a frozen model's weights, is packed once and kept as long as it
    lives; any other matrix is returned as it is."""
    if b.flags.writeable or not b.flags.owndata or b.ndim != 2 or b.dtype != np.float32:
        return b
    key = id(b)
    if key not in _ready:
        _ready[key] = packed(b)[1:]
        finalize(b, _ready.pop, key, None)
    return Packed(b, *_ready[key])


def fits(a: Array, b: Array, out: Array | None) -> bool:
    """Whether both are float32 matrices, and `out`, if given, is one of its own, row after row."""
    if not (a.ndim == b.ndim == 2 and a.dtype == b.dtype == np.float32 and a.shape[1] == len(b)):
        return False
    return out is None or (
        out.dtype == np.float32 and out.flags.carray and out.shape == (len(a), b.shape[1])
        and not np.may_share_memory(out, a) and not np.may_share_memory(out, b))


def worth_it(a: Array, b: Array, ready: bool) -> bool:
    (rows, depth), columns = a.shape, b.shape[1]
    if ready:
        return rows >= 16 and depth >= 128 and columns >= 128
    return (rows * depth * columns > FEW and depth >= 128
            and rows * columns >= 80 * (rows + columns))        # packing is work for rows + columns


def usual(sizes: list[Any]) -> bool:
    largest = np.uint32(max(sizes)).view(np.float32)
    return bool(largest == 0 or SMALLEST <= largest < LARGEST)


def up(n: int, step: int) -> int:
    return -(-n // step)


def contiguous(x: Array) -> tuple[Array, bool]:
    """x row after row in memory, or, with True, its transpose."""
    if x.T.flags.c_contiguous and not x.flags.c_contiguous:
        return x.T, True
    return np.ascontiguousarray(x), False


def empty_panels(panels: int, chunks: int) -> Array:
    size = panels * chunks * STEP // 4
    memory = np.empty(size + 16, np.uint32)
    start = -memory.ctypes.data % 64 // 4       # on whole cache lines, tiles load twice as fast
    return memory[start:start + size].reshape(panels, chunks, STEP // 4)
