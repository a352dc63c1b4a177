"""ALBERT without heads: embeddings -> encoder -> pooler.

    model = AlbertModel(config)
    out = model(input_ids, attention_mask)                        # evaluate, as in Hugging Face
    out, cache = model.forward(input_ids, attention_mask, rng=rng)          # train
    model.backward(d_hidden, d_pooled, cache)                     # every parameter.grad += ...

What goes on top of it stands in tasks.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .attention import KeysAndValues
from .backend import Array
from .config import AnyConfig
from .embeddings import AlbertEmbeddings, EmbeddingsCache
from .encoder import AlbertEncoder, EncoderCache
from .errors import InputError
from .inputs import Inputs, attention_bias, check_ids, check_inputs, check_shape, host_array
from .layer import Initializer
from .outputs import BaseModelOutputWithPooling
from .packing import Packed, Packing, pack
from .pooler import AlbertPooler, PoolerCache
from .pretrained import PreTrainedModel


class ModelCache(NamedTuple):
    embeddings: EmbeddingsCache
    encoder: EncoderCache
    pooler: PoolerCache | None
    first: Any                  # where in the encoder's output each sequence's first token is
    asked: Any                  # where the tokens are that the caller gets
    back: Any                   # where those go in last_hidden_state
    shape: tuple[int, ...]      # of the encoder's output: B, T, H or 1, R, H or R, H


class AlbertModel(PreTrainedModel):
    """The encoder without heads.

    add_pooling_layer: whether there is a vector for the whole sequence. backend: "numpy" or
    "cupy". dtype: float32 for work, float64 for checks. seed: of the initial weights.

    Raises InputError for ids outside their tables, sequences longer than max_position_embeddings
    and arrays of the wrong shape.
    """

    def __init__(self, config: AnyConfig, add_pooling_layer: bool = True, *,
                 backend: str = "numpy", dtype: Any = np.float32, seed: int = 0,
                 init: Initializer | None = None) -> None:
        init = self.begin(config, backend, dtype, seed, init)
        self.embeddings = AlbertEmbeddings(config, init)
        self.encoder = AlbertEncoder(config, init)
        self.pooler = AlbertPooler(config, init) if add_pooling_layer else None
        self.frozen = False

    def freeze(self) -> None:
        """From now on only the pooler and what is on top of it get gradients: a backward pass ends
        there and costs next to nothing. The weights can no longer be written to, so that they can
        be brought once into the order in which they are read fastest, where that helps: answers
        come sooner, and the weights take up to two and a half times their memory."""
        self.frozen = True
        for part in (self.embeddings, self.encoder):
            for parameter in part.named_parameters().values():
                parameter.freeze()

    def forward(self, input_ids: Any = None, attention_mask: Any = None, token_type_ids: Any = None,
                position_ids: Any = None, inputs_embeds: Any = None, *, tokens: Any = None,
                rng: np.random.Generator | None = None, evaluate: bool = False,
                skip_padding: bool = True, output_hidden_states: bool = False,
                output_attentions: bool = False,
                ) -> tuple[BaseModelOutputWithPooling, ModelCache]:
        """input_ids [B, T], or their word vectors inputs_embeds [B, T, E] instead; attention_mask
        [B, T] (1 = real token, default all), or [B, T, T] (1 = the query, in the row, may look at
        the key, in the column); token_type_ids [B, T] (default 0); position_ids [B, T] (default
        0, 1, 2, ...).

        tokens [M]: the ones among the B*T that the caller asks about, each once. last_hidden_state
        is then [M, H], and the last layer works for these and the pooler's tokens alone.
        skip_padding: the caller does not look at the vectors of padding, so they may be 0 (where
        word vectors are given, and states or attentions recorded, nothing is skipped).
        rng: dropout is on. evaluate: nothing is kept for a backward pass.
        """
        given = check_inputs(self.config, input_ids, attention_mask, token_type_ids, position_ids,
                             inputs_embeds)
        if tokens is not None:
            tokens = check_tokens(tokens, given.token_type_ids.size)
        plain = not (output_hidden_states or output_attentions or given.input_ids is None)
        packing = pack(given, tokens, self.backend) if skip_padding and plain else None
        ids, types, positions, embeds, bias = self.on_device(given, packing)
        embedded, embeddings = self.embeddings.forward(ids, types, positions, embeds, rng=rng)
        rows, first, asked, back = self.find(given.shape, tokens, packing)
        hidden_states: list[Array] | None = [] if output_hidden_states else None
        attentions: list[Array] | None = [] if output_attentions else None
        x, encoder = self.encoder.forward(embedded, bias, rows, rng=rng,
                                          keep=not (evaluate or self.frozen),
                                          hidden_states=hidden_states, attentions=attentions)
        pooled, pooler = self.pooler.forward(x[first]) if self.pooler else (None, None)  # [B, H]
        hidden = x[asked]
        if back is not None:
            hidden = F.take_rows_backward(hidden, back, (*given.shape, x.shape[-1]))
        return (BaseModelOutputWithPooling(hidden, pooled, as_tuple(hidden_states),
                                           as_tuple(attentions)),
                ModelCache(embeddings, encoder, pooler, first, asked, back, x.shape))

    def backward(self, d_hidden: Array | None, d_pooled: Array | None,  # type: ignore[override]
                 cache: ModelCache) -> Array | None:
        """The gradients of last_hidden_state and of pooler_output [B, H], None where nothing
        depends on one. Returns that of inputs_embeds [B, T, E], if they were given."""
        dx = self.backend.xp.zeros(cache.shape, self.dtype)
        if d_hidden is not None:
            dx[cache.asked] += F.take_rows(d_hidden, cache.back)
        if d_pooled is not None and self.pooler and cache.pooler:
            dx[cache.first] += self.pooler.backward(d_pooled, cache.pooler)
        if self.frozen:
            return None
        return self.embeddings.backward(self.encoder.backward(dx, cache.encoder), cache.embeddings)

    def find(self, shape: tuple[int, ...], tokens: np.ndarray | None,
             packing: Packing | None) -> tuple[Any, Any, Any, Any]:
        """Where everything is, on the device: the rows [R] that the last layer works for, and in
        its output each sequence's first token [B], the tokens the caller gets, and where in
        last_hidden_state they belong, if not in that order."""
        batch, length = shape
        asarray = self.backend.asarray
        if tokens is not None:
            first, asked = np.arange(batch) * length, tokens
            if packing:
                first, asked = packing.row_of[first], packing.row_of[asked]
            # Each once: somebody may ask about a first token.
            rows, index = np.unique(np.concatenate([first, asked]), return_inverse=True)
            return asarray(rows), asarray(index[:batch]), asarray(index[batch:]), None
        if packing:
            first = packing.row_of[np.arange(batch) * length]
            return None, (0, asarray(first)), 0, asarray(packing.places)
        return None, (slice(None), 0), ..., None

    def __call__(self, *inputs: Any, **options: Any) -> BaseModelOutputWithPooling:
        """Evaluate: the arguments of `forward`; no dropout, no cache."""
        return self.forward(*inputs, **options, evaluate=True)[0]

    def step(self, input_ids: Array, token_type_ids: Array, position_ids: Array, bias: Array,
             seen: list[KeysAndValues]) -> Array:
        """last_hidden_state [B, t, H] of the newest t tokens, all on the device, [B, t], where
        `seen` holds the keys and values of those before them: see AlbertAttention.step."""
        embedded = self.embeddings(input_ids, token_type_ids, position_ids)
        return self.encoder.step(embedded, bias, seen)

    def make_room(self, batch: int, tokens: int) -> list[KeysAndValues]:
        """For the keys and values of B sequences of T tokens, in every layer application."""
        shape = batch, self.config.num_attention_heads, tokens, self.config.head_size
        zeros = self.backend.xp.zeros
        return [KeysAndValues(zeros(shape, self.dtype), zeros(shape, self.dtype))
                for _ in self.encoder.applications()]

    def on_device(self, given: Inputs, packing: Packing | None,
                  ) -> tuple[Array | None, Array, Array, Array | None, Array | Packed]:
        """Ids, types and positions, [B, T] or packed [1, R], word vectors, and the attention bias.
        """
        asarray = self.backend.asarray
        if packing:
            ids, types, positions = (asarray(packing.take(array)) for array in (
                given.input_ids, given.token_type_ids, given.position_ids))
            return (ids, types, positions, None,
                    packing.bias(given.attention_mask, self.dtype, self.backend))
        ids, mask, types, positions, embeds = given
        return (None if ids is None else asarray(ids), asarray(types), asarray(positions),
                None if embeds is None else asarray(embeds, dtype=self.dtype),
                asarray(attention_bias(mask, self.dtype)))


def check_tokens(tokens: Any, places: int) -> np.ndarray:
    """InputError if one is no token of the batch, or named twice."""
    tokens = host_array("tokens", tokens)
    check_shape("tokens", tokens, (tokens.size,))
    check_ids("tokens", tokens, places)
    if len(np.unique(tokens)) < tokens.size:
        raise InputError("tokens names a token twice")
    return tokens


def as_tuple(arrays: list[Array] | None) -> tuple[Array, ...] | None:
    return None if arrays is None else tuple(arrays)
