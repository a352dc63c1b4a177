"""What every ALBERT and BERT is pretrained to say: the hidden words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AnyConfig
from .layer import Initializer, Layer, Parameter
from .layers import LayerNorm, Linear, TiedLinear


class MaskedLMCache(NamedTuple):
    x: Array                       # [..., H]
    activation: Any                # [..., E]
    norm: F.LayerNormCache
    transformed: Array             # [..., E]


class AlbertMLMHead(Layer):
    """logits = norm(act(x Wt + bt)) Wᵀ + b, with W [V, E] the word embedding table itself.

    x [..., H]: in training the caller passes only the rows whose words are asked for, so that the
    V-wide product is done for a fraction of the tokens.
    """

    def __init__(self, config: AnyConfig, word_embeddings: Parameter, init: Initializer) -> None:
        self.dense = Linear(config.hidden_size, config.embedding_size, init)
        self.LayerNorm = LayerNorm(config.embedding_size, config.layer_norm_eps, init)
        self.bias = init.zeros(config.vocab_size)
        self.decoder = TiedLinear(word_embeddings, self.bias)
        self.act, self.act_backward = F.ACTIVATIONS[config.hidden_act]

    def forward(self, x: Array, *,
                rng: np.random.Generator | None = None) -> tuple[Array, MaskedLMCache]:
        """x [..., H] -> logits [..., V]. There is no dropout here, whatever `rng` is."""
        activated, activation = self.act(self.dense(x))                     # [..., E]
        transformed, norm = self.LayerNorm.forward(activated)               # [..., E]
        return self.decoder(transformed), MaskedLMCache(x, activation, norm, transformed)

    def backward(self, d_logits: Array, cache: MaskedLMCache) -> Array:
        d_transformed = self.decoder.backward(d_logits, cache.transformed)  # [..., E]
        d_activated = self.LayerNorm.backward(d_transformed, cache.norm)
        return self.dense.backward(self.act_backward(d_activated, cache.activation), cache.x)
