"""Twins of `functional.py` and `optim.py` for CuPy arrays: cuBLAS for the matrix products, the
kernels of gpu.cu for all between them.

Each function has the name, the arguments and the result of the textbook function that it replaces.
Its cache holds less than the textbook's, since a GPU computes faster than it reads: Φ of a GELU and
the random numbers of dropout are computed again in the backward pass. So a twin's cache is for the
twin's backward. Only float32 comes here; float64, which is for checks, is left to the textbook.

Nothing waits for the device, and the same input gives the same bits. Left out: attention that never
writes its [Q, T] matrices (Dao et al. 2022), which needs kernels of another length than these.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from .. import optim
from ..backend import Array, array_module
from .gpu_kernels import BLOCK, by_element, by_row, f32, i32, i64, launch, new, plain, rows_of
from .gpu_products import batched_product, operand, product

PIECE = 128         # rows that one thread adds up
textbook_adam_step: Any = inspect.unwrap(optim.adam_step)

# --- linear


def linear(x: Array, weight: Array, bias: Array) -> Array:
    y = product(operand(rows_of(x)), operand(weight))
    by_row("add_bias", y, bias)
    return y.reshape(*x.shape[:-1], weight.shape[1])


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    d_bias = column_sums(rows_of(dy))
    dy_rows, x_rows = operand(rows_of(dy)), operand(rows_of(x))
    dx = product(dy_rows, operand(weight).T).reshape(x.shape)
    if weight.flags.c_contiguous:
        d_weight = product(x_rows.T, dy_rows)
    else:                               # a table turned over: laid out as it is, to be added to it
        d_weight = product(dy_rows.T, x_rows).T
    return dx, d_weight, d_bias


def column_sums(a: Array, b: Array | None = None) -> Array:
    """Σ a, or Σ a b, over the rows, [R, H] -> [H]: in pieces, then of the pieces."""
    rows, columns = a.shape
    pieces, groups = max(-(-rows // PIECE), 1), -(-columns // 32)
    sums, total = new(a, pieces, columns), new(a, columns)
    launch("column_sums", (groups, pieces), BLOCK, a, b, sums, i32(rows), i32(columns), i32(PIECE))
    launch("column_sums", (groups, 1), BLOCK, sums, None, total, i32(pieces), i32(columns),
           i32(pieces))
    return total


# --- activations


def gelu(x: Array) -> tuple[Array, Array]:
    return activated("gelu", x)


def gelu_backward(dy: Array, cache: Array) -> Array:
    return activated_backward("gelu_backward", dy, cache)


def gelu_new(x: Array) -> tuple[Array, Array]:
    return activated("gelu_new", x)


def gelu_new_backward(dy: Array, cache: Array) -> Array:
    return activated_backward("gelu_new_backward", dy, cache)


def activated(name: str, x: Array) -> tuple[Array, Array]:
    y = new(x)
    by_element(name, plain(x), y)
    return y, x


def activated_backward(name: str, dy: Array, x: Array) -> Array:
    dx = new(x)
    by_element(name, plain(dy), plain(x), dx)
    return dx


# --- layer normalisation


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, F.LayerNormCache]:
    return add_norm(x, None, weight, bias, eps)


def add_norm(x: Array, residual: Array | None, weight: Array, bias: Array,
             eps: float) -> tuple[Array, F.LayerNormCache]:
    """layer_norm(x + residual), without a pass for the sum."""
    y, x_hat, inv_std = new(x), new(x), new(x, *x.shape[:-1], 1)
    by_row("layer_norm", plain(x), None if residual is None else plain(residual), weight, bias,
           f32(eps), x_hat, inv_std, y)
    return y, F.LayerNormCache(x_hat, inv_std, weight)


def layer_norm_backward(dy: Array, cache: F.LayerNormCache) -> tuple[Array, Array, Array]:
    dx = new(dy)
    by_row("layer_norm_backward", plain(dy), *cache, dx)
    dy_rows = rows_of(dy)
    return dx, column_sums(dy_rows, rows_of(cache.x_hat)), column_sums(dy_rows)


# --- dropout


class Dropout(NamedTuple):
    """From what the kernels compute the scale of an element; in a cache it stands for the scale."""

    p: np.float32           # 0: none
    kept: np.float32        # what is not dropped is multiplied by this
    seed: np.uint64


NOTHING_DROPPED = Dropout(f32(0), f32(1), np.uint64(0))


def draw_dropout(p: float, rng: np.random.Generator | None) -> Dropout | None:
    return None if rng is None or p == 0 else Dropout(f32(p), f32(1 / (1 - p)), draw_seed(rng))


def draw_seed(rng: np.random.Generator) -> np.uint64:
    return np.uint64(rng.integers(2**63))


def uniform(rng: np.random.Generator, out: Array) -> Array:
    """The numbers in [0, 1) that dropout compares with p, written to `out`."""
    by_element("uniform", out, draw_seed(rng))
    return out


def dropout(x: Array, p: float, rng: np.random.Generator | None) -> tuple[Array, Dropout | None]:
    scale = draw_dropout(p, rng)
    return dropout_backward(x, scale), scale


def dropout_backward(dy: Array, scale: Dropout | None) -> Array:
    if scale is None:
        return dy
    dx = new(dy)
    by_element("dropout", plain(dy), dx, *scale)
    return dx


# --- attention


def attention(query: Array, key: Array, value: Array, bias: Array, p: float,
              rng: np.random.Generator | None) -> tuple[Array, F.AttentionCache]:
    batch, heads, queries, size = query.shape
    tokens, scale = key.shape[2], draw_dropout(p, rng)
    probs = new(query, batch, heads, queries, tokens)
    dropped = new(probs) if scale else probs
    context = empty_heads(query)
    biases = array_module(bias).broadcast_to(bias[:, 0], (batch, bias.shape[2], tokens))
    batched_product(query, key.swapaxes(-1, -2), probs)
    by_row("softmax", probs, plain(biases), dropped, f32(1 / math.sqrt(size)),
           *(scale or NOTHING_DROPPED), i32(heads * queries), i32(bias.shape[2]))
    batched_product(dropped, value, context)
    return context, F.AttentionCache(query, key, value, probs, None, scale)


def attention_backward(d_context: Array, cache: F.AttentionCache) -> tuple[Array, Array, Array]:
    query, key, value, probs, _, scale = cache
    d_query, d_key, d_value = map(empty_heads, (query, key, value))
    batched_product(dropout_backward(probs, scale).swapaxes(-1, -2), d_context, d_value)
    d_scores = new(probs)
    batched_product(d_context, value.swapaxes(-1, -2), d_scores)
    by_row("softmax_backward", d_scores, probs, f32(1 / math.sqrt(query.shape[-1])),
           *(scale or NOTHING_DROPPED))
    batched_product(d_scores, key, d_query)
    batched_product(d_scores.swapaxes(-1, -2), query, d_key)
    return d_query, d_key, d_value


def empty_heads(x: Array) -> Array:
    """An array like x [B, N, T, D], laid out as [B, T, N, D] so that merging the heads is free."""
    batch, heads, tokens, size = x.shape
    return new(x, batch, tokens, heads, size).swapaxes(1, 2)


# --- loss, embeddings, optimizer


def cross_entropy(logits: Array, labels: Array, class_weights: Array | None = None,
                  ) -> tuple[Array, F.CrossEntropyCache]:
    targets, weights = F.label_weights(logits, labels, class_weights)
    probs, log_probs = new(logits), new(logits, len(logits))
    by_row("cross_entropy", plain(logits), plain(targets, i64), probs, log_probs)
    return -(weights * log_probs).sum(), F.CrossEntropyCache(probs, targets, weights)


def scatter_add(table: Array, ids: Array, rows: Array) -> None:
    """table[ids[i]] += rows[i], rows of the same id in their order: `Backend.scatter_add`."""
    if len(ids) == 0:
        return
    order = array_module(ids).argsort(ids)          # CuPy's is stable
    rows, sorted_ids, sums = plain(rows), plain(ids[order], i64), new(rows)
    grid, threads = (len(ids),), min(-(-rows.shape[1] // 32) * 32, BLOCK)
    sizes = i32(len(ids)), i32(rows.shape[1]), i32(PIECE)
    launch("sum_runs", grid, threads, rows, plain(order, i64), sorted_ids, sums, *sizes)
    launch("add_runs", grid, threads, sums, sorted_ids, table, *sizes)


def adam_step(grad: Array, m: Array, v: Array, beta1: float, beta2: float, eps: float,
              correction1: float, correction2: float) -> Array:
    if not (m.flags.c_contiguous and v.flags.c_contiguous):
        return textbook_adam_step(grad, m, v, beta1, beta2, eps, correction1, correction2)
    update = new(grad)
    by_element("adam_step", plain(grad), m, v, update,
               *map(f32, (beta1, 1 - beta1, beta2, 1 - beta2, eps, correction1, correction2)))
    return update
