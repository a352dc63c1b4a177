"""The mathematics: every operation with its derivative right below it.

    y, cache = operation(x, ...)            forward
    dx       = operation_backward(dy, cache)

`dy` is the gradient of the loss with respect to `y` and has its shape. Nothing here owns
parameters or keeps state. These are the textbook versions; `@accelerated` lets a faster twin from
`tinyalbert/fast/` serve a call (the twin has the same name, and this text is its test oracle).

Letters: B batch, T tokens, Q of them that ask, H hidden, N heads, D head size, V vocabulary,
M masked positions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .backend import Array, array_module, backend_of
from .fast import accelerated

# --- linear: y = x W + b ------------------------------------------------------------------------


@accelerated
def linear(x: Array, weight: Array, bias: Array) -> Array:
    """y = x W + b. x [..., I], weight [I, O], bias [O] -> y [..., O]."""
    return x @ weight + bias


@accelerated
def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """dx = dy Wᵀ, dW = xᵀ dy, db = Σ dy: the sums run over every row of every sequence."""
    dy_rows = dy.reshape(-1, dy.shape[-1])        # [B*T, O]
    x_rows = x.reshape(-1, x.shape[-1])           # [B*T, I]
    dx = dy @ weight.T                            # [..., I]
    return dx, x_rows.T @ dy_rows, dy_rows.sum(0)


# --- some rows of many --------------------------------------------------------------------------


def take_rows(x: Array, rows: Array | None) -> Array:
    """x [B, T, H] -> its rows [R, H], counted through all sequences; rows None means x itself."""
    return x if rows is None else x.reshape(-1, x.shape[-1])[rows]


def take_rows_backward(dy: Array, rows: Array | None, shape: tuple[int, ...]) -> Array:
    """Every row of dy back to where it came from, each taken once; the others get nothing."""
    if rows is None:
        return dy
    dx = array_module(dy).zeros(shape, dy.dtype)
    dx.reshape(-1, shape[-1])[rows] = dy
    return dx


# --- activations (section 3.1: GELU) ------------------------------------------------------------


@accelerated
def gelu(x: Array) -> tuple[Array, Any]:
    """gelu(x) = x Φ(x), Φ(x) = (1 + erf(x/√2))/2 the standard normal distribution: the exact form.
    """
    cdf = 0.5 + 0.5 * backend_of(x).erf(x * math.sqrt(0.5))
    return x * cdf, (x, cdf)


@accelerated
def gelu_backward(dy: Array, cache: Any) -> Array:
    """gelu'(x) = Φ(x) + x φ(x), φ(x) = exp(-x²/2)/√(2π) the standard normal density."""
    x, cdf = cache
    pdf = array_module(x).exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return dy * (cdf + x * pdf)


@accelerated
def gelu_new(x: Array) -> tuple[Array, Any]:
    """x Φ(x) with Φ(x) ≈ (1 + tanh u)/2, u = √(2/π) (x + 0.044715 x³): as Google trained."""
    cdf = 0.5 + 0.5 * array_module(x).tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return x * cdf, (x, cdf)


@accelerated
def gelu_new_backward(dy: Array, cache: Any) -> Array:
    """Φ + x Φ' with Φ' = 2 Φ (1 - Φ) u',  u' = √(2/π) (1 + 3·0.044715 x²)."""
    x, cdf = cache
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
    return dy * (cdf + x * 2 * cdf * (1 - cdf) * du)


def relu(x: Array) -> tuple[Array, Array]:
    """max(x, 0): Google's Chinese models."""
    return array_module(x).maximum(x, 0), x


def relu_backward(dy: Array, x: Array) -> Array:
    return dy * (x > 0)


ACTIVATIONS = {
    "gelu": (gelu, gelu_backward),
    "gelu_new": (gelu_new, gelu_new_backward),
    "relu": (relu, relu_backward),
}


# --- dropout ------------------------------------------------------------------------------------


def dropout_scale(x: Array, p: float, rng: np.random.Generator | None) -> Array | None:
    """What dropout multiplies an array like x by: 0 with probability p, else 1/(1-p), so that the
    mean stays. None if there is nothing to drop: rng None means evaluation."""
    if rng is None or p == 0:
        return None
    keep = backend_of(x).uniform(rng, x.shape) >= p
    return keep.astype(x.dtype) * (1 / (1 - p))


@accelerated
def dropout(x: Array, p: float, rng: np.random.Generator | None) -> tuple[Array, Array | None]:
    """Zero each element with probability p and scale the rest by 1/(1-p)."""
    scale = dropout_scale(x, p, rng)
    return (x if scale is None else x * scale), scale


@accelerated
def dropout_backward(dy: Array, scale: Array | None) -> Array:
    """The same elements are zeroed, the same scale applied."""
    return dy if scale is None else dy * scale


# --- layer normalisation ------------------------------------------------------------------------


class LayerNormCache(NamedTuple):
    x_hat: Array       # [..., H] (x - mean) / std
    inv_std: Array     # [..., 1]
    weight: Array      # [H] gamma


@accelerated
def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, LayerNormCache]:
    """y = γ (x - μ)/√(σ² + ε) + β, with the mean and the biased variance of each row of H."""
    centred = x - x.mean(-1, keepdims=True)                               # [..., H]
    inv_std = 1 / array_module(x).sqrt((centred * centred).mean(-1, keepdims=True) + eps)
    x_hat = centred * inv_std
    return weight * x_hat + bias, LayerNormCache(x_hat, inv_std, weight)


@accelerated
def add_norm(x: Array, residual: Array, weight: Array, bias: Array,
             eps: float) -> tuple[Array, LayerNormCache]:
    """layer_norm(x + residual). Its backward is layer_norm_backward, whose dx is that of both."""
    return layer_norm(x + residual, weight, bias, eps)


@accelerated
def layer_norm_backward(dy: Array, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """dx = (g - mean(g) - x̂ mean(g x̂)) / σ with g = γ dy: γ belongs inside the two means.

    Every x of a row moves the row's mean and deviation; the two subtracted terms are those paths.
    Returns dx [..., H], dγ [H], dβ [H].
    """
    x_hat, inv_std, weight = cache
    g = dy * weight                                                       # [..., H]
    dx = (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)) * inv_std
    rows = tuple(range(dy.ndim - 1))
    return dx, (dy * x_hat).sum(rows), dy.sum(rows)


# --- attention ----------------------------------------------------------------------------------


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) over the last axis. The largest is subtracted first: nothing overflows."""
    xp = array_module(x)
    e = xp.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_backward(d_probs: Array, probs: Array) -> Array:
    """Each row's Jacobian is diag(p) - p pᵀ; applied to dp: p (dp - Σ p dp). No division by B."""
    return probs * (d_probs - (d_probs * probs).sum(-1, keepdims=True))


class AttentionCache(NamedTuple):
    query: Array                # [B, N, Q, D]
    key: Array                  # [B, N, T, D]
    value: Array                # [B, N, T, D]
    probs: Array                # [B, N, Q, T] before dropout
    dropped: Array              # [B, N, Q, T] after dropout
    scale: Array | None         # [B, N, Q, T] what dropout multiplied by


@accelerated
def attention(query: Array, key: Array, value: Array, bias: Array, p: float,
              rng: np.random.Generator | None) -> tuple[Array, AttentionCache]:
    """softmax(Q Kᵀ/√D + bias) V, for every head of every sequence.

    query [B, N, Q, D] of as many tokens as ask, all T of them or fewer; key, value [B, N, T, D];
    bias [B, 1, 1, T], or [B, 1, Q, T] where every query has its own: 0 for a token that may be
    looked at, -10000 for one that may not. The bias is finite on purpose: a row that may look at
    nothing attends as if it might look at everything, and not as 0/0. Returns context [B, N, Q, D].
    """
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + bias   # [B, N, Q, T]
    probs = softmax(scores)
    dropped, scale = dropout(probs, p, rng)
    context = dropped @ value                                                   # [B, N, Q, D]
    return context, AttentionCache(query, key, value, probs, dropped, scale)


@accelerated
def attention_backward(d_context: Array, cache: AttentionCache) -> tuple[Array, Array, Array]:
    """The forward's four lines in reverse. Returns dQ [B, N, Q, D], dK, dV [B, N, T, D]."""
    query, key, value, probs, dropped, scale = cache
    d_value = dropped.swapaxes(-1, -2) @ d_context                              # [B, N, T, D]
    d_dropped = d_context @ value.swapaxes(-1, -2)                              # [B, N, Q, T]
    d_probs = dropout_backward(d_dropped, scale)
    d_scores = softmax_backward(d_probs, probs) / math.sqrt(query.shape[-1])
    return d_scores @ key, d_scores.swapaxes(-1, -2) @ query, d_value


# --- loss ---------------------------------------------------------------------------------------

IGNORED = -100      # the label that asks for nothing, as in PyTorch


class CrossEntropyCache(NamedTuple):
    probs: Array       # [M, V]
    targets: Array     # [M] the labels, 0 where ignored
    weights: Array     # [M] they add up to 1; 0 where ignored


@accelerated
def cross_entropy(logits: Array, labels: Array, class_weights: Array | None = None,
                  ) -> tuple[Array, CrossEntropyCache]:
    """L = -mean log softmax(logits)[label] in nats, over the labels that are not IGNORED.

    logits [M, V], labels [M] integers; L is 0 where nothing is asked for. class_weights [V]: a
    label weighs as much as its class, Σ w log p / Σ w, so that rare classes are heard.
    """
    xp = array_module(logits)
    targets, weights = label_weights(logits, labels, class_weights)             # [M], [M]
    shifted = logits - logits.max(-1, keepdims=True)                            # [M, V]
    e = xp.exp(shifted)
    normalizer = e.sum(-1, keepdims=True)                                       # [M, 1]
    log_probs = shifted[xp.arange(len(targets)), targets] - xp.log(normalizer[:, 0])
    return -(weights * log_probs).sum(), CrossEntropyCache(e / normalizer, targets, weights)


def label_weights(logits: Array, labels: Array,
                  class_weights: Array | None) -> tuple[Array, Array]:
    """The labels with 0 where they are IGNORED, and each one's share of the mean, 0 there."""
    xp = array_module(logits)
    targets = xp.where(labels == IGNORED, 0, labels)                            # [M]
    weights = (labels != IGNORED).astype(logits.dtype)                          # [M]
    if class_weights is not None:
        weights = weights * class_weights[targets]
    total = weights.sum()
    return targets, weights / xp.where(total > 0, total, 1)


def cross_entropy_backward(d_loss: Array | float, cache: CrossEntropyCache) -> Array:
    """d logits = d_loss (p - onehot(label)) · weight; rows that are ignored get 0."""
    probs, targets, weights = cache
    factor = weights * d_loss                                                   # [M]
    d_logits = probs * factor[:, None]                                          # [M, V]
    d_logits[array_module(probs).arange(len(targets)), targets] -= factor
    return d_logits


class ElementLossCache(NamedTuple):
    slope: Array       # [B, K] the derivative of each element's own loss
    elements: int      # B * K


def mean_squared_error(x: Array, targets: Array) -> tuple[Array, ElementLossCache]:
    """L = mean (x - target)², over all elements. x, targets [B, K]."""
    difference = x - targets
    return (difference * difference).mean(), ElementLossCache(2 * difference, x.size)


def binary_cross_entropy(logits: Array, targets: Array) -> tuple[Array, ElementLossCache]:
    """L = mean of -t log σ(z) - (1-t) log(1 - σ(z)), in nats, every element a question by itself.

    logits z, targets t in [0, 1], [B, K]. Written as max(z, 0) - z t + log(1 + exp(-|z|)), which
    neither overflows nor takes the logarithm of 0. Its derivative is σ(z) - t.
    """
    xp = array_module(logits)
    small = xp.exp(-xp.abs(logits))                                             # in (0, 1]
    losses = xp.maximum(logits, 0) - logits * targets + xp.log1p(small)
    sigmoid = xp.where(logits >= 0, 1 / (1 + small), small / (1 + small))
    return losses.mean(), ElementLossCache(sigmoid - targets, logits.size)


def element_loss_backward(d_loss: Array | float, cache: ElementLossCache) -> Array:
    """A mean hands every element an equal part of the gradient."""
    return cache.slope * (d_loss / cache.elements)


LOSSES: dict[str, tuple[Any, Any]] = {       # of a classifier, by `problem_type`
    "single_label_classification": (cross_entropy, cross_entropy_backward),
    "regression": (mean_squared_error, element_loss_backward),
    "multi_label_classification": (binary_cross_entropy, element_loss_backward),
}
