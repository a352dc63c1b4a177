"""The task "feature-extraction": a vector for every token of a text."""

from __future__ import annotations

from typing import Any

from ..tokenization.base import PreTrainedTokenizer
from .batches import by_length, encode, pad


def extract_features(model: Any, tokenizer: PreTrainedTokenizer, texts: str | list[str], *,
                     truncation: bool = False, return_tensors: bool = False,
                     batch_size: int = 32) -> Any:
    """The encoder's last hidden state [1, T, H], special tokens included, without padding: as
    nested lists, or as an array with return_tensors; for a list of texts, a list of them.

    A model with a head gives what its head is given. truncation: cut texts that are too long.

    Raises InputError if a text is longer than the model's positions.
    """
    encoder = getattr(model, "albert", model)
    rows = encode(model, tokenizer, [texts] if isinstance(texts, str) else texts,
                  truncation)["input_ids"]
    features: list[Any] = [None] * len(rows)
    for batch in by_length([len(row) for row in rows], batch_size):
        hidden = encoder(*pad([rows[i] for i in batch], tokenizer.pad_token_id)).last_hidden_state
        for i, of_text in zip(batch, model.backend.to_numpy(hidden), strict=True):  # [T, H]
            array = of_text[None, :len(rows[i])]
            features[i] = array.copy() if return_tensors else array.tolist()
    return features[0] if isinstance(texts, str) else features
