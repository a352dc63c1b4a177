"""One block of rows through a chain of element-wise operations, in place, with NumPy.

`cpu.py` cuts the arrays and hands each core its blocks. A block fits a core's cache, so only the
first operation of a chain waits for memory. The same functions as compiled loops are in kernels.py.

All arrays are [rows, columns] and contiguous, Adam's [numbers]; the last ones are written to.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray
C = math.sqrt(2 / math.pi)

# Φ(x) = (1 + tanh(x p(x²)))/2 to 6e-8, half a unit in the last place of a float32 near 1. The tanh
# form of the GELU is the first two terms of the same idea. Coefficients of p from the lowest:
# a minimax fit on |x| < 6; beyond, x p(x²) only grows, and the tanh is 1. NumPy's tanh is quick and
# SciPy's erf is not.
NORMAL_CDF = (7.97884941e-01, 3.63330846e-02, -3.25949790e-05, -5.53061925e-05, 3.96474424e-06,
              -1.32263329e-07, 1.75617052e-09)


def gelu(x: Array, y: Array, cdf: Array) -> None:
    np.multiply(x, x, out=y)
    np.minimum(y, 100, out=y)                   # x², capped so that no power of it overflows
    np.multiply(y, NORMAL_CDF[-1], out=cdf)
    for coefficient in NORMAL_CDF[-2:0:-1]:
        cdf += coefficient
        cdf *= y
    cdf += NORMAL_CDF[0]
    cdf *= x
    np.tanh(cdf, out=cdf)
    cdf += 1
    cdf *= 0.5
    np.multiply(x, cdf, out=y)


def gelu_backward(dy: Array, x: Array, cdf: Array, dx: Array) -> None:
    np.multiply(x, x, out=dx)
    dx *= -0.5
    np.exp(dx, out=dx)
    dx *= x
    dx *= 1 / math.sqrt(2 * math.pi)
    dx += cdf
    dx *= dy


def gelu_new(x: Array, y: Array, cdf: Array) -> None:
    np.multiply(x, x, out=cdf)
    cdf *= C * 0.044715
    cdf += C
    cdf *= x
    np.tanh(cdf, out=cdf)
    cdf += 1
    cdf *= 0.5
    np.multiply(x, cdf, out=y)


def gelu_new_backward(dy: Array, x: Array, cdf: Array, dx: Array) -> None:
    np.multiply(x, x, out=dx)                   # Φ (1 + 2 x (1 - Φ) u')
    dx *= 6 * C * 0.044715
    dx += 2 * C
    dx *= x                                     # 2 x u'
    dx *= 1 - cdf
    dx += 1
    dx *= cdf
    dx *= dy


def layer_norm(x: Array, weight: Array, bias: Array, eps: float, x_hat: Array, inv_std: Array,
               y: Array) -> None:
    columns = x.shape[-1]
    mean = np.full(columns, 1 / columns, x.dtype)
    np.subtract(x, np.vecdot(x, mean)[:, None], out=x_hat)
    inv_std[:, 0] = 1 / np.sqrt(np.vecdot(x_hat, x_hat) / columns + eps)
    x_hat *= inv_std
    np.multiply(x_hat, weight, out=y)
    y += bias


def layer_norm_backward(dy: Array, x_hat: Array, inv_std: Array, weight: Array, dx: Array,
                        product: Array) -> None:
    columns = dy.shape[-1]
    mean = np.full(columns, 1 / columns, dy.dtype)
    np.multiply(dy, weight, out=dx)
    np.multiply(x_hat, (np.vecdot(dx, x_hat) / columns)[:, None], out=product)
    dx -= np.vecdot(dx, mean)[:, None]
    dx -= product
    dx *= inv_std
    np.multiply(dy, x_hat, out=product)         # for dγ


def softmax(scores: Array, factor: float, bias: Array) -> None:
    """scores [b*N*Q, T] of b sequences -> softmax(factor scores + bias), bias [b, 1, T] for all
    queries of a sequence, or [b, Q, T]."""
    scores *= factor
    by_query = scores.reshape(len(bias), -1, *bias.shape[1:])               # a view
    by_query += bias[:, None]
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)


def softmax_backward(d_scores: Array, probs: Array, factor: float) -> None:
    """d_scores: in, the gradient of the probabilities; out, that of the scores before `factor`."""
    d_scores -= np.vecdot(d_scores, probs)[:, None]
    d_scores *= probs
    d_scores *= factor


def adam(grad: Array, m: Array, v: Array, beta1: float, rest1: float, beta2: float, rest2: float,
         eps: float, correction1: float, correction2: float, update: Array) -> None:
    """rest: 1 - beta, from the exact beta: float32's own would be off in the fifth digit."""
    m *= beta1
    np.multiply(grad, rest1, out=update)
    m += update
    v *= beta2
    np.multiply(grad, grad, out=update)
    update *= rest2
    v += update
    np.divide(v, correction2, out=update)
    np.sqrt(update, out=update)
    update += eps
    np.divide(m, update, out=update)
    update /= correction1
