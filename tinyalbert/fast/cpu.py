"""Twins of `functional.py` and `optim.py` for NumPy arrays: the same mathematics, in blocks.

Each function has the name, the arguments, the result and the cache of the textbook function that it
replaces. Only the order of the work differs: in place, block by block, on every core
(`parallel.py`). Outside the matrix products and the sums over rows, no number depends on the
blocks or the cores. What is missing here, as dropout, gains little or nothing.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from .. import functional as F
from .parallel import for_blocks, keep_freed_memory, one_blas_thread

keep_freed_memory()
C = math.sqrt(2 / math.pi)
Array = np.ndarray


def rows_of(x: Array) -> Array:
    """[..., H] as [rows, H]: a view of a new array, which `new` makes; of an input, perhaps a copy.
    """
    return x.reshape(-1, x.shape[-1])


def new(x: Array) -> Array:
    """An array like x, row after row in memory however x is laid out."""
    return np.empty_like(x, order="C")


def linear(x: Array, weight: Array, bias: Array) -> Array:
    y = np.matmul(rows_of(x), weight)
    for_blocks(*y_rows(y), lambda s: np.add(y[s], bias, out=y[s]))
    return y.reshape(*x.shape[:-1], weight.shape[1])


def y_rows(y: Array) -> tuple[int, int]:
    return len(y), y.shape[-1] * y.itemsize


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    dy_rows, x_rows = rows_of(dy), rows_of(x)
    ones = np.ones(len(dy_rows), dy.dtype)
    dx = np.matmul(dy_rows, weight.T)
    return dx.reshape(x.shape), np.matmul(x_rows.T, dy_rows), ones @ dy_rows


# Φ(x) = (1 + tanh(x p(x²)))/2 to 6e-8, half a unit in the last place of a float32 near 1. The tanh
# form of the GELU is the first two terms of the same idea. Coefficients of p from the lowest:
# a minimax fit on |x| < 6; beyond, x p(x²) only grows, and the tanh is 1. NumPy's tanh is quick and
# SciPy's erf is not.
textbook_gelu: Any = inspect.unwrap(F.gelu)        # for float64
NORMAL_CDF = (7.97884941e-01, 3.63330846e-02, -3.25949790e-05, -5.53061925e-05, 3.96474424e-06,
              -1.32263329e-07, 1.75617052e-09)


def gelu(x: Array) -> tuple[Array, tuple[Array, Array]]:
    if x.dtype != np.float32:
        return textbook_gelu(x)
    y, cdf = new(x), new(x)
    xs, ys, cdfs = rows_of(x), rows_of(y), rows_of(cdf)

    def block(s: slice) -> None:
        x, square, u = xs[s], ys[s], cdfs[s]
        np.multiply(x, x, out=square)
        np.minimum(square, 100, out=square)         # so that no power of it overflows
        np.multiply(square, NORMAL_CDF[-1], out=u)
        for coefficient in NORMAL_CDF[-2:0:-1]:
            u += coefficient
            u *= square
        u += NORMAL_CDF[0]
        u *= x
        np.tanh(u, out=u)
        u += 1
        u *= 0.5
        np.multiply(x, u, out=ys[s])

    for_blocks(*y_rows(xs), block)
    return y, (x, cdf)


def gelu_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    x, cdf = cache
    dx = new(dy)
    dys, xs, cdfs, dxs = rows_of(dy), rows_of(x), rows_of(cdf), rows_of(dx)

    def block(s: slice) -> None:
        x, dx = xs[s], dxs[s]
        np.multiply(x, x, out=dx)
        dx *= -0.5
        np.exp(dx, out=dx)
        dx *= x
        dx *= 1 / math.sqrt(2 * math.pi)
        dx += cdfs[s]
        dx *= dys[s]

    for_blocks(*y_rows(xs), block)
    return dx


def gelu_new(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y, cdf = new(x), new(x)
    xs, ys, cdfs = rows_of(x), rows_of(y), rows_of(cdf)

    def block(s: slice) -> None:
        x, u = xs[s], cdfs[s]
        np.multiply(x, x, out=u)
        u *= C * 0.044715
        u += C
        u *= x
        np.tanh(u, out=u)
        u += 1
        u *= 0.5
        np.multiply(x, u, out=ys[s])

    for_blocks(*y_rows(xs), block)
    return y, (x, cdf)


def gelu_new_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    x, cdf = cache
    dx = new(dy)
    dys, xs, cdfs, dxs = rows_of(dy), rows_of(x), rows_of(cdf), rows_of(dx)

    def block(s: slice) -> None:
        x, cdf, dx = xs[s], cdfs[s], dxs[s]
        np.multiply(x, x, out=dx)               # Φ (1 + 2 x (1 - Φ) u')
        dx *= 6 * C * 0.044715
        dx += 2 * C
        dx *= x                                 # 2 x u'
        dx *= 1 - cdf
        dx += 1
        dx *= cdf
        dx *= dys[s]

    for_blocks(*y_rows(xs), block)
    return dx


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, F.LayerNormCache]:
    y, x_hat = new(x), new(x)
    inv_std = np.empty((*x.shape[:-1], 1), x.dtype)
    xs, ys, hats, stds = rows_of(x), rows_of(y), rows_of(x_hat), rows_of(inv_std)
    mean = np.full(x.shape[-1], 1 / x.shape[-1], x.dtype)

    def block(s: slice) -> None:
        x_hat, y = hats[s], ys[s]
        np.subtract(xs[s], np.vecdot(xs[s], mean)[:, None], out=x_hat)
        variance = np.vecdot(x_hat, x_hat) / x.shape[-1]
        stds[s, 0] = 1 / np.sqrt(variance + eps)
        x_hat *= stds[s]
        np.multiply(x_hat, weight, out=y)
        y += bias

    for_blocks(*y_rows(xs), block)
    return y, F.LayerNormCache(x_hat, inv_std, weight)


def layer_norm_backward(dy: Array, cache: F.LayerNormCache) -> tuple[Array, Array, Array]:
    x_hat, inv_std, weight = cache
    dx, product = new(dy), new(dy)
    dys, hats, stds = rows_of(dy), rows_of(x_hat), rows_of(inv_std)
    dxs, products = rows_of(dx), rows_of(product)
    mean = np.full(dy.shape[-1], 1 / dy.shape[-1], dy.dtype)

    def block(s: slice) -> None:
        g, x_hat, t = dxs[s], hats[s], products[s]
        np.multiply(dys[s], weight, out=g)
        np.multiply(x_hat, (np.vecdot(g, x_hat) / dy.shape[-1])[:, None], out=t)
        g -= np.vecdot(g, mean)[:, None]
        g -= t
        g *= stds[s]
        np.multiply(dys[s], x_hat, out=t)       # for dγ

    for_blocks(*y_rows(dys), block)
    ones = np.ones(len(dys), dy.dtype)
    return dx, ones @ products, ones @ dys


def attention(query: Array, key: Array, value: Array, bias: Array, p: float,
              rng: np.random.Generator | None) -> tuple[Array, F.AttentionCache]:
    batch, heads, tokens, size = query.shape
    probs = np.empty((batch, heads, tokens, tokens), query.dtype)
    scale = F.dropout_scale(probs, p, rng)
    dropped = probs if scale is None else np.empty_like(probs)
    context = empty_heads(query)
    factor = query.dtype.type(1 / math.sqrt(size))

    def block(s: slice) -> None:
        scores = probs[s]                               # [b, N, T, T]
        np.matmul(query[s], key[s].swapaxes(-1, -2), out=scores)
        scores *= factor
        scores += bias[s]
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        if scale is not None:
            np.multiply(scores, scale[s], out=dropped[s])
        np.matmul(dropped[s], value[s], out=context[s])

    with one_blas_thread():
        for_blocks(batch, heads * tokens * tokens * query.itemsize, block)
    return context, F.AttentionCache(query, key, value, probs, dropped, scale)


def attention_backward(d_context: Array, cache: F.AttentionCache) -> tuple[Array, Array, Array]:
    query, key, value, probs, dropped, scale = cache
    batch, heads, tokens, size = query.shape
    d_query, d_key, d_value = empty_heads(query), empty_heads(query), empty_heads(query)
    factor = query.dtype.type(1 / math.sqrt(size))

    def block(s: slice) -> None:
        np.matmul(dropped[s].swapaxes(-1, -2), d_context[s], out=d_value[s])
        d_scores = np.matmul(d_context[s], value[s].swapaxes(-1, -2))       # [b, N, T, T]
        if scale is not None:
            d_scores *= scale[s]
        d_scores -= np.vecdot(d_scores, probs[s])[..., None]
        d_scores *= probs[s]
        d_scores *= factor
        np.matmul(d_scores, key[s], out=d_query[s])
        np.matmul(d_scores.swapaxes(-1, -2), query[s], out=d_key[s])

    with one_blas_thread():
        for_blocks(batch, heads * tokens * tokens * query.itemsize, block)
    return d_query, d_key, d_value


def empty_heads(x: Array) -> Array:
    """An array like x [B, N, T, D], laid out as [B, T, N, D] so that merging the heads is free."""
    batch, heads, tokens, size = x.shape
    return np.empty((batch, tokens, heads, size), x.dtype).swapaxes(1, 2)


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, F.CrossEntropyCache]:
    asked = (labels != F.IGNORED).astype(logits.dtype)
    weights = asked / max(asked.sum(), 1)
    targets = np.where(labels == F.IGNORED, 0, labels)
    probs, log_probs = new(logits), np.empty(len(logits), logits.dtype)

    def block(s: slice) -> None:
        e = probs[s]
        np.subtract(logits[s], logits[s].max(-1, keepdims=True), out=e)
        log_probs[s] = e[np.arange(len(e)), targets[s]]
        np.exp(e, out=e)
        normalizer = e.sum(-1, keepdims=True)
        log_probs[s] -= np.log(normalizer[:, 0])
        e /= normalizer

    for_blocks(*y_rows(logits), block)
    return -(weights * log_probs).sum(), F.CrossEntropyCache(probs, targets, weights)


def adam_step(grad: Array, m: Array, v: Array, beta1: float, beta2: float, eps: float,
              correction1: float, correction2: float) -> Array:
    update = new(grad)

    def block(s: slice) -> None:
        g, u, m_s, v_s = grad[s], update[s], m[s], v[s]
        m_s *= beta1
        np.multiply(g, 1 - beta1, out=u)
        m_s += u
        v_s *= beta2
        np.multiply(g, g, out=u)
        u *= 1 - beta2
        v_s += u
        np.multiply(v_s, 1 / correction2, out=u)
        np.sqrt(u, out=u)
        u += eps
        np.divide(m_s, u, out=u)
        u *= 1 / correction1

    for_blocks(len(grad), grad[0].nbytes, block)
    return update
