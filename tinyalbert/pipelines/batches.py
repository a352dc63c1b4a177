"""Texts to batches, and the words that a model expects in them.

Texts of like length go together, so that little is padding: a padded position costs as much as a
word. Whoever calls puts the answers back into the order of the texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..backend import Array
from ..errors import InputError
from ..tokenization.base import PreTrainedTokenizer
from ..tokenization.batch_encoding import BatchEncoding


def encode(model: Any, tokenizer: PreTrainedTokenizer, texts: list[str],
           truncation: bool = False, pairs: list[str] | None = None) -> BatchEncoding:
    """What the tokenizer makes of the texts, or of each with its pair: a list for each, under
    `input_ids`, `token_type_ids` and `special_tokens_mask`.

    Raises InputError if the tokenizer is another model's, or a text longer than the positions.
    """
    vocabulary, longest = model.config.vocab_size, model.config.max_position_embeddings
    if len(tokenizer) > vocabulary:
        raise InputError(f"the tokenizer has {len(tokenizer)} tokens and the model {vocabulary}: "
                         "they do not belong together")
    limit = {"max_length": min(longest, tokenizer.model_max_length)} if truncation else {}
    encoding = tokenizer(texts, pairs, truncation=truncation, return_special_tokens_mask=True,
                         **limit)
    for text, ids in zip(texts, encoding["input_ids"], strict=True):
        if len(ids) > longest:
            raise InputError(f"a text has {len(ids)} tokens and the model {longest} positions: "
                             f"shorten {text!r:.60}")
    return encoding


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[np.ndarray]:
    """Which rows [B] go together: the longest first, so that too little memory shows at once."""
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    order = np.argsort(-np.asarray(lengths), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start:start + batch_size]


def pad(rows: Sequence[Any], pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """input_ids and attention_mask [B, T]."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max()) < lengths[:, None]                      # [B, T]
    ids = np.full(mask.shape, pad_token_id)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(np.int64)


def word_logits(model: Any, ids: np.ndarray, mask: np.ndarray, tokens: np.ndarray) -> Array:
    """[M, V] for M of the B*T tokens: only these go through the last layer, and through the
    product with the vocabulary.

    Raises InputError if the model has no masked-LM head.
    """
    if not hasattr(model, "predictions"):
        raise InputError(f"{type(model).__name__} has no masked-LM head: load the model as "
                         "AlbertForMaskedLM or BertForMaskedLM")
    return model.predictions(model.albert(ids, mask, tokens=tokens).last_hidden_state)
