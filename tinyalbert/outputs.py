"""What models answer: Hugging Face's fields, by name, by key or by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from .backend import Array


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
class BaseModelOutputWithPooling(ModelOutput):
    last_hidden_state: Array                        # [B, T, H]; [M, H] of the tokens asked for
    pooler_output: Array | None = None              # [B, H]
    hidden_states: tuple[Array, ...] | None = None  # L+1 of [B, T, H]
    attentions: tuple[Array, ...] | None = None     # L of [B, N, T, T]


@dataclass
class TaskOutput(ModelOutput):
    """Of masked words, sequences, tokens and choices alike: what differs is the shape."""

    loss: Array | None = None                       # [], nats (a square where it is regression)
    logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class QuestionAnsweringModelOutput(ModelOutput):
    loss: Array | None = None                       # [], nats: the mean of start's and end's
    start_logits: Array | None = None               # [B, T]
    end_logits: Array | None = None                 # [B, T]
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class AlbertForPreTrainingOutput(ModelOutput):
    loss: Array | None = None                       # [], nats: the sum of the losses below
    prediction_logits: Array | None = None          # [B, T, V]; from `forward` with labels [M, V]
    sop_logits: Array | None = None                 # [B, 2]
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    masked_lm_loss: Array | None = None             # [], mean over the M labelled positions
    sop_loss: Array | None = None                   # [], mean over the labelled sequences


@dataclass
class BertForPreTrainingOutput(ModelOutput):
    loss: Array | None = None
    prediction_logits: Array | None = None
    seq_relationship_logits: Array | None = None    # [B, 2]
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    masked_lm_loss: Array | None = None
    next_sentence_loss: Array | None = None
