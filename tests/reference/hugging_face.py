"""Hugging Face's ALBERT in PyTorch, made to compute what a model of ours should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.albert.modeling_albert import AlbertLayer

from tinyalbert import AlbertConfig, AlbertForPreTraining
from tinyalbert.pretrained import hugging_face_name

OURS = ("sharing", "dropout_sites", "gradient_checkpointing")


def twin(model: AlbertForPreTraining, attention: str = "eager") -> transformers.PreTrainedModel:
    """Their model with the weights, the precision and (partial sharing) the sharing of ours.

    Theirs knows no partial sharing. It gets one group for each layer, and `summed_gradients`
    adds up what the copies of a shared tensor received.
    """
    values = {key: v for key, v in model.config.to_dict().items() if key not in OURS}
    values["num_hidden_groups"] = len(model.albert.encoder.albert_layer_groups)
    if model.config.dropout_sites == "google":
        values["classifier_dropout_prob"] = 0.0
    config = transformers.AlbertConfig(**values, attn_implementation=attention)
    theirs = transformers.AlbertForPreTraining(config).to(getattr(torch, model.dtype.name))
    theirs.load_state_dict(tensors(model.state_dict()))
    return theirs.train()


def tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.tensor(value) for key, value in arrays.items()}


def loss(theirs: Any, batch: Mapping[str, np.ndarray]) -> tuple[torch.Tensor, Any]:
    """Their loss, and their output. Their own loss exists only when both labels are given."""
    given = tensors(batch)
    out = theirs(**given)
    parts = [torch.nn.functional.cross_entropy(logits.flatten(0, -2), given[label].flatten())
             for label, logits in (("labels", out.prediction_logits),
                                   ("sentence_order_label", out.sop_logits)) if label in given]
    total = torch.stack(parts).sum()
    assert len(parts) == 1 or total.item() == out.loss.item()
    return total, out


def summed_gradients(model: AlbertForPreTraining, theirs: Any) -> dict[str, np.ndarray]:
    """What each parameter of ours should have received, under its first Hugging Face name: the
    sum over those tensors of theirs that stand for it."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.walk():
        names.setdefault(id(parameter), []).append(hugging_face_name(name))
    result = {}
    for first, *rest in names.values():
        copies = {id(t): t for t in map(theirs.get_parameter, [first, *rest])}.values()
        result[first] = sum(np.zeros(t.shape) if t.grad is None else t.grad.numpy()
                            for t in copies)
    return result


@contextmanager
def same_dropout(config: AlbertConfig, seed: int) -> Iterator[None]:
    """Inside, PyTorch drops out exactly the elements that our `default_rng(seed)` does.

    Their dropout is replaced by one that draws from the same generators in the same order. Where
    the configuration asks for Google's sites, their feed-forward output gets the dropout that
    their layer builds and never calls.
    """
    generators = iter(dropout_generators(config, np.random.default_rng(seed)))

    def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True,
                inplace: bool = False) -> torch.Tensor:
        rng = next(generators)
        if p == 0 or not training:
            return x
        keep = rng.random(tuple(x.shape), dtype=np.float32) >= p
        return x * torch.tensor(keep).to(x.dtype) / (1 - p)

    def feed_forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
        return layer.dropout(theirs_feed_forward(layer, x))

    theirs_dropout, theirs_feed_forward = torch.nn.functional.dropout, AlbertLayer.ff_chunk
    torch.nn.functional.dropout = dropout
    if config.dropout_sites == "google":
        AlbertLayer.ff_chunk = feed_forward
    try:
        yield
    finally:
        torch.nn.functional.dropout, AlbertLayer.ff_chunk = theirs_dropout, theirs_feed_forward
    assert next(generators, None) is None, "a dropout site was not visited"


def dropout_generators(config: AlbertConfig,
                       rng: np.random.Generator) -> Iterator[np.random.Generator]:
    """The generator that each dropout site draws from, in the order of the forward pass."""
    yield rng                                                       # embeddings
    for _ in range(config.num_hidden_layers * config.inner_group_num):
        layer = np.random.default_rng(int(rng.integers(2**63)))
        yield layer                                                 # attention probabilities
        yield layer                                                 # attention output
        if config.dropout_sites == "google":
            yield layer                                             # feed-forward output
    yield rng                                                       # sentence-order input
