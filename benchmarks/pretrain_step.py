"""Seconds of a full training step (forward, backward, clip, AdamW): ours against Hugging Face
ALBERT under PyTorch eager and torch.compile, and against the bare matrix products.

    python benchmarks/pretrain_step.py [--repeats 9] [--threads 2] [--no-compile] [--out FILE.json]

Float32, the same shapes, the same threads, no dropout, 15 % of the tokens masked; side by side as
race.py says. Medians and ratios are printed.

The products are those that our step needs: its last layer works beyond attention only for the
masked tokens and [CLS], since nobody asks about the others.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peer import Peer
from race import median, race, show, versions

from tinyalbert import AlbertConfig, AlbertForPreTraining
from tinyalbert.optim import AdamW, clip_by_global_norm

CONFIG = AlbertConfig(vocab_size=8000, embedding_size=128, hidden_size=256, num_hidden_layers=6,
                      num_attention_heads=4, intermediate_size=1024)
BATCH, TOKENS = 32, 128


def make_batch(config: AlbertConfig) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ids = rng.integers(5, config.vocab_size, (BATCH, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
            "labels": np.where(rng.random(ids.shape) < 0.15, ids, -100),
            "sentence_order_label": rng.integers(0, 2, BATCH)}


def our_step(config: AlbertConfig, batch: dict[str, np.ndarray]) -> Callable[[], Any]:
    model = AlbertForPreTraining(config)
    parameters = model.named_parameters()
    optimizer = AdamW(parameters, bias_correction=True, eps=1e-8)
    rng = np.random.default_rng(0)

    def step() -> None:
        _, cache = model.forward(**batch, rng=rng)
        model.backward(cache)
        clip_by_global_norm(parameters, 1.0)
        optimizer.step(1e-4)
        model.zero_grad()

    return step


def matrix_products(config: AlbertConfig, batch: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Every product of the step and nothing else, with NumPy: a floor for our version of it."""
    rows, masked = BATCH * TOKENS, int((batch["labels"] != -100).sum())
    h, f, e, v = (config.hidden_size, config.intermediate_size, config.embedding_size,
                  config.vocab_size)
    asked = masked + BATCH                          # what is left of the last layer's tokens
    below = config.num_hidden_layers - 1
    linear = [(rows, e, h), (masked, h, e), (masked, e, v)]
    linear += [(rows, h, h)] * (4 * below + 3) + [(rows, h, f), (rows, f, h)] * below
    linear += [(asked, h, h), (asked, h, f), (asked, f, h)]
    heads = (BATCH, config.num_attention_heads)
    x = {n: np.ones(n, np.float32) for n in {s for m, k, n in linear for s in
                                             ((m, k), (k, n), (m, n))}}
    q = np.ones((*heads, TOKENS, config.head_size), np.float32)
    s = np.ones((*heads, TOKENS, TOKENS), np.float32)

    def step() -> None:
        for m, k, n in linear:                              # y = x W, dx = dy Wᵀ, dW = xᵀ dy
            x[m, k] @ x[k, n], x[m, n] @ x[k, n].T, x[m, k].T @ x[m, n]
        for _ in range(config.num_hidden_layers):           # two forward, four backward
            for _ in range(2):
                q @ q.swapaxes(-1, -2), s @ q, s.swapaxes(-1, -2) @ q

    return step


def prepare(name: str) -> Callable[[], Any]:
    batch = make_batch(CONFIG)
    if name == "tinyalbert":
        return our_step(CONFIG, batch)
    if name == "matrix_products":
        return matrix_products(CONFIG, batch)
    return partial(Peer(CONFIG, compiled=name == "pytorch_compile").step, batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    names = ["tinyalbert", "pytorch_eager", "matrix_products"]
    names += [] if args.no_compile else ["pytorch_compile"]
    seconds = race(prepare, names, repeats=args.repeats, threads=args.threads)
    ours = median(seconds["tinyalbert"])
    result = {
        "shape": {"batch": BATCH, "tokens": TOKENS, "vocab_size": CONFIG.vocab_size,
                  "embedding_size": CONFIG.embedding_size, "hidden_size": CONFIG.hidden_size,
                  "num_hidden_layers": CONFIG.num_hidden_layers},
        "threads": args.threads, "repeats": args.repeats,
        "versions": versions(),
        "median_seconds": {name: round(median(s), 4) for name, s in seconds.items()},
        "tokens_per_second": {name: round(BATCH * TOKENS / median(s))
                              for name, s in seconds.items() if name != "matrix_products"},
        "times_as_fast_as": {name: round(median(seconds[name]) / ours, 3)
                             for name in seconds if name.startswith("pytorch")},
        "times_the_floor": round(ours / median(seconds["matrix_products"]), 3),
    }
    show(result, args.out)


if __name__ == "__main__":
    main()
