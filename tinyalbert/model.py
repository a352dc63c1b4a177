"""ALBERT: embeddings -> encoder -> pooler, and with the two pretraining heads on top.

    model = AlbertForPreTraining(config)
    out = model(input_ids, attention_mask)                        # evaluate, as in Hugging Face
    out, cache = model.forward(input_ids, ..., labels=labels, rng=rng)      # train
    model.backward(cache)                                         # every parameter.grad += ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from . import functional as F
from .backend import Array, array_module, get_backend
from .config import AlbertConfig
from .embeddings import AlbertEmbeddings, EmbeddingsCache
from .encoder import AlbertEncoder, EncoderCache
from .errors import InputError
from .heads import AlbertMLMHead, AlbertSOPHead, MaskedLMCache, SOPCache
from .layer import Initializer
from .pooler import AlbertPooler, PoolerCache
from .pretrained import PreTrainedModel


@dataclass
class ModelOutput:
    """Fields by name, by key, or by position, counting only those that are not None."""

    def items(self) -> list[tuple[str, Any]]:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in values if value is not None]

    def keys(self) -> list[str]:
        return [name for name, _ in self.items()]

    def to_tuple(self) -> tuple:
        return tuple(value for _, value in self.items())

    def __getitem__(self, key: int | slice | str) -> Any:
        return dict(self.items())[key] if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, key: str) -> bool:
        return key in self.keys()


@dataclass
class AlbertModelOutput(ModelOutput):
    last_hidden_state: Array                        # [B, T, H]
    pooler_output: Array                            # [B, H]
    hidden_states: tuple[Array, ...] | None = None  # L+1 of [B, T, H]
    attentions: tuple[Array, ...] | None = None     # L of [B, N, T, T]


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    loss: Array | None = None                       # [], nats: the sum of the losses below
    prediction_logits: Array | None = None          # [B, T, V]; from `forward` with labels [M, V]
    sop_logits: Array | None = None                 # [B, 2]
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    masked_lm_loss: Array | None = None             # [], mean over the M labelled positions
    sop_loss: Array | None = None                   # [], mean over the labelled sequences


class ModelCache(NamedTuple):
    embeddings: EmbeddingsCache
    encoder: EncoderCache
    pooler: PoolerCache


class AlbertModel(PreTrainedModel):
    """The encoder without heads.

    backend: "numpy" or "cupy". dtype: float32 for work, float64 for checks. seed: of the initial
    weights. Raises InputError for ids outside their tables, sequences longer than
    max_position_embeddings and arrays of the wrong shape.
    """

    def __init__(self, config: AlbertConfig, *, backend: str = "numpy", dtype: Any = np.float32,
                 seed: int = 0, init: Initializer | None = None) -> None:
        init = init or Initializer(get_backend(backend), dtype, seed, config.initializer_range)
        self.config, self.backend, self.dtype = config, init.backend, init.dtype
        self.embeddings = AlbertEmbeddings(config, init)
        self.encoder = AlbertEncoder(config, init)
        self.pooler = AlbertPooler(config, init)

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
                rng: np.random.Generator | None = None) -> tuple[AlbertModelOutput, ModelCache]:
        """input_ids [B, T], attention_mask [B, T] (1 = real token, default all),
        token_type_ids [B, T] (default 0). With `rng`, dropout is on."""
        ids, types, bias = self.inputs(input_ids, attention_mask, token_type_ids)
        embedded, embeddings = self.embeddings.forward(ids, types, rng=rng)     # [B, T, E]
        x, encoder = self.encoder.forward(embedded, bias, rng=rng)              # [B, T, H]
        pooled, pooler = self.pooler.forward(x)                                 # [B, H]
        return AlbertModelOutput(x, pooled), ModelCache(embeddings, encoder, pooler)

    def backward(self, d_hidden: Array, d_pooled: Array | None,     # type: ignore[override]
                 cache: ModelCache) -> None:
        """d_hidden [B, T, H] and d_pooled [B, H] are the gradients of the two outputs."""
        if d_pooled is not None:
            d_hidden = d_hidden + self.pooler.backward(d_pooled, cache.pooler)
        d_embedded = self.encoder.backward(d_hidden, cache.encoder)
        self.embeddings.backward(d_embedded, cache.embeddings)

    def __call__(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
                 output_hidden_states: bool = False,
                 output_attentions: bool = False) -> AlbertModelOutput:
        ids, types, bias = self.inputs(input_ids, attention_mask, token_type_ids)
        x, hidden_states, attentions = self.encoder(self.embeddings(ids, types), bias)
        return AlbertModelOutput(x, self.pooler(x),
                                 tuple(hidden_states) if output_hidden_states else None,
                                 tuple(attentions) if output_attentions else None)

    def inputs(self, input_ids: Any, attention_mask: Any,
               token_type_ids: Any) -> tuple[Array, Array, Array]:
        """Check on the host, then move to the device: ids, types [B, T], bias [B, 1, 1, T]."""
        ids = host_array("input_ids", input_ids)
        if ids.ndim != 2 or ids.size == 0:
            raise InputError(f"input_ids must have shape [batch, tokens], not {list(ids.shape)}")
        if ids.shape[1] > self.config.max_position_embeddings:
            raise InputError(f"a sequence of {ids.shape[1]} tokens exceeds max_position_embeddings "
                             f"{self.config.max_position_embeddings}: truncate it")
        mask, types = np.ones_like(ids), np.zeros_like(ids)
        if attention_mask is not None:
            mask = host_array("attention_mask", attention_mask)
        if token_type_ids is not None:
            types = host_array("token_type_ids", token_type_ids)
        for name, array in (("attention_mask", mask), ("token_type_ids", types)):
            if array.shape != ids.shape:
                raise InputError(f"{name} has shape {list(array.shape)}, input_ids "
                                 f"{list(ids.shape)}: they must agree")
        check_ids("input_ids", ids, self.config.vocab_size)
        check_ids("token_type_ids", types, self.config.type_vocab_size)
        if not np.isin(mask, (0, 1)).all():
            raise InputError("attention_mask must hold 1 for a token and 0 for padding, no other")
        bias = ((1 - mask.astype(self.dtype)) * -10000.0).astype(self.dtype)[:, None, None, :]
        asarray = self.backend.asarray
        return asarray(ids), asarray(types), asarray(bias)


class PreTrainingCache(NamedTuple):
    albert: ModelCache
    predictions: MaskedLMCache
    sop_classifier: SOPCache
    positions: Array | None                         # [M] labelled rows among the B*T
    masked_lm_loss: F.CrossEntropyCache | None
    sop_loss: F.CrossEntropyCache | None


class AlbertForPreTraining(PreTrainedModel):
    """ALBERT with the masked-LM head (tied to the word embeddings) and the sentence-order head.

    loss = masked-LM cross-entropy + sentence-order cross-entropy (section 3.1), each the mean over
    its labels; the part that no labels are given for is left out.
    """

    def __init__(self, config: AlbertConfig, *, backend: str = "numpy", dtype: Any = np.float32,
                 seed: int = 0) -> None:
        init = Initializer(get_backend(backend), dtype, seed, config.initializer_range)
        self.config, self.backend, self.dtype = config, init.backend, init.dtype
        self.albert = AlbertModel(config, init=init)
        word_embeddings = self.albert.embeddings.word_embeddings.weight
        self.predictions = AlbertMLMHead(config, word_embeddings, init)
        self.sop_classifier = AlbertSOPHead(config, init)

    def forward(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
                labels: Any = None, sentence_order_label: Any = None,
                rng: np.random.Generator | None = None,
                ) -> tuple[AlbertForPreTrainingOutput, PreTrainingCache]:
        """labels [B, T]: the original id where a word is to be predicted, -100 elsewhere.
        sentence_order_label [B]: 0 as written, 1 swapped, -100 not asked. With `rng`, dropout.

        Given labels, only the M labelled positions are predicted: prediction_logits is [M, V].
        """
        out, albert = self.albert.forward(input_ids, attention_mask, token_type_ids, rng=rng)
        x = out.last_hidden_state                                           # [B, T, H]
        rows = x.reshape(-1, x.shape[-1])                                   # [B*T, H]
        targets = self.labels("labels", labels, x.shape[:2], self.config.vocab_size)
        orders = self.labels("sentence_order_label", sentence_order_label, x.shape[:1], 2)

        positions = None
        if targets is not None:
            asked = np.flatnonzero(targets != F.IGNORED)                    # [M], on the host
            positions, targets = self.backend.asarray(asked), targets.reshape(-1)[asked]
            rows = rows[positions]                                          # [M, H]
        logits, predictions = self.predictions.forward(rows)                # [M, V]
        sop_logits, sop = self.sop_classifier.forward(out.pooler_output, rng=rng)
        masked_lm_loss, masked_lm = self.cross_entropy(logits, targets)
        sop_loss, order = self.cross_entropy(sop_logits, orders)
        if positions is None:
            logits = logits.reshape(*x.shape[:2], -1)                       # [B, T, V]
        return (pretraining_output(logits, sop_logits, masked_lm_loss, sop_loss),
                PreTrainingCache(albert, predictions, sop, positions, masked_lm, order))

    def backward(self, cache: PreTrainingCache,                     # type: ignore[override]
                 d_loss: float = 1.0) -> None:
        """Add d_loss times the gradient of the loss to every parameter's grad."""
        x = cache.albert.pooler.x                                           # [B, T, H]
        d_hidden, d_pooled = array_module(x).zeros_like(x), None
        if cache.masked_lm_loss is not None:
            d_logits = F.cross_entropy_backward(d_loss, cache.masked_lm_loss)
            d_hidden.reshape(-1, x.shape[-1])[cache.positions] = \
                self.predictions.backward(d_logits, cache.predictions)      # [M, H]
        if cache.sop_loss is not None:
            d_sop_logits = F.cross_entropy_backward(d_loss, cache.sop_loss)
            d_pooled = self.sop_classifier.backward(d_sop_logits, cache.sop_classifier)
        self.albert.backward(d_hidden, d_pooled, cache.albert)

    def __call__(self, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
                 labels: Any = None, sentence_order_label: Any = None,
                 output_hidden_states: bool = False,
                 output_attentions: bool = False) -> AlbertForPreTrainingOutput:
        """Evaluate. prediction_logits are those of every position, [B, T, V]."""
        out = self.albert(input_ids, attention_mask, token_type_ids,
                          output_hidden_states=output_hidden_states,
                          output_attentions=output_attentions)
        x = out.last_hidden_state
        targets = self.labels("labels", labels, x.shape[:2], self.config.vocab_size)
        orders = self.labels("sentence_order_label", sentence_order_label, x.shape[:1], 2)
        logits = self.predictions(x.reshape(-1, x.shape[-1]))               # [B*T, V]
        sop_logits = self.sop_classifier(out.pooler_output)                 # [B, 2]
        masked_lm_loss, _ = self.cross_entropy(logits, targets)
        sop_loss, _ = self.cross_entropy(sop_logits, orders)
        return pretraining_output(logits.reshape(*x.shape[:2], -1), sop_logits, masked_lm_loss,
                                  sop_loss, out.hidden_states, out.attentions)

    def labels(self, name: str, labels: Any, shape: tuple[int, ...],
               classes: int) -> np.ndarray | None:
        """Check labels on the host: their shape, and that each is -100 or a class."""
        if labels is None:
            return None
        labels = host_array(name, labels)
        if labels.shape != shape:
            raise InputError(f"{name} has shape {list(labels.shape)}, expected {list(shape)}")
        check_ids(name, np.where(labels == F.IGNORED, 0, labels), classes)
        return labels

    def cross_entropy(self, logits: Array, labels: np.ndarray | None) -> tuple[Any, Any]:
        if labels is None:
            return None, None
        return F.cross_entropy(logits, self.backend.asarray(labels.reshape(-1)))


def pretraining_output(logits: Array, sop_logits: Array, masked_lm_loss: Any, sop_loss: Any,
                       hidden_states: Any = None,
                       attentions: Any = None) -> AlbertForPreTrainingOutput:
    given = [loss for loss in (masked_lm_loss, sop_loss) if loss is not None]
    return AlbertForPreTrainingOutput(sum(given[1:], given[0]) if given else None, logits,
                                      sop_logits, hidden_states, attentions, masked_lm_loss,
                                      sop_loss)


def host_array(name: str, values: Any) -> np.ndarray:
    """Lists or arrays as one array on the host; InputError if the rows differ in length."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} cannot be made into one array: are its sequences padded to the "
                         "same length?") from error


def check_ids(name: str, ids: np.ndarray, size: int) -> None:
    """Every id must be a row of its table: NumPy would wrap a negative one, CuPy any."""
    if ids.dtype.kind not in "iu":
        raise InputError(f"{name} must hold whole numbers, not {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        wrong = ids[(ids < 0) | (ids >= size)].flat[0]
        raise InputError(f"{name} holds {wrong}, which is outside 0..{size - 1}")
