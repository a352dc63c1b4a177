"""Exercises of notebook 10: wrong gradients, and their repair."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import functional as F
from .exercise import backward, number

Array = np.ndarray
EPS = 1e-12
MASKED = -10000.0
P = 0.25                        # of dropout
SMOOTHING = 0.1


# --- layer norm


def norm(x: Array, weight: Array, bias: Array) -> Array:
    """x [B, T, H]"""
    y: Array = F.layer_norm(x, weight, bias, EPS)[0]
    return y


def norm_backward(dy: Array, x: Array, weight: Array, bias: Array, *, outside: bool = False,
                  axes: Any = -1) -> tuple[Array, Array, Array]:
    x_hat, inv_std, _ = F.layer_norm(x, weight, bias, EPS)[1]
    g = dy if outside else dy * weight
    dx = inv_std * (g - g.mean(axes, keepdims=True)
                    - x_hat * (g * x_hat).mean(axes, keepdims=True))
    return dx * weight if outside else dx, (dy * x_hat).sum((0, 1)), dy.sum((0, 1))


def states(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((2, 3, 5), (1, 4, 6)):
        yield (rng.standard_normal(shape), rng.uniform(0.5, 1.5, shape[-1]),
               rng.standard_normal(shape[-1]))


# --- one layer, applied twice


def twice(x: Array, W: Array, b: Array) -> Array:
    return np.tanh(np.tanh(x @ W + b) @ W + b)


def twice_backward(dz: Array, x: Array, W: Array, b: Array, *, first: bool = True,
                   second: bool = True, own: bool = True) -> tuple[Array, Array, Array]:
    y = np.tanh(x @ W + b)
    dv = dz * (1 - np.tanh(y @ W + b)**2)
    du = dv @ W.T * (1 - y**2)
    dW = first * ((x if own else y).T @ du) + second * (y.T @ dv)
    return du @ W.T, dW, first * du.sum(0) + second * dv.sum(0)


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    for n, h in ((4, 3), (1, 5)):
        yield (rng.standard_normal((n, h)), rng.standard_normal((h, h)), rng.standard_normal(h))


# --- dropout from a seed


def seeded_dropout(x: Array, seed: int) -> Array:
    return x * (np.random.default_rng(seed).random(x.shape) >= P) / (1 - P)


def again(dy: Array, x: Array, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    rng.random(x.shape)
    return dy * (rng.random(x.shape) >= P) / (1 - P)


def seeds(rng: np.random.Generator) -> Iterator[tuple]:
    for seed in (3, 4):
        yield rng.standard_normal((4, 5)), seed


# --- attention


def attend(query: Array, key: Array, value: Array, mask: Array) -> Array:
    """One head, query [Q, D], key and value [T, D], mask [T]: 1 where a token may be looked at."""
    return probabilities(query, key, mask) @ value


def probabilities(query: Array, key: Array, mask: Array) -> Array:
    return F.softmax(query @ key.T / np.sqrt(query.shape[-1]) + (1 - mask) * MASKED)


def attend_backward(dy: Array, query: Array, key: Array, value: Array, mask: Array, *,
                    scale: float = 0.5, masked: bool = True, competing: bool = True,
                    ) -> tuple[Array, Array, Array]:
    probs = probabilities(query, key, mask if masked else np.ones_like(mask))
    d_probs = dy @ value.T
    d_scores = F.softmax_backward(d_probs, probs) if competing else probs * d_probs
    d_scores /= query.shape[-1]**scale
    return d_scores @ key, d_scores.T @ query, probs.T @ dy


def heads(rng: np.random.Generator) -> Iterator[tuple]:
    for queries, tokens, size in ((3, 5, 2), (4, 4, 3)):
        yield (rng.standard_normal((queries, size)), rng.standard_normal((tokens, size)),
               rng.standard_normal((tokens, size)), np.arange(tokens) < tokens - 1)


# --- a tied table


def tied(weight: Array, ids: Array) -> Array:
    """The scores of all V words after tanh of the words' own rows: [T, V]."""
    return np.tanh(weight[ids]) @ weight.T


def tied_backward(dy: Array, weight: Array, ids: Array, *, decoder: bool = True,
                  lookup: bool = True, repeated: bool = True) -> Array:
    h = np.tanh(weight[ids])
    d_rows = dy @ weight * (1 - h * h)
    d_weight = decoder * (dy.T @ h)
    if lookup and repeated:
        np.add.at(d_weight, ids, d_rows)
    elif lookup:
        d_weight[ids] += d_rows
    return d_weight


def sentences(rng: np.random.Generator) -> Iterator[tuple]:
    for ids in ([2, 0, 2, 4], [1, 1, 1]):
        yield rng.standard_normal((6, 3)), np.array(ids)


# --- label smoothing


def smoothed_loss(logits: Array, labels: Array) -> Array:
    """The mean over the rows whose label is not -100 of -Σ q log p, with q of 1 - s at the label
    and s/V everywhere on top."""
    asked = labels != F.IGNORED
    p = F.softmax(logits)
    q = smoothed(logits, labels)
    loss: Array = -(np.log(p) * q).sum(-1)[asked].mean()
    return loss


def smoothed(logits: Array, labels: Array, smoothing: float = SMOOTHING) -> Array:
    classes = logits.shape[-1]
    one_hot = np.arange(classes) == labels[:, None]
    return (1 - smoothing) * one_hot + smoothing / classes


def smoothed_backward(dy: Array | float, logits: Array, labels: Array, *,
                      smoothing: float = SMOOTHING, of_all: bool = False,
                      ignoring: bool = True) -> Array:
    asked = labels != F.IGNORED
    d = F.softmax(logits) - smoothed(logits, labels, smoothing)
    return dy * d * (asked[:, None] if ignoring else 1) / (len(labels) if of_all else asked.sum())


def answers(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((5, 4)), np.array([1, -100, 0, 3, -100])
    yield rng.standard_normal((3, 6)), np.array([5, 5, -100])


def best_step(rounding: float = 2.0**-53) -> float:
    return float((3 * rounding)**(1 / 3))


EXERCISES = [
    backward("repair_norm", norm, states, mistakes={
        "γ is still outside: with g = γ dy the two means are means of g and of g x̂":
            lambda dy, x, weight, bias: norm_backward(dy, x, weight, bias, outside=True),
        "the two means run over the tokens too; forward took its mean of each token by itself":
            lambda dy, x, weight, bias: norm_backward(dy, x, weight, bias, axes=(1, 2)),
    }),
    backward("repair_attention", attend, heads, constants=1, mistakes={
        "the factor 1/√D of the scores is left out: what forward multiplies by, backward does too":
            lambda dy, q, k, v, mask: attend_backward(dy, q, k, v, mask, scale=0),
        "the factor 1/√D is applied twice":
            lambda dy, q, k, v, mask: attend_backward(dy, q, k, v, mask, scale=1),
        "the probabilities of forward had the mask; yours do not":
            lambda dy, q, k, v, mask: attend_backward(dy, q, k, v, mask, masked=False),
        "the shares of a row compete: softmax's way back is p (dp - Σ p dp)":
            lambda dy, q, k, v, mask: attend_backward(dy, q, k, v, mask, competing=False),
    }),
    backward("repair_dropout", seeded_dropout, seeds, constants=1, mistakes={
        "this is the generator's next mask, not the one of forward: begin again from the seed":
            again,
        "the mask is right and the scale 1/(1-p) is missing":
            lambda dy, x, seed: seeded_dropout(dy, seed) * (1 - P),
        "no mask at all: what forward dropped gets no gradient": lambda dy, x, seed: dy,
    }),
    backward("repair_twice", twice, rows, mistakes={
        "only the first application's gradient is there: the second one's was overwritten":
            lambda dz, x, W, b: twice_backward(dz, x, W, b, second=False),
        "only the second application's gradient is there; the first one adds its own":
            lambda dz, x, W, b: twice_backward(dz, x, W, b, first=False),
        "the first application's input was x, not y: each needs what it remembered itself":
            lambda dz, x, W, b: twice_backward(dz, x, W, b, own=False),
    }),
    backward("repair_tied_table", tied, sentences, constants=1, mistakes={
        "this is the decoder's half; the looked-up rows have a gradient too":
            lambda dy, weight, ids: tied_backward(dy, weight, ids, lookup=False),
        "this is the lookup's half; the decoder is the same table":
            lambda dy, weight, ids: tied_backward(dy, weight, ids, decoder=False),
        "an id that occurs twice gets one row only: `d[ids] += rows` adds once, np.add.at twice":
            lambda dy, weight, ids: tied_backward(dy, weight, ids, repeated=False),
    }),
    backward("repair_smoothing", smoothed_loss, answers, constants=1, mistakes={
        "p - onehot is the gradient without smoothing: subtract the smoothed distribution":
            lambda dy, z, labels: smoothed_backward(dy, z, labels, smoothing=0.0),
        "rows with label -100 ask nothing and get nothing; yours get p - s/V":
            lambda dy, z, labels: smoothed_backward(dy, z, labels, ignoring=False),
        "dy is missing: the chain rule multiplies by what comes from above":
            lambda dy, z, labels: smoothed_backward(1.0, z, labels),
        "the mean is over the rows that ask, not over all":
            lambda dy, z, labels: smoothed_backward(dy, z, labels, of_all=True),
    }),
    number("best_step", best_step, tolerance=0.02, mistakes={
        "the slope of h²/6 is h/3 and that of u/h is -u/h²: together 0 where h³ = 3u. You have the "
        "square root of 3u": (3 * 2.0**-53)**(1 / 2),
        "that is the cube root of u; the 3 of h³ = 3u is missing": 2.0**(-53 / 3),
        "that is the cube root of 6u, where the two errors are equal (or u is taken for 2⁻⁵²); "
        "their sum is smallest where their slopes cancel": best_step(rounding=2.0**-52),
        "that is float32's; the question is about float64": best_step(rounding=2.0**-24),
    }),
]
