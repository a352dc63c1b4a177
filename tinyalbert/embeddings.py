"""Factorized embeddings (section 3.1): a V×E table instead of V×H, because a word's identity needs
less room than its meaning in context. The step from E to H belongs to the encoder.

    e = dropout(norm(word[id] + type[segment] + position[0..T-1]))          [B, T, E]
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AnyConfig
from .layer import Initializer, Layer
from .layers import Embedding, LayerNorm


class EmbeddingsCache(NamedTuple):
    input_ids: Array | None    # [B, T], None where the word vectors were given
    token_type_ids: Array      # [B, T]
    position_ids: Array        # [B, T], or [1, T] for every sequence alike
    norm: F.LayerNormCache
    dropout: Array | None      # [B, T, E]


class AlbertEmbeddings(Layer):
    """All three tables are E wide. No scaling by √E."""

    def __init__(self, config: AnyConfig, init: Initializer) -> None:
        size = config.embedding_size
        self.word_embeddings = Embedding(config.vocab_size, size, init)
        self.position_embeddings = Embedding(config.max_position_embeddings, size, init)
        self.token_type_embeddings = Embedding(config.type_vocab_size, size, init)
        self.LayerNorm = LayerNorm(size, config.layer_norm_eps, init)
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, input_ids: Array | None, token_type_ids: Array, position_ids: Array,
                inputs_embeds: Array | None = None, *,
                rng: np.random.Generator | None = None) -> tuple[Array, EmbeddingsCache]:
        """Of `input_ids`, or of word vectors `inputs_embeds` [B, T, E] in their place."""
        words = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        x = (words                                                          # [B, T, E]
             + self.token_type_embeddings(token_type_ids)
             + self.position_embeddings(position_ids))
        x, norm = self.LayerNorm.forward(x)
        x, dropped = F.dropout(x, self.dropout_prob, rng)
        return x, EmbeddingsCache(input_ids, token_type_ids, position_ids, norm, dropped)

    def backward(self, dx: Array, cache: EmbeddingsCache) -> Array | None:
        """Ids have no gradient: the tables are where it ends. Given vectors have, [B, T, E]."""
        dx = F.dropout_backward(dx, cache.dropout)
        dx = self.LayerNorm.backward(dx, cache.norm)                        # [B, T, E]
        self.token_type_embeddings.backward(dx, cache.token_type_ids)
        alike = len(cache.position_ids) == 1                                # then Σ over sequences
        self.position_embeddings.backward(dx.sum(0) if alike else dx, cache.position_ids)
        if cache.input_ids is None:
            return dx
        self.word_embeddings.backward(dx, cache.input_ids)
        return None
