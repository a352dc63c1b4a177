"""What can be read off a model: where its heads look, which words its embeddings put together, and
what each application of a shared layer adds to the shared gradient. Drawn by figures.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tasks import AlbertForPreTraining
from ..tokenization.albert import AlbertTokenizer

LONGEST = 24        # tokens of a sentence whose attention is still readable


def attention_of(model: AlbertForPreTraining, tokenizer: AlbertTokenizer,
                 text: str) -> tuple[list[str], np.ndarray]:
    """The tokens of a text (cut to the first 24) and what each looks at: maps [L, N, T, T], the
    probabilities of one query in each row."""
    longest = min(LONGEST, model.config.max_position_embeddings)
    ids = tokenizer.encode(text, truncation=True, max_length=longest)
    maps = model([ids], output_attentions=True).attentions or ()            # L of [1, N, T, T]
    tokens = [str(tokenizer.convert_ids_to_tokens(i)) for i in ids]
    return tokens, np.stack([model.backend.to_numpy(a[0]) for a in maps])


def frequent_words(tokenizer: AlbertTokenizer, count: int) -> list[int]:
    """The ids of the `count` most frequent words of three letters or more that are one piece.
    SentencePiece numbers its pieces from frequent to rare; some are beginnings of longer words."""
    pieces = tokenizer.convert_ids_to_tokens(range(tokenizer.vocab_size))
    words = (i for i, piece in enumerate(pieces) if re.fullmatch(r"▁[^\W\d_]{3,}", piece))
    return [i for i, _ in zip(words, range(count), strict=False)]


def nearest_words(model: AlbertForPreTraining, queries: Sequence[int], among: Sequence[int],
                  top_k: int = 6) -> list[list[tuple[int, float]]]:
    """For each query id its top_k nearest (id, cosine) among other ids, by the cosine of their
    rows of the word embedding table: E numbers for each word, before any context."""
    vectors = word_vectors(model)                                           # [V, E]
    cosines = vectors[queries] @ vectors[among].T                           # [queries, among]
    cosines[np.asarray(queries)[:, None] == np.asarray(among)] = -np.inf    # not itself
    best = np.argsort(-cosines, axis=-1, kind="stable")[:, :top_k]
    return [[(among[i], float(row[i])) for i in chosen if np.isfinite(row[i])]
            for row, chosen in zip(cosines, best.tolist(), strict=True)]


def word_vectors(model: AlbertForPreTraining) -> np.ndarray:
    """The word embedding table [V, E], every row scaled to length 1."""
    table = model.backend.to_numpy(model.albert.embeddings.word_embeddings.weight.data)
    return table / np.maximum(np.linalg.norm(table, axis=-1, keepdims=True), 1e-12)


def gradient_of_each_application(model: AlbertForPreTraining, batch: dict[str, Any]) -> np.ndarray:
    """The part of the shared layer's gradient that each of its L applications contributes, [L, P].

    In a copy of the model in which every layer owns its parameters, with the same values, each
    layer's gradient is the contribution of that application alone; their sum over the layers that
    share is the gradient of the shared parameters. batch: arguments of `forward`, labels included.
    """
    copy = AlbertForPreTraining(model.config.replace(sharing="none"), backend=model.backend.name,
                                dtype=model.dtype)
    shared, order = dict(model.walk()), model.albert.encoder.order
    for name, parameter in copy.named_parameters().items():
        original = re.sub(r"(?<=albert_layer_groups\.)\d+", lambda m: str(order[int(m[0])]), name)
        parameter.data[...] = shared[original].data
    _, cache = copy.forward(**batch)
    copy.backward(cache)
    return np.stack([
        np.concatenate([model.backend.to_numpy(parameter.grad).ravel()
                        for parameter in group.named_parameters().values()])
        for group in copy.albert.encoder.albert_layer_groups])


def masked_sentence(model: AlbertForPreTraining, tokenizer: AlbertTokenizer, text: str,
                    every: int = 6) -> dict[str, np.ndarray]:
    """A batch of one text in which every sixth token is hidden and to be predicted."""
    longest = model.config.max_position_embeddings
    ids = np.array([tokenizer.encode(text, truncation=True, max_length=longest)])   # [1, T]
    hidden = np.arange(ids.shape[1]) % every == every // 2
    hidden[-1] = False                                                      # never [SEP]
    return {"input_ids": np.where(hidden, tokenizer.mask_token_id, ids),
            "labels": np.where(hidden, ids, -100)}
