"""Multi-head self-attention with its residual and norm: the first half of a layer.

    a = norm(x + dropout(attend(x) Wo + bo))                                [B, T, H]
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array
from .config import AnyConfig
from .layer import Initializer, Layer
from .layers import LayerNorm, Linear
from .packing import Packed, attend, attend_backward


class SelfAttentionCache(NamedTuple):
    x: Array                       # [B, T, H]
    attention: Any                 # F.AttentionCache, or PackedCache
    rows: Array | None             # [R]
    context: Array                 # [B, T, H], of the rows only [R, H]
    dropout: Array | None
    norm: F.LayerNormCache


class KeysAndValues(NamedTuple):
    """All that attention needs of tokens it has seen, with room for those to come."""

    keys: Array                    # [B, N, T, D]
    values: Array                  # [B, N, T, D]


class AlbertAttention(Layer):
    """N heads of width D = H/N look at the sequence, each with its own query, key and value."""

    def __init__(self, config: AnyConfig, init: Initializer) -> None:
        hidden = config.hidden_size
        self.query = Linear(hidden, hidden, init)
        self.key = Linear(hidden, hidden, init)
        self.value = Linear(hidden, hidden, init)
        self.dense = Linear(hidden, hidden, init)
        self.LayerNorm = LayerNorm(hidden, config.layer_norm_eps, init)
        self.num_heads = config.num_attention_heads
        self.probs_dropout_prob = config.attention_probs_dropout_prob
        self.dropout_prob = config.hidden_dropout_prob

    def forward(self, x: Array, attention_bias: Array | Packed, rows: Array | None = None, *,
                rng: np.random.Generator | None = None) -> tuple[Array, SelfAttentionCache]:
        """x [B, T, H] -> [B, T, H], or [R, H] for some `rows` [R] of the B*T tokens: every token
        is looked at, but only they are asked what they saw. attention_bias: see F.attention; or
        how the sequences are packed (packing.py)."""
        query = self.split_heads(self.query(x))                             # [B, N, T, D]
        key = self.split_heads(self.key(x))
        value = self.split_heads(self.value(x))
        context, attention = attend(query, key, value, attention_bias, self.probs_dropout_prob, rng)
        context = F.take_rows(self.merge_heads(context), rows)              # [B, T, H] or [R, H]
        y, dropped = F.dropout(self.dense(context), self.dropout_prob, rng)
        y, norm = self.LayerNorm.forward(y, F.take_rows(x, rows))
        return y, SelfAttentionCache(x, attention, rows, context, dropped, norm)

    def step(self, x: Array, attention_bias: Array, seen: KeysAndValues) -> Array:
        """What `forward` evaluates for the newest t tokens x [B, t, H], where `seen` holds the keys
        and values of all before them, and gets theirs. attention_bias [B, 1, 1 or t, T], T with the
        new ones. Right where the tokens before look at none of these: else they would change too.
        """
        tokens = attention_bias.shape[-1]
        new = slice(tokens - x.shape[1], tokens)
        seen.keys[:, :, new] = self.split_heads(self.key(x))
        seen.values[:, :, new] = self.split_heads(self.value(x))
        context, _ = F.attention(self.split_heads(self.query(x)), seen.keys[:, :, :tokens],
                                 seen.values[:, :, :tokens], attention_bias, 0.0, None)
        return self.LayerNorm(self.dense(self.merge_heads(context)), x)     # [B, t, H]

    def backward(self, dy: Array, cache: SelfAttentionCache) -> Array:
        d_sum = self.LayerNorm.backward(dy, cache.norm)                     # to x and to y
        d_context = self.dense.backward(F.dropout_backward(d_sum, cache.dropout), cache.context)
        d_sum = F.take_rows_backward(d_sum, cache.rows, cache.x.shape)      # [B, T, H]
        d_context = F.take_rows_backward(d_context, cache.rows, cache.x.shape)
        d_query, d_key, d_value = attend_backward(self.split_heads(d_context), cache.attention)
        dx = self.value.backward(self.merge_heads(d_value), cache.x)
        dx += self.key.backward(self.merge_heads(d_key), cache.x)
        dx += self.query.backward(self.merge_heads(d_query), cache.x)
        dx += d_sum                                                         # the residual's share
        return dx

    def split_heads(self, x: Array) -> Array:
        batch, tokens, hidden = x.shape
        x = x.reshape(batch, tokens, self.num_heads, hidden // self.num_heads)
        return x.swapaxes(1, 2)                                             # [B, N, T, D], a view

    def merge_heads(self, x: Array) -> Array:
        batch, heads, tokens, size = x.shape
        return x.swapaxes(1, 2).reshape(batch, tokens, heads * size)        # [B, T, H]
