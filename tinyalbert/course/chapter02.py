"""Exercises of notebook 02: LayerNorm, softmax and cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import functional as F
from .exercise import backward, function, number

Array = np.ndarray
IGNORED = F.IGNORED


# --- layer norm


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    y: Array = F.layer_norm(x, weight, bias, eps)[0]
    return y


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((4, 6), (2, 3, 5)):
        yield (2 * rng.standard_normal(shape) + 1, rng.uniform(0.5, 2, shape[-1]),
               rng.standard_normal(shape[-1]), 0.1)


def along(x: Array, weight: Array, bias: Array, eps: float, axis: int | None = -1, ddof: int = 0,
          ) -> Array:
    """Layer norm, with the wrong axis or the wrong variance."""
    centred = x - x.mean(axis, keepdims=True)
    return weight * centred / np.sqrt(x.var(axis, ddof=ddof, keepdims=True) + eps) + bias


def eps_outside(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return weight * (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps) + bias


def norm_backward(dy: Array, x: Array, weight: Array, bias: Array, eps: float, *,
                  gain: str = "inside", mean: int = 1, deviation: int = 1, std: bool = True,
                  within: Any = np.mean, over_rows: Any = np.sum, hat: bool = True,
                  ) -> tuple[Array, Array, Array]:
    """Right as it stands; each argument puts in one of the usual mistakes."""
    x_hat, inv_std, _ = F.layer_norm(x, weight, bias, eps)[1]
    g = dy * weight if gain == "inside" else dy
    direction = x_hat if hat else x
    dx = (g - mean * within(g, -1, keepdims=True)
          - deviation * direction * within(g * direction, -1, keepdims=True))
    dx = dx * (inv_std if std else 1) * (weight if gain == "outside" else 1)
    others = tuple(range(x.ndim - 1))
    return dx, over_rows(dy * x_hat, others), over_rows(dy, others)


def gain_without_x_hat(dy: Array, x: Array, weight: Array, bias: Array, eps: float,
                       ) -> tuple[Array, Array, Array]:
    dx, _, d_bias = norm_backward(dy, x, weight, bias, eps)
    return dx, (dy * x).sum(tuple(range(x.ndim - 1))), d_bias


def wrongly(**mistake: object) -> object:
    return lambda dy, x, weight, bias, eps: norm_backward(
        dy, x, weight, bias, eps, **mistake)        # type: ignore[arg-type]


# --- softmax


def softmax(x: Array) -> Array:
    p: Array = F.softmax(x)
    return p


def scores(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((3, 4)),)
    yield (2 * rng.standard_normal((2, 3, 5)),)


def large_scores(rng: np.random.Generator) -> Iterator[tuple]:
    yield from scores(rng)
    yield (np.array([[1000.0, 999.0, 0.0], [-2000.0, -2000.0, -2001.0]]),)


def unsafe_softmax(x: Array, largest: float = 0.0) -> Array:
    with np.errstate(all="ignore"):
        e = np.exp(x - largest)
        return e / e.sum(-1, keepdims=True)


# --- cross-entropy


def cross_entropy(logits: Array, labels: Array) -> Array:
    loss: Array = F.cross_entropy(logits, labels)[0]
    return loss


def questions(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((4, 6)), np.array([1, IGNORED, 5, 0])
    yield rng.standard_normal((3, 5)), np.array([4, 4, IGNORED])
    yield rng.standard_normal((5, 3)), np.array([2, 0, 1, 1, 0])


def certain_questions(rng: np.random.Generator) -> Iterator[tuple]:
    yield from questions(rng)
    yield np.array([[0.0, 900.0], [900.0, 0.0]]), np.array([0, 0])


def naive_cross_entropy(logits: Array, labels: Array, log: Any = np.log) -> Array:
    asked = labels != IGNORED
    with np.errstate(divide="ignore"):
        log_probs = log(softmax(logits[asked]))
    return -log_probs[np.arange(asked.sum()), labels[asked]].mean()


def loss_over(logits: Array, labels: Array, rows: str) -> Array:
    asked = labels != IGNORED
    loss = cross_entropy(logits, labels)
    return loss * asked.sum() / (len(labels) if rows == "all" else 1)


def loss_backward(dy: Array, logits: Array, labels: Array, *, one_hot: bool = True,
                  mean: str = "asked", ignored: bool = True) -> Array:
    asked = labels != IGNORED
    d_logits = softmax(logits)
    if one_hot:
        d_logits[asked, labels[asked]] -= 1
    share = {"asked": asked.sum(), "all": len(labels), "none": 1}[mean]
    return dy * d_logits * (asked[:, None] if ignored else 1) / share


EXERCISES = [
    function("layer_norm", layer_norm, rows, mistakes={
        "mean and deviation run over the rows: that is a batch norm; each row has its own":
            lambda x, w, b, eps: along(x, w, b, eps, axis=0),
        "mean and deviation are those of the whole array: each row has its own":
            lambda x, w, b, eps: along(x, w, b, eps, axis=None),
        "the variance is divided by H - 1: a layer norm divides by H":
            lambda x, w, b, eps: along(x, w, b, eps, ddof=1),
        "ε is added to the deviation: it belongs under the root, to the variance": eps_outside,
        "this divides by the variance: the deviation is its root":
            lambda x, w, b, eps: (w * (x - x.mean(-1, keepdims=True))
                                  / (x.var(-1, keepdims=True) + eps) + b),
        "the gain γ is missing": lambda x, w, b, eps: layer_norm(x, np.ones_like(w), b, eps),
        "gain and shift are missing: y = γ x̂ + β":
            lambda x, w, b, eps: layer_norm(x, np.ones_like(w), np.zeros_like(b), eps),
        "γ multiplies β, too: the shift comes last":
            lambda x, w, b, eps: layer_norm(x, w, w * b, eps),
        "the shift β is missing": lambda x, w, b, eps: layer_norm(x, w, b, eps) - b,
        "ε is missing": lambda x, w, b, eps: layer_norm(x, w, b, 0.0),
    }),
    backward("layer_norm_backward", layer_norm, rows, constants=1, mistakes={
        "γ is outside the two means; the means run over the slopes in x̂, and these are g = γ dy":
            wrongly(gain="outside"),
        "γ is left out of dx: the slope in x̂ is g = γ dy": wrongly(gain="none"),
        "dx lacks - mean(g): every x moves the mean of its row": wrongly(mean=0),
        "dx lacks - x̂ mean(g x̂): every x moves the deviation of its row": wrongly(deviation=0),
        "mean and deviation are held constant: both move with every x of the row":
            wrongly(mean=0, deviation=0),
        "the sign of the last term: - x̂ mean(g x̂) is subtracted, too": wrongly(deviation=-1),
        "sums are subtracted: the two terms are means, sums divided by H": wrongly(within=np.sum),
        "x stands in the last term of dx, where x̂ belongs": wrongly(hat=False),
        "1/σ is missing": wrongly(std=False),
        "dγ and dβ are means over the rows: every row moved γ and β, so they are sums":
            wrongly(over_rows=np.mean),
        "dγ is taken with x in place of x̂: γ multiplies what is already normalised":
            gain_without_x_hat,
    }),
    function("safe_softmax", softmax, large_scores, mistakes={
        "right for small scores, but exp(1000) overflows: subtract each row's largest score first":
            unsafe_softmax,
        "the largest of the whole array is subtracted: a row far below it becomes 0/0; each row "
        "needs its own largest": lambda x: unsafe_softmax(x, x.max()),
        "the sum runs over the whole array: each row adds up to 1 by itself":
            lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
        "the sum runs over the first axis: the rows, the last axis, are to add up to 1":
            lambda x: np.exp(x - x.max(0)) / np.exp(x - x.max(0)).sum(0),
        "this is its logarithm": lambda x: np.log(np.maximum(softmax(x), 1e-300)),
    }),
    backward("softmax_backward", softmax, scores, mistakes={
        "p dp is only the numerator: each score is in the sum below, too":
            lambda dp, x: softmax(x) * dp,
        "p (1 - p) dp is the diagonal of the Jacobian: a score moves the other probabilities too":
            lambda dp, x: softmax(x) * (1 - softmax(x)) * dp,
        "the mean of dp is subtracted: it has to be the mean that p weights, Σ p dp":
            lambda dp, x: softmax(x) * (dp - dp.mean(-1, keepdims=True)),
        "the mean of p dp is subtracted: p weighs already, so it is the sum, Σ p dp":
            lambda dp, x: softmax(x) * (dp - (softmax(x) * dp).mean(-1, keepdims=True)),
        "scores stand where probabilities belong: p = softmax(x) first":
            lambda dp, x: x * (dp - (x * dp).sum(-1, keepdims=True)),
        "the sum runs over all rows: every row is a softmax by itself":
            lambda dp, x: softmax(x) * (dp - (softmax(x) * dp).sum()),
        "only the sum is there: p dp, the numerator's part, is missing":
            lambda dp, x: -softmax(x) * (softmax(x) * dp).sum(-1, keepdims=True),
    }),
    function("cross_entropy", cross_entropy, certain_questions, mistakes={
        "right, until a probability is 0: take log p = z - max - log Σ exp(z - max) instead of the "
        "logarithm of the softmax": naive_cross_entropy,
        "the mean runs over all rows: only those whose label is not -100 count":
            lambda z, labels: loss_over(z, labels, "all"),
        "two things: only rows whose label is not -100 count in the mean; and log p is to be taken "
        "on paper first": lambda z, labels: naive_cross_entropy(z, labels) * np.mean(labels >= 0),
        "this is the mean of -p: the logarithm is missing":
            lambda z, labels: naive_cross_entropy(z, labels, log=np.asarray),
        "this is the sum over the labels, not their mean":
            lambda z, labels: loss_over(z, labels, "none"),
        "the sign: log p is negative, the loss is not": lambda z, labels: -cross_entropy(z, labels),
    }),
    backward("cross_entropy_backward", cross_entropy, questions, constants=1, mistakes={
        "one-hot is missing: the label's logit is to rise, p - 1 is its slope":
            lambda dy, z, labels: loss_backward(dy, z, labels, one_hot=False),
        "it is divided by all rows: the loss is the mean of those that were asked":
            lambda dy, z, labels: loss_backward(dy, z, labels, mean="all"),
        "it is not divided: the loss is a mean, so each asked row has a share of 1/M":
            lambda dy, z, labels: loss_backward(dy, z, labels, mean="none"),
        "rows with the label -100 have no loss, so their gradient is 0":
            lambda dy, z, labels: loss_backward(dy, z, labels, ignored=False),
        "the sign is flipped: p - onehot, for the loss falls when the label's p rises":
            lambda dy, z, labels: -loss_backward(dy, z, labels),
        "dy is missing: it multiplies every element":
            lambda dy, z, labels: loss_backward(np.ones(()), z, labels),
    }),
    number("loss_of_a_guess", math.log(30000), tolerance=1e-3, mistakes={
        "that is in bits: the loss is in nats, the natural logarithm": math.log2(30000),
        "that is in decimal digits: the loss takes the natural logarithm": math.log10(30000),
        "that is the probability; the loss is -log of it": 1 / 30000,
        "that is log p; the loss is -log p": -math.log(30000),
    }),
]
