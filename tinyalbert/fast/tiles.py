"""The matrix unit's instructions, and what they read, as functions that Numba compiles.

AMX, in Intel's server processors since 2023, has eight registers that hold a *tile* each: 16 rows
of 64 bytes. One instruction multiplies a tile of 16 x 32 bfloat16 by one of 32 x 16 and adds the
product to a third, of 16 x 16 float32. A bfloat16 is a float32 with only the first 8 of its 24
binary digits.

A float32 is exactly the sum of three bfloat16, x = high + middle + low: x rounded to 8 digits; what
is left, rounded to 8 digits; and what is left then. Of the nine products in (high + middle + low)
(high + middle + low), the three of low with low or middle are no larger than a float32's rounding
and are left out. The other six, added up in float32, are as good as the float32 product, and since
the unit multiplies sixteen times as many numbers at once as the vector unit, they come sooner.

Numba has no tile instructions: they are given to it as assembler. Importing this file is an
ImportError where the processor has no AMX, or Linux does not lend it, or Numba is disabled.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, njit, types
from numba.extending import intrinsic

TILE = 1024                         # bytes of a tile
CHUNK = 32                          # numbers that one tile product sums over
PANEL = 32                          # rows of a, or columns of b, that are packed together
GROUP = 4                           # panels of a for which one of b comes into a core's cache
DEPTH = 1024 // CHUNK               # chunks that the unit sums over before it stores the sums
STEP = 3 * 2 * TILE                 # bytes of a chunk of a panel: three parts, two tiles each
HIGH, MIDDLE, LOW = 0, 1, 2
PRODUCTS = ((HIGH, LOW), (HIGH, MIDDLE), (MIDDLE, MIDDLE), (MIDDLE, HIGH), (LOW, HIGH),
            (HIGH, HIGH))           # so ordered that few tiles are loaded twice
SHAPES = np.zeros(64, np.uint8)     # of the eight tiles, as the processor wants to be told:
SHAPES[0], SHAPES[16:32:2], SHAPES[48:56] = 1, 64, 16       # 16 rows of 64 bytes
ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA = 158, 0x1023, 18

if sys.platform != "linux" or not binding.get_host_cpu_features().get("amx-bf16") \
        or getattr(config, "DISABLE_JIT", False) \
        or ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_PERMISSION, TILE_DATA):
    raise ImportError("the processor has no AMX, or Linux does not lend it, or Numba is disabled")
binding.initialize_native_asmparser()

compiled: Any = njit(nogil=True, cache=True, error_model="numpy")


def instructions(*lines: str) -> Any:
    """A compiled function of addresses and strides, $0 to $3: these instructions."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
        builder.asm(kind, "\n".join(lines), "r,r,r,r,~{memory}", args, side_effect=True)
        return context.get_dummy_value()

    @intrinsic
    def run(typing: Any, x: Any, y: Any, z: Any, stride: Any) -> Any:
        return types.void(types.intp, types.intp, types.intp, types.intp), codegen

    return run


def products() -> list[str]:
    """Tiles 0-3, 32 x 32 sums, += tiles 4 and 5, 32 rows at $0, times 6 and 7, 32 columns at $1,
    for each of PRODUCTS. Between them the 1/GROUP of a step at $2 is asked for, a cache line at a
    time: it comes into the core's cache while the unit works, and is there when its turn comes."""
    lines, held, asked = [], [-1, -1], 0
    for pair in PRODUCTS:
        for side, part in enumerate(pair):
            if held[side] != part:
                lines += [f"tileloadd {TILE * (2 * part + t)}(${side},$3,1), %tmm{4 + 2 * side + t}"
                          for t in (0, 1)]
                held[side] = part
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            lines += [f"tdpbf16ps %tmm{6 + j}, %tmm{4 + i}, %tmm{2 * i + j}",
                      f"prefetcht1 {asked}($2)"]
            asked += 64
    return lines


set_shapes = instructions("ldtilecfg ($0)")
clear = instructions(*(f"tilezero %tmm{t}" for t in range(4)))
add_products = instructions(*products())
store = instructions("tilestored %tmm0, ($0,$3,1)", "tilestored %tmm1, 64($0,$3,1)",
                     "tilestored %tmm2, ($1,$3,1)", "tilestored %tmm3, 64($1,$3,1)")
release = instructions("tilerelease")

FLOATS, INTS = ir.VectorType(ir.FloatType(), 16), ir.VectorType(ir.IntType(32), 16)


def splitter(turned: bool) -> Any:
    """A compiled function (first, second, stride, out) that splits two blocks of 16 x 16 float32,
    at these addresses and `turned` or not, into the three parts of a tile, at `out`.

    The tile's 32 bits [i, j] are number [i, j] of the first block beside that of the second. The
    sum runs over both, in an order that does not matter if both matrices keep to it. Returned are
    the bits of the largest number; those of infinity and nan are larger than any other's."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, second, stride, out = args

        def pointer(base: Any, offset: Any, kind: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

        def rows(base: Any) -> list[Any]:
            offsets = [builder.mul(stride, stride.type(i)) for i in range(16)]
            loaded = [builder.load(pointer(base, offset, FLOATS), align=4) for offset in offsets]
            return transposed(builder, loaded) if turned else loaded

        def masked(x: Any, mask: int) -> Any:
            return builder.and_(x, INTS([mask] * 16))

        def rounded(x: Any) -> Any:         # to the nearest number of 8 digits
            return masked(builder.add(builder.bitcast(x, INTS), INTS([0x8000] * 16)), 0xffff0000)

        largest = INTS([0] * 16)
        for i, (x, y) in enumerate(zip(rows(first), rows(second), strict=True)):
            for number in (x, y):
                size = masked(builder.bitcast(number, INTS), 0x7fffffff)        # without the sign
                largest = larger(builder, largest, size)
            for part in (HIGH, MIDDLE, LOW):
                u, v = rounded(x), rounded(y)
                pair = builder.or_(builder.lshr(u, INTS([16] * 16)), v)
                offset = stride.type(2 * TILE * part + 64 * i)
                builder.store(pair, pointer(out, offset, INTS), align=64)
                x = builder.fsub(x, builder.bitcast(u, FLOATS))
                y = builder.fsub(y, builder.bitcast(v, FLOATS))
        for distance in (8, 4, 2, 1):
            moved = INTS([(k + distance) % 16 for k in range(16)])
            largest = larger(builder, largest, builder.shuffle_vector(largest, largest, moved))
        return builder.extract_element(largest, ir.IntType(32)(0))

    @intrinsic
    def split(typing: Any, first: Any, second: Any, stride: Any, out: Any) -> Any:
        return types.uint32(types.intp, types.intp, types.intp, types.intp), codegen

    return split


def larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_unsigned(">", x, y), x, y)


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """The upper and the lower eight rows shuffled into each other like cards, number by number,
    four times: a number's place, row and column in binary, moves round by one digit each time."""
    halves = [[half + k // 2 + 16 * (k % 2) for k in range(16)] for half in (0, 8)]
    for _ in range(4):
        rows = [builder.shuffle_vector(rows[i // 2], rows[i // 2 + 8], INTS(halves[i % 2]))
                for i in range(16)]
    return rows


split, split_turned = splitter(False), splitter(True)


@compiled
def pack(x: Any, depth_first: Any, turned: Any, start: Any, depth: Any, panels: Any, chunk: Any,
         stop: Any) -> Any:
    """x, [depth, ...] if depth_first, else [..., depth], from `start` and `depth` on into panels
    [:, chunk:stop]; the tiles are `turned` against x. Returns the bits of the largest number."""
    rows, columns = x.shape
    height, width = (32, 16) if depth_first else (16, 32)
    padded = np.empty((32, 32), np.float32)
    largest = np.uint32(0)
    for c in range(chunk, stop):
        for half in range(2 * panels.shape[0]):
            i, j = start + 16 * half, depth + CHUNK * c
            if depth_first:
                i, j = j, i
            block, stride = x.ctypes.data + 4 * (i * columns + j), 4 * columns
            if i + height > rows or j + width > columns:
                padded[:] = 0
                for r in range(i, min(i + height, rows)):
                    for s in range(j, min(j + width, columns)):
                        padded[r - i, s - j] = x[r, s]
                block, stride = padded.ctypes.data, 4 * 32
            second = block + (16 * stride if depth_first else 4 * 16)
            tile = (panels.ctypes.data + (half // 2 * panels.shape[1] + c) * STEP
                    + half % 2 * TILE)
            if turned:
                largest = max(largest, split_turned(block, second, stride, tile))
            else:
                largest = max(largest, split(block, second, stride, tile))
    return largest


@compiled
def multiply(a: Any, b: Any, depth: Any, start: Any, stop: Any, out: Any, row: Any, shapes: Any
             ) -> None:
    """Panels a times panels b[start:stop, depth:], to out[row:], or added to it if depth > 0 (one
    long chain of sums would be less accurate)."""
    rows, columns = out.shape
    a_bytes, b_bytes = a.shape[1] * STEP, b.shape[1] * STEP
    block = np.empty((32, 32), np.float32)
    a_data, b_data, out_data, block_data = (a.ctypes.data, b.ctypes.data, out.ctypes.data,
                                            block.ctypes.data)
    set_shapes(shapes.ctypes.data, 0, 0, 0)
    for q in range(start, stop):
        for p in range(a.shape[0]):
            x = a_data + p * a_bytes
            y = b_data + q * b_bytes + depth * STEP
            ahead = y + b_bytes + p * (a_bytes // GROUP)        # p's share of b's next panel
            clear(0, 0, 0, 0)
            for _ in range(a.shape[1]):
                add_products(x, y, ahead, 64)
                x, y, ahead = x + STEP, y + STEP, ahead + STEP // GROUP
            i, j = row + PANEL * p, PANEL * q
            if depth == 0 and i + 32 <= rows and j + 32 <= columns:
                target = out_data + 4 * (i * columns + j)
                store(target, target + 16 * 4 * columns, 0, 4 * columns)
                continue
            store(block_data, block_data + 16 * 128, 0, 128)
            for r in range(min(32, rows - i)):
                line = out[i + r][j:j + 32]
                if depth:
                    for s in range(len(line)):
                        line[s] += block[r, s]
                else:
                    for s in range(len(line)):
                        line[s] = block[r, s]
    release(0, 0, 0, 0)


@compiled
def product(a: Any, turned: Any, b: Any, rows: Any, last_row: Any, columns: Any, last_column: Any,
            out: Any, room: Any, shapes: Any) -> Any:
    """out = a @ b, for some rows and columns of panels, as amx.py says; a is turned if `turned`.
    room: for GROUP packed panels. Returns the bits of a's largest number.

    One call for each core: between two it would have to ask the other for Python's lock."""
    largest = np.uint32(0)
    for first in range(rows, last_row, GROUP):
        count = min(GROUP, last_row - first)
        for depth in range(0, b.shape[1], DEPTH):
            chunks = min(DEPTH, b.shape[1] - depth)
            panels = room[:count * chunks].reshape(count, chunks, STEP // 4)
            largest = max(largest, pack(a, turned, turned, PANEL * first, CHUNK * depth, panels, 0,
                                        chunks))
            multiply(panels, b, depth, columns, last_column, out, PANEL * first, shapes)
    return largest
