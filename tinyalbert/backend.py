"""The door to the array library: NumPy on the CPU, CuPy on a GPU.

The backend is chosen once, by name, where the parameters are created. From then on the arrays
decide: a function that begins with `xp = array_module(x)` runs on whatever library `x` belongs to.
This is the only file that imports CuPy, and only when it is asked for. What the two libraries do
differently is a method here; everything else in the package is written once.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from .errors import InputError

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray
Precision = Literal["float32", "tf32", "bfloat16"]      # of matrix products: fast/gpu_products.py


class Memory(NamedTuple):
    """Bytes of the device: in arrays, and held for arrays. Nothing is handed back while a program
    runs, so the second is also the most that was ever needed."""

    used: int
    held: int


class Backend:
    """NumPy; another library overrides what it does differently."""

    name = "numpy"
    xp: Any = np
    array_type: type = np.ndarray
    has_kernels = False         # whether fast/gpu.py serves its float32 arrays
    precision: Precision = "float32"

    def set_precision(self, precision: Precision) -> None:
        """How exactly matrix products read their float32 arrays, here and in all models of this
        backend from now on; everything else stays float32. InputError if it cannot be had here."""
        if precision not in get_args(Precision):
            raise InputError(f"precision must be one of {', '.join(get_args(Precision))}, "
                             f"not {precision!r}")
        if precision != "float32":
            self.check_tensor_cores(precision)
        self.precision = precision

    def check_tensor_cores(self, precision: Precision) -> None:
        raise InputError(f"precision {precision} needs backend cupy; {self.name} has float32")

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """A host array or list, on the device."""
        return np.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> np.ndarray:
        """A device array, on the host."""
        return np.asarray(x)

    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Uniform numbers in [0, 1), float32, on the device. The generator lives on the host, so
        one small state, which can be saved, decides every random number of a run."""
        return rng.random(shape, dtype=np.float32)

    def erf(self, x: Array) -> Array:
        """The error function, in the precision of `x`."""
        from scipy.special import erf
        return erf(x)

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        """`table[ids[i]] += rows[i]` for every i, repeated ids included, always in one order.

        table [V, E], ids [n], rows [n, E]. `np.add.at` does this one row at a time; here the rows
        are sorted by id and each run of equal ids is summed at once.
        """
        if len(ids) == 0:
            return
        order = np.argsort(ids, kind="stable")
        sorted_ids = ids[order]
        starts = np.flatnonzero(np.diff(sorted_ids, prepend=-1))
        table[sorted_ids[starts]] += np.add.reduceat(rows[order], starts, axis=0)

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked to."""

    def memory(self) -> Memory | None:
        """What the device's memory is taken by; None on the CPU, which the system keeps count of.
        """
        return None


class CupyBackend(Backend):
    """CuPy, on the current CUDA device."""

    name = "cupy"
    has_kernels = True

    def __init__(self) -> None:
        try:
            import cupy
            import cupyx.scipy.special
            cupy.cuda.runtime.getDeviceCount()
        except ImportError as error:
            raise InputError(
                "backend 'cupy' needs CuPy: pip install 'tinyalbert[cuda12]' or "
                f"'tinyalbert[cuda13]', whichever matches the driver ({error})") from error
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise InputError(f"backend 'cupy' found no usable GPU: {error}") from error
        self.xp, self.array_type, self._cupyx = cupy, cupy.ndarray, cupyx

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        return self.xp.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def check_tensor_cores(self, precision: Precision) -> None:
        capability = self.xp.cuda.Device().compute_capability       # "90" is 9.0
        if int(capability) < 80:
            raise InputError(f"precision {precision} needs a GPU of compute capability 8.0 or more,"
                             f" this one has {capability[:-1]}.{capability[-1]}: use float32")

    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        from .fast import gpu
        return gpu.uniform(rng, self.xp.empty(shape, np.float32))

    def erf(self, x: Array) -> Array:
        return self._cupyx.scipy.special.erf(x)

    def scatter_add(self, table: Array, ids: Array, rows: Array) -> None:
        """As for NumPy; in float64 the order of the additions, and so the last bit, may vary."""
        if table.dtype == np.float32:
            from .fast import gpu
            gpu.scatter_add(table, ids, rows)
        else:
            self._cupyx.scatter_add(table, ids, rows)

    def synchronize(self) -> None:
        self.xp.cuda.get_current_stream().synchronize()

    def memory(self) -> Memory:
        pool = self.xp.get_default_memory_pool()
        return Memory(pool.used_bytes(), pool.total_bytes())


_known: dict[type, Backend] = {np.ndarray: Backend(), np.float32: Backend(), np.float64: Backend()}


def register(backend: Backend) -> Backend:
    """Make `backend_of` recognise the arrays of this backend."""
    return _known.setdefault(backend.array_type, backend)


def get_backend(name: str | Backend) -> Backend:
    """The backend called "numpy" or "cupy"; InputError if it cannot be used here."""
    if isinstance(name, Backend):
        return register(name)
    if name == "numpy":
        return _known[np.ndarray]
    if name == "cupy":
        return register(CupyBackend())
    raise InputError(f"backend must be 'numpy' or 'cupy', not {name!r}")


def backend_of(x: Array) -> Backend:
    """The backend that the array `x` belongs to."""
    try:
        return _known[type(x)]
    except KeyError:
        raise InputError(f"expected an array of NumPy or CuPy, not {type(x).__name__}") from None


def scalar(x: Any) -> Any:
    """A 0-d array as a float; or, where that would wait for the device, as float64 on the device,
    to be added up there."""
    host = isinstance(x, float | int | np.number | np.ndarray)
    return float(x) if host else x.astype(np.float64)


def on_host(x: Any) -> float:
    """What `scalar` returned, or a sum of such, as a float: the device is waited for."""
    return x if isinstance(x, float | int) else float(backend_of(x).to_numpy(x))


def array_module(x: Array) -> Any:
    """The module whose functions work on `x`: numpy or cupy."""
    return backend_of(x).xp
