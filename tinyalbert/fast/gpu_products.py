"""Matrix products on the GPU, in the precision that the backend is set to.

    float32     as it says
    tf32        inputs rounded to 10 bits, in the tensor cores; sums in float32
    bfloat16    inputs rounded to 7 bits; batched products in tf32

Results are float32 in each. CuPy's own `@` copies transposed operands of batched products, knows no
TF32 there, and no bfloat16 with float32 results; this file therefore speaks to cuBLAS itself.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array, array_module, backend_of
from .gpu_kernels import by_element, f32, new, plain

ONE, ZERO = np.ones((), f32), np.zeros((), f32)


def product(a: Array, b: Array) -> Array:
    """a b, [M, K] [K, P] -> [M, P]. Both are `operand`s; either may be a transposed view."""
    y = new(a, a.shape[0], b.shape[1])
    if a.size and b.size:
        gemm(a, b, y)
    else:
        y[...] = 0
    return y


def operand(x: Array) -> Array:
    """[R, C] for a product: x itself or, under bfloat16, the bits of x rounded to that."""
    if backend_of(x).precision != "bfloat16":
        return x
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        return operand(x.T).T
    bits = new(x, *x.shape, dtype=np.uint16)
    by_element("to_bfloat16", plain(x), bits)
    return bits


def batched_product(a: Array, b: Array, y: Array) -> None:
    """y = a b for each of B x N matrices: a [B, N, M, K], b [B, N, K, P], y [B, N, M, P], any of
    them a view, as of split heads. cuBLAS steps through the longer of the two axes, we through the
    other."""
    if a.shape[0] < a.shape[1]:
        a, b, y = (x.swapaxes(0, 1) for x in (a, b, y))
    for i in range(a.shape[1]):
        if y.size:
            gemm(a[:, i], b[:, i], y[:, i])


def gemm(a: Array, b: Array, y: Array) -> None:
    """y = a b, [M, K] [K, P] or with one more axis in front, as one call of cuBLAS. It reads
    matrices column by column: to it ours are transposed, and it is asked for yᵀ = bᵀ aᵀ."""
    cuda = array_module(y).cuda
    cublas, real = cuda.cublas, cuda.runtime.CUDA_R_32F
    kind = real if a.dtype == f32 else cuda.runtime.CUDA_R_16BF
    exact = backend_of(y).precision == "float32" or kind != real
    compute = cublas.CUBLAS_COMPUTE_32F if exact else cublas.CUBLAS_COMPUTE_32F_FAST_TF32
    (a, turn_a, step_a), (b, turn_b, step_b), (_, _, step_y) = map(laid_out, (a, b, y))
    sizes = y.shape[-1], y.shape[-2], a.shape[-1]
    handle, algorithm = cuda.get_cublas_handle(), cublas.CUBLAS_GEMM_DEFAULT
    if y.ndim == 2:
        cublas.gemmEx(handle, turn_b, turn_a, *sizes, ONE.ctypes.data,
                      b.data.ptr, kind, step_b, a.data.ptr, kind, step_a, ZERO.ctypes.data,
                      y.data.ptr, real, step_y, compute, algorithm)
    else:
        next_a, next_b, next_y = (x.strides[0] // x.itemsize for x in (a, b, y))
        cublas.gemmStridedBatchedEx(
            handle, turn_b, turn_a, *sizes, ONE.ctypes.data,
            b.data.ptr, kind, step_b, next_b, a.data.ptr, kind, step_a, next_a, ZERO.ctypes.data,
            y.data.ptr, real, step_y, next_y, len(y), compute, algorithm)


def laid_out(x: Array) -> tuple[Array, int, int]:
    """x [..., R, C]; 1 if its columns lie in one piece and not its rows, else 0; and the step from
    one of them to the next. A copy of x if neither do."""
    rows, columns = x.shape[-2:]
    row, column = (stride // x.itemsize for stride in x.strides[-2:])
    if column == 1 and (row >= columns or rows == 1):
        return x, 0, max(row, columns)
    if row == 1 and (column >= rows or columns == 1):
        return x, 1, max(column, rows)
    return plain(x), 0, columns
