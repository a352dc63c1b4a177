"""Sequences of like length go through the encoder together, so that padding costs little.

A batch is padded to its longest sequence, and the layers would work as hard for padding as for
text. Nothing depends on what they compute there. So a batch of mixed lengths is cut into groups,
each only as long as its own longest sequence; their outputs are put together again, and their
gradients add up, as gradients do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .backend import Array, Backend
from .inputs import Inputs

PADDING = 64        # tokens: as much work as one more group


class Group(NamedTuple):
    """Some sequences of a batch, without the columns that hold none of their tokens."""

    inputs: Inputs
    tokens: np.ndarray | None       # [m] those that the caller asks about, counted in the group
    sequences: Any                  # [b] which of the B these are
    places: Any                     # of its vectors among the batch's, [B, T, ...] or [M, ...]


class Groups(NamedTuple):
    """A batch in groups, to be put together again."""

    parts: list[Group]
    shape: tuple[int, ...]          # B, T; M of the tokens asked about
    backend: Backend

    def join_tokens(self, vectors: list[Array]) -> Array:
        """The groups' [b, t, H], or [m, H], as [B, T, H] or [M, H]; 0 in columns of no group."""
        return self.join(vectors, self.shape, [group.places for group in self.parts])

    def join_sequences(self, vectors: list[Array]) -> Array:
        """The groups' [b, H] as [B, H]."""
        batch = sum(len(array) for array in vectors)
        return self.join(vectors, (batch,), [group.sequences for group in self.parts])

    def join(self, vectors: list[Array], shape: tuple[int, ...], places: list[Any]) -> Array:
        if places[0] is ...:                                    # the batch itself
            return vectors[0]
        joined = self.backend.xp.zeros((*shape, vectors[0].shape[-1]), vectors[0].dtype)
        for place, array in zip(places, vectors, strict=True):
            joined[place] = array
        return joined


def by_length(inputs: Inputs, tokens: np.ndarray | None, backend: Backend) -> Groups:
    """The longest sequences first, no group with more padding than PADDING."""
    batch, columns = inputs.shape
    lengths = used_lengths(inputs.attention_mask, tokens)                   # [B]
    order = np.argsort(-lengths, kind="stable")
    starts, padding = [0], 0
    for i, sequence in enumerate(order):
        padding += lengths[order[starts[-1]]] - lengths[sequence]
        if padding > PADDING:
            starts.append(i)
            padding = 0
    longest = int(lengths[order[0]])
    if len(starts) == 1 and batch * (columns - longest) <= PADDING:
        return whole(inputs, tokens, backend)
    parts = [cut(inputs, tokens, sequences, int(lengths[sequences[0]]), backend)
             for sequences in np.split(order, starts[1:])]
    return Groups(parts, inputs.shape if tokens is None else (len(tokens),), backend)


def used_lengths(mask: np.ndarray, tokens: np.ndarray | None) -> np.ndarray:
    """[B]: to the last token that is looked at, looks at something, or is asked about."""
    looks = (mask == 1).any(-1)                                             # [B], or [B, T]
    used = mask == 1 if mask.ndim == 2 else looks | (mask == 1).any(1)      # [B, T]
    if tokens is not None:                      # somebody may ask about padding
        used.reshape(-1)[tokens] = True
    # Who may look at nothing attends to all the padding alike, and the sequence keeps it.
    blind = ~looks if mask.ndim == 2 else (used & ~looks).any(1)            # [B]
    return np.where(blind, used.shape[1], used.shape[1] - used[:, ::-1].argmax(1))


def whole(inputs: Inputs, tokens: np.ndarray | None, backend: Backend) -> Groups:
    """The batch as it is."""
    return Groups([Group(inputs, tokens, ..., ...)], inputs.shape, backend)


def cut(inputs: Inputs, tokens: np.ndarray | None, sequences: np.ndarray, length: int,
        backend: Backend) -> Group:
    """The group of these sequences."""
    batch, columns = inputs.shape
    fields: list[Any] = [
        None if array is None else
        array[:, :length] if len(array) < batch else array[sequences, :length]
        for array in inputs]
    part, on_device = Inputs(*fields), backend.asarray(sequences)
    if part.attention_mask.ndim == 3:           # the queries are cut, and now the keys
        part = part._replace(attention_mask=part.attention_mask[..., :length])
    if tokens is None:
        return Group(part, None, on_device, (on_device, slice(length)))
    row_of = np.full(batch, -1)
    row_of[sequences] = np.arange(len(sequences))
    sequence, column = np.divmod(tokens, columns)
    asked = np.flatnonzero(row_of[sequence] >= 0)                           # [m]
    return Group(part, row_of[sequence[asked]] * length + column[asked], on_device,
                 backend.asarray(asked))
