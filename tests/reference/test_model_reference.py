"""The whole model against Hugging Face's in PyTorch: outputs, losses and every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hugging_face import OURS, loss, same_dropout, summed_gradients, tensors, twin
from tiny import (
    TOLERANCE,
    assert_close,
    assert_gradients_close,
    gradients,
    make_batch,
    randomize,
    tiny_config,
)

from tinyalbert import AlbertConfig, AlbertForPreTraining

torch.set_num_threads(1)

SHAPES: dict[str, dict[str, Any]] = {
    "albert": {},
    "two groups": {"num_hidden_groups": 2},
    "three groups of five layers": {"num_hidden_groups": 3, "num_hidden_layers": 5},
    "nothing shared": {"sharing": "none"},
    "inner groups": {"num_hidden_groups": 2, "inner_group_num": 2},
    "gelu": {"hidden_act": "gelu"},
    "relu": {"hidden_act": "relu"},
    "one head": {"num_attention_heads": 1},
    "as many heads as features": {"num_attention_heads": 8},
    "E = H": {"embedding_size": 8},
    "checkpointing": {"gradient_checkpointing": True},
    "shared attention": {"sharing": "attention"},
    "shared feed-forward": {"sharing": "ffn"},
    "shared attention, two groups": {"sharing": "attention", "num_hidden_groups": 2},
    "shared feed-forward, inner groups": {"sharing": "ffn", "inner_group_num": 2},
}
both_precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_shape = pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES.keys())


def compare_training(model: AlbertForPreTraining, theirs: Any, batch: dict[str, np.ndarray],
                     rng: np.random.Generator | None = None) -> None:
    """Losses and every gradient, of one forward and backward pass."""
    tolerance = TOLERANCE[model.dtype.name]
    out, cache = model.forward(**batch, rng=rng)
    model.backward(cache)
    expected, theirs_out = loss(theirs, batch)
    expected.backward()
    assert_close(out.loss, expected.item(), tolerance, "loss")
    assert_close(out.sop_logits, theirs_out.sop_logits.detach(), tolerance, "sop_logits")
    assert_gradients_close(gradients(model), summed_gradients(model, theirs), tolerance)


@both_precisions
@every_shape
def test_evaluation(changes: dict[str, Any], dtype: str) -> None:
    model = randomize(AlbertForPreTraining(tiny_config(**changes), dtype=dtype))
    batch, tolerance = make_batch(model.config), TOLERANCE[dtype]
    out = model(**batch, output_hidden_states=True, output_attentions=True)
    theirs = twin(model).eval()
    with torch.no_grad():
        expected = theirs(**tensors(batch), output_hidden_states=True, output_attentions=True)
    for name in ("loss", "prediction_logits", "sop_logits"):
        assert_close(out[name], expected[name], tolerance, name)
    for name in ("hidden_states", "attentions"):
        assert len(out[name]) == len(expected[name])
        for i, (ours_i, theirs_i) in enumerate(zip(out[name], expected[name], strict=True)):
            assert_close(ours_i, theirs_i, tolerance, f"{name}[{i}]")


@both_precisions
@every_shape
def test_gradients(changes: dict[str, Any], dtype: str) -> None:
    model = randomize(AlbertForPreTraining(tiny_config(**changes), dtype=dtype))
    compare_training(model, twin(model), make_batch(model.config))


@both_precisions
@pytest.mark.parametrize("left_out", ["", "labels", "sentence_order_label"])
def test_gradients_of_each_loss(left_out: str, dtype: str) -> None:
    model = randomize(AlbertForPreTraining(tiny_config(), dtype=dtype))
    batch = make_batch(model.config, labels="all")
    compare_training(model, twin(model), {k: v for k, v in batch.items() if k != left_out})


@both_precisions
@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_other_batches(seed: int, dtype: str) -> None:
    model = randomize(AlbertForPreTraining(tiny_config(), dtype=dtype), seed)
    lengths = [(1,), (12, 12), (3, 7, 1, 12, 5)][seed]
    compare_training(model, twin(model), make_batch(model.config, lengths, "all", seed))


@both_precisions
def test_sdpa_attention(dtype: str) -> None:
    model = randomize(AlbertForPreTraining(tiny_config(), dtype=dtype))
    compare_training(model, twin(model, "sdpa"), make_batch(model.config))


@both_precisions
@pytest.mark.parametrize("sites", ["google", "huggingface"])
@pytest.mark.parametrize("changes", [
    {}, {"num_hidden_groups": 2, "inner_group_num": 2}, {"gradient_checkpointing": True},
    {"sharing": "attention"}, {"attention_probs_dropout_prob": 0.0}, {"hidden_dropout_prob": 0.0},
], ids=lambda changes: str(changes))
def test_dropout(changes: dict[str, Any], sites: str, dtype: str) -> None:
    config = tiny_config(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3,
                         classifier_dropout_prob=0.4, dropout_sites=sites).replace(**changes)
    model = randomize(AlbertForPreTraining(config, dtype=dtype))
    batch = make_batch(config)
    with same_dropout(model, 7, batch):
        compare_training(model, twin(model), batch, np.random.default_rng(7))


@both_precisions
def test_an_attended_pad_token(dtype: str) -> None:
    """Hugging Face's lookup never trains the pad row; Google's does, and ours. It makes a
    difference only where a pad token is attended to, and none once theirs is told not to."""
    model = randomize(AlbertForPreTraining(tiny_config(), dtype=dtype))
    batch = make_batch(model.config, lengths=(9, 9))
    batch["input_ids"][:, ::2] = model.config.pad_token_id
    theirs = twin(model)
    theirs.albert.embeddings.word_embeddings.padding_idx = None
    compare_training(model, theirs, batch)


def test_default_inputs() -> None:
    model = randomize(AlbertForPreTraining(tiny_config(), dtype="float64"))
    ids = make_batch(model.config, lengths=(9, 9))["input_ids"]
    with torch.no_grad():
        expected = twin(model).eval()(torch.tensor(ids))
    assert_close(model(ids).prediction_logits, expected.prediction_logits, 1e-10)


def test_a_configuration_of_theirs_means_the_same_here() -> None:
    theirs = transformers.AlbertConfig()
    assert AlbertConfig.from_dict(theirs.to_dict()) == AlbertConfig()
    shared = {key: value for key, value in AlbertConfig().to_dict().items() if key not in OURS}
    assert shared == {key: getattr(theirs, key) for key in shared}


def test_their_gradients_differ_where_the_weights_do() -> None:
    """The comparison itself notices a wrong weight: it is not satisfied by anything."""
    model = randomize(AlbertForPreTraining(tiny_config(), dtype="float64"))
    theirs, batch = twin(model), make_batch(model.config)
    model.albert.encoder.applications()[0].attention.LayerNorm.weight.data[3] *= 1 + 1e-6
    with pytest.raises(AssertionError, match="off by"):
        compare_training(model, theirs, batch)
