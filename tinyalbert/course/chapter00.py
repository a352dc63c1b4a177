"""Exercises of notebook 00: arrays and backends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import get_backend
from .device import DeviceBackend
from .exercise import Exercise, call, difference, function, number, trials

Array = np.ndarray


# --- masks, heads and einsum


def bias_of(mask: Array) -> Array:
    return np.where(mask, 0.0, -10000.0)[:, None, None, :]


def masks(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]),)
    yield (rng.integers(0, 2, (2, 5)),)


def split(x: Array, heads: int) -> Array:
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, heads, hidden // heads).swapaxes(1, 2)


def wrong_split(x: Array, heads: int) -> Array:
    return x.reshape(len(x), heads, x.shape[1], -1)


def every_nth(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:2], -1, heads).transpose(0, 3, 1, 2)


def to_split(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((2, 3, 8)), 2
    yield rng.standard_normal((1, 5, 6)), 3


def merge(x: Array) -> Array:
    return x.swapaxes(1, 2).reshape(len(x), x.shape[2], -1)


def to_merge(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((2, 3, 4, 5)),)
    yield (rng.standard_normal((1, 4, 2, 3)),)


def scores(query: Array, key: Array) -> Array:
    return np.einsum("btnd,bsnd->bnts", query, key)


def queries_and_keys(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((2, 5, 3, 4), (1, 2, 2, 6)):
        yield rng.standard_normal(shape), rng.standard_normal(shape)


# --- code that runs on whatever library its argument belongs to


def unit_rows(x: Any, xp: Any = np) -> Any:
    return x / xp.sqrt((x * x).sum(-1, keepdims=True))


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((4, 3)),)
    yield (10 * rng.standard_normal((2, 3, 5)),)


def through_numpy(x: Any) -> Any:
    return x / np.sqrt((x * x).sum(-1, keepdims=True))


def in_float64(x: Any) -> Any:
    return unit_rows(x.astype(np.float64)) if isinstance(x, Array) else unit_rows(x, device().xp)


def device() -> Any:
    return get_backend(DeviceBackend())


def everywhere(name: str, reference: Callable[..., Any], inputs: Callable[..., Any],
               mistakes: dict[str, Any]) -> Exercise:
    """Write a function of one array that computes the same on every library, and keeps its dtype.
    """

    def test(answer: Any) -> str:
        for (x,) in trials(inputs):
            problem = difference(call(answer, (x,)), reference(x), 1e-9)
            if problem:
                return f"{problem}, for x {list(x.shape)}"
            if answer(x.astype(np.float32)).dtype != np.float32:
                return "a float32 array comes back as float64"
            try:
                result = answer(device().asarray(x))
            except (TypeError, AttributeError) as error:
                return f"right for NumPy, but on a device it stops: {error}"
            if not isinstance(result, device().array_type):
                return f"the answer to a device array is a {type(result).__name__}"
            problem = difference(result.get(), reference(x), 1e-9)
            if problem:
                return f"right for NumPy, but on a device {problem}"
        return ""

    def same(answer: Any, mistake: Any) -> bool:
        return test(answer) == test(mistake)

    return Exercise(name, test, "right: the same numbers on NumPy and on the device", mistakes,
                    same)


EXERCISES = [
    function("attention_bias", bias_of, masks, mistakes={
        "the mask lies along the rows, the tokens that ask; it belongs to the columns, the last "
        "axis":
            lambda mask: np.where(mask, 0.0, -10000.0)[:, None, :, None],
        "the shape [B, T] would line up with the rows and columns of the scores: it needs an axis "
        "of 1 for the heads and one for the rows": lambda mask: np.where(mask, 0.0, -10000.0),
        "the wrong way round: 1 in the mask means that a token may be looked at":
            lambda mask: np.where(mask, -10000.0, 0.0)[:, None, None, :],
        "the columns are right; an axis that is only repeated has the size 1: [B, 1, 1, T]":
            lambda mask: np.repeat(bias_of(mask), mask.shape[1], axis=2),
    }),
    function("scores_by_einsum", scores, queries_and_keys, mistakes={
        "queries and keys are exchanged: the query's letter is the last but one of the result":
            lambda query, key: np.einsum("btnd,bsnd->bnst", query, key),
        "t and s have the same letter in both arrays, so only each token's score with itself is "
        "left": lambda query, key: np.einsum("btnd,btnd->bnt", query, key),
        "n is missing on the right, so the heads are added up":
            lambda query, key: np.einsum("btnd,bsnd->bts", query, key),
        "the heads are where they were: n belongs right after b":
            lambda query, key: np.einsum("btnd,bsnd->btns", query, key),
        "the dot product alone is asked for, without a division by a root":
            lambda query, key: scores(query, key) / math.sqrt(key.shape[-1]),
        "@ multiplies the last two axes, and here these are the heads and their features":
            lambda query, key: query @ key.swapaxes(-1, -2),
    }),
    function("split_heads", split, to_split, praise="right: every head has all the tokens",
             mistakes={
        "reshape alone walks through memory: it hands the first tokens, all of their features, to "
        "the first head": wrong_split,
        "head n takes every N-th feature; the convention of all published weights is a block of "
        "D neighbours": every_nth,
        "this is [B, T, N, D]: the heads still have to change places with the tokens":
            lambda x, heads: x.reshape(*x.shape[:2], heads, -1),
        "heads and features are exchanged: the last axis is cut into [N, D], D = H // N":
            lambda x, heads: x.reshape(*x.shape[:2], -1, heads).swapaxes(1, 2),
    }),
    function("merge_heads", merge, to_merge, mistakes={
        "reshape alone puts several tokens of one head into a row: swap heads and tokens first":
            lambda x: x.reshape(len(x), x.shape[2], -1),
        "the heads are interleaved: within a token, D stays the fastest axis":
            lambda x: x.transpose(0, 2, 3, 1).reshape(len(x), x.shape[2], -1),
        "this is [B, T, N, D]: N and D still have to become one axis":
            lambda x: x.swapaxes(1, 2),
    }),
    number("bytes_of_scores", 32 * 12 * 512 * 512 * 4, mistakes={
        "that is float64; float32 takes 4 bytes": 32 * 12 * 512 * 512 * 8,
        "that is the scores of one head": 32 * 512 * 512 * 4,
        "that is the count of the scores; each takes 4 bytes": 32 * 12 * 512 * 512,
        "that is for one sequence": 12 * 512 * 512 * 4,
        "T counts twice: every token asks every token": 32 * 12 * 512 * 4,
        "that is all twelve layers; one is asked for": 12 * 32 * 12 * 512 * 512 * 4,
        "that is in MiB; bytes are asked for": 384,
    }),
    everywhere("unit_rows", unit_rows, rows, mistakes={
        "np.sqrt belongs to NumPy: ask array_module(x) for the module of x": through_numpy,
        "a float32 array comes back as float64: twice the memory": in_float64,
        "that divides by the squared length: the root is missing":
            lambda x: x / (x * x).sum(-1, keepdims=True),
        "that divides by the length of the whole array: the sum is to run over the last axis":
            lambda x: x / math.sqrt((x.get() if hasattr(x, "get") else x).ravel()
                                    @ (x.get() if hasattr(x, "get") else x).ravel()),
    }),
]
