"""Rows in cache-sized blocks, on every core.

NumPy runs one element-wise operation on one core and streams whole arrays through memory for each.
A chain of them is several times faster when a block of rows that fits the core's cache goes
through the whole chain before the next block starts, and when every core has its own rows (NumPy
releases the interpreter lock while it computes). Matrix products are left to BLAS, which has its
own threads.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from itertools import pairwise
from typing import Any

from threadpoolctl import ThreadpoolController

BLOCK_BYTES = 1 << 18       # per array and block: a few of these fit a core's second-level cache
INLINE_BYTES = 1 << 19      # below this, handing work to another thread costs more than it saves


@cache
def num_threads() -> int:
    """The threads that BLAS uses: OMP_NUM_THREADS and its like therefore hold here too."""
    return max([info["num_threads"] for info in _controller().info()
                if info["user_api"] == "blas"], default=os.cpu_count() or 1)


def for_blocks(rows: int, row_bytes: int, work: Callable[[slice], None]) -> None:
    """Call `work(slice)` for consecutive blocks that cover range(rows), on every core.

    A part that no thread has begun when the caller is through with its own is done by the caller,
    so nothing ever waits for a free thread, and `work` may call this function too.
    """
    step = max(1, BLOCK_BYTES // max(row_bytes, 1))

    def run(start: int, stop: int) -> None:
        for i in range(start, stop, step):
            work(slice(i, min(i + step, stop)))

    parts = 1 if rows * row_bytes <= INLINE_BYTES else min(num_threads(), rows)
    edges = [rows * i // parts for i in range(parts + 1)]
    others = [(part, _pool().submit(run, *part)) for part in list(pairwise(edges))[1:]]
    run(edges[0], edges[1])
    for part, future in others:
        if future.cancel():
            run(*part)
        else:
            future.result()


def for_each(count: int, work: Callable[[int], None]) -> None:
    """Call `work(i)` for i = 0, 1, ..., each core taking turns: neighbours may be of like size."""
    threads = min(num_threads(), count)

    def every_nth(first: slice) -> None:
        for i in range(first.start, count, threads):
            work(i)

    for_blocks(threads, INLINE_BYTES, every_nth)


def one_blas_thread() -> AbstractContextManager[Any]:
    """While our own threads call BLAS on small matrices, BLAS must not start threads of its own.

    The limit holds for the whole process: train in one thread of it at a time.
    """
    num_threads()       # asks BLAS once, and that must be before the limit
    return _blas().limit(limits=1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads(), thread_name_prefix="tinyalbert")


if hasattr(os, "register_at_fork"):     # a forked process inherits the pool without its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _blas() -> ThreadpoolController:
    return _controller().select(user_api="blas")


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks: every step frees and asks for the same large arrays, and
    fresh pages from the kernel are zeroed one fault at a time. Elsewhere this does nothing."""
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):
            return
        mallopt(-3, 1 << 30)            # M_MMAP_THRESHOLD
        mallopt(-1, (1 << 31) - 1)      # M_TRIM_THRESHOLD
