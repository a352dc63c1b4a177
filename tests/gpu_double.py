"""CuPy's double that runs the kernels: tinyalbert/fast/gpu.py and gpu.cu on a computer without GPU.

`KernelBackend` is the package's own CupyBackend on another module than CuPy. Its arrays are those
of strict_array.py and lie in the host's memory. `RawKernel` compiles the same source with g++
(cuda_on_cpu.h) and checks what CuPy and CUDA do not: that every argument has the type that the
kernel declares, that nothing is written beside the arrays, and that the order in which the threads
of a block run does not matter. `cublas` reads matrices by address, column by column, as cuBLAS
does. New arrays are full of NaN, so that nothing counts on zeros. Left out: time.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from strict_array import StrictArray, StrictModule, _device

from tinyalbert.backend import Backend, CupyBackend, get_backend
from tinyalbert.errors import InputError

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
TYPES = {"float": (np.float32, ctypes.c_float), "int": (np.int32, ctypes.c_int),
         "Index": (np.int64, ctypes.c_longlong), "Bits": (np.uint64, ctypes.c_ulonglong),
         "unsigned short": (np.uint16, ctypes.c_ushort)}
GUARD = 64          # elements before and behind an array that no kernel may touch


class KernelArray(StrictArray):
    """With what CuPy's arrays tell of their memory. A number may be read, which waits for the
    device; `waits` counts how often."""

    __slots__ = ()
    waits = 0
    argmax = _device(np.ndarray.argmax)
    strides = property(lambda self: self._host.strides)
    itemsize = property(lambda self: self._host.itemsize)
    flags = property(lambda self: self._host.flags)
    data = property(lambda self: SimpleNamespace(ptr=self._host.ctypes.data))

    def __float__(self) -> float:
        KernelArray.waits += 1
        return float(self._host)


# --- kernels --------------------------------------------------------------------------------------


def signatures(source: str) -> dict[str, list[tuple[str, bool, bool]]]:
    """Of each kernel its parameters: the type, whether it is a pointer, whether it is constant."""
    found = {}
    for name, parameters in re.findall(r"^KERNEL (\w+)\(([^)]*)\)", source, re.MULTILINE):
        found[name] = [(re.sub(r"^const | ?\*?\w+$", "", p.strip()), "*" in p, "const " in p)
                       for p in " ".join(parameters.split()).split(",")]
    return found


@functools.cache
def compiled(source: str) -> ctypes.CDLL:
    """The kernels as functions `launch_<name>(grid, threads, order, ...)`."""
    code = [f'#include "{HEADER}"', source]
    for name, parameters in signatures(source).items():
        declared = ", ".join(f"{kind} {'*' * pointer}a{i}"
                             for i, (kind, pointer, _) in enumerate(parameters))
        passed = ", ".join(f"a{i}" for i in range(len(parameters)))
        code.append(f'extern "C" bool launch_{name}(const unsigned *grid, unsigned threads, '
                    f"int order, {declared}) {{ return launch(grid, threads, order, "
                    f"[=] {{ {name}({passed}); }}); }}")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        subprocess.run([compiler(), "-x", "c++", "-std=c++17", "-O1", "-shared", "-fPIC", "-o",
                        str(library), "-"], input="\n".join(code), text=True, check=True)
        return ctypes.CDLL(str(library))


def compiler() -> str:
    """g++, or the test is skipped."""
    found = shutil.which("g++")
    if sys.platform != "linux" or not found:
        pytest.skip("running the GPU's kernels without a GPU needs Linux and g++")
    return found


class RawKernel:
    """What CuPy calls so. A launch is run once for each of the orders of threads, and checked."""

    orders = range(3)

    def __init__(self, source: str, name: str) -> None:
        self.name, self.parameters = name, signatures(source)[name]
        self.run = getattr(compiled(source), f"launch_{name}")
        self.run.restype = ctypes.c_bool

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...],
                 ) -> None:
        assert len(args) == len(self.parameters), f"{self.name}: {len(args)} arguments"
        assert 0 < block[0] <= 1024 and block[0] % 32 == 0
        assert all(0 < blocks < limit for blocks, limit in zip(grid, (2**31, 2**16), strict=False))
        results = [self.launch(order, grid, block, args) for order in self.orders]
        for address, written in results[0].items():
            for other in results[1:]:
                assert np.array_equal(written, other[address], equal_nan=written.dtype.kind == "f"
                                      ), f"{self.name}: the order of the threads matters"
        hosts = {a.data.ptr: a._host for a in args if isinstance(a, KernelArray)}
        for address, written in results[0].items():
            hosts[address][...] = written.reshape(hosts[address].shape)

    def launch(self, order: int, grid: tuple[int, ...], block: tuple[int, ...],
               args: tuple[Any, ...]) -> dict[int, np.ndarray]:
        """On copies of the arrays between guards; those that were written to, by address."""
        copies: dict[int, np.ndarray] = {}
        given: list[Any] = []
        written = set()
        for i, (arg, (kind, pointer, constant)) in enumerate(
                zip(args, self.parameters, strict=True)):
            dtype, c_type = TYPES[kind]
            what = f"{self.name}: argument {i} is {arg!r}, not {kind}{' *' * pointer}"
            if not pointer:
                assert type(arg) is dtype, what
                given.append(c_type(arg.item()))
            elif isinstance(arg, KernelArray):
                assert arg.dtype == dtype, what
                copy = copies.setdefault(arg.data.ptr, guarded(arg._host))
                given.append(ctypes.c_void_p(copy[GUARD:].ctypes.data))
                if not constant:
                    written.add(arg.data.ptr)
            else:
                assert type(arg) is np.int64 and arg == 0, what
                given.append(ctypes.c_void_p(None))
        shape = (ctypes.c_uint * 2)(*grid, *([1] * (2 - len(grid))))
        assert self.run(shape, ctypes.c_uint(block[0]), order, *given), \
            f"{self.name}: threads wait at different places"
        for copy in copies.values():
            for guard in copy[:GUARD], copy[-GUARD:]:
                assert np.array_equal(guard, poison(GUARD, copy.dtype),
                                      equal_nan=copy.dtype.kind == "f"), \
                    f"{self.name}: writes beside an array"
        return {address: copies[address][GUARD:-GUARD] for address in written}


def guarded(host: np.ndarray) -> np.ndarray:
    assert host.flags.c_contiguous
    guard = poison(GUARD, host.dtype)
    return np.concatenate([guard, host.reshape(-1), guard])


def poison(shape: Any, dtype: Any) -> np.ndarray:
    """Values that spoil every result they get into: NaN, also for the bits of a bfloat16."""
    dtype = np.dtype(dtype)
    return np.full(shape, np.nan if dtype.kind == "f" else 0x7fff, dtype)


# --- cuBLAS ---------------------------------------------------------------------------------------


class Cublas:
    """The two functions that gpu_products.py calls, from the description of cuBLAS. `calls` holds
    (type of the inputs, compute type) of each."""

    CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32, CUBLAS_GEMM_DEFAULT = 68, 77, -1

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def gemmEx(self, handle: int, op_a: int, op_b: int, m: int, n: int, k: int,     # noqa: N802
               alpha: int, a: int, a_type: int, lda: int, b: int, b_type: int, ldb: int,
               beta: int, c: int, c_type: int, ldc: int, compute: int, algorithm: int) -> None:
        self.gemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, a_type, lda, 0,
                                  b, b_type, ldb, 0, beta, c, c_type, ldc, 0, 1, compute, algorithm)

    def gemmStridedBatchedEx(                                                       # noqa: N802
            self, handle: int, op_a: int, op_b: int, m: int, n: int, k: int, alpha: int,
            a: int, a_type: int, lda: int, step_a: int, b: int, b_type: int, ldb: int, step_b: int,
            beta: int, c: int, c_type: int, ldc: int, step_c: int, count: int, compute: int,
            algorithm: int) -> None:
        """C = op(A) op(B), [m, k] [k, n], for `count` matrices; op is the transposition or not."""
        assert min(m, n, k, count) > 0 and algorithm == self.CUBLAS_GEMM_DEFAULT
        assert number(alpha) == 1 and number(beta) == 0 and c_type == Runtime.CUDA_R_32F
        self.calls.append((a_type, compute))
        left, right = (
            operand.swapaxes(1, 2) if op else operand for op, operand in (
                (op_a, matrices(a, a_type, count, *((k, m) if op_a else (m, k)), lda, step_a)),
                (op_b, matrices(b, b_type, count, *((n, k) if op_b else (k, n)), ldb, step_b))))
        if compute == self.CUBLAS_COMPUTE_32F_FAST_TF32:
            left, right = rounded(left, 13), rounded(right, 13)
        result = matrices(c, c_type, count, m, n, ldc, step_c)
        result[...] = left.astype(float) @ right.astype(float)


def number(address: int) -> float:
    return ctypes.c_float.from_address(address).value


def matrices(address: int, kind: int, count: int, rows: int, columns: int, step: int,
             next_one: int) -> np.ndarray:
    """[count, rows, columns] at this address, each column in one piece."""
    assert step >= rows, "the columns of a matrix overlap"
    size, c_type = {Runtime.CUDA_R_32F: (4, ctypes.c_float),
                    Runtime.CUDA_R_16BF: (2, ctypes.c_ushort)}[kind]
    length = (count - 1) * next_one + (columns - 1) * step + rows
    flat = np.ctypeslib.as_array((c_type * length).from_address(address))
    stored = np.lib.stride_tricks.as_strided(
        flat, (count, rows, columns), (next_one * size, size, step * size))
    return stored if size == 4 else (stored.astype(np.uint32) << 16).view(np.float32)


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """float32 without its last bits, rounded to the nearest."""
    whole = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64) + (1 << (bits - 1))
    return ((whole >> bits) << bits).astype(np.uint32).view(np.float32)


# --- the module and the backend -------------------------------------------------------------------


class Runtime:
    CUDA_R_32F, CUDA_R_16BF = 0, 14


class KernelModule(StrictModule):
    """Where `cupy` would be."""

    array_type = KernelArray
    RawKernel = RawKernel

    def __init__(self, capability: str = "90") -> None:
        self.cuda = SimpleNamespace(
            cublas=Cublas(), runtime=Runtime, get_cublas_handle=lambda: 1,
            Device=lambda: SimpleNamespace(compute_capability=capability),
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None))

    def asarray(self, x: Any, dtype: Any = None) -> KernelArray:
        if isinstance(x, KernelArray):
            return x if dtype is None else x.astype(dtype)
        return KernelArray(np.array(x, dtype=dtype))

    def asnumpy(self, x: KernelArray) -> np.ndarray:
        return x.get()

    def empty(self, shape: Any, dtype: Any) -> KernelArray:
        return KernelArray(poison(shape, dtype))

    def ascontiguousarray(self, x: KernelArray, dtype: Any = None) -> KernelArray:
        return KernelArray(np.ascontiguousarray(x._host, dtype))

    def broadcast_to(self, x: KernelArray, shape: tuple[int, ...]) -> KernelArray:
        return KernelArray(np.broadcast_to(x._host, shape))

    def argsort(self, x: KernelArray) -> KernelArray:
        return KernelArray(np.argsort(x._host, kind="stable"))

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(used_bytes=lambda: 2, total_bytes=lambda: 3)


class KernelBackend(CupyBackend):
    """CupyBackend as it is, but for the two modules."""

    array_type = KernelArray

    def __init__(self, capability: str = "90") -> None:
        self.xp, self._cupyx = KernelModule(capability), SimpleNamespace(
            allow_synchronize=lambda allowed: nullcontext(),        # `waits` counts instead
            scatter_add=lambda table, ids, rows: np.add.at(table._host, ids._host, rows._host),
            scipy=SimpleNamespace(special=SimpleNamespace(erf=self._erf)))

    def _erf(self, x: KernelArray) -> KernelArray:
        from scipy.special import erf
        return KernelArray(erf(x._host))


def open_backend(name: str) -> Backend:
    """"double", or "cupy" itself; the test is skipped where it cannot be had."""
    if name == "double":
        compiler()
        return get_backend(KernelBackend())
    try:
        return get_backend("cupy")
    except InputError as error:
        pytest.skip(str(error))
