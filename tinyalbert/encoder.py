"""The ALBERT encoder: few layers, applied many times (section 3.1, cross-layer sharing).

    e [B, T, E] -> E×H map -> layer -> layer -> ... -> [B, T, H]

Weights live on the layer. What one application needs for its backward pass lives in that
application's cache. Twelve caches, one gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .attention import AlbertAttention, SelfAttentionCache
from .backend import Array
from .config import AlbertConfig
from .feed_forward import AlbertFeedForward, FeedForwardCache
from .layer import Initializer, Layer
from .layers import Linear


class LayerCache(NamedTuple):
    attention: SelfAttentionCache
    feed_forward: FeedForwardCache


class AlbertLayer(Layer):
    """Attention, then feed-forward. Sharing a half between layers means passing the same object."""

    def __init__(self, attention: AlbertAttention, feed_forward: AlbertFeedForward) -> None:
        self.attention = attention
        self.feed_forward = feed_forward

    def forward(self, x: Array, attention_bias: Array, *,
                rng: np.random.Generator | None = None) -> tuple[Array, LayerCache]:
        x, attention = self.attention.forward(x, attention_bias, rng=rng)
        x, feed_forward = self.feed_forward.forward(x, rng=rng)
        return x, LayerCache(attention, feed_forward)                       # [B, T, H]

    def backward(self, dx: Array, cache: LayerCache) -> Array:
        dx = self.feed_forward.backward(dx, cache.feed_forward)
        return self.attention.backward(dx, cache.attention)                 # [B, T, H]


class AlbertLayerGroup(Layer):
    """`inner_group_num` different layers, one after the other. Every published model has one."""

    def __init__(self, albert_layers: list[AlbertLayer]) -> None:
        self.albert_layers = albert_layers


class Remembered(NamedTuple):
    """What gradient checkpointing keeps of one layer application: enough to run it again."""

    x: Array                       # [B, T, H]
    attention_bias: Array          # [B, 1, 1, T]
    seed: int | None               # of the dropout, None in evaluation


class EncoderCache(NamedTuple):
    embedded: Array                # [B, T, E]
    applications: list[LayerCache | Remembered]     # one for each, in order


class AlbertEncoder(Layer):
    """num_hidden_layers * inner_group_num layer applications over a few parameter sets.

    Layer i belongs to group i*G//L, in whole numbers: the floating-point forms of the reference
    codes misplace a layer for some L. With partial sharing (paper, Table 4) every layer is its own
    `AlbertLayer`, and one half of each is the same object.
    """

    def __init__(self, config: AlbertConfig, init: Initializer) -> None:
        depth, inner = config.num_hidden_layers, config.inner_group_num
        group_of = [i * config.num_hidden_groups // depth for i in range(depth)]
        attention_of = group_of if config.sharing in ("all", "attention") else range(depth)
        feed_forward_of = group_of if config.sharing in ("all", "ffn") else range(depth)
        pairs = list(zip(attention_of, feed_forward_of, strict=True))       # one for each layer

        self.embedding_hidden_mapping_in = Linear(config.embedding_size, config.hidden_size, init)
        attentions = {a: [AlbertAttention(config, init) for _ in range(inner)]
                      for a in sorted(set(attention_of))}
        feed_forwards = {f: [AlbertFeedForward(config, init) for _ in range(inner)]
                         for f in sorted(set(feed_forward_of))}
        groups = {(a, f): AlbertLayerGroup(list(map(AlbertLayer, attentions[a], feed_forwards[f])))
                  for a, f in dict.fromkeys(pairs)}
        self.albert_layer_groups = list(groups.values())
        self.order = [list(groups).index(pair) for pair in pairs]
        self.gradient_checkpointing = config.gradient_checkpointing

    def applications(self) -> list[AlbertLayer]:
        """The layers in the order in which they are applied, the shared ones repeatedly."""
        return [layer for g in self.order for layer in self.albert_layer_groups[g].albert_layers]

    def forward(self, embedded: Array, attention_bias: Array, *,
                rng: np.random.Generator | None = None) -> tuple[Array, EncoderCache]:
        x = self.embedding_hidden_mapping_in(embedded)                      # [B, T, H]
        caches: list[LayerCache | Remembered] = []
        for layer in self.applications():
            remembered = Remembered(x, attention_bias, draw_seed(rng))
            x, cache = layer.forward(x, attention_bias, rng=generator(remembered.seed))
            caches.append(remembered if self.gradient_checkpointing else cache)
        return x, EncoderCache(embedded, caches)                            # [B, T, H]

    def backward(self, dx: Array, cache: EncoderCache) -> Array:
        for layer, kept in zip(reversed(self.applications()), reversed(cache.applications),
                               strict=True):
            if isinstance(kept, Remembered):
                _, kept = layer.forward(kept.x, kept.attention_bias, rng=generator(kept.seed))
            dx = layer.backward(dx, kept)                                   # gradients were added
        return self.embedding_hidden_mapping_in.backward(dx, cache.embedded)    # [B, T, E]

    def __call__(self, embedded: Array, attention_bias: Array) -> tuple[Array, list, list]:
        """Evaluate, one layer's cache at a time. Returns the output [B, T, H], the hidden states
        (L+1 arrays [B, T, H], the mapped embeddings first) and the attentions (L arrays
        [B, N, T, T])."""
        x = self.embedding_hidden_mapping_in(embedded)
        hidden_states, attentions = [x], []
        for layer in self.applications():
            x, cache = layer.forward(x, attention_bias)
            hidden_states.append(x)
            attentions.append(cache.attention.attention.probs)
        return x, hidden_states, attentions


def draw_seed(rng: np.random.Generator | None) -> int | None:
    """One layer application's own dropout seed, so that the application can be repeated."""
    return None if rng is None else int(rng.integers(2**63))


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)
