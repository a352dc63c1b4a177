"""Seconds of a full training step on a GPU (forward, backward, clip, AdamW): ours in CuPy against
Hugging Face ALBERT under PyTorch, eager and torch.compile, in the same precision.

    python benchmarks/gpu_step.py [--precisions tf32 bfloat16] [--repeats 7] [--no-compile]
                                  [--batch N] [--breakdown] [--out FILE.json]

albert-base-v2, sequences of 512 tokens without padding, 15 % of them masked, no dropout. Per
precision the largest batch that all contestants can take, found by doubling. Each is a process of
its own, because the precision belongs to the process, and they take turns on the GPU: a turn frees
what it took, so every contestant has the memory for itself. Medians of the turns are given, and the
most memory that each ever held. --breakdown: the kernels of one step of ours, by time, and no race.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tinyalbert import AlbertForPreTraining, InputError
from tinyalbert.backend import Precision, get_backend
from tinyalbert.optim import AdamW, clip_by_global_norm
from tinyalbert.published import PUBLISHED

CONFIG = PUBLISHED["albert-base-v2"]
TOKENS, LARGEST, STEPS = 512, 1024, 5       # STEPS of a turn are timed, after one that is not
PRECISIONS: tuple[Precision, ...] = ("float32", "tf32", "bfloat16")


def make_batch(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, CONFIG.vocab_size, (size, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "labels": np.where(rng.random(ids.shape) < 0.15, ids, -100),
            "sentence_order_label": rng.integers(0, 2, size)}


# --- contestants: step(batch) does not wait; what they share with race.py is only the idea


class Ours:
    def __init__(self, precision: Precision) -> None:
        self.model = AlbertForPreTraining(CONFIG, backend="cupy")
        self.backend = self.model.backend
        self.backend.set_precision(precision)
        self.parameters = self.model.named_parameters()
        self.optimizer = AdamW(self.parameters, bias_correction=True, eps=1e-8)
        self.rng = np.random.default_rng(0)
        self.out_of_memory = self.backend.xp.cuda.memory.OutOfMemoryError
        self.synchronize = self.backend.synchronize

    def step(self, batch: dict[str, np.ndarray]) -> Any:
        out, cache = self.model.forward(**batch, rng=self.rng)
        self.model.backward(cache)
        clip_by_global_norm(self.parameters, 1.0)
        self.optimizer.step(1e-4)
        self.model.zero_grad()
        return out.loss

    def peak_bytes(self) -> int:
        return self.backend.memory().held

    def free(self) -> None:
        self.backend.xp.get_default_memory_pool().free_all_blocks()


class Theirs:
    def __init__(self, precision: Precision, compiled: bool) -> None:
        import torch
        from peer import huggingface_model
        self.torch, self.bfloat16 = torch, precision == "bfloat16"
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
        self.model = huggingface_model(CONFIG).cuda()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01,
                                           fused=True)
        self.forward = torch.compile(self.model) if compiled else self.model
        self.out_of_memory = torch.cuda.OutOfMemoryError
        self.synchronize = torch.cuda.synchronize

    def step(self, batch: dict[str, np.ndarray]) -> Any:
        torch = self.torch
        inputs = {name: torch.from_numpy(array).cuda() for name, array in batch.items()}
        with torch.autocast("cuda", torch.bfloat16, enabled=self.bfloat16):
            loss = self.forward(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def peak_bytes(self) -> int:
        return self.torch.cuda.max_memory_reserved()

    def free(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.torch.cuda.empty_cache()
        self.torch.cuda.reset_peak_memory_stats()


def prepare(name: str, precision: Precision) -> Ours | Theirs:
    return Ours(precision) if name == "tinyalbert" else Theirs(precision, name == "pytorch_compile")


def turn(contestant: Ours | Theirs, size: int, steps: int) -> dict[str, Any] | None:
    """Seconds per step, the loss, the most memory held; None if there is too little of it."""
    batch = make_batch(size)
    try:
        contestant.step(batch)
        contestant.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            loss = contestant.step(batch)
        contestant.synchronize()
        return {"seconds": (time.perf_counter() - start) / steps, "loss": float(loss),
                "bytes": contestant.peak_bytes()}
    except contestant.out_of_memory:
        return None


def serve(name: str, precision: Precision, pipe: Connection) -> None:
    contestant = prepare(name, precision)
    while task := pipe.recv():
        result = turn(contestant, *task)
        gc.collect()                # only now nothing holds on to arrays, not even an exception
        contestant.free()
        pipe.send(result)


# --- the race


def race(precision: Precision, names: list[str], size: int | None, repeats: int) -> dict[str, Any]:
    context, pipes = multiprocessing.get_context("spawn"), {}
    for name in names:
        pipes[name], theirs = context.Pipe()
        context.Process(target=serve, args=(name, precision, theirs), daemon=True).start()

    def ask(name: str, size: int, steps: int) -> dict[str, Any] | None:
        try:
            pipes[name].send((size, steps))
            return pipes[name].recv()
        except (EOFError, BrokenPipeError):
            sys.exit(f"{name} in {precision} ended by itself: its last words are above")

    size = size or largest_batch(lambda size: all(ask(name, size, 1) for name in names))
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            turns[name].append(ask(name, size, STEPS) or sys.exit(f"{name}: too little memory"))
    for pipe in pipes.values():
        pipe.send(None)
    seconds = {name: median(turn["seconds"] for turn in of) for name, of in turns.items()}
    return {"batch": size, "tokens": TOKENS,
            "median_seconds": {name: round(s, 5) for name, s in seconds.items()},
            "fastest_and_slowest": {name: [round(f(turn["seconds"] for turn in of), 5)
                                           for f in (min, max)] for name, of in turns.items()},
            "tokens_per_second": {name: round(size * TOKENS / s) for name, s in seconds.items()},
            "peak_gigabytes": {name: round(max(turn["bytes"] for turn in of) / 1e9, 2)
                               for name, of in turns.items()},
            "last_loss": {name: round(of[-1]["loss"], 3) for name, of in turns.items()},
            "times_as_fast_as": {name: round(s / seconds["tinyalbert"], 3)
                                 for name, s in seconds.items() if name != "tinyalbert"}}


def largest_batch(fits: Callable[[int], bool]) -> int:
    size = 8
    if not fits(size):
        sys.exit(f"a batch of {size} does not fit all contestants: give a smaller --batch")
    while 2 * size <= LARGEST and fits(2 * size):
        size *= 2
    return size


def breakdown(precision: Precision, size: int) -> None:
    """PyTorch's profiler sees every kernel of the process, also those that it did not start."""
    import torch
    ours, batch = Ours(precision), make_batch(size)
    for _ in range(3):
        ours.step(batch)
    ours.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        ours.step(batch)
        ours.synchronize()
    print(profile.key_averages().table(sort_by="cuda_time_total", row_limit=40))


def check() -> dict[str, str]:
    """The device and the versions; ends with one sentence if something is missing."""
    try:
        xp = get_backend("cupy").xp
        import torch
        import transformers
    except (InputError, ImportError) as error:
        sys.exit(f"gpu_step.py needs a GPU, CuPy, PyTorch and Transformers: {error}")
    if not torch.cuda.is_available():
        sys.exit("gpu_step.py needs a PyTorch that can use the GPU: this one was built without "
                 f"CUDA or for another driver ({torch.__version__})")
    runtime = xp.cuda.runtime
    return {"device": runtime.getDeviceProperties(0)["name"].decode(),
            "driver_cuda": str(runtime.driverGetVersion()), "numpy": np.__version__,
            "cupy": xp.__version__, "torch": torch.__version__,
            "transformers": transformers.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS[1:]))
    parser.add_argument("--batch", type=int)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--breakdown", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = check()
    if args.breakdown:
        return breakdown(args.precisions[0], args.batch or 32)
    names = ["tinyalbert", "pytorch_eager"] + ["pytorch_compile"] * (not args.no_compile)
    for precision in args.precisions:
        result[precision] = race(precision, names, args.batch, args.repeats)
        text = json.dumps(result, indent=2)
        if args.out:                        # as soon as it is known
            args.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
