"""Sequences of all lengths lie behind one another, so that padding costs nothing.

A batch is padded to its longest sequence, and the layers would work as hard for padding as for
text, although nothing depends on what they compute there. Packed, the tokens that count, R of the
B*T, are one long row:

    x [B, T, H], padded      ->      x [1, R, H]

To a linear map, a norm or an activation that makes no difference. Attention is the one place where
tokens meet; there every sequence is to be among its own. Sequences of like length are neighbours
in the row, and a block of them is a batch for `functional.attention`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array, Backend, array_module
from .fast import accelerated
from .inputs import Inputs, attention_bias

PADDING = 32            # tokens: a block may have so many, they cost less than one more block
PADDING_ON_GPU = 2048   # where a block is a dozen kernels to launch


class Block(NamedTuple):
    """b sequences of t tokens each, one behind the other."""

    rows: slice                     # where in the row they are, b*t places
    shape: tuple[int, int]          # b, t
    bias: Array                     # [b, 1, 1, t] or [b, 1, t, t]

    def cut(self, x: Array) -> Array:
        """x [1, N, R, D] -> [b, N, t, D], a view."""
        _, heads, _, size = x.shape
        return x[0, :, self.rows].reshape(heads, *self.shape, size).swapaxes(0, 1)


class Packed(NamedTuple):
    """The attention bias of a packed batch: who may look at whom, block by block."""

    blocks: list[Block]


class PackedCache(NamedTuple):
    blocks: list[Block]
    caches: list[F.AttentionCache]      # one for each


@accelerated
def attend(query: Array, key: Array, value: Array, bias: Array | Packed, p: float,
           rng: np.random.Generator | None) -> tuple[Array, F.AttentionCache | PackedCache]:
    """`functional.attention`, of a packed batch [1, N, R, D] block by block."""
    if not isinstance(bias, Packed):
        return F.attention(query, key, value, bias, p, rng)
    context, caches = heads_like(query), []
    for block in bias.blocks:
        part, cache = F.attention(block.cut(query), block.cut(key), block.cut(value), block.bias,
                                  p, rng)
        block.cut(context)[...] = part
        caches.append(cache)
    return context, PackedCache(bias.blocks, caches)


@accelerated
def attend_backward(d_context: Array, cache: F.AttentionCache | PackedCache) -> tuple[Array, ...]:
    """Returns dQ, dK and dV, all [B, N, T, D]."""
    if not isinstance(cache, PackedCache):
        return F.attention_backward(d_context, cache)
    gradients = tuple(heads_like(d_context) for _ in range(3))
    for block, kept in zip(*cache, strict=True):
        parts = F.attention_backward(block.cut(d_context), kept)
        for gradient, part in zip(gradients, parts, strict=True):
            block.cut(gradient)[...] = part
    return gradients


def heads_like(x: Array) -> Array:
    """Zeros like x [B, N, T, D], whose heads can be merged without a copy."""
    batch, heads, tokens, size = x.shape
    return array_module(x).zeros((batch, tokens, heads, size), x.dtype).swapaxes(1, 2)


class Packing(NamedTuple):
    """Which tokens of a batch are worked for, and in which order."""

    places: np.ndarray              # [R] where each row is among the B*T
    row_of: np.ndarray              # [B*T] the reverse; 0 for what has no row
    blocks: list[tuple[np.ndarray, int]]        # of each block its sequences [b], and t
    shape: tuple[int, ...]          # B, T

    def take(self, array: Any) -> np.ndarray:
        """[B, T], or [1, T] for every sequence alike -> [1, R]"""
        return np.broadcast_to(array, self.shape).reshape(1, -1)[:, self.places]

    def bias(self, mask: np.ndarray, dtype: Any, backend: Backend) -> Packed:
        """mask [B, T] or [B, T, T]"""
        blocks, start = [], 0
        for sequences, length in self.blocks:
            cut = mask[sequences, ..., :length]
            bias = attention_bias(cut if mask.ndim == 2 else cut[:, :length], dtype)
            stop = start + len(sequences) * length
            blocks.append(Block(slice(start, stop), (len(sequences), length),
                                backend.asarray(bias)))
            start = stop
        return Packed(blocks)


def pack(inputs: Inputs, tokens: np.ndarray | None, backend: Backend) -> Packing | None:
    """The longest sequences first, no block with more padding than PADDING. None if all of the
    batch would be one block as it is."""
    batch, columns = inputs.shape
    most = PADDING_ON_GPU if backend.has_kernels else PADDING
    lengths = used_lengths(inputs.attention_mask, tokens)                   # [B]
    if batch * columns - lengths.sum() <= most:
        return None
    order = np.argsort(-lengths, kind="stable")
    starts, padding = [0], 0
    for i, sequence in enumerate(order):
        padding += lengths[order[starts[-1]]] - lengths[sequence]
        if padding > most:
            starts.append(i)
            padding = 0
    blocks = [(sequences, int(lengths[sequences[0]])) for sequences in np.split(order, starts[1:])]
    places = np.concatenate([(sequences[:, None] * columns + np.arange(length)).ravel()
                             for sequences, length in blocks])
    row_of = np.zeros(batch * columns, np.int64)
    row_of[places] = np.arange(len(places))
    return Packing(places, row_of, blocks, inputs.shape)


def used_lengths(mask: np.ndarray, tokens: np.ndarray | None) -> np.ndarray:
    """[B]: to the last token that is looked at, looks at something, or is asked about."""
    looks = (mask == 1).any(-1)                                             # [B], or [B, T]
    used = mask == 1 if mask.ndim == 2 else looks | (mask == 1).any(1)      # [B, T]
    if tokens is not None:                      # somebody may ask about padding
        used.reshape(-1)[tokens] = True
    # Who may look at nothing attends to all the padding alike, and the sequence keeps it.
    blind = ~looks if mask.ndim == 2 else (used & ~looks).any(1)            # [B]
    return np.where(blind, used.shape[1], used.shape[1] - used[:, ::-1].argmax(1))
