"""Tiny models, batches and comparisons for the tests. No PyTorch here.

`randomize` moves *every* parameter away from its initial value. At their initial values (gains 1,
biases 0) half of all possible mistakes change nothing: a gain outside the means of the layer-norm
derivative, a bias added twice, a gradient that is never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import tinyalbert
from tinyalbert import AlbertConfig, BertConfig
from tinyalbert.pretrained import PreTrainedModel

TASKS = ("Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification",
         "ForMultipleChoice", "ForTokenClassification", "ForQuestionAnswering")
CLASSES = [f"{family}{task}" for family in ("Albert", "Bert") for task in TASKS]
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}    # relative to the largest value of a tensor


def tiny_config(**changes: Any) -> AlbertConfig:
    """Four layers, two heads, 23 words; no two sizes alike, so that no transposition hides."""
    return AlbertConfig(
        vocab_size=23, embedding_size=6, hidden_size=8, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=20, max_position_embeddings=12, type_vocab_size=3).replace(**changes)


def tiny_bert_config(**changes: Any) -> BertConfig:
    return BertConfig(
        vocab_size=23, hidden_size=8, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=20, max_position_embeddings=12, type_vocab_size=3,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).replace(**changes)


def tiny_model(name: str, dtype: str = "float64", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A model of any of the CLASSES, every parameter drawn."""
    config = (tiny_bert_config if name.startswith("Bert") else tiny_config)(**changes)
    return randomize(getattr(tinyalbert, name)(config, dtype=dtype), seed)


def task_of(model: PreTrainedModel) -> str:
    return type(model).__name__.removeprefix("Albert").removeprefix("Bert")


def encoder_of(model: PreTrainedModel) -> Any:
    """The AlbertModel or BertModel inside, or the model itself if it is one."""
    return getattr(model, "albert", model)


def randomize(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """Draw every parameter anew: matrices and biases around 0, layer-norm gains around 1."""
    rng = np.random.default_rng(seed)
    for name, parameter in model.named_parameters().items():
        values = 0.2 * rng.standard_normal(parameter.data.shape) + name.endswith("LayerNorm.weight")
        # Rounded to float32, so that the models of both precisions are the same model.
        values = values.astype(np.float32).astype(model.dtype)
        parameter.data[...] = model.backend.asarray(values)
    return model


def make_batch(config: AlbertConfig, lengths: tuple[int, ...] = (9, 6, 2), labels: str = "some",
               seed: int = 0) -> dict[str, np.ndarray]:
    """Keyword arguments for our models and for Hugging Face's: sequences of the given lengths,
    padded to the longest. labels: `some` positions (one sentence label ignored too), or `all`."""
    rng = np.random.default_rng(seed)
    shape = len(lengths), max(lengths)
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)         # [B, T]
    words = rng.integers(1, config.vocab_size, shape)
    asked = mask == 1 if labels == "all" else (rng.random(shape) < 0.4) & (mask == 1)
    orders = rng.integers(0, 2, len(lengths))
    if labels == "some":
        orders[-1] = -100
    return {"input_ids": np.where(mask == 1, words, config.pad_token_id),
            "attention_mask": mask,
            "token_type_ids": rng.integers(0, config.type_vocab_size, shape) * mask,
            "labels": np.where(asked, rng.integers(0, config.vocab_size, shape), -100),
            "sentence_order_label": orders}


def make_task_batch(model: PreTrainedModel, lengths: tuple[int, ...] = (9, 6, 2),
                    seed: int = 0) -> dict[str, np.ndarray]:
    """Keyword arguments with labels for a model of any class; two choices where it has choices.
    Some labels are ignored, one answer lies beyond the tokens."""
    task, config = task_of(model), model.config
    choices = 2 if task == "ForMultipleChoice" else 1
    batch = make_batch(config, lengths * choices, seed=seed)
    words, orders = batch.pop("labels"), batch.pop("sentence_order_label")      # [B, T], [B]
    rng, count, classes = np.random.default_rng(seed + 1), len(lengths), config.num_labels
    if task == "ForPreTraining":
        return {**batch, "labels": words, model.sentence_label: orders}
    if task == "ForMaskedLM":
        return {**batch, "labels": words}
    if task == "ForTokenClassification":
        return {**batch, "labels": np.where(words == -100, -100, words % classes)}
    if task == "ForQuestionAnswering":
        starts, ends = rng.integers(0, max(lengths), (2, count))
        starts[-1], ends[0] = max(lengths), max(lengths) + 3
        return {**batch, "start_positions": starts, "end_positions": ends}
    if task == "ForMultipleChoice":
        batch = {key: value.reshape(count, choices, -1) for key, value in batch.items()}
        return {**batch, "labels": rng.integers(0, choices, count)}
    if task == "ForSequenceClassification":
        return {**batch, "labels": sequence_labels(config, count, model.dtype, rng)}
    return batch


def sequence_labels(config: Any, count: int, dtype: Any,
                    rng: np.random.Generator) -> np.ndarray:
    shape = count, config.num_labels
    if config.problem_type == "multi_label_classification":
        return rng.integers(0, 2, shape).astype(dtype)
    if config.problem_type == "regression" or config.num_labels == 1:
        return rng.standard_normal(shape).astype(np.float32).astype(dtype)
    labels = rng.integers(0, config.num_labels, count)
    labels[1:2] = -100
    return labels


def without_labels(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    labels = ("label", "start_positions", "end_positions")
    return {key: value for key, value in batch.items() if not any(name in key for name in labels)}


def assert_close(ours: Any, theirs: Any, tolerance: float, what: str = "",
                 scale: float | None = None) -> None:
    """|ours - theirs| <= tolerance * scale everywhere; scale is the largest |theirs| unless given.
    A tensor of zeros must be matched exactly."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, what
    scale = float(np.abs(theirs).max(initial=0)) if scale is None else scale
    error = float(np.abs(ours - theirs).max(initial=0))
    assert error <= tolerance * scale, f"{what}: off by {error:.3g} at a scale of {scale:.3g}"


def assert_gradients_close(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray],
                           tolerance: float) -> None:
    """Every gradient, by Hugging Face name; a name that one side lacks is a failure."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        # In some sums nearly all cancels: softmax ignores what is added to all scores alike, so the
        # gradient of a key bias, and of a bias of scores, is 0, and what either side computes is
        # rounding. On the scale of a gradient that receives the same rows (the weight's beside the
        # bias, the query's beside the key) "equal up to rounding" means something; a wrong gradient
        # would show on it.
        beside = (name, name.removesuffix("bias") + "weight", name.replace(".key.", ".query."))
        scale = max(float(np.abs(theirs[n]).max(initial=0)) for n in beside if n in theirs)
        assert_close(ours[name], expected, tolerance, name, scale)


def gradients(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """A copy of the gradient of each parameter, once, under its first Hugging Face name."""
    every_name = model.state_dict(gradients=True)
    return {name: every_name[name]
            for name in map(model.hugging_face_name, model.named_parameters())}
