"""A NumPy array that behaves like an array on a GPU: what would fail or wait there fails here.

`StrictArray` and the backend around it stand in for CuPy on machines without a GPU. They compute
with NumPy and are stricter than CuPy on purpose:

    CuPy                                           here
    refuses to become a NumPy array                refuses; `get()` copies, as in CuPy
    refuses NumPy arrays as operands               refuses
    copies a NumPy array or list used as index,    refuses: a hidden copy in every step
      or assigned
    waits for the GPU in float(x), int(x),         refuses: a hidden wait in every step
      bool(x), iteration, x[mask]
    promotes NumPy scalars by version-dependent    refuses a scalar that could change the dtype
      rules (weak before 14, NEP 50 since)           (Python numbers are always weak: welcome)
    np.exp(x) works, and so does x.item()          refuses: one way to do each thing, the xp module
    reduces to 0-d arrays                          the same (NumPy gives scalars)
    wraps integer-array indices silently           the same (NumPy raises IndexError)

The functions of the module double are a list. To use another one in the package, see that CuPy has
it under the same name and add it here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinyalbert.backend import Backend

FUNCTIONS = ("abs", "arange", "concatenate", "exp", "log", "log1p", "maximum", "sqrt", "stack",
             "tanh", "where", "zeros", "zeros_like")
METHODS = ("astype", "copy", "max", "mean", "reshape", "sum", "swapaxes", "transpose")
OPERATORS = ("add", "sub", "mul", "truediv", "matmul", "and")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def refuse(what: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{what} of a device array would fail, or wait for the device")
    return method


class StrictArray:
    """See the module's docstring. Made by `StrictBackend.asarray`."""

    __slots__ = ("_host",)
    __array_ufunc__ = None      # NumPy's operators leave the work to ours; its functions refuse
    __array__ = refuse("a NumPy copy")
    __array_function__ = refuse("a NumPy function")
    __float__ = refuse("float()")
    __int__ = refuse("int()")
    __bool__ = refuse("bool()")
    __index__ = refuse("the use as an index")
    __iter__ = refuse("the iteration")

    def __init__(self, host: Any) -> None:
        self._host = np.asarray(host)       # reductions of NumPy give scalars; here 0-d arrays

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: type(self)(self._host.T))

    def get(self) -> np.ndarray:
        return self._host.copy()

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.shape}"

    def __len__(self) -> int:
        return len(self._host)

    def __neg__(self) -> StrictArray:
        return type(self)(-self._host)

    def __getitem__(self, key: Any) -> StrictArray:
        return type(self)(self._host[self._host_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[self._host_index(key)] = operand(value, self.dtype)

    def _host_index(self, key: Any) -> tuple:
        keys = key if isinstance(key, tuple) else (key,)
        used = sum(k is not None and k is not Ellipsis for k in keys)
        host, axis = [], 0
        for k in keys:
            if isinstance(k, StrictArray):
                if k.dtype.kind not in "iu":
                    raise TypeError(f"a device array indexed by {k.dtype} waits for the device")
                host.append(k._host % max(self.shape[axis], 1))
            elif k is None or k is Ellipsis or isinstance(k, (int, np.integer, slice)):
                host.append(k)
            else:
                raise TypeError(f"a device array is not indexed by a {type(k).__name__}")
            axis += self.ndim - used if k is Ellipsis else k is not None
        return tuple(host)


def operand(x: Any, dtype: np.dtype) -> Any:
    """What to compute with on the host; TypeError for what does not belong into a computation
    with device arrays of this dtype."""
    if isinstance(x, StrictArray):
        return x._host
    if isinstance(x, np.generic):
        if np.result_type(x, dtype) == dtype:
            return x
    elif isinstance(x, (bool, int, float)):
        return x
    raise TypeError(f"a device array of {dtype} does not combine with a {type(x).__name__}")


def _define(name: str) -> None:
    """The operator `name`, its reflection and its in-place form."""
    compute, assign = getattr(operator, f"__{name}__"), getattr(operator, f"__i{name}__", None)

    def forward(self: StrictArray, other: Any) -> StrictArray:
        return type(self)(compute(self._host, operand(other, self.dtype)))

    def reflected(self: StrictArray, other: Any) -> StrictArray:
        return type(self)(compute(operand(other, self.dtype), self._host))

    def in_place(self: StrictArray, other: Any) -> StrictArray:
        assign(self._host, operand(other, self.dtype))
        return self

    setattr(StrictArray, f"__{name}__", forward)
    if assign is not None:
        setattr(StrictArray, f"__r{name}__", reflected)
        setattr(StrictArray, f"__i{name}__", in_place)


def _device(function: Callable[..., Any],
            array_type: type[StrictArray] | None = None) -> Callable[..., StrictArray]:
    """A function of NumPy for device arrays of this type, or a method of whatever type its array
    has. Python numbers, shapes and dtypes are settings and pass."""
    def call(*args: Any, **kwargs: Any) -> StrictArray:
        first = args[0] if args and isinstance(args[0], list) else args     # of concatenate, stack
        dtype = next((a.dtype for a in first if isinstance(a, StrictArray)), np.dtype(float))

        def host(x: Any) -> Any:
            if isinstance(x, list):
                return [operand(element, dtype) for element in x]
            return x if isinstance(x, (tuple, str, type, np.dtype)) else operand(x, dtype)
        result = array_type or type(args[0])
        return result(function(*map(host, args), **{k: host(v) for k, v in kwargs.items()}))
    return call


for _name in OPERATORS + COMPARISONS:
    _define(_name)
for _name in METHODS:
    setattr(StrictArray, _name, _device(getattr(np.ndarray, _name)))


class StrictModule:
    """The module double: what stands where `cupy` would."""

    array_type = StrictArray

    def __getattr__(self, name: str) -> Callable[..., StrictArray]:
        if name not in FUNCTIONS:
            raise AttributeError(f"xp.{name} is not on the list of tests/strict_array.py")
        return _device(getattr(np, name), self.array_type)


class StrictBackend(Backend):
    """The textbook on strict arrays. Random numbers are NumPy's, so results can be compared."""

    name = "strict"
    xp = StrictModule()
    array_type = StrictArray

    def asarray(self, x: Any, dtype: Any = None) -> StrictArray:
        return StrictArray(np.array(x._host if isinstance(x, StrictArray) else x, dtype=dtype))

    def to_numpy(self, x: StrictArray) -> np.ndarray:
        return x.get()

    def uniform(self, rng: np.random.Generator, shape: tuple[int, ...]) -> StrictArray:
        return StrictArray(super().uniform(rng, shape))

    def erf(self, x: StrictArray) -> StrictArray:
        return StrictArray(super().erf(x._host))

    def scatter_add(self, table: StrictArray, ids: StrictArray, rows: StrictArray) -> None:
        np.add.at(table._host, ids._host, rows._host)
