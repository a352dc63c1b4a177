"""Hugging Face's ALBERT and BERT in PyTorch, made to compute what a model of ours should."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import transformers
from tiny import TOLERANCE, assert_close, encoder_of, task_of
from transformers.models.albert.modeling_albert import AlbertLayer

from tinyalbert import AlbertForPreTraining
from tinyalbert.pretrained import PreTrainedModel

OURS = ("sharing", "dropout_sites", "gradient_checkpointing")


def twin(model: PreTrainedModel, attention: str = "eager") -> transformers.PreTrainedModel:
    """Their model with the weights, the precision and (partial sharing) the sharing of ours.

    Theirs knows no partial sharing. It gets one group for each layer, and `summed_gradients`
    adds up what the copies of a shared tensor received.
    """
    values = {key: v for key, v in model.config.to_dict().items() if key not in OURS}
    if model.config.model_type == "albert":
        values["num_hidden_groups"] = len(encoder_of(model).encoder.albert_layer_groups)
        if has_no_sop_dropout(model):
            values["classifier_dropout_prob"] = 0.0
    their_class = getattr(transformers, type(model).__name__)
    config = their_class.config_class(**values, attn_implementation=attention)
    theirs = their_class(config).to(getattr(torch, model.dtype.name))
    theirs.load_state_dict(tensors(model.state_dict()))
    return theirs.train()


def has_no_sop_dropout(model: PreTrainedModel) -> bool:
    return task_of(model) == "ForPreTraining" and model.config.dropout_sites == "google"


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
        names.setdefault(id(parameter), []).append(model.hugging_face_name(name))
    result = {}
    for first, *rest in names.values():
        copies = {id(t): t for t in map(theirs.get_parameter, [first, *rest])}.values()
        result[first] = sum(np.zeros(t.shape) if t.grad is None else t.grad.numpy()
                            for t in copies)
    return result


def assert_outputs_agree(model: PreTrainedModel, theirs: Any, batch: Mapping[str, Any]) -> None:
    """Every field of theirs in evaluation, with all hidden states and attentions."""
    out = model(**batch, output_hidden_states=True, output_attentions=True)
    with torch.no_grad():
        expected = theirs.eval()(**tensors(batch), output_hidden_states=True,
                                 output_attentions=True)
    assert len(expected) >= 3
    for field, theirs_value in expected.items():
        if field == "cross_attentions":             # a decoder's; here they are empty
            continue
        ours, theirs_list = out[field], theirs_value
        if not isinstance(theirs_value, tuple):
            ours, theirs_list = [ours], [theirs_value]
        assert len(ours) == len(theirs_list)
        for i, (a, b) in enumerate(zip(ours, theirs_list, strict=True)):
            assert_close(a, b, TOLERANCE[model.dtype.name], f"{field}[{i}]")


@contextmanager
def same_dropout(model: PreTrainedModel, seed: int,
                 batch: Mapping[str, np.ndarray]) -> Iterator[None]:
    """Inside, PyTorch drops out exactly the elements that our `default_rng(seed)` does.

    Their dropout is replaced by one that draws from the same generators in the same order. Where
    an ALBERT asks for Google's sites, their feed-forward output gets the dropout that their layer
    builds and never calls. Our last layer works only for the tokens that the task asks about, and
    draws for them alone; nothing depends on the others.
    """
    sites = iter(dropout_sites(model, np.random.default_rng(seed), batch))

    def dropout(x: torch.Tensor, p: float = 0.5, training: bool = True,
                inplace: bool = False) -> torch.Tensor:
        rng, rows = next(sites)
        if p == 0 or not training:
            return x
        keep = np.ones(tuple(x.shape), bool)
        if rows is None:
            keep = rng.random(keep.shape, dtype=np.float32) >= p
        else:
            drawn = rng.random((len(rows), keep.shape[-1]), dtype=np.float32)
            keep.reshape(-1, keep.shape[-1])[rows] = drawn >= p
        return x * torch.tensor(keep).to(x.dtype) / (1 - p)

    def feed_forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
        return layer.dropout(theirs_feed_forward(layer, x))

    theirs_dropout, theirs_feed_forward = torch.nn.functional.dropout, AlbertLayer.ff_chunk
    try:
        torch.nn.functional.dropout = dropout
        if model.config.dropout_sites == "google":
            AlbertLayer.ff_chunk = feed_forward
        yield
    finally:
        torch.nn.functional.dropout, AlbertLayer.ff_chunk = theirs_dropout, theirs_feed_forward
    assert next(sites, None) is None, "a dropout site was not visited"


Site = tuple[np.random.Generator, np.ndarray | None]


def dropout_sites(model: PreTrainedModel, rng: np.random.Generator,
                  batch: Mapping[str, np.ndarray]) -> Iterator[Site]:
    """For each dropout site, in the order of the forward pass: the generator that it draws from,
    and the rows that it draws for (None: all)."""
    config, task = model.config, task_of(model)
    depth, (labelled, rows) = config.num_hidden_layers * config.inner_group_num, asked(task, batch)
    yield rng, None                                                 # embeddings
    for i in range(depth):
        layer = np.random.default_rng(int(rng.integers(2**63)))
        last = rows if i == depth - 1 else None
        yield layer, None                                           # attention probabilities
        yield layer, last                                           # attention output
        if config.dropout_sites == "google":
            yield layer, last                                       # feed-forward output
    if task == "ForTokenClassification":
        yield rng, labelled
    elif task in ("ForSequenceClassification", "ForMultipleChoice") or (
            task == "ForPreTraining" and config.model_type == "albert"):
        yield rng, None                                             # the pooled first token


def asked(task: str, batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """The tokens that have a label, and those that the last layer works for (None: all), both
    counted through all sequences."""
    if task in ("Model", "ForQuestionAnswering"):
        return None, None
    length = batch["input_ids"].shape[-1]
    labelled = np.zeros((batch["input_ids"].size // length, length), bool)      # [B, T]
    if task in ("ForPreTraining", "ForMaskedLM", "ForTokenClassification"):
        labelled = batch["labels"] != -100
    needed = labelled.copy()
    needed[:, 0] = True
    return np.flatnonzero(labelled), np.flatnonzero(needed)
