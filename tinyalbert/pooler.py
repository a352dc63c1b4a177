"""One vector for the whole sequence.

    pooled = tanh(x[CLS] Wp + bp)                                           [B, H]
"""

from __future__ import annotations

from typing import NamedTuple

from .backend import Array, array_module
from .config import AnyConfig
from .layer import Initializer, Layer
from .layers import Linear


class PoolerCache(NamedTuple):
    first: Array       # [B, H]
    pooled: Array      # [B, H]


class AlbertPooler(Layer):
    """The first token, [CLS], speaks for the sequence: the caller passes its row of each."""

    def __init__(self, config: AnyConfig, init: Initializer) -> None:
        self.dense = Linear(config.hidden_size, config.hidden_size, init)

    def forward(self, first: Array) -> tuple[Array, PoolerCache]:
        pooled = array_module(first).tanh(self.dense(first))                # [B, H]
        return pooled, PoolerCache(first, pooled)

    def backward(self, d_pooled: Array, cache: PoolerCache) -> Array:
        first, pooled = cache
        return self.dense.backward(d_pooled * (1 - pooled * pooled), first)     # [B, H]
