"""Where each millisecond of a training step goes, against what the machine could do at best.

    python benchmarks/breakdown.py [--shape small] [--steps 9] [--threads 2] [--out FILE.json]
                                   [--figure FILE.svg]

Every operation that has a fast twin is timed, call by call, in the shapes of pretrain_step.py. Its
limit is the larger of two times: its multiplications and additions at the speed of a large square
matrix product, and every array that it is given or returns once through memory at the speed of a
large copy, both measured here. Below 100 % of a copy's limit means that arrays were still in cache.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pretrain_step import SHAPES, make_batch, our_step
from race import show, versions
from threadpoolctl import threadpool_limits

from tinyalbert.fast import cpu
from tinyalbert.fast.parallel import for_blocks

OPERATIONS = ("linear", "linear_backward", "attend", "attend_backward", "gelu_new",
              "gelu_new_backward", "gelu", "gelu_backward", "layer_norm", "add_norm",
              "layer_norm_backward",
              "cross_entropy", "adam_step")
REST = "everything else"


def flops(name: str, args: tuple[Any, ...]) -> int:
    """Of the matrix products in one call, a multiplication and an addition counted as two."""
    if name == "linear":
        return 2 * args[0].size * args[1].shape[1]
    if name == "linear_backward":
        return 4 * args[1].size * args[2].shape[1]
    if name == "attend":
        return sum(4 * q.size * k.shape[2] for q, k in heads(args[3], args[0], args[1]))
    if name == "attend_backward":
        caches = getattr(args[1], "caches", [args[1]])
        return sum(8 * cache.query.size * cache.key.shape[2] for cache in caches)
    return 0


def heads(bias: Any, query: np.ndarray, key: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    blocks = getattr(bias, "blocks", None)
    return ([(query, key)] if blocks is None else
            [(block.cut(query), block.cut(key)) for block in blocks])


def nbytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    return sum(map(nbytes, value)) if isinstance(value, tuple | list) else 0


class Meter:
    """Seconds, operations and bytes of every call, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.flops: dict[str, int] = defaultdict(int)
        self.bytes: dict[str, int] = defaultdict(int)
        self.inside = False

    def watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if self.inside:                 # attention of a block, counted with all of them
                return function(*args)
            self.inside, start = True, time.perf_counter()
            result = function(*args)
            self.seconds[name] += time.perf_counter() - start
            self.inside = False
            self.flops[name] += flops(name, args)
            self.bytes[name] += nbytes(args) + nbytes(result)
            return result
        return call


def best_product(size: int = 3072) -> float:
    """FLOPs in a second, of the best of some large products."""
    a = np.ones((size, size), np.float32)
    return 2 * size**3 / min(seconds(lambda: a @ a) for _ in range(5))


def best_copy(mebibytes: int = 256) -> float:
    """Bytes in a second, read and written, on every core."""
    source = np.ones((mebibytes * 256, 1024), np.float32)
    target = np.empty_like(source)

    def copy() -> None:
        for_blocks(len(source), 4096, lambda s: np.copyto(target[s], source[s]))
    return 2 * source.nbytes / min(seconds(copy) for _ in range(5))


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(shape_name: str, steps: int) -> dict[str, Any]:
    product, copy = best_product(), best_copy()
    shape = SHAPES[shape_name]
    step = our_step(shape.config, make_batch(shape))
    originals = {name: getattr(cpu, name) for name in OPERATIONS}
    meters, totals = [], []
    for _ in range(steps + 2):
        meters.append(Meter())
        for name, function in originals.items():
            setattr(cpu, name, meters[-1].watch(name, function))
        totals.append(seconds(step))
    meters, totals = meters[2:], totals[2:]
    rows = {}
    for name in OPERATIONS:
        if name not in meters[0].seconds:
            continue
        spent = median(meter.seconds[name] for meter in meters)
        limit = max(meters[0].flops[name] / product, meters[0].bytes[name] / copy)
        rows[name] = {"milliseconds": round(1000 * spent, 2), "limit": round(1000 * limit, 2),
                      "gflop": round(meters[0].flops[name] / 1e9, 2),
                      "megabytes": round(meters[0].bytes[name] / 1e6, 1)}
    total = 1000 * median(totals)
    rows[REST] = {"milliseconds": round(total - sum(r["milliseconds"] for r in rows.values()), 2)}
    return {"shape": shape_name, "milliseconds": round(total, 1),
            "best_product_gflops": round(product / 1e9), "best_copy_gb_per_s": round(copy / 1e9, 1),
            "operations": rows}


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt
    rows = sorted(result["operations"].items(), key=lambda row: row[1]["milliseconds"])
    names = [name for name, _ in rows]
    _, axes = plt.subplots(figsize=(7, 0.36 * len(rows) + 0.9))
    axes.barh(names, [row["milliseconds"] for _, row in rows], color="#8fb4d9", label="spent")
    axes.barh(names, [row.get("limit", 0) for _, row in rows], height=0.35, color="#1f4e79",
              label="at best")
    axes.set(xlabel=f"milliseconds of a step, {result['milliseconds']:.0f} in all")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    plt.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    with threadpool_limits(args.threads, user_api="blas"):
        result = measure(args.shape, args.steps)
    show({"threads": args.threads, "versions": versions(), **result}, args.out)
    if args.figure:
        draw(result, args.figure)


if __name__ == "__main__":
    main()
