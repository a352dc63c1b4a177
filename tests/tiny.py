"""Tiny models, batches and comparisons for the tests. No PyTorch here.

`randomize` moves *every* parameter away from its initial value. At their initial values (gains 1,
biases 0) half of all possible mistakes change nothing: a gain outside the means of the layer-norm
derivative, a bias added twice, a gradient that is never added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinyalbert.config import AlbertConfig
from tinyalbert.pretrained import PreTrainedModel

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}    # relative to the largest value of a tensor


def tiny_config(**changes: Any) -> AlbertConfig:
    """Four layers, two heads, 23 words; no two sizes alike, so that no transposition hides."""
    return AlbertConfig(
        vocab_size=23, embedding_size=6, hidden_size=8, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=20, max_position_embeddings=12, type_vocab_size=3).replace(**changes)


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


def without_labels(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: value for key, value in batch.items() if "label" not in key}


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
        scale = None
        if name.endswith("key.bias"):
            # A key bias adds the same number to all scores of a query, which softmax ignores: its
            # gradient is 0, and what either side computes is the rounding of a sum that cancels.
            # The terms of that sum are as large as those of query.bias, so that is the scale on
            # which "equal up to rounding" means something; a wrong gradient would show on it.
            scale = float(np.abs(theirs[name.replace("key.bias", "query.bias")]).max())
        assert_close(ours[name], expected, tolerance, name, scale)


def gradients(model: PreTrainedModel) -> dict[str, np.ndarray]:
    """A copy of the gradient of each parameter, once, under its first Hugging Face name."""
    return {name: g.copy() for name, g in model.state_dict(gradients=True, tied=False).items()}
