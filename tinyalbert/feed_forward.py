"""The feed-forward network with its residual and norm: the second half of a layer.

    y = norm(a + dropout(act(a W1 + b1) W2 + b2))                           [B, T, H]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AnyConfig
from .layer import Initializer, Layer
from .layers import LayerNorm, Linear


class FeedForwardCache(NamedTuple):
    x: Array                       # [..., H]
    activation: Any                # what the activation remembers, [..., F]
    activated: Array               # [..., F]
    dropout: Array | None          # [..., H]
    norm: F.LayerNormCache


class AlbertFeedForward(Layer):
    """H -> F -> H for every token by itself; F is 4H in every published model."""

    def __init__(self, config: AnyConfig, init: Initializer) -> None:
        hidden, intermediate = config.hidden_size, config.intermediate_size
        self.ffn = Linear(hidden, intermediate, init)
        self.ffn_output = Linear(intermediate, hidden, init)
        self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps, init)
        self.act, self.act_backward = F.ACTIVATIONS[config.hidden_act]
        google = config.dropout_sites == "google"
        self.dropout_prob = config.hidden_dropout_prob if google else 0.0

    def forward(self, x: Array, *,
                rng: np.random.Generator | None = None) -> tuple[Array, FeedForwardCache]:
        activated, activation = self.act(self.ffn(x))                       # [..., F]
        y, dropped = F.dropout(self.ffn_output(activated), self.dropout_prob, rng)
        y, norm = self.LayerNorm.forward(y, x)                              # [..., H]
        return y, FeedForwardCache(x, activation, activated, dropped, norm)

    def backward(self, dy: Array, cache: FeedForwardCache) -> Array:
        d_sum = self.LayerNorm.backward(dy, cache.norm)                     # [..., H], to x and y
        d_activated = self.ffn_output.backward(F.dropout_backward(d_sum, cache.dropout),
                                               cache.activated)
        dx = self.ffn.backward(self.act_backward(d_activated, cache.activation), cache.x)
        dx += d_sum                                                         # the residual's share
        return dx
