"""Twins of `functional.py` and `optim.py` for NumPy arrays: the same mathematics, in blocks.

Each function has the name, the arguments, the result and the cache of the textbook function that it
replaces. Only the order of the work differs: block by block, on every core (`parallel.py`), each
block in place by NumPy (`blocks.py`) or in one pass by a compiled loop (`kernels.py`, if Numba is
installed); large products on the matrix unit, where there is one (`amx.py`). Outside the matrix
products and the sums over rows, no number depends on the blocks or the cores. What is missing here,
as dropout, gains little or nothing.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from .. import functional as F
from .. import optim, packing
from . import blocks
from .parallel import for_blocks, for_each, keep_freed_memory, one_blas_thread

try:
    from . import kernels
except (ImportError, RuntimeError):     # no Numba, or no place for what it compiles
    kernels = None                      # type: ignore[assignment]
try:
    from .amx import matmul, weigh
except (ImportError, RuntimeError):     # no Numba, or a processor without a matrix unit
    matmul = np.matmul                  # type: ignore[assignment]

    def weigh(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        y = x @ weight
        if bias is not None:
            for_blocks(*y_rows(y), lambda s: np.add(y[s], bias, out=y[s]))
        return y


keep_freed_memory()
Array = np.ndarray
textbook_gelu: Any = inspect.unwrap(F.gelu)
textbook_attend: Any = inspect.unwrap(packing.attend)
textbook_adam_step: Any = inspect.unwrap(optim.adam_step)


def block_of(name: str, x: Array) -> Any:
    """The function that takes a block of x through `name`: compiled only for float32."""
    return getattr(kernels if kernels and x.dtype == np.float32 else blocks, name)


def rows_of(x: Array) -> Array:
    """[..., H] as contiguous [rows, H]: a view of a new array, which `new` makes; of an input,
    perhaps a copy."""
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]))


def new(x: Array) -> Array:
    """An array like x, row after row in memory however x is laid out."""
    return np.empty_like(x, order="C")


def linear(x: Array, weight: Array, bias: Array) -> Array:
    y = weigh(rows_of(x), weight, bias)
    return y.reshape(*x.shape[:-1], weight.shape[1])


def y_rows(y: Array) -> tuple[int, int]:
    return len(y), y.shape[-1] * y.itemsize


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    dy_rows, x_rows = rows_of(dy), rows_of(x)
    dx = weigh(dy_rows, weight.T)
    if weight.flags.c_contiguous:
        d_weight = matmul(x_rows.T, dy_rows)
    else:                               # a table turned over: laid out as it is, to be added to it
        d_weight = matmul(dy_rows.T, x_rows).T
    return dx.reshape(x.shape), d_weight, sum_of_rows(dy_rows)


def sum_of_rows(x: Array) -> Array:
    """x [rows, H] -> [H]. As a product, on one core: BLAS's other threads would spin on for a while
    on the cores that ours need."""
    with one_blas_thread():
        return np.ones(len(x), x.dtype) @ x


def gelu(x: Array) -> tuple[Array, tuple[Array, Array]]:
    if x.dtype != np.float32:
        return textbook_gelu(x)         # float64 is for checks: to the last digit
    return activated("gelu", x)


def gelu_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    return activated_backward("gelu_backward", dy, cache)


def gelu_new(x: Array) -> tuple[Array, tuple[Array, Array]]:
    return activated("gelu_new", x)


def gelu_new_backward(dy: Array, cache: tuple[Array, Array]) -> Array:
    return activated_backward("gelu_new_backward", dy, cache)


def activated(name: str, x: Array) -> tuple[Array, tuple[Array, Array]]:
    y, cdf = new(x), new(x)
    xs, ys, cdfs, block = rows_of(x), rows_of(y), rows_of(cdf), block_of(name, x)
    for_blocks(*y_rows(xs), lambda s: block(xs[s], ys[s], cdfs[s]))
    return y, (x, cdf)


def activated_backward(name: str, dy: Array, cache: tuple[Array, Array]) -> Array:
    dx = new(dy)
    dys, xs, cdfs, dxs = map(rows_of, (dy, *cache, dx))
    block = block_of(name, dy)
    for_blocks(*y_rows(xs), lambda s: block(dys[s], xs[s], cdfs[s], dxs[s]))
    return dx


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, F.LayerNormCache]:
    y, x_hat = new(x), new(x)
    inv_std = np.empty((*x.shape[:-1], 1), x.dtype)
    xs, ys, hats, stds = map(rows_of, (x, y, x_hat, inv_std))
    block, eps = block_of("layer_norm", x), x.dtype.type(eps)
    for_blocks(*y_rows(xs), lambda s: block(xs[s], weight, bias, eps, hats[s], stds[s], ys[s]))
    return y, F.LayerNormCache(x_hat, inv_std, weight)


def add_norm(x: Array, residual: Array, weight: Array, bias: Array,
             eps: float) -> tuple[Array, F.LayerNormCache]:
    y, x_hat = new(x), new(x)
    inv_std = np.empty((*x.shape[:-1], 1), x.dtype)
    xs, others, ys, hats, stds = map(rows_of, (x, residual, y, x_hat, inv_std))
    block, eps = block_of("layer_norm", x), x.dtype.type(eps)
    for_blocks(*y_rows(xs), lambda s: block(xs[s] + others[s], weight, bias, eps, hats[s], stds[s],
                                            ys[s]))
    return y, F.LayerNormCache(x_hat, inv_std, weight)


def layer_norm_backward(dy: Array, cache: F.LayerNormCache) -> tuple[Array, Array, Array]:
    dx, product = new(dy), new(dy)
    dys, hats, stds, dxs, products = map(rows_of, (dy, cache.x_hat, cache.inv_std, dx, product))
    block, weight = block_of("layer_norm_backward", dy), cache.weight
    for_blocks(*y_rows(dys),
               lambda s: block(dys[s], hats[s], stds[s], weight, dxs[s], products[s]))
    return dx, sum_of_rows(products), sum_of_rows(dys)


def attention(query: Array, key: Array, value: Array, bias: Array, p: float,
              rng: np.random.Generator | None) -> tuple[Array, F.AttentionCache]:
    batch, heads, queries, size = query.shape
    probs = np.empty((batch, heads, queries, key.shape[2]), query.dtype)
    scale = F.dropout_scale(probs, p, rng)
    dropped = probs if scale is None else np.empty_like(probs)
    context = empty_heads(query)
    factor = query.dtype.type(1 / math.sqrt(size))
    biases = np.ascontiguousarray(bias[:, 0])                           # [B, 1, T] or [B, Q, T]
    biases = np.broadcast_to(biases, (batch, *biases.shape[1:]))
    softmax = block_of("softmax", query)

    def block(s: slice) -> None:
        np.matmul(query[s], key[s].swapaxes(-1, -2), out=probs[s])      # [b, N, Q, T]
        softmax(rows_of(probs[s]), factor, biases[s])
        if scale is not None:
            np.multiply(probs[s], scale[s], out=dropped[s])
        np.matmul(dropped[s], value[s], out=context[s])

    with one_blas_thread():
        for_blocks(batch, probs[0].nbytes, block)
    return context, F.AttentionCache(query, key, value, probs, dropped, scale)


def attention_backward(d_context: Array, cache: F.AttentionCache) -> tuple[Array, Array, Array]:
    query, key, value, probs, dropped, scale = cache
    d_query, d_key, d_value = empty_heads(query), empty_heads(key), empty_heads(value)
    factor = query.dtype.type(1 / math.sqrt(query.shape[-1]))
    softmax_backward = block_of("softmax_backward", query)

    def block(s: slice) -> None:
        np.matmul(dropped[s].swapaxes(-1, -2), d_context[s], out=d_value[s])
        d_scores = np.empty(probs[s].shape, probs.dtype)                    # [b, N, Q, T]
        np.matmul(d_context[s], value[s].swapaxes(-1, -2), out=d_scores)
        if scale is not None:
            d_scores *= scale[s]
        softmax_backward(rows_of(d_scores), rows_of(probs[s]), factor)
        np.matmul(d_scores, key[s], out=d_query[s])
        np.matmul(d_scores.swapaxes(-1, -2), query[s], out=d_key[s])

    with one_blas_thread():
        for_blocks(len(probs), probs[0].nbytes, block)
    return d_query, d_key, d_value


def attend(query: Array, key: Array, value: Array, bias: Any, p: float,
           rng: np.random.Generator | None) -> tuple[Array, Any]:
    if not isinstance(bias, packing.Packed) or (rng and p):     # random numbers have an order
        return textbook_attend(query, key, value, bias, p, rng)
    context = empty_heads(query)
    caches: list[Any] = [None] * len(bias.blocks)

    def work(i: int) -> None:
        cut = bias.blocks[i].cut
        cut(context)[...], caches[i] = attention(cut(query), cut(key), cut(value),
                                                 bias.blocks[i].bias, p, rng)

    with one_blas_thread():
        for_each(len(caches), work)
    return context, packing.PackedCache(bias.blocks, caches)


def attend_backward(d_context: Array, cache: Any) -> tuple[Array, ...]:
    if not isinstance(cache, packing.PackedCache):
        return attention_backward(d_context, cache)
    gradients = [empty_heads(d_context) for _ in range(3)]

    def work(i: int) -> None:
        cut = cache.blocks[i].cut
        parts = attention_backward(cut(d_context), cache.caches[i])
        for gradient, part in zip(gradients, parts, strict=True):
            cut(gradient)[...] = part

    with one_blas_thread():
        for_each(len(cache.blocks), work)
    return tuple(gradients)


def empty_heads(x: Array) -> Array:
    """An array like x [B, N, T, D], laid out as [B, T, N, D] so that merging the heads is free."""
    batch, heads, tokens, size = x.shape
    return np.empty((batch, tokens, heads, size), x.dtype).swapaxes(1, 2)


def cross_entropy(logits: Array, labels: Array, class_weights: Array | None = None,
                  ) -> tuple[Array, F.CrossEntropyCache]:
    targets, weights = F.label_weights(logits, labels, class_weights)
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
    if not all(x.flags.c_contiguous for x in (grad, m, v)):
        return textbook_adam_step(grad, m, v, beta1, beta2, eps, correction1, correction2)
    numbers = [grad.dtype.type(x) for x in (beta1, 1 - beta1, beta2, 1 - beta2, eps, correction1,
                                            correction2)]
    g, ms, vs, u, block = *(x.ravel() for x in (grad, m, v, update)), block_of("adam", grad)
    for_blocks(g.size, g.itemsize, lambda s: block(g[s], ms[s], vs[s], *numbers, u[s]))
    return update
