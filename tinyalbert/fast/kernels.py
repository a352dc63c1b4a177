"""A block in one pass: the functions of `blocks.py` as loops that Numba compiles, for float32.

NumPy walks through a block once for every operation in a chain. A loop that does the whole chain
for one number after the other is what a textbook would write, and, compiled, what a computer likes
best: it reads and writes memory once. Numba is optional (`pip install 'tinyalbert[compiled]'`);
what it compiles is kept in a cache, so only the first use waits.

All arrays are contiguous, and [rows, columns] but for softmax's bias, [b, 1 or Q, T], and Adam's,
[numbers] (blocks.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import config, njit

from .blocks import NORMAL_CDF, C

if getattr(config, "DISABLE_JIT", False):
    raise ImportError("NUMBA_DISABLE_JIT is set, and as Python these loops would take forever")

# Division as in NumPy: by 0 it is no error, which would have to be looked for. `summing` lets the
# compiler add up many numbers at once; `exp` without it, where it would undo the rounding.
compiled: Any = njit(nogil=True, cache=True, error_model="numpy")
contracting: Any = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
summing: Any = njit(cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})

f32, i32 = np.float32, np.int32
ONE, TWO, HALF = f32(1), f32(2), f32(0.5)
LOG2_E, LN2_HIGH, LN2_LOW = f32(1.44269504), f32(0.693359375), f32(-2.12194440e-4)
TO_WHOLE = f32(1.5 * 2**23)         # added to a float32, it leaves no room for a fraction
LOWEST, HIGHEST = f32(-87), f32(88)
E2, E3, E4, E5, E6, E7 = (f32(x) for x in (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2,
                                           8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4))
P0, P1, P2, P3, P4, P5, P6 = (f32(p) for p in NORMAL_CDF)
U1, U3, DU3 = f32(C), f32(C * 0.044715), f32(3 * C * 0.044715)
DENSITY = f32(1 / np.sqrt(2 * np.pi))


@contracting
def exp(x: Any) -> Any:
    """2^n exp(r) with |r| <= ln(2)/2 and exp(r) a polynomial (Cephes): right to 1e-7, 0 below
    exp(-87), never infinite."""
    inside = LOWEST if x < LOWEST else x
    inside = HIGHEST if x > HIGHEST else inside
    n = (inside * LOG2_E + TO_WHOLE) - TO_WHOLE
    r = inside - n * LN2_HIGH - n * LN2_LOW
    p = (((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2) * r * r + r + ONE
    power = i32((i32(n) + i32(127)) << i32(23)).view(np.float32)
    return f32(0) if x < LOWEST else p * power


@contracting
def gelu(x: Any, y: Any, cdf: Any) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[i, j]
            s = min(v * v, f32(100))
            u = v * ((((((P6 * s + P5) * s + P4) * s + P3) * s + P2) * s + P1) * s + P0)
            cdf[i, j] = ONE / (ONE + exp(-TWO * u))         # (1 + tanh u)/2
            y[i, j] = v * cdf[i, j]


@contracting
def gelu_backward(dy: Any, x: Any, cdf: Any, dx: Any) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[i, j]
            dx[i, j] = dy[i, j] * (cdf[i, j] + v * DENSITY * exp(-HALF * v * v))


@contracting
def gelu_new(x: Any, y: Any, cdf: Any) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v = x[i, j]
            u = v * (U1 + U3 * v * v)
            cdf[i, j] = ONE / (ONE + exp(-TWO * u))
            y[i, j] = v * cdf[i, j]


@contracting
def gelu_new_backward(dy: Any, x: Any, cdf: Any, dx: Any) -> None:
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            v, p = x[i, j], cdf[i, j]
            dx[i, j] = dy[i, j] * p * (ONE + TWO * v * (ONE - p) * (U1 + DU3 * v * v))


@summing
def total(x: Any) -> Any:
    result = f32(0)
    for j in range(x.shape[0]):
        result += x[j]
    return result


@summing
def squares(x: Any, mean: Any) -> Any:
    result = f32(0)
    for j in range(x.shape[0]):
        result += (x[j] - mean) * (x[j] - mean)
    return result


@summing
def dot(x: Any, y: Any) -> Any:
    result = f32(0)
    for j in range(x.shape[0]):
        result += x[j] * y[j]
    return result


@compiled
def layer_norm(x: Any, weight: Any, bias: Any, eps: Any, x_hat: Any, inv_std: Any,
               y: Any) -> None:
    columns = f32(x.shape[1])
    for i in range(x.shape[0]):
        mean = total(x[i]) / columns
        inv_std[i, 0] = ONE / np.sqrt(squares(x[i], mean) / columns + eps)
        for j in range(x.shape[1]):
            x_hat[i, j] = (x[i, j] - mean) * inv_std[i, 0]
            y[i, j] = weight[j] * x_hat[i, j] + bias[j]


@compiled
def layer_norm_backward(dy: Any, x_hat: Any, inv_std: Any, weight: Any, dx: Any,
                        product: Any) -> None:
    columns = f32(dy.shape[1])
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            dx[i, j] = dy[i, j] * weight[j]                 # g
            product[i, j] = dy[i, j] * x_hat[i, j]          # for dγ
        mean_g, mean_gx = total(dx[i]) / columns, dot(dx[i], x_hat[i]) / columns
        for j in range(dy.shape[1]):
            dx[i, j] = (dx[i, j] - mean_g - x_hat[i, j] * mean_gx) * inv_std[i, 0]


@compiled
def maximum(x: Any) -> Any:
    """float32s are ordered as their bits are, read as whole numbers, if a negative one's are turned
    over; and of whole numbers the compiler compares many at once."""
    result = i32(-2**31)
    for j in range(x.shape[0]):
        result = max(result, in_order(f32(x[j]).view(np.int32)))
    return i32(in_order(result)).view(np.float32)


@compiled
def in_order(bits: Any) -> Any:
    """Its own inverse."""
    return i32(bits ^ ((bits >> i32(31)) & i32(0x7fffffff)))


@compiled
def softmax(scores: Any, factor: Any, bias: Any) -> None:
    rows = scores.shape[0] // bias.shape[0]                 # of each sequence: heads x queries
    for i in range(scores.shape[0]):
        allowed = bias[i // rows, i % bias.shape[1]]
        for j in range(scores.shape[1]):
            scores[i, j] = scores[i, j] * factor + allowed[j]
        largest = maximum(scores[i])
        for j in range(scores.shape[1]):
            scores[i, j] = exp(scores[i, j] - largest)
        share = ONE / total(scores[i])
        for j in range(scores.shape[1]):
            scores[i, j] *= share


@compiled
def softmax_backward(d_scores: Any, probs: Any, factor: Any) -> None:
    for i in range(d_scores.shape[0]):
        mean = dot(d_scores[i], probs[i])
        for j in range(d_scores.shape[1]):
            d_scores[i, j] = (d_scores[i, j] - mean) * probs[i, j] * factor


@compiled
def adam(grad: Any, m: Any, v: Any, beta1: Any, rest1: Any, beta2: Any, rest2: Any, eps: Any,
         correction1: Any, correction2: Any, update: Any) -> None:
    for i in range(grad.shape[0]):
        g = grad[i]
        m[i] = beta1 * m[i] + rest1 * g
        v[i] = beta2 * v[i] + rest2 * g * g
        update[i] = m[i] / correction1 / (np.sqrt(v[i] / correction2) + eps)
