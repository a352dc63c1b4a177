"""Measure contestants side by side: each in a process of its own, taking turns.

In one process their thread pools and allocators slow each other down. Taking turns means that a
machine whose speed drifts, or which is busy for a while, drifts for all of them.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers
from threadpoolctl import threadpool_limits

__all__ = ["arguments", "median", "race", "show", "versions"]
WARMUP = 2              # turns of each contestant that do not count


def race(prepare: Callable[[str], Callable[[], Any]], names: Sequence[str], *, repeats: int,
         threads: int) -> dict[str, list[float]]:
    """Seconds of each of `repeats` runs of each contestant, each right after one that is not timed,
    as in a training. `prepare(name)` is called in its process and returns what is timed; it must be
    a function of a module."""
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=contestant, args=(prepare, name, threads, theirs),
                        daemon=True).start()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repeat in range(repeats + WARMUP):
        for name, pipe in pipes.items():
            pipe.send(True)
            elapsed = pipe.recv()
            if repeat >= WARMUP:
                seconds[name].append(elapsed)
    for pipe in pipes.values():
        pipe.send(False)
    return seconds


def contestant(prepare: Callable[[str], Callable[[], Any]], name: str, threads: int,
               pipe: Connection) -> None:
    torch.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):
        run = prepare(name)
        while pipe.recv():
            run()               # its own data into the caches; the others' threads fall asleep
            start = time.perf_counter()
            run()
            pipe.send(time.perf_counter() - start)


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """Those that every race has; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    return parser


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "numpy": np.__version__,
            "torch": torch.__version__, "transformers": transformers.__version__}


def show(result: dict[str, Any], out: Path | None) -> None:
    """Print a benchmark's result as JSON, and keep it in the file `out`."""
    text = json.dumps(result, indent=2)
    print(text)
    if out:
        out.write_text(text + "\n", encoding="utf-8")
