"""Sequences of like length go through the encoder together, so that padding costs little.

A batch is padded to its longest sequence, and the layers would work as hard for padding as for
text. Nothing depends on what they compute there. So a batch of mixed lengths is cut into groups,
each only as long as its own longest sequence; their outputs are put together again, and their
gradients add up, as gradients do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .inputs import Inputs

GROUP_TOKENS = 1024         # a group of fewer gains less than its many small steps cost


class Group(NamedTuple):
    """Some sequences of a batch, without the columns that hold none of their tokens."""

    inputs: Inputs
    tokens: np.ndarray | None   # [m] those that the caller asks about, counted in the group
    sequences: np.ndarray       # [b] which of the B these are
    length: int                 # of the T columns, the first ones
    asked: np.ndarray | None    # [m] where they stand in the caller's list


def by_length(inputs: Inputs, tokens: np.ndarray | None) -> list[Group]:
    """The batch in groups, the shortest sequences first; all in one where that saves little."""
    used = inputs.attention_mask == 1                                       # [B, T]
    batch, longest = used.shape
    if batch * longest < 2 * GROUP_TOKENS:
        return [whole(inputs, tokens)]
    if tokens is not None:                      # somebody may ask about padding
        used = used.copy()
        used.reshape(-1)[tokens] = True
    # To the last token; a sequence without one attends to all its padding alike, and keeps it.
    lengths = longest - used[:, ::-1].argmax(1)                             # [B]
    order = np.argsort(lengths, kind="stable")
    groups, start = [], 0
    for end in range(1, batch + 1):
        length = int(lengths[order[end - 1]])
        if (end - start) * length >= GROUP_TOKENS or end == batch:
            groups.append(cut(inputs, tokens, order[start:end], length))
            start = end
    kept = sum(len(group.sequences) * group.length for group in groups)
    return groups if kept < 0.9 * batch * longest else [whole(inputs, tokens)]


def whole(inputs: Inputs, tokens: np.ndarray | None) -> Group:
    batch, length = inputs.attention_mask.shape
    return Group(inputs, tokens, np.arange(batch), length,
                 None if tokens is None else np.arange(len(tokens)))


def cut(inputs: Inputs, tokens: np.ndarray | None, sequences: np.ndarray, length: int) -> Group:
    """The group of these sequences."""
    batch, longest = inputs.attention_mask.shape
    columns: list[Any] = [
        None if array is None else
        array[:, :length] if len(array) < batch else array[sequences, :length]
        for array in inputs]
    part = Inputs(*columns)
    if tokens is None:
        return Group(part, None, sequences, length, None)
    place = np.full(batch, -1)
    place[sequences] = np.arange(len(sequences))
    sequence, column = np.divmod(tokens, longest)
    asked = np.flatnonzero(place[sequence] >= 0)                            # [m]
    return Group(part, place[sequence[asked]] * length + column[asked], sequences, length, asked)
