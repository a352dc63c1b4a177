"""Exercises of notebook 09: pretraining."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..functional import softmax
from .exercise import function, number

Array = np.ndarray


# --- lines to compare with


def entropy_in_nats(counts: Array) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def piece_counts(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([1, 1, 1, 1]),)
    yield (np.array([5, 0, 3, 1, 0]),)


def smoothed_bigram(counts: Array, k: float) -> Array:
    p = counts.sum(0) / counts.sum()
    return (counts + k * p) / (counts.sum(1, keepdims=True) + k)


def pair_counts(rng: np.random.Generator) -> Iterator[tuple]:
    for size, k in ((4, 2.0), (6, 10.0)):
        counts = rng.integers(1, 9, (size, size))
        counts[1] = 0                           # a piece that is never on the left
        yield counts, k


# --- a mean over batches


def mean_over_batches(losses: Array, predictions: Array) -> float:
    return float((losses * predictions).sum() / predictions.sum())


def evaluations(rng: np.random.Generator) -> Iterator[tuple]:
    for size in (3, 5):
        yield rng.uniform(3, 7, size), rng.integers(1, 90, size)


# --- what it learned


def attention_to_offset(attention: Array, offset: int) -> Array:
    return np.diagonal(attention, offset, axis1=-2, axis2=-1).mean(-1)


def maps(rng: np.random.Generator) -> Iterator[tuple]:
    for offset in (0, -1, 1, 3):
        yield softmax(2 * rng.standard_normal((2, 3, 7, 7))), offset


def nearest_rows(table: Array, row: int, k: int, *, scaled: bool = True,
                 itself: bool = False, sign: int = 1) -> Array:
    unit = table / np.linalg.norm(table, axis=1, keepdims=True) if scaled else table
    scores = sign * (unit @ unit[row])
    if not itself:
        scores[row] = -np.inf
    return np.argsort(-scores)[:k]


def euclidean(table: Array, row: int, k: int) -> Array:
    distances = np.linalg.norm(table - table[row], axis=1)
    distances[row] = np.inf
    return np.argsort(distances)[:k]


def tables(rng: np.random.Generator) -> Iterator[tuple]:
    for row in (0, 7):
        yield rng.standard_normal((20, 5)) * rng.uniform(0.2, 4, (20, 1)), row, 6


EXERCISES = [
    number("fresh_model_loss", lambda: math.log(4096), tolerance=1e-2, mistakes={
        "that is in bits; losses are in nats, with the natural logarithm": 12,
        "that is the probability of each piece; the loss is minus its logarithm": 1 / 4096,
        "the loss is minus the logarithm of a probability, so it is positive": -math.log(4096),
    }),
    function("entropy_in_nats", entropy_in_nats, piece_counts, tolerance=1e-6, mistakes={
        "that is in bits: take the natural logarithm": lambda counts:
            entropy_in_nats(counts) / np.log(2),
        "the sign: -Σ p log p is positive": lambda counts: -entropy_in_nats(counts),
        "weigh each piece's surprise by how often it occurs: Σ p (-log p), not a plain mean":
            lambda counts: -np.log(counts[counts > 0] / counts.sum()).mean(),
        "0 log 0 gives nan; leave the pieces out that never occur": lambda counts:
            np.nan if (counts == 0).any() else entropy_in_nats(counts),
    }),
    function("smoothed_bigram", smoothed_bigram, pair_counts, mistakes={
        "each row should add up to 1: what follows a piece l is divided by how often l stood on "
        "the left, a sum over the row": lambda counts, k:
            (counts + k * counts.sum(0) / counts.sum()) / (counts.sum(0) + k),
        "p(w) is how often w stands on the right, a sum over its column; yours sums over its row":
            lambda counts, k: ((counts + k * counts.sum(1) / counts.sum())
                               / (counts.sum(1, keepdims=True) + k)),
        "the k imaginary observations are spread evenly; spread them as the pieces are, k p(w)":
            lambda counts, k: (counts + k / len(counts)) / (counts.sum(1, keepdims=True) + k),
        "k is missing below the line": lambda counts, k: (
            (counts + k * counts.sum(0) / counts.sum())
            / np.maximum(counts.sum(1, keepdims=True), 1)),
    }),
    function("mean_over_batches", mean_over_batches, evaluations, mistakes={
        "that is the mean of the batches' means: a batch with few predictions must count less":
            lambda losses, predictions: losses.mean(),
        "that is a sum over all predictions; divide by how many there are":
            lambda losses, predictions: (losses * predictions).sum(),
    }),
    function("attention_to_offset", attention_to_offset, maps, mistakes={
        "the other side: token i looks at token i + offset, so offset -1 is the left neighbour":
            lambda attention, offset: attention_to_offset(attention, -offset),
        "only the rows that have a token at that offset count: divide by T - |offset|, not by T":
            lambda attention, offset: np.diagonal(attention, offset, axis1=-2, axis2=-1).sum(-1)
            / attention.shape[-1],
        "a sum where a mean belongs": lambda attention, offset:
            np.diagonal(attention, offset, axis1=-2, axis2=-1).sum(-1),
    }),
    function("nearest_rows", nearest_rows, tables, mistakes={
        "these are ordered by the scalar product; divide by the lengths, or long rows are near "
        "everything": lambda *given: nearest_rows(*given, scaled=False),
        "the row itself is among them": lambda *given: nearest_rows(*given, itself=True),
        "these are the farthest": lambda *given: nearest_rows(*given, sign=-1),
        "these are ordered by distance; the cosine does not care how long a row is": euclidean,
    }),
]
