"""Exercises of notebook 01: a layer, backwards."""

from __future__ import annotations

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


def gelu_slope(x: Array, with_density: bool = True) -> Array:
    return F.gelu_backward(np.ones_like(x), F.gelu(x)[1]) if with_density else F.gelu(x)[1][1]


EXERCISES = [
    backward("linear_backward", linear, rows, mistakes={
        "dW has the right numbers in the wrong places: x.T @ dy, [I, O], not dy.T @ x":
            lambda dy, x, W, b: (dy @ W.T, (dy.T @ x).reshape(W.shape), dy.sum(0)),
        "db is a mean over the rows; every row moved b, so their gradients add up":
            lambda dy, x, W, b: (dy @ W.T, x.T @ dy, dy.mean(0)),
        "dW is divided by the number of rows; the loss takes the mean, a layer adds up":
            lambda dy, x, W, b: (dy @ W.T, x.T @ dy / len(x), dy.sum(0)),
    }),
    backward("linear_backward_3d", linear, sequences, mistakes={
        "only the first sequence's rows are added up: flatten [B, T, I] to [B*T, I] first":
            lambda dy, x, W, b: (dy @ W.T, x[0].T @ dy[0], dy[0].sum(0)),
    }),
    function("gelu", gelu, activations, tolerance=1e-7, mistakes={
        "this is Φ(x), the share that passes; GELU is x Φ(x)": lambda x: F.gelu(x)[1][1],
        "this is the sigmoid linear unit, x σ(x): near, but not the normal distribution":
            lambda x: x / (1 + np.exp(-x)),
    }),
    backward("gelu_backward", gelu, activations, mistakes={
        "the slope lacks x φ(x): when x moves, Φ(x) moves too (the product rule)":
            lambda dy, x: dy * gelu_slope(x, False),
        "dy is missing: the chain rule multiplies by what comes from above":
            lambda dy, x: gelu_slope(x),
    }),
    number("parameters_of_a_linear", 768 * 3072 + 3072,
           mistakes={"that leaves out the bias": 768 * 3072}),
]
