"""One vector for the whole sequence.

    pooled = tanh(x[:, 0] Wp + bp)                                          [B, H]
"""

from __future__ import annotations

from typing import NamedTuple

from .backend import Array, array_module
from .config import AlbertConfig
from .layer import Initializer, Layer
from .layers import Linear


class PoolerCache(NamedTuple):
    x: Array           # [B, T, H]
    pooled: Array      # [B, H]


class AlbertPooler(Layer):
    """The first token, [CLS], speaks for the sequence."""

    def __init__(self, config: AlbertConfig, init: Initializer) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, init)

    def forward(self, x: Array) -> tuple[Array, PoolerCache]:
        pooled = array_module(x).tanh(self.dense(x[:, 0]))                  # [B, H]
        return pooled, PoolerCache(x, pooled)

    def backward(self, d_pooled: Array, cache: PoolerCache) -> Array:
        x, pooled = cache
        dx = array_module(x).zeros_like(x)                                  # [B, T, H]
        dx[:, 0] = self.dense.backward(d_pooled * (1 - pooled * pooled), x[:, 0])
        return dx
