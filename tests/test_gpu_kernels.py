"""Every kernel for the GPU against its textbook twin: in CuPy where there is a GPU, and everywhere
in a double of CuPy that runs the same source on the CPU (gpu_double.py). The oracle is the textbook
in float64. And whether NVIDIA's compilers accept the source."""

from __future__ import annotations

import ctypes
import glob
import inspect
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_double import KernelArray, KernelBackend, RawKernel, open_backend
from tiny import assert_close

from tinyalbert import functional as F
from tinyalbert import optim
from tinyalbert.backend import Backend
from tinyalbert.errors import InputError
from tinyalbert.fast import gpu, gpu_kernels, textbook
from tinyalbert.fast.gpu_kernels import SOURCE
from tinyalbert.fast.gpu_products import batched_product, operand, product

TWINS = {name: twin for name, twin in vars(gpu).items()
         if hasattr(F, name) and inspect.isfunction(twin) or name == "adam_step"}
# Rows of less than a warp, one, several, many; and more of them than a piece has
SHAPES = [(1, 1), (5, 7), (1, 2, 32), (2, 150, 40), (3, 300), (2, 1100)]


@pytest.fixture(params=["double", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    backend = open_backend(request.param)
    yield backend
    backend.set_precision("float32")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """float64 numbers that float32 has too"""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32).astype(float)


def on_device(backend: Backend, x: Any) -> Any:
    """Arrays of floats as float32 on the device, through tuples; the rest as it is. A view of an
    array that was turned over, or whose heads were split, is such a view there too."""
    if isinstance(x, tuple):
        parts = [on_device(backend, part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    if not isinstance(x, np.ndarray):
        return x
    for turn in (lambda x: x, lambda x: x.T, lambda x: x.swapaxes(1, 2)):
        if turn(x).flags.c_contiguous:
            dtype = np.float32 if x.dtype.kind == "f" else np.int64
            return turn(backend.asarray(turn(x).astype(dtype)))
    raise ValueError("no such view is meant to be tested")


def check(backend: Backend, name: str, *args: Any, tolerance: float = 3e-6) -> None:
    """The twin on the device against the textbook in float64, each part of the result that both
    have, as far as they go: a cache of the twin may hold less."""
    ours, theirs = TWINS[name](*on_device(backend, args)), inspect.unwrap(getattr(F, name))(*args)
    ours, theirs = (result if isinstance(result, tuple) else (result,) for result in (ours, theirs))
    assert len(ours) == len(theirs)
    for i, (got, expected) in enumerate(zip(ours, theirs, strict=True)):
        if not isinstance(expected, tuple):         # then it is a cache
            assert got.dtype == np.float32
            assert_close(backend.to_numpy(got), expected, tolerance, f"{name}[{i}]",
                         max(float(np.abs(expected).max(initial=0)), 1))


def test_every_twin_has_the_arguments_of_its_textbook_function() -> None:
    assert set(TWINS) >= {"linear", "linear_backward", "gelu", "gelu_backward", "gelu_new",
                          "gelu_new_backward", "layer_norm", "layer_norm_backward", "dropout",
                          "dropout_backward", "attention", "attention_backward", "cross_entropy",
                          "adam_step"}
    for name, twin in TWINS.items():
        theirs = getattr(optim if name == "adam_step" else F, name)
        assert [(p.name, p.default) for p in inspect.signature(twin).parameters.values()] == \
            [(p.name, p.default) for p in inspect.signature(theirs).parameters.values()], name


# --- twin by twin ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["gelu", "gelu_new"])
def test_gelu(backend: Backend, name: str, shape: tuple[int, ...]) -> None:
    x, dy = 3 * draw(*shape), draw(*shape, seed=1)
    check(backend, name, x)
    cache = TWINS[name](on_device(backend, x))[1]
    dx = TWINS[f"{name}_backward"](on_device(backend, dy), cache)
    expected = inspect.unwrap(getattr(F, f"{name}_backward"))(
        dy, inspect.unwrap(getattr(F, name))(x)[1])
    assert_close(backend.to_numpy(dx), expected, 2e-6)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_layer_norm(backend: Backend, shape: tuple[int, ...]) -> None:
    x, weight, bias, dy = (draw(*shape) + 0.5, draw(shape[-1], seed=1), draw(shape[-1], seed=2),
                           draw(*shape, seed=3))
    check(backend, "layer_norm", x, weight, bias, 1e-12)
    cache = inspect.unwrap(F.layer_norm)(x, weight, bias, 1e-12)[1]
    check(backend, "layer_norm_backward", dy, cache, tolerance=1e-5)
    _, ours = gpu.layer_norm(*on_device(backend, (x, weight, bias)), 1e-12)
    for got, expected in zip(ours, cache, strict=True):
        assert_close(backend.to_numpy(got), expected, 3e-6)


def test_the_norm_of_a_sum(backend: Backend) -> None:
    x, residual, weight, bias = draw(2, 3, 300), draw(2, 3, 300, seed=1), draw(300), draw(300)
    y, cache = gpu.add_norm(*on_device(backend, (x, residual, weight, bias)), 1e-12)
    expected, theirs = inspect.unwrap(F.layer_norm)(x + residual, weight, bias, 1e-12)
    assert_close(backend.to_numpy(y), expected, 2e-6)
    assert_close(backend.to_numpy(cache.x_hat), theirs.x_hat, 2e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_linear(backend: Backend, shape: tuple[int, ...], tied: bool) -> None:
    width = shape[-1]
    x, dy, bias = draw(*shape), draw(*shape[:-1], 9, seed=2), draw(9, seed=3)
    weight = draw(9, width, seed=1).T if tied else draw(width, 9, seed=1)
    check(backend, "linear", x, weight, bias)
    check(backend, "linear_backward", dy, x, weight, tolerance=1e-5)
    if tied:                                # the gradient is laid out as the table is
        assert gpu.linear_backward(*on_device(backend, (dy, x, weight)))[1].flags.f_contiguous


@pytest.mark.parametrize("batch, heads, queries, tokens, size", [
    (1, 1, 1, 1, 1), (3, 2, 5, 5, 4), (1, 3, 2, 40, 8), (2, 4, 3, 300, 2)])
@pytest.mark.parametrize("own_bias", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_attention(backend: Backend, batch: int, heads: int, queries: int, tokens: int, size: int,
                   own_bias: bool, split: bool) -> None:
    def drawn(length: int, seed: int) -> np.ndarray:        # split: a view, as of split heads
        return (draw(batch, length, heads, size, seed=seed).swapaxes(1, 2) if split
                else draw(batch, heads, length, size, seed=seed))
    rng = np.random.default_rng(0)
    looked_at = rng.random((batch, 1, queries if own_bias else 1, tokens)) < 0.7
    bias = np.where(looked_at, 0.0, -10000.0)
    query, key, value = drawn(queries, 1), drawn(tokens, 2), drawn(tokens, 3)
    check(backend, "attention", query, key, value, bias, 0.0, None)
    cache = inspect.unwrap(F.attention)(query, key, value, bias, 0.0, None)[1]
    check(backend, "attention_backward", drawn(queries, 4), cache)
    _, ours = gpu.attention(*on_device(backend, (query, key, value, bias)), 0.1, None)
    assert_close(backend.to_numpy(ours.probs), cache.probs, 2e-6)


def test_dropout_is_the_textbooks(backend: Backend) -> None:
    """With the same generator: the kernels compute again what `Backend.uniform` gives."""
    x, dy = on_device(backend, (draw(3, 70), draw(3, 70, seed=1)))
    y, cache = gpu.dropout(x, 0.3, np.random.default_rng(5))
    dx = gpu.dropout_backward(dy, cache)
    with textbook():
        expected, scale = F.dropout(x, 0.3, np.random.default_rng(5))
        d_expected = F.dropout_backward(dy, scale)
    for ours, theirs in ((y, expected), (dx, d_expected)):
        np.testing.assert_array_equal(backend.to_numpy(ours), backend.to_numpy(theirs))
    assert 20 < (backend.to_numpy(y) == 0).sum() < 110     # of 210: 63 expected
    assert gpu.dropout(x, 0.0, np.random.default_rng(5)) == (x, None)
    assert gpu.dropout(x, 0.3, None) == (x, None)


def test_dropout_of_the_probabilities_is_the_textbooks(backend: Backend) -> None:
    query, key, value, d_context = (on_device(backend, draw(2, 3, 40, 4, seed=i)) for i in range(4))
    given = query, key, value, backend.asarray(np.zeros((2, 1, 1, 40), np.float32)), 0.3
    context, cache = gpu.attention(*given, np.random.default_rng(5))
    gradients = gpu.attention_backward(d_context, cache)
    with textbook():
        expected, theirs = F.attention(*given, np.random.default_rng(5))
        d_expected = F.attention_backward(d_context, theirs)
    plain = gpu.attention(*given, None)[0]
    assert np.abs(backend.to_numpy(context) - backend.to_numpy(plain)).max() > 0.1
    for ours, other in zip((context, *gradients), (expected, *d_expected), strict=True):
        assert_close(backend.to_numpy(ours), backend.to_numpy(other), 3e-6)


@pytest.mark.parametrize("rows", [0, 1, 6])
@pytest.mark.parametrize("classes", [2, 40, 1100])
def test_cross_entropy(backend: Backend, rows: int, classes: int) -> None:
    logits, labels = 5 * draw(rows, classes), np.random.default_rng(0).integers(0, classes, rows)
    labels[1::3] = F.IGNORED
    class_weights = np.abs(draw(classes, seed=1))
    for given in ((logits, labels), (logits, labels, class_weights)):
        check(backend, "cross_entropy", *given)
        ours = F.cross_entropy_backward(1.0, gpu.cross_entropy(*on_device(backend, given))[1])
        theirs = F.cross_entropy_backward(1.0, inspect.unwrap(F.cross_entropy)(*given)[1])
        assert_close(backend.to_numpy(ours), theirs, 3e-6)


@pytest.mark.parametrize("columns", [1, 40, 300])
@pytest.mark.parametrize("ids", [
    [], [3], [4, 3, 2, 1, 0], [3, 1, 3, 0, 3, 1], [2] * 300, [4] * 127 + [0, 4, 0] * 90], ids=len)
def test_scatter_add(backend: Backend, ids: list[int], columns: int) -> None:
    start, rows = draw(5, columns), draw(len(ids), columns, seed=1)
    expected = start.copy()
    np.add.at(expected, np.array(ids, int), rows)
    table = on_device(backend, start)
    backend.scatter_add(table, backend.asarray(np.array(ids, np.int64)), on_device(backend, rows))
    assert_close(backend.to_numpy(table), expected, 2e-6)


@pytest.mark.parametrize("shape", [(1,), (7, 40), (300,)], ids=str)
def test_adam_step(backend: Backend, shape: tuple[int, ...]) -> None:
    grad, m, v = draw(*shape), draw(*shape, seed=1), np.abs(draw(*shape, seed=2))
    settings = 0.9, 0.999, 1e-6, 0.3, 0.2
    ours = on_device(backend, (grad, m, v))
    update = gpu.adam_step(*ours, *settings)
    expected = inspect.unwrap(optim.adam_step)(grad, m, v, *settings)
    for got, theirs in zip((update, *ours[1:]), (expected, m, v), strict=True):
        assert_close(backend.to_numpy(got), theirs, 1e-6)


def test_moments_that_stand_column_by_column(backend: Backend) -> None:
    """As of weights that were read transposed: a kernel would take them for rows."""
    grad, m, v = draw(3, 4), np.asfortranarray(draw(3, 4, seed=1)), np.abs(draw(3, 4, seed=2))
    ours = on_device(backend, (grad, m, v))
    update = gpu.adam_step(*ours, 0.9, 0.999, 1e-6, 1.0, 1.0)
    expected = inspect.unwrap(optim.adam_step)(grad, m, v, 0.9, 0.999, 1e-6, 1.0, 1.0)
    assert_close(backend.to_numpy(update), expected, 1e-6)
    assert_close(backend.to_numpy(ours[1]), m, 1e-6)


# --- numbers --------------------------------------------------------------------------------------


def test_the_random_numbers_are_splitmix64(backend: Backend) -> None:
    """The first five of seed 1234567, as Rosetta Code lists them, and their 24 leading bits."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423,
                 4593380528125082431, 16408922859458223821]
    out = backend.xp.empty((5,), np.float32)
    gpu_kernels.by_element("uniform", out, np.uint64(1234567))
    assert backend.to_numpy(out).tolist() == [(number >> 40) / 2**24 for number in published]


def test_bfloat16_is_the_nearest_of_its_kind(backend: Backend) -> None:
    backend.set_precision("bfloat16")
    x = np.concatenate([draw(500) * 10.0 ** draw(500, seed=1), [0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8,
                        -(1 + 2**-8), 3.4e38, 1e-42]]).astype(np.float32)
    bits = backend.to_numpy(operand(backend.asarray(x[:, None])))[:, 0].astype(np.uint32)
    below = x.view(np.uint32) >> 16                                 # towards zero
    candidates = np.stack([below, below + 1]) << 16
    with np.errstate(over="ignore"):
        distance = np.abs(candidates.view(np.float32).astype(float) - x)
    distance[~np.isfinite(distance)] = np.abs(x).max() / 2**9       # the next would be infinity
    even = (candidates[0] >> 16) % 2 == 0
    nearest = np.where(distance[0] == distance[1], np.where(even, below, below + 1),
                       np.where(distance[0] < distance[1], below, below + 1))
    np.testing.assert_array_equal(bits, nearest)
    special = np.array([[np.inf, -np.inf, np.nan, -0.0]], np.float32)
    special = np.concatenate([special, np.array([[0x7fffffff] * 4], np.uint32).view(np.float32)])
    values = (backend.to_numpy(operand(backend.asarray(special))).astype(np.uint32) << 16)
    np.testing.assert_array_equal(values.view(np.float32), special)


ERRORS = {"float32": (0, 1e-6), "tf32": (1e-5, 1e-3), "bfloat16": (1e-4, 8e-3)}     # at least, most


@pytest.mark.parametrize("precision", ERRORS)
@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_products(backend: Backend, precision: Any, turn_a: bool, turn_b: bool) -> None:
    """Both layouts of both factors. The errors are those of the roundings, no more and no less."""
    backend.set_precision(precision)
    a, b = draw(256, 128).T if turn_a else draw(128, 256), draw(64, 256, seed=1).T
    b = b if turn_b else np.ascontiguousarray(b)
    y = product(*(operand(on_device(backend, x)) for x in (a, b)))
    error = np.abs(backend.to_numpy(y) - a @ b).max() / np.abs(a @ b).max()
    assert ERRORS[precision][0] <= error <= ERRORS[precision][1]


@pytest.mark.parametrize("precision", ERRORS)
@pytest.mark.parametrize("shape", [(5, 2), (2, 5), (1, 1)])
def test_batched_products(backend: Backend, precision: Any, shape: tuple[int, int]) -> None:
    """Of views as attention has them. Under bfloat16 they are in TF32."""
    backend.set_precision(precision)
    batch, heads = shape
    a, b = draw(batch, 40, heads, 16).swapaxes(1, 2), draw(batch, 24, heads, 16).swapaxes(1, 2)
    expected = a @ b.swapaxes(-1, -2)                               # [B, N, 40, 24]
    y = backend.xp.empty((batch, 40, heads, 24), np.float32).swapaxes(1, 2)
    before = cublas_calls(backend)
    batched_product(on_device(backend, a), on_device(backend, b).swapaxes(-1, -2), y)
    assert cublas_calls(backend) - before in (0, min(shape))        # 0: not counted
    error = np.abs(backend.to_numpy(y) - expected).max() / np.abs(expected).max()
    low, high = ERRORS["float32" if precision == "float32" else "tf32"]
    assert error <= high
    if isinstance(backend, KernelBackend):      # cuBLAS may do so small ones in full precision
        assert error >= low


def cublas_calls(backend: Backend) -> int:
    return len(getattr(backend.xp.cuda.cublas, "calls", ()))


def test_a_view_that_no_product_can_read(backend: Backend) -> None:
    """Every other number of every row: it is copied."""
    a, b = draw(6, 10), draw(5, 4, seed=1)
    y = product(on_device(backend, a)[:, ::2], on_device(backend, b))
    assert_close(backend.to_numpy(y), a[:, ::2] @ b, 1e-6)


def test_a_product_of_nothing(backend: Backend) -> None:
    a, b = on_device(backend, (draw(3, 0), draw(0, 4)))
    assert not backend.to_numpy(product(a, b)).any()
    assert product(on_device(backend, draw(0, 3)), on_device(backend, draw(3, 4))).shape == (0, 4)


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("precision, message", [
    ("tf32", "^precision tf32 needs backend cupy; numpy has float32$"),
    ("float16", "^precision must be one of float32, tf32, bfloat16, not 'float16'$")])
def test_a_precision_that_numpy_has_not(precision: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Backend().set_precision(precision)


def test_a_precision_that_an_old_gpu_has_not() -> None:
    old = KernelBackend(capability="75")
    old.set_precision("float32")
    with pytest.raises(InputError, match=r"capability 8.0 or more, this one has 7.5: use float32"):
        old.set_precision("bfloat16")
    assert old.precision == "float32"


BROKEN = {
    "the order of the threads matters": """
KERNEL f(float *x, Index n) {
    __shared__ float s[64];
    s[threadIdx.x] = x[threadIdx.x];
    x[threadIdx.x] = s[63 - threadIdx.x];
}""",
    "writes beside an array": "KERNEL f(float *x, Index n) { x[n] = 1; }",
    "threads wait at different places": """
KERNEL f(float *x, Index n) { if (threadIdx.x < 32) __syncthreads(); }""",
    "argument 1 is 64, not Index": "KERNEL f(float *x, Index n) {}",
}


@pytest.mark.parametrize("message", BROKEN)
def test_the_double_finds_what_a_gpu_would_not_tell(message: str) -> None:
    open_backend("double")
    header = SOURCE[:SOURCE.index("// --- random numbers, dropout")]
    size: Callable[[int], Any] = int if "argument" in message else np.int64
    with pytest.raises(AssertionError, match=message):
        RawKernel(header + BROKEN[message], "f")((1,), (64,), (KernelArray(draw(64).astype("f")),
                                                               size(64)))


def test_a_view_never_reaches_a_kernel() -> None:
    x = open_backend("double").asarray(draw(4, 6).astype("f"))
    with pytest.raises(AssertionError, match="gelu: an array is not plain"):
        gpu_kernels.by_element("gelu", x.T, x)


# --- NVIDIA's compilers ---------------------------------------------------------------------------


def find(name: str, *patterns: str) -> str:
    """A program or library of CUDA's toolkit, or the test is skipped."""
    places = [match for pattern in patterns for match in sorted(glob.glob(pattern))]
    found = shutil.which(name) or (places[-1] if places else None)
    if not found:
        pytest.skip(f"needs {name}, of NVIDIA's CUDA toolkit")
    return found


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvcc_compiles_the_kernels(arch: str, tmp_path: Path) -> None:
    """Without a warning, and with every number in a register."""
    nvcc = find("nvcc", "/usr/local/cuda*/bin/nvcc")
    compiled = subprocess.run(
        [nvcc, "-cubin", f"-arch={arch}", "-std=c++17", "-Werror=all-warnings", "-Xptxas=-v",
         "-o", tmp_path / "gpu.cubin", Path(gpu.__file__).with_name("gpu.cu")],
        capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    report = [line for line in compiled.stderr.splitlines() if "spill" in line]
    assert len(report) == SOURCE.count("\nKERNEL ")
    assert all("0 bytes stack frame, 0 bytes spill stores" in line for line in report)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_the_run_time_compiler_compiles_the_kernels(arch: str) -> None:
    """NVRTC with CuPy's options: what happens on a user's machine."""
    packages = (f"{path}/nvidia/*/lib/libnvrtc.so.*[0-9]" for path in sys.path)
    nvrtc = ctypes.CDLL(find("libnvrtc", "/usr/local/cuda*/lib64/libnvrtc.so", *packages))
    program, options = ctypes.c_void_p(), [b"-std=c++17", b"--device-as-default-execution-space",
                                           b"-arch=" + arch.encode()]
    assert not nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE.encode("ascii"), b"gpu.cu", 0,
                                        None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(options),
                                       (ctypes.c_char_p * len(options))(*options))
    log = ctypes.create_string_buffer(1 << 16)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert not failed, log.value.decode()
