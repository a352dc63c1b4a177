"""The two things an ALBERT is pretrained to say: the hidden words and the order of two segments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AlbertConfig
from .layer import Initializer, Layer, Parameter
from .layers import LayerNorm, Linear, TiedLinear


class MaskedLMCache(NamedTuple):
    x: Array                       # [M, H]
    activation: Any                # [M, E]
    norm: F.LayerNormCache
    transformed: Array             # [M, E]


class AlbertMLMHead(Layer):
    """logits = norm(act(x Wt + bt)) Wᵀ + b, with W [V, E] the word embedding table itself.

    x [M, H]: the caller passes only the rows whose words are asked for, in training the masked
    ones, so the V-wide product is done for a fraction of the tokens.
    """

    def __init__(self, config: AlbertConfig, word_embeddings: Parameter, init: Initializer) -> None:
        self.dense = Linear(config.hidden_size, config.embedding_size, init)
        self.LayerNorm = LayerNorm(config.embedding_size, config.layer_norm_eps, init)
        self.bias = init.zeros(config.vocab_size)
        self.decoder = TiedLinear(word_embeddings, self.bias)
        self.act, self.act_backward = F.ACTIVATIONS[config.hidden_act]

    def forward(self, x: Array) -> tuple[Array, MaskedLMCache]:
        activated, activation = self.act(self.dense(x))                     # [M, E]
        transformed, norm = self.LayerNorm.forward(activated)               # [M, E]
        return self.decoder(transformed), MaskedLMCache(x, activation, norm, transformed)

    def backward(self, d_logits: Array, cache: MaskedLMCache) -> Array:
        d_transformed = self.decoder.backward(d_logits, cache.transformed)  # [M, E]
        d_activated = self.LayerNorm.backward(d_transformed, cache.norm)
        return self.dense.backward(self.act_backward(d_activated, cache.activation), cache.x)


class SOPCache(NamedTuple):
    dropped: Array                 # [B, H]
    scale: Array | None            # [B, H]


class AlbertSOPHead(Layer):
    """Sentence order from the pooled first token: label 0 = as written, 1 = swapped."""

    def __init__(self, config: AlbertConfig, init: Initializer) -> None:
        self.classifier = Linear(config.hidden_size, 2, init)
        huggingface = config.dropout_sites == "huggingface"
        self.dropout_prob = config.classifier_dropout_prob if huggingface else 0.0

    def forward(self, pooled: Array, *,
                rng: np.random.Generator | None = None) -> tuple[Array, SOPCache]:
        dropped, scale = F.dropout(pooled, self.dropout_prob, rng)          # [B, H]
        return self.classifier(dropped), SOPCache(dropped, scale)           # [B, 2]

    def backward(self, d_logits: Array, cache: SOPCache) -> Array:
        d_dropped = self.classifier.backward(d_logits, cache.dropped)
        return F.dropout_backward(d_dropped, cache.scale)
