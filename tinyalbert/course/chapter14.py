"""Exercises of notebook 14: on the GPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .exercise import function, number

Array = np.ndarray
LANES = 32


# --- two clocks


Span = tuple[float, float]          # start and end


def timeline(launch: float, works: list[float], reads: list[bool]) -> list[tuple[Span, Span]]:
    """Of each order, its time on the host and its kernel's on the device. The host needs `launch`
    for an order, the device works[i] for kernel i; where reads[i] the host waits for the result."""
    host = device = 0.0
    spans = []
    for work, read in zip(works, reads, strict=True):
        order = host, host + launch
        kernel = max(order[1], device), max(order[1], device) + work
        device = kernel[1]
        host = device if read else order[1]
        spans.append((order, kernel))
    return spans


def finish_time(launch: float, works: list[float], reads: list[bool]) -> float:
    """When all is done, on the host and on the device."""
    order, kernel = timeline(launch, works, reads)[-1]
    return max(order[1], kernel[1])


def steps(rng: np.random.Generator) -> Iterator[tuple]:
    yield 5.0, [20.0, 20.0, 20.0], [False, False, False]
    yield 5.0, [20.0, 20.0, 20.0], [True, True, False]
    yield 5.0, [2.0, 2.0, 30.0, 2.0], [False, True, False, True]


# --- threads


def columns_of_thread(thread: int, threads: int, columns: int) -> Array:
    return np.arange(thread, columns, threads)


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    yield 0, 4, 10
    yield 3, 4, 10
    yield 7, 8, 5


def warp_sum(values: Array, largest: int = LANES // 2, shift: bool = False) -> Array:
    lanes, distance = np.arange(LANES), largest
    while distance:
        other = (lanes + distance).clip(max=LANES - 1) if shift else lanes ^ distance
        values = values + values[other]
        distance //= 2
    return values


def warps(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal(LANES),)
    yield (np.arange(float(LANES)),)


# --- bytes


def intensity(tokens: int, inputs: int, outputs: int, *, weight: bool = True, each: int = 4,
              operations: int = 2) -> float:
    moved = tokens * inputs + tokens * outputs + weight * inputs * outputs
    return operations * tokens * inputs * outputs / (each * moved)


def products(rng: np.random.Generator) -> Iterator[tuple]:
    yield 1, 768, 3072
    yield 4096, 768, 3072
    yield 7, 5, 3


# --- bfloat16


def to_bfloat16(x: Array, rounding: str = "even", kept: int = 0xffff0000) -> Array:
    """float32 -> the nearest value of which only the leading 16 bits are not 0, as float32."""
    bits = x.view(np.uint32)
    more = {"even": 0x7fff + (bits >> 16 & 1), "up": 0x8000, "down": 0x7fff, "cut": 0}[rounding]
    return (bits + np.asarray(more, np.uint32) & np.uint32(kept)).view(np.float32)


def floats(rng: np.random.Generator) -> Iterator[tuple]:
    yield ((1e3 * rng.standard_normal((3, 4))).astype(np.float32),)
    # the last four lie in the middle between two: to the one that ends in 0
    yield (np.array([1, -2.5, 3.14159265, 0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 257],
                    np.float32),)


EXERCISES = [
    function("finish_time", finish_time, steps, mistakes={
        "the host waits where a result is read: its clock then goes to the device's":
            lambda launch, works, reads: finish_time(launch, works, [False] * len(works)),
        "the host does not wait for every kernel, only where a result is read":
            lambda launch, works, reads: finish_time(launch, works, [True] * len(works)),
        "a kernel cannot begin before its order is written": lambda launch, works, reads: max(
            launch * len(works), sum(works)),
    }),
    function("columns_of_thread", columns_of_thread, rows, mistakes={
        "that is a piece of the row for each thread; neighbouring columns belong to neighbouring "
        "threads, so that one read serves them all":
            lambda thread, threads, columns: list(range(columns))[
                thread * -(-columns // threads):(thread + 1) * -(-columns // threads)],
        "it ignores the end of the row: no column at or behind `columns`":
            lambda thread, threads, columns: list(range(
                thread, -(-columns // threads) * threads, threads)),
    }),
    function("warp_sum", warp_sum, warps, mistakes={
        "that ends too early: after distance 16 come 8, 4, 2 and 1":
            lambda values: values + values[np.arange(LANES) ^ 16],
        "it begins with the wrong distance: the first partner is 16 lanes away":
            lambda values: warp_sum(values, 8),
        "lane i takes from i ^ distance; with i + distance the last lanes have no partner":
            lambda values: warp_sum(values, shift=True),
    }),
    function("intensity", intensity, products, mistakes={
        "the weight has to be read too": lambda *sizes: intensity(*sizes, weight=False),
        "a multiplication and an addition for each: 2, not 1":
            lambda *sizes: intensity(*sizes, operations=1),
        "those are numbers moved; a float32 is 4 bytes": lambda *sizes: intensity(*sizes, each=1),
    }),
    function("to_bfloat16", to_bfloat16, floats, tolerance=0, mistakes={
        "that cuts the lower bits off, so every number shrinks: round to the nearest":
            lambda x: to_bfloat16(x, "cut"),
        "right but for ties: in the middle between two, take the one whose last bit is 0":
            lambda x: to_bfloat16(x, "up"),
        "right but for ties, which all go down here: add the last kept bit as well":
            lambda x: to_bfloat16(x, "down"),
        "the lower 16 bits still hold something: mask them off":
            lambda x: to_bfloat16(x, kept=0xffffffff),
    }),
    number("counting_stops", 256, mistakes={
        "bfloat16 stores 7 bits behind the leading 1, so it has 8 digits: one power more": 128,
        "512 can be reached in steps of 2, but by adding 1 not even 257": 512,
    }),
]
