"""Arrays that count: NumPy's, as an array library of their own, with a tally of every product.

Used by the notebook on what is lite and what is not, and by the tests of the formulas in params.py.
Count inside `with textbook():`, where every product is one that `functional.py` writes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Backend


class Counting(np.ndarray):
    """An array that counts the FLOPs of every matrix product in which it takes part."""

    flops = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None,
                        **options: Any) -> Any:
        plain = [np.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counting.flops += 2 * result.size * plain[0].shape[-1]
        if out is not None:
            return out[0]
        return result.view(Counting) if isinstance(result, np.ndarray) else result


class CountingBackend(Backend):
    name, array_type = "counting", Counting

    def asarray(self, x: Any, dtype: Any = None) -> Counting:
        return np.array(x, dtype=dtype).view(Counting)
