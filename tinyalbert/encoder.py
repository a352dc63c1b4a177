"""The ALBERT encoder: few layers, applied many times (section 3.1, cross-layer sharing).

    e [B, T, E] -> E×H map -> layer -> layer -> ... -> [B, T, H]

Weights live on the layer. What one application needs for its backward pass lives in that
application's cache. Twelve caches, one gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .attention import AlbertAttention, KeysAndValues, SelfAttentionCache
from .backend import Array
from .config import AnyConfig
from .fast import same_weights
from .feed_forward import AlbertFeedForward, FeedForwardCache
from .layer import Initializer, Layer
from .layers import Identity, Linear
from .packing import Packed


class LayerCache(NamedTuple):
    attention: SelfAttentionCache
    feed_forward: FeedForwardCache


class AlbertLayer(Layer):
    """Attention, then feed-forward. Sharing a half between layers means passing the same object."""

    def __init__(self, attention: AlbertAttention, feed_forward: AlbertFeedForward) -> None:
        self.attention = attention
        self.feed_forward = feed_forward

    def forward(self, x: Array, attention_bias: Array | Packed, rows: Array | None = None, *,
                rng: np.random.Generator | None = None) -> tuple[Array, LayerCache]:
        x, attention = self.attention.forward(x, attention_bias, rows, rng=rng)
        x, feed_forward = self.feed_forward.forward(x, rng=rng)
        return x, LayerCache(attention, feed_forward)                   # [B, T, H] or [R, H]

    def backward(self, dx: Array, cache: LayerCache) -> Array:
        dx = self.feed_forward.backward(dx, cache.feed_forward)
        return self.attention.backward(dx, cache.attention)                 # [B, T, H]

    def step(self, x: Array, attention_bias: Array, seen: KeysAndValues) -> Array:
        """`forward` for the newest tokens alone: see AlbertAttention.step."""
        return self.feed_forward(self.attention.step(x, attention_bias, seen))


class AlbertLayerGroup(Layer):
    """`inner_group_num` different layers, one after the other. Every published model has one."""

    def __init__(self, albert_layers: list[AlbertLayer]) -> None:
        self.albert_layers = albert_layers


class Remembered(NamedTuple):
    """What gradient checkpointing keeps of one layer application: enough to run it again."""

    x: Array                       # [B, T, H]
    attention_bias: Array | Packed      # [B, 1, 1, T] or [B, 1, T, T]
    rows: Array | None             # [R]
    seed: int | None               # of the dropout, None in evaluation


class EncoderCache(NamedTuple):
    embedded: Array                # [B, T, E]
    applications: list[LayerCache | Remembered]     # one for each, in order


class AlbertEncoder(Layer):
    """num_hidden_layers * inner_group_num layer applications over a few parameter sets.

    Layer i belongs to group i*G//L, in whole numbers: the floating-point forms of the reference
    codes misplace a layer for some L. With partial sharing (paper, Table 4) every layer is its own
    group, and one half of each is the same object.
    """

    def __init__(self, config: AnyConfig, init: Initializer) -> None:
        depth, groups, inner = (config.num_hidden_layers, config.num_hidden_groups,
                                config.inner_group_num)
        self.embedding_hidden_mapping_in = (
            Linear(config.embedding_size, config.hidden_size, init)
            if config.maps_embeddings else Identity())
        attentions = [[AlbertAttention(config, init) for _ in range(inner)]
                      for _ in range(1 if config.sharing == "attention" else groups)]
        feed_forwards = [[AlbertFeedForward(config, init) for _ in range(inner)]
                         for _ in range(1 if config.sharing == "ffn" else groups)]
        self.albert_layer_groups = [
            AlbertLayerGroup(list(map(AlbertLayer, attentions[g % len(attentions)],
                                      feed_forwards[g % len(feed_forwards)])))
            for g in range(groups)]
        self.order = [i * groups // depth for i in range(depth)]        # the group of each layer
        self.gradient_checkpointing = config.gradient_checkpointing

    def applications(self) -> list[AlbertLayer]:
        """The layers in the order in which they are applied, the shared ones repeatedly."""
        return [layer for g in self.order for layer in self.albert_layer_groups[g].albert_layers]

    @same_weights()
    def forward(self, embedded: Array, attention_bias: Array | Packed, rows: Array | None = None, *,
                rng: np.random.Generator | None = None, keep: bool = True,
                hidden_states: list[Array] | None = None, attentions: list[Array] | None = None,
                ) -> tuple[Array, EncoderCache]:
        """embedded [B, T, E] -> [B, T, H]. Or [R, H] for some `rows` [R] of the B*T tokens: every
        layer below needs all tokens, the last one only those that somebody asks about.

        keep=False: drop each application's cache at once, for evaluation. The lists, if given, get
        the mapped embeddings and each layer's output, and each layer's attention [B, N, T, T].
        """
        x = self.embedding_hidden_mapping_in(embedded)                      # [B, T, H]
        caches: list[LayerCache | Remembered] = []
        if hidden_states is not None:
            hidden_states.append(x)
        layers = self.applications()
        for i, layer in enumerate(layers):
            last = rows if i == len(layers) - 1 else None
            remembered = Remembered(x, attention_bias, last, draw_seed(rng))
            x, cache = layer.forward(x, attention_bias, last, rng=generator(remembered.seed))
            if hidden_states is not None:
                hidden_states.append(x)
            if attentions is not None:
                attentions.append(cache.attention.attention.probs)
            if keep:
                caches.append(remembered if self.gradient_checkpointing else cache)
        return x, EncoderCache(embedded, caches)                        # [B, T, H] or [R, H]

    @same_weights()
    def backward(self, dx: Array, cache: EncoderCache) -> Array:
        for layer, kept in zip(reversed(self.applications()), reversed(cache.applications),
                               strict=True):
            if isinstance(kept, Remembered):
                _, kept = layer.forward(kept.x, kept.attention_bias, kept.rows,
                                        rng=generator(kept.seed))
            dx = layer.backward(dx, kept)                                   # gradients were added
        return self.embedding_hidden_mapping_in.backward(dx, cache.embedded)    # [B, T, E]

    def step(self, embedded: Array, attention_bias: Array, seen: list[KeysAndValues]) -> Array:
        """`forward` for the newest tokens alone, [B, t, E] -> [B, t, H]: see AlbertAttention.step.

        `seen` has one member for each layer application, although the layers share their weights:
        the same Wk makes other keys of another input, and every application has its own.
        """
        x = self.embedding_hidden_mapping_in(embedded)
        for layer, keys_and_values in zip(self.applications(), seen, strict=True):
            x = layer.step(x, attention_bias, keys_and_values)
        return x


def draw_seed(rng: np.random.Generator | None) -> int | None:
    """One layer application's own dropout seed, so that the application can be repeated."""
    return None if rng is None else int(rng.integers(2**63))


def generator(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)
