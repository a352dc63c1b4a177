"""Exercises of notebook 12: lite in what sense?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .exercise import function

Array = np.ndarray


# --- parameters


def sharing_parameters(hidden: int, inner: int, layers: int, sharing: str, *, norms: bool = True,
                       biases: bool = True) -> int:
    """Of all blocks of an encoder: two halves, each with its norm."""
    attention = 4 * (hidden * hidden + biases * hidden) + norms * 2 * hidden
    feed_forward = 2 * hidden * inner + biases * (inner + hidden) + norms * 2 * hidden
    return (attention * (1 if sharing in ("all", "attention") else layers)
            + feed_forward * (1 if sharing in ("all", "ffn") else layers))


def encoders(rng: np.random.Generator) -> Iterator[tuple]:
    for sizes in ((768, 3072, 12), (4, 16, 3)):
        for sharing in ("all", "attention", "ffn", "none"):
            yield *sizes, sharing


SWAPPED = {"all": "all", "attention": "ffn", "ffn": "attention", "none": "none"}


def printed_millions(without_pooler: int, with_pooler: int, shared: bool) -> int:
    return round((with_pooler if shared else without_pooler) / 1e6)


def counts(rng: np.random.Generator) -> Iterator[tuple]:
    yield 9_090_816, 9_681_408, True
    yield 108_490_752, 109_081_344, False
    yield 16_634_368, 17_683_968, True
    yield 2_400_000, 2_600_000, False
    yield 59_600_000, 59_700_000, True


# --- arithmetic and communication


def layer_flops(hidden: int, inner: int, tokens: int, *, each: int = 2, maps: int = 4,
                looks: int = 2) -> int:
    """Of one token in one application of a block, among so many tokens."""
    return each * (maps * hidden * hidden + looks * tokens * hidden + 2 * hidden * inner)


def exchange_seconds(parameters: int, machines: int, rate: float, *, rounds: int = 2) -> float:
    """Of a ring: every machine sends (n - 1)/n of the gradients to add up, as much to hand out."""
    return rounds * (machines - 1) / machines * 4 * parameters / rate


# --- is a difference one?


def paired_difference(ours: Array, theirs: Array) -> tuple[float, float]:
    difference = ours - theirs
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def unpaired(ours: Array, theirs: Array) -> tuple[float, float]:
    variance = ours.var(ddof=1) + theirs.var(ddof=1)
    return float((ours - theirs).mean()), float(np.sqrt(variance / len(ours)))


def runs(rng: np.random.Generator) -> Iterator[tuple]:
    for seeds in (3, 8):
        luck = rng.standard_normal(seeds)
        yield luck + 0.1 * rng.standard_normal(seeds), luck + 0.1 * rng.standard_normal(seeds)


EXERCISES = [
    function("sharing_parameters", sharing_parameters, encoders, mistakes={
        "the two halves are the other way round: with `attention` the feed-forward half is there "
        "once for every layer": lambda h, f, layers, sharing:
            sharing_parameters(h, f, layers, SWAPPED[sharing]),
        "each half has a norm of its own, with a gain and a shift: 2 H more":
            lambda *given: sharing_parameters(*given, norms=False),
        "the biases are missing: 4 H in the attention, F + H in the feed-forward network":
            lambda *given: sharing_parameters(*given, biases=False),
        "a shared half is counted once, not for every layer that applies it":
            lambda h, f, layers, sharing: sharing_parameters(h, f, layers, "none"),
    }),
    function("printed_millions", printed_millions, counts, mistakes={
        "if nothing is shared, the pooler is not counted":
            lambda without, pooled, shared: round(pooled / 1e6),
        "if anything is shared, the pooler is counted":
            lambda without, pooled, shared: round(without / 1e6),
        "to the nearest million, not to the one below":
            lambda without, pooled, shared: (pooled if shared else without) // 1_000_000,
        "that is the right sum; give it in millions":
            lambda without, pooled, shared: pooled if shared else without,
    }),
    function("layer_flops", layer_flops,
             lambda rng: iter([(768, 3072, 128), (64, 256, 512), (3, 5, 7)]), mistakes={
        "those are multiply-adds; each is two FLOPs":
            lambda *given: layer_flops(*given, each=1),
        "the two products among the tokens are missing, T H multiply-adds each":
            lambda *given: layer_flops(*given, looks=0),
        "there are two products among the tokens: the scores, and the sum of the values":
            lambda *given: layer_flops(*given, looks=1),
        "there are four products H x H: query, key, value and the output":
            lambda *given: layer_flops(*given, maps=3),
        "that is for all T tokens; give it for one":
            lambda h, f, tokens: tokens * layer_flops(h, f, tokens),
    }),
    function("exchange_seconds", exchange_seconds,
             lambda rng: iter([(11_813_810, 8, 1e9), (1000, 2, 500.0), (334_000_000, 64, 1e10)]),
             mistakes={
        "the sums must come back to everybody, too: a second round of as many steps":
            lambda *given: exchange_seconds(*given, rounds=1),
        "a gradient is a float32: 4 bytes": lambda *given: exchange_seconds(*given) / 4,
        "a machine sends n - 1 of the n parts in each round, not all":
            lambda parameters, machines, rate: 2 * 4 * parameters / rate,
        "each part is only 1/n of the gradients": lambda parameters, machines, rate:
            machines * exchange_seconds(parameters, machines, rate),
    }),
    function("paired_difference", paired_difference, runs, mistakes={
        "the runs are pairs: take the difference seed by seed, and then its deviation": unpaired,
        "that is the deviation of one difference; the mean of n is √n times as sure":
            lambda ours, theirs: (float((ours - theirs).mean()),
                                  float((ours - theirs).std(ddof=1))),
        "the mean was estimated from the same n numbers: divide the squares by n - 1":
            lambda ours, theirs: (float((ours - theirs).mean()),
                                  float((ours - theirs).std() / np.sqrt(len(ours)))),
        "that is theirs minus ours": lambda ours, theirs: paired_difference(theirs, ours),
    }),
]
