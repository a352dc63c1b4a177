"""Exercises of notebook 01: a layer, backwards."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import functional as F
from .exercise import backward, function, number

Array = np.ndarray


def linear(x: Array, W: Array, b: Array) -> Array:
    return x @ W + b


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    for n, i, o in ((4, 3, 5), (1, 2, 2), (6, 4, 1)):
        yield rng.standard_normal((n, i)), rng.standard_normal((i, o)), rng.standard_normal(o)


def sequences(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((2, 4, 3), (3, 1, 3)):
        yield (rng.standard_normal(shape), rng.standard_normal((3, 5)), rng.standard_normal(5))


def activations(rng: np.random.Generator) -> Iterator[tuple]:
    yield (3 * rng.standard_normal((3, 7)),)
    yield (np.array([-6.0, -1.0, 0.0, 1.0, 6.0]),)


def gelu(x: Array) -> Array:
    with_cache: Array = F.gelu(x)[0]
    return with_cache


def share(x: Array) -> Array:
    """Φ(x)"""
    cdf: Array = F.gelu(x)[1][1]
    return cdf


def density(x: Array) -> Array:
    """φ(x)"""
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


EXERCISES = [
    backward("linear_backward", linear, rows, mistakes={
        "dW has the right numbers in the wrong places: x.T @ dy, [I, O], not dy.T @ x":
            lambda dy, x, W, b: (dy @ W.T, (dy.T @ x).reshape(W.shape), dy.sum(0)),
        "db is a mean over the rows; every row moved b, so their gradients add up":
            lambda dy, x, W, b: (dy @ W.T, x.T @ dy, dy.mean(0)),
        "dW is divided by the number of rows; the loss takes the mean, a layer adds up":
            lambda dy, x, W, b: (dy @ W.T, x.T @ dy / len(x), dy.sum(0)),
        "dW and db are divided by the number of rows; the loss takes the mean, a layer adds up":
            lambda dy, x, W, b: (dy @ W.T, x.T @ dy / len(x), dy.mean(0)),
    }),
    backward("linear_backward_3d", linear, sequences, mistakes={
        "only the first sequence's rows are added up: flatten [B, T, I] to [B*T, I] first":
            lambda dy, x, W, b: (dy @ W.T, x[0].T @ dy[0], dy[0].sum(0)),
        "dW and db are means over the sequences: every sequence moved W and b, so theirs add up":
            lambda dy, x, W, b: (dy @ W.T, (x.swapaxes(1, 2) @ dy).mean(0), dy.sum(1).mean(0)),
    }),
    function("gelu", gelu, activations, tolerance=1e-7, mistakes={
        "this is Φ(x), the share that passes; GELU is x Φ(x)": share,
        "this is relu, which has a corner at 0; GELU is round: x Φ(x)":
            lambda x: np.maximum(x, 0),
        "this is twice too large: Φ is half of 1 + erf": lambda x: 2 * gelu(x),
        "erf is taken of x: Φ has x / √2 in it": lambda x: gelu(x * 2**0.5) / 2**0.5,
        "this is the form with tanh, near to it; the one with erf is asked for":
            lambda x: F.gelu_new(x)[0],
        "this is the sigmoid linear unit, x σ(x): near, but not the normal distribution":
            lambda x: x / (1 + np.exp(-x)),
    }),
    backward("gelu_backward", gelu, activations, mistakes={
        "the slope lacks x φ(x): when x moves, Φ(x) moves too (the product rule)":
            lambda dy, x: dy * share(x),
        "dy is missing: the chain rule multiplies by what comes from above":
            lambda dy, x: share(x) + x * density(x),
        "φ(x) stands alone: where Φ moves, x is held, so it is x φ(x)":
            lambda dy, x: dy * (share(x) + density(x)),
        "φ(x) lacks its 1 / √(2π)":
            lambda dy, x: dy * (share(x) + x * np.exp(-x * x / 2)),
        "φ(x) has the exponent -x²/2, not -x²":
            lambda dy, x: dy * (share(x) + x * density(2**0.5 * x)),
        "the two terms add up: both factors grow with x":
            lambda dy, x: dy * (share(x) - x * density(x)),
    }),
    number("parameters_of_a_linear", 768 * 3072 + 3072, mistakes={
        "that leaves out the bias": 768 * 3072,
        "each of the 3,072 outputs has a bias, not each of the inputs": 768 * 3072 + 768,
        "that is the map back as well; one map is asked for": 2 * 768 * 3072 + 3072 + 768,
    }),
]
