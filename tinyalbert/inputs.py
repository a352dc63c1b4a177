"""What callers hand to a model, checked on the host before anything runs.

Every mistake here is one that arrays would hide: NumPy takes a negative id from the table's other
end, CuPy any id at all, and a mask of the wrong shape broadcasts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .config import AnyConfig
from .errors import InputError
from .functional import IGNORED

MASKED = -10000.0       # added to the scores of padding; finite, see functional.attention


class Inputs(NamedTuple):
    input_ids: np.ndarray | None        # [B, T]
    attention_mask: np.ndarray          # [B, T] 1 = real token, or [B, T, T] 1 = may look
    token_type_ids: np.ndarray          # [B, T]
    position_ids: np.ndarray            # [B, T], or [1, T] for every sequence alike
    inputs_embeds: np.ndarray | None    # [B, T, E] in place of input_ids

    @property
    def shape(self) -> tuple[int, ...]:
        return self.token_type_ids.shape            # B, T


def check_inputs(config: AnyConfig, input_ids: Any, attention_mask: Any, token_type_ids: Any,
                 position_ids: Any, inputs_embeds: Any) -> Inputs:
    """With what was left out filled in; InputError for a wrong shape or an id outside its table."""
    shape = batch_shape(input_ids, inputs_embeds)
    if inputs_embeds is not None:
        size = inputs_embeds.shape[-1]
        if size != config.embedding_size:
            raise InputError(f"inputs_embeds are {size} wide, the model's embeddings "
                             f"{config.embedding_size}")
    else:
        input_ids = host_array("input_ids", input_ids)
        check_ids("input_ids", input_ids, config.vocab_size)
    if shape[1] > config.max_position_embeddings:
        raise InputError(f"a sequence of {shape[1]} tokens exceeds max_position_embeddings "
                         f"{config.max_position_embeddings}: truncate it")
    mask = given_or("attention_mask", attention_mask, np.ones(shape, np.int64))
    types = given_or("token_type_ids", token_type_ids, np.zeros(shape, np.int64))
    positions = given_or("position_ids", position_ids, np.arange(shape[1])[None])   # [1, T]
    check_ids("token_type_ids", types, config.type_vocab_size)
    check_ids("position_ids", positions, config.max_position_embeddings)
    for name, array, other in (("attention_mask", mask, (*shape, shape[1])),
                               ("token_type_ids", types, shape),
                               ("position_ids", positions, (1, shape[1]))):
        if array.shape not in (shape, other):
            raise InputError(f"{name} has shape {list(array.shape)}, input_ids {list(shape)}: "
                             "they must agree")
    if ((mask != 0) & (mask != 1)).any():
        raise InputError("attention_mask must hold 1 for a token and 0 for padding, no other")
    return Inputs(input_ids, mask, types, positions, inputs_embeds)


def batch_shape(input_ids: Any, inputs_embeds: Any = None) -> tuple[int, ...]:
    """(B, T); InputError unless exactly one of the two is given, in that shape."""
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError("give either input_ids or inputs_embeds")
    if inputs_embeds is not None:
        shape = getattr(inputs_embeds, "shape", ())
        if len(shape) != 3 or 0 in shape:
            raise InputError("inputs_embeds must be an array [batch, tokens, embedding], not of "
                             f"shape {list(shape)}")
        return tuple(shape[:2])
    shape = host_array("input_ids", input_ids).shape
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"input_ids must have shape [batch, tokens], not {list(shape)}")
    return shape


def check_labels(name: str, labels: Any, shape: tuple[int, ...],
                 classes: int) -> np.ndarray | None:
    """Whole numbers of this shape, each IGNORED or a class; None stays None."""
    if labels is None:
        return None
    labels = host_array(name, labels)
    check_shape(name, labels, shape)
    check_ids(name, np.where(labels == IGNORED, 0, labels), classes)
    return labels


def check_targets(name: str, targets: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Numbers of this shape, none of them NaN or infinite, as floats."""
    targets = host_array(name, targets)
    check_shape(name, targets, shape)
    if targets.dtype.kind not in "iufb" or not np.isfinite(targets).all():
        raise InputError(f"{name} must hold finite numbers")
    return targets.astype(dtype)


def check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InputError(f"{name} has shape {list(array.shape)}, expected {list(shape)}")


def given_or(name: str, values: Any, default: np.ndarray) -> np.ndarray:
    return default if values is None else host_array(name, values)


def host_array(name: str, values: Any) -> np.ndarray:
    """Lists or arrays as one array on the host; InputError if the rows differ in length."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} cannot be made into one array: are its sequences padded to the "
                         "same length?") from error


def check_ids(name: str, ids: np.ndarray, size: int) -> None:
    """Every id must be a row of its table."""
    if ids.dtype.kind not in "iu":
        raise InputError(f"{name} must hold whole numbers, not {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        wrong = ids[(ids < 0) | (ids >= size)].flat[0]
        raise InputError(f"{name} holds {wrong}, which is outside 0..{size - 1}")


def attention_bias(mask: np.ndarray, dtype: Any) -> np.ndarray:
    """What is added to the scores, 0 for 1 and MASKED for 0: [B, T] -> [B, 1, 1, T], the same for
    every query; [B, T, T] -> [B, 1, T, T]."""
    bias = ((1 - mask.astype(dtype)) * MASKED).astype(dtype)
    return bias.reshape(len(mask), 1, -1, mask.shape[-1])
