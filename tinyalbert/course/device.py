"""Arrays that refuse what a GPU's arrays refuse, or would wait for: a stand-in for CuPy.

They compute with NumPy, so every laptop has them. The package's tests use a stricter one, which
knows more functions and compares whole training steps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import Backend


def refuse(what: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{what} of a device array waits for the device, or fails")
    return method


class DeviceArray:
    """Numbers that live somewhere else. `get()` brings a copy of them here."""

    __array_ufunc__ = None                      # np.exp(x) and array + x are refused
    __array_function__ = refuse("a NumPy function")
    __array__ = refuse("a NumPy copy")
    __float__ = refuse("float()")
    __int__ = refuse("int()")
    __bool__ = refuse("the truth")
    __iter__ = refuse("a loop over the rows")

    def __init__(self, host: Any) -> None:
        self._host = np.asarray(host)

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)

    def get(self) -> np.ndarray:
        return self._host.copy()

    def __neg__(self) -> DeviceArray:
        return DeviceArray(-self._host)

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self._host[key])

    def __repr__(self) -> str:
        return f"DeviceArray{self.shape}"


def operand(x: Any) -> Any:
    """What may take part in a computation: device arrays, and the numbers of Python."""
    if isinstance(x, DeviceArray):
        return x._host
    if type(x) in (bool, int, float):           # np.float64 is a subclass of float, and not meant
        return x
    raise TypeError(f"a device array does not combine with {type(x).__name__}")


def _method(function: Callable[..., Any]) -> Callable[..., DeviceArray]:
    """A function of NumPy, for device arrays. Axes, shapes and dtypes are settings and pass."""
    def call(*args: Any, **settings: Any) -> DeviceArray:
        return DeviceArray(function(*(a if isinstance(a, tuple | type | str) else operand(a)
                                      for a in args), **settings))
    return call


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow"):
    _compute = getattr(operator, f"__{_name}__")
    setattr(DeviceArray, f"__{_name}__", _method(_compute))
    setattr(DeviceArray, f"__r{_name}__", _method(lambda x, y, compute=_compute: compute(y, x)))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(DeviceArray, f"__{_name}__", _method(getattr(operator, f"__{_name}__")))
for _name in ("astype", "max", "mean", "min", "reshape", "sum", "swapaxes", "transpose"):
    setattr(DeviceArray, _name, _method(getattr(np.ndarray, _name)))


class DeviceModule:
    """What stands where `cupy` would: a few functions, under their usual names."""

    functions = ("abs", "exp", "log", "maximum", "sqrt", "square", "sum", "tanh", "where")

    def __getattr__(self, name: str) -> Callable[..., DeviceArray]:
        if name not in self.functions:
            raise AttributeError(f"this device has only {', '.join(self.functions)}, not {name}")
        return _method(getattr(np, name))


class DeviceBackend(Backend):
    name = "device"
    xp = DeviceModule()
    array_type = DeviceArray

    def asarray(self, x: Any, dtype: Any = None) -> DeviceArray:
        return DeviceArray(np.array(x, dtype=dtype))

    def to_numpy(self, x: DeviceArray) -> np.ndarray:
        return x.get()
