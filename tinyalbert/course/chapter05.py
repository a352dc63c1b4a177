"""Exercises of notebook 05: attention."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import functional as F
from .exercise import backward, function, number

Array = np.ndarray
Gradients = tuple[Array, Array, Array]


# --- forwards


def scores(query: Array, key: Array, bias: Array) -> Array:
    return query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + bias


def attend(query: Array, key: Array, value: Array, bias: Array) -> Array:
    return F.softmax(scores(query, key, bias)) @ value


def heads(rng: np.random.Generator) -> Iterator[tuple]:
    """Two padded sequences, then one with a single head and a token to look at less."""
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    yield (*rng.standard_normal((3, 2, 3, 4, 5)), np.where(mask, 0.0, -10000.0)[:, None, None])
    mask = np.array([[1, 1, 0]])
    yield (*rng.standard_normal((3, 1, 1, 3, 2)), np.where(mask, 0.0, -10000.0)[:, None, None])


def without_values(rng: np.random.Generator) -> Iterator[tuple]:
    return ((query, key, bias) for query, key, _, bias in heads(rng))


def softmax_over_queries(x: Array) -> Array:
    return F.softmax(x.swapaxes(-1, -2)).swapaxes(-1, -2)


def masked_afterwards(query: Array, key: Array, value: Array, bias: Array) -> Array:
    probs = F.softmax(scores(query, key, np.zeros(1)))
    return probs * (bias == 0) @ value


# --- backwards


def attend_backward(d_context: Array, query: Array, key: Array, value: Array, bias: Array, *,
                    scaled: bool = True, jacobian: str = "rows", key_transposed: bool = True,
                    value_transposed: bool = True) -> Gradients:
    """Right as it stands; each argument puts in one of the usual mistakes."""
    probs = F.softmax(scores(query, key, bias))
    d_probs = d_context @ value.swapaxes(-1, -2)
    product = probs * d_probs
    d_scores = product - probs * {"rows": product.sum(-1, keepdims=True), "none": 0,
                                  "columns": product.sum(-2, keepdims=True),
                                  "diagonal": product}[jacobian]
    d_scores = d_scores / (math.sqrt(query.shape[-1]) if scaled else 1)
    to_keys = d_scores.swapaxes(-1, -2) if key_transposed else d_scores
    to_values = probs.swapaxes(-1, -2) if value_transposed else probs
    return d_scores @ key, to_keys @ query, to_values @ d_context


def wrongly(**mistake: Any) -> Callable[..., Gradients]:
    return lambda d_context, query, key, value, bias: attend_backward(
        d_context, query, key, value, bias, **mistake)


def weighted(probs: Array, value: Array, scale: Array) -> Array:
    return probs * scale @ value


def dropped(rng: np.random.Generator) -> Iterator[tuple]:
    for n, t, d in ((2, 4, 3), (1, 5, 2)):
        scale = (rng.random((n, t, t)) >= 0.4) / 0.6
        yield F.softmax(rng.standard_normal((n, t, t))), rng.standard_normal((n, t, d)), scale


def weighted_backward(dy: Array, probs: Array, value: Array, scale: Array, *, kept: str = "scaled",
                      dropped_value: bool = True) -> tuple[Array, Array]:
    times = {"scaled": scale, "only": scale > 0, "none": 1}[kept]
    used = probs * scale if dropped_value else probs
    return dy @ value.swapaxes(-1, -2) * times, used.swapaxes(-1, -2) @ dy


def look_at_yourself(x: Array, W_query: Array, W_key: Array, W_value: Array) -> Array:
    return attend(x @ W_query, x @ W_key, x @ W_value, np.zeros(1))


def sentences(rng: np.random.Generator) -> Iterator[tuple]:
    for t, h, d in ((4, 5, 3), (3, 2, 4)):
        yield rng.standard_normal((t, h)), *rng.standard_normal((3, h, d))


def self_attention_backward(dy: Array, x: Array, W_query: Array, W_key: Array, W_value: Array, *,
                            paths: tuple[float, float, float] = (1, 1, 1),
                            **mistake: Any) -> tuple[Array, ...]:
    weights = W_query, W_key, W_value
    query, key, value = (x @ W for W in weights)
    gradients = attend_backward(dy, query, key, value, np.zeros(1), **mistake)
    dx = sum(share * d @ W.T for share, d, W in zip(paths, gradients, weights, strict=True))
    return dx, *(x.T @ d for d in gradients)


EXERCISES = [
    function("attention_scores", scores, without_values, mistakes={
        "the scores are not divided by √D": lambda q, k, bias: q @ k.swapaxes(-1, -2) + bias,
        "they are divided by D: it is the deviation, √D, that grows with the head":
            lambda q, k, bias: q @ k.swapaxes(-1, -2) / q.shape[-1] + bias,
        "they are divided by √H: each head's sum has D terms":
            lambda q, k, bias: q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1] * q.shape[-3]) + bias,
        "they are divided by √T: the sum that grows runs over D":
            lambda q, k, bias: q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-2]) + bias,
        "the bias is divided by √D too: add it last":
            lambda q, k, bias: (q @ k.swapaxes(-1, -2) + bias) / math.sqrt(q.shape[-1]),
        "queries and keys are exchanged: rows are those who ask, query @ keyᵀ":
            lambda q, k, bias: scores(k, q, bias),
        "the bias is missing: padding is looked at":
            lambda q, k, bias: scores(q, k, np.zeros(1)),
        "those are the probabilities already; the scores are what the softmax is given":
            lambda q, k, bias: F.softmax(scores(q, k, bias)),
    }),
    function("attention_forward", attend, heads, mistakes={
        "the softmax runs over the queries: every row, what one token gives to all others, is to "
        "add up to 1": lambda q, k, v, bias: softmax_over_queries(scores(q, k, bias)) @ v,
        "the mask comes after the softmax, so the rows no longer add up to 1: add it to the scores":
            masked_afterwards,
        "the bias is missing: padding is looked at":
            lambda q, k, v, bias: attend(q, k, v, np.zeros(1)),
        "the scores are not divided by √D":
            lambda q, k, v, bias: F.softmax(q @ k.swapaxes(-1, -2) + bias) @ v,
        "the softmax is missing": lambda q, k, v, bias: scores(q, k, bias) @ v,
        "the probabilities are to weigh the values, not the keys":
            lambda q, k, v, bias: attend(q, k, k, bias),
    }),
    backward("dropout_on_probabilities_backward", weighted, dropped, constants=1, mistakes={
        "the values' gradient is taken with the probabilities before dropout: forwards the values "
        "met those after it":
            lambda dy, p, v, scale: weighted_backward(dy, p, v, scale, dropped_value=False),
        "the probabilities' gradient passes where forwards nothing passed: it takes the same scale":
            lambda dy, p, v, scale: weighted_backward(dy, p, v, scale, kept="none"),
        "dropped places are 0, but the others lack the factor 1/(1-p) that they had forwards":
            lambda dy, p, v, scale: weighted_backward(dy, p, v, scale, kept="only"),
        "both gradients leave the scale out: M multiplies backwards where it multiplied forwards":
            lambda dy, p, v, scale: weighted_backward(dy, p, v, scale, kept="none",
                                                      dropped_value=False),
    }),
    backward("attention_backward", attend, heads, constants=1, mistakes={
        "dQ and dK lack 1/√D: the scores were divided forwards, so their gradient is backwards":
            wrongly(scaled=False),
        "the softmax is taken for an elementwise p dp: its - p Σ p dp is missing":
            wrongly(jacobian="none"),
        "p (1 - p) is only the diagonal of the softmax's Jacobian: notebook 02":
            wrongly(jacobian="diagonal"),
        "softmax's sum runs over the queries: it is to run along each row, over the keys":
            wrongly(jacobian="columns"),
        "dK needs dSᵀ: a key is a column of the scores, and collects from all who asked":
            wrongly(key_transposed=False),
        "dV needs Pᵀ: a value collects from all who looked at it":
            wrongly(value_transposed=False),
    }),
    backward("self_attention_backward", look_at_yourself, sentences, mistakes={
        "dx has only the path through the values: x made the queries and the keys as well":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(0, 0, 1)),
        "dx has only the path through the queries; of three uses all three add up":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(1, 0, 0)),
        "dx lacks the path through the values":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(1, 1, 0)),
        "dx lacks the path through the keys":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(1, 0, 1)),
        "dx lacks the path through the queries":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(0, 1, 1)),
        "dQ and dK lack 1/√D": lambda dy, *given: self_attention_backward(dy, *given, scaled=False),
        "dK needs dSᵀ: a key is a column of the scores":
            lambda dy, *given: self_attention_backward(dy, *given, key_transposed=False),
        "dx is the mean of three paths: it is their sum":
            lambda dy, *given: self_attention_backward(dy, *given, paths=(1 / 3, 1 / 3, 1 / 3)),
    }),
    number("biases_without_gradient", 768, mistakes={
        "that is one head: each of the twelve has keys of its own": 64,
        "the query's bias moves each key's score differently, so it has a gradient": 2 * 768,
        "queries and values have biases that matter: only the keys' do not": 3 * 768,
        "the layer is shared: its bias is stored once, not twelve times": 12 * 768,
    }),
    number("tokens_where_costs_meet", 2 * 768, mistakes={
        "there are two products of T² H: the scores, and the probabilities with the values":
            4 * 768,
        "there are four maps of T H²: query, key, value and the dense one after them": 3 * 384,
        "that is where they meet the whole layer, 12 T H²": 6 * 768,
        "at T = H they take half as many: 2 H³ against 4 H³": 768,
        "that counts the scores of one head: N heads of D features are H features": 24 * 768,
    }),
]
