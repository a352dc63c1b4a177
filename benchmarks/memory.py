"""Peak memory of a training step: ours, with and without recomputation, against Hugging Face ALBERT
under PyTorch, and how it grows with depth.

    python benchmarks/memory.py [--threads 2] [--out FILE.json] [--figure FILE.svg]

The small shape of pretrain_step.py (32 x 128 tokens, H 256), 6 to 24 layers, float32, AdamW. Each
contestant in a process of its own takes three steps; what is counted is the most that the system
held for it in the third (VmHWM, from Linux) beyond what it held with everything imported and before
there was a model. What allocators keep for later is in it, as it is in the machine.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import multiprocessing
import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peer import Peer
from pretrain_step import SHAPES, make_batch, our_step
from race import show, versions
from threadpoolctl import threadpool_limits

DEPTHS = (6, 12, 24)
CONTESTANTS = {"pytorch": "PyTorch + Transformers", "tinyalbert": "tinyalbert",
               "recomputing": "tinyalbert, gradient_checkpointing"}
SMALL = SHAPES["small"]


def kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found, field
    return int(found[1])


def peak(who: str, depth: int, threads: int) -> float:
    """MiB of one step, measured in this process."""
    config = SMALL.config.replace(num_hidden_layers=depth,
                                  gradient_checkpointing=who == "recomputing")
    batch = make_batch(SMALL._replace(config=config))
    before = kilobytes("VmRSS")
    step = (partial(Peer(config).step, batch) if who == "pytorch" else our_step(config, batch))
    torch.set_num_threads(threads)
    with threadpool_limits(threads, user_api="blas"):
        for _ in range(2):
            step()
        Path("/proc/self/clear_refs").write_text("5")       # VmHWM begins anew
        step()
    return (kilobytes("VmHWM") - before) / 1024


def draw(results: dict[str, dict[int, float]], path: Path) -> None:
    import matplotlib.pyplot as plt
    _, axes = plt.subplots(figsize=(6.4, 3.6))
    for who, by_depth in results.items():
        axes.plot(by_depth.keys(), by_depth.values(), "o-", label=CONTESTANTS[who])
    axes.set(xlabel="layers", ylabel="peak of a step, MiB", xticks=DEPTHS, ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    plt.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    results: dict[str, dict[int, float]] = {who: {} for who in CONTESTANTS}
    for who in CONTESTANTS:
        for depth in DEPTHS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results[who][depth] = round(pool.apply(peak, (who, depth, args.threads)), 1)
            print(f"{who}, {depth} layers: {results[who][depth]:.0f} MiB", flush=True)
    first, last = DEPTHS[0], DEPTHS[-1]
    summary: dict[str, Any] = {
        "ours_to_pytorch": {depth: round(results["tinyalbert"][depth] / mib, 3)
                            for depth, mib in results["pytorch"].items()},
        f"recomputing_{last}_to_{first}_layers":
            round(results["recomputing"][last] / results["recomputing"][first], 3)}
    show({"threads": args.threads, "versions": versions(), "mebibytes": results, **summary},
         args.out)
    if args.figure:
        draw(results, args.figure)


if __name__ == "__main__":
    main()
