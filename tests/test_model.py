"""How the whole model behaves, without a reference: shapes, losses, gradients, padding."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from tiny import assert_close, gradients, make_batch, randomize, tiny_config, without_labels

from tinyalbert import AlbertForPreTraining, InputError
from tinyalbert.fast import textbook

DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3}
Version = Callable[[], AbstractContextManager[None]]
both_versions = pytest.mark.parametrize("version", [nullcontext, textbook],
                                        ids=["fast", "textbook"])


def make_model(dtype: str = "float64", **changes: Any) -> AlbertForPreTraining:
    return randomize(AlbertForPreTraining(tiny_config(**changes), dtype=dtype))


def trained(model: AlbertForPreTraining, batch: dict[str, Any], seed: int | None = None,
            d_loss: float = 1.0) -> tuple[Any, dict[str, np.ndarray]]:
    """The output of one training pass, and what it added to the gradients."""
    before = gradients(model)
    out, cache = model.forward(**batch, rng=None if seed is None else np.random.default_rng(seed))
    model.backward(cache, d_loss)
    return out, {name: g - before[name] for name, g in gradients(model).items()}


# --- the output ---------------------------------------------------------------------------------


def test_the_output_is_read_by_name_key_and_position() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    out = model(**batch)
    assert out[0] is out.loss is out["loss"]
    assert [id(x) for x in out[:3]] == [id(out.loss), id(out.prediction_logits), id(out.sop_logits)]
    unlabelled = model(**without_labels(batch))
    assert unlabelled.loss is None
    assert unlabelled[0] is unlabelled.prediction_logits
    assert len(unlabelled.to_tuple()) == 2


def test_shapes() -> None:
    model = make_model(inner_group_num=2)
    batch = make_batch(model.config)                                    # B=3, T=9
    out = model(**batch, output_hidden_states=True, output_attentions=True)
    assert out.prediction_logits.shape == (3, 9, 23)
    assert out.sop_logits.shape == (3, 2)
    assert [x.shape for x in out.hidden_states] == 9 * [(3, 9, 8)]      # the input, and 4*2 layers
    assert [x.shape for x in out.attentions] == 8 * [(3, 2, 9, 9)]
    assert out.loss.shape == out.masked_lm_loss.shape == out.sop_loss.shape == ()
    base = model.albert(**without_labels(batch))
    assert base.last_hidden_state.shape == (3, 9, 8) and base.pooler_output.shape == (3, 8)
    assert base.hidden_states is None and base[1] is base.pooler_output


def test_training_predicts_the_labelled_positions_only() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    every = model(**batch)
    out, _ = model.forward(**batch)
    asked = batch["labels"] != -100
    assert out.prediction_logits.shape == (asked.sum(), 23)
    assert_close(out.prediction_logits, every.prediction_logits[asked], 1e-13)
    assert_close(out.loss, every.loss, 1e-13)
    unlabelled, _ = model.forward(**without_labels(batch))
    assert_close(unlabelled.prediction_logits, every.prediction_logits, 1e-13)


@both_versions
@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_precision_throughout(dtype: str, act: str, version: Version) -> None:
    model = make_model(dtype, hidden_act=act, **DROPOUT)
    batch = make_batch(model.config)
    with version():
        out, added = trained(model, batch, seed=1)
        evaluated = model(**batch, output_hidden_states=True, output_attentions=True)
    arrays = [*out.to_tuple(), *added.values(), evaluated.loss, evaluated.sop_logits,
              *evaluated.hidden_states, *evaluated.attentions]
    assert {array.dtype.name for array in arrays} == {dtype}


def test_lists_and_other_integers_are_welcome() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    expected = model(**batch).loss
    assert model(**{k: v.tolist() for k, v in batch.items()}).loss == expected
    assert model(**{k: v.astype(np.int32) for k, v in batch.items()}).loss == expected
    assert model(**{**batch, "attention_mask": batch["attention_mask"] == 1}).loss == expected


# --- the losses ---------------------------------------------------------------------------------


def test_the_loss_is_the_sum_of_two_means() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    out = model(**batch)
    for logits, labels, loss in ((out.prediction_logits, batch["labels"], out.masked_lm_loss),
                                 (out.sop_logits, batch["sentence_order_label"], out.sop_loss)):
        asked = labels != -100
        assert 0 < asked.sum() < asked.size
        chosen = np.take_along_axis(log_softmax(logits[asked], -1), labels[asked][:, None], -1)
        assert_close(loss, -chosen.mean(), 1e-13)
    assert out.loss == out.masked_lm_loss + out.sop_loss


@pytest.mark.parametrize("label", ["labels", "sentence_order_label"])
def test_one_kind_of_label(label: str) -> None:
    model, batch = make_model(), make_batch(tiny_config())
    both, one = model(**batch), model(**without_labels(batch), **{label: batch[label]})
    assert one.loss == (both.masked_lm_loss if label == "labels" else both.sop_loss)
    assert (one.masked_lm_loss is None) == (label != "labels")
    assert (one.sop_loss is None) == (label == "labels")


def test_the_gradients_of_the_losses_add_up() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    _, both = trained(model, batch)
    _, words = trained(model, {k: v for k, v in batch.items() if k != "sentence_order_label"})
    _, orders = trained(model, {k: v for k, v in batch.items() if k != "labels"})
    for name, expected in both.items():
        assert_close(words[name] + orders[name], expected, 1e-12, name,
                     scale=max(1e-3, abs(expected).max()))


def test_no_label_at_all_means_no_gradient() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    out, cache = model.forward(**without_labels(batch))
    assert out.loss is None
    with pytest.raises(InputError, match="^backward has no loss to start from: give `forward` the"):
        model.backward(cache)
    ignored = {k: np.full_like(v, -100) if "label" in k else v for k, v in batch.items()}
    out, added = trained(model, ignored)
    assert out.loss == 0 and out.prediction_logits.shape == (0, 23)
    assert not any(g.any() for g in added.values())
    assert model(**ignored).loss == 0


def test_an_untrained_model_knows_nothing() -> None:
    """Its loss is that of guessing: log V for a word, log 2 for the order."""
    model = AlbertForPreTraining(tiny_config(), dtype="float64")
    out = model(**make_batch(model.config, labels="all"))
    assert out.masked_lm_loss == pytest.approx(math.log(23), abs=0.01)
    assert out.sop_loss == pytest.approx(math.log(2), abs=0.01)


# --- the laws of a layer ------------------------------------------------------------------------


def test_gradients_add_and_follow_d_loss() -> None:
    model, batch = make_model(), make_batch(tiny_config())
    _, once = trained(model, batch)
    _, again = trained(model, batch)
    _, scaled = trained(model, batch, d_loss=-0.25)
    for name, g in once.items():
        scale = max(1e-3, abs(g).max())
        assert_close(again[name], g, 1e-12, name, scale)
        assert_close(scaled[name], -0.25 * g, 1e-12, name, scale)
    model.zero_grad()
    assert not any(g.any() for g in gradients(model).values())


@pytest.mark.parametrize("changes", [{}, DROPOUT, {**DROPOUT, "gradient_checkpointing": True}],
                         ids=str)
def test_passes_change_neither_weights_nor_inputs(changes: dict[str, Any]) -> None:
    model = make_model(**changes)
    batch = make_batch(model.config)
    weights = {name: value.copy() for name, value in model.state_dict().items()}
    inputs = {name: value.copy() for name, value in batch.items()}
    trained(model, batch, seed=1)
    assert all(np.array_equal(weights[k], v) for k, v in model.state_dict().items())
    assert all(np.array_equal(inputs[k], v) for k, v in batch.items())


@both_versions
@pytest.mark.parametrize("changes", [{}, {"num_hidden_groups": 2, "inner_group_num": 2}], ids=str)
def test_checkpointing_changes_nothing_to_the_last_bit(changes: dict[str, Any],
                                                       version: Version) -> None:
    plain, saving = (make_model("float32", **DROPOUT, **changes, gradient_checkpointing=on)
                     for on in (False, True))
    with version():
        out, added = trained(plain, make_batch(plain.config), seed=5)
        same_out, same = trained(saving, make_batch(plain.config), seed=5)
    assert out.loss == same_out.loss
    assert all(np.array_equal(g, same[name]) for name, g in added.items())


def test_dropout_is_decided_by_its_generator_and_absent_without() -> None:
    model, batch = make_model(**DROPOUT), make_batch(tiny_config())
    losses = [trained(model, batch, seed)[0].loss for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert_close(trained(model, batch)[0].loss, model(**batch).loss, 1e-13)


# --- padding ------------------------------------------------------------------------------------


def test_padding_changes_nothing_for_the_real_tokens() -> None:
    model = make_model()
    short = without_labels(make_batch(model.config, lengths=(5, 5)))
    padded = {k: np.pad(v, ((0, 0), (0, 4))) for k, v in short.items()}
    other = {**padded, "input_ids": np.pad(short["input_ids"], ((0, 0), (0, 4)),
                                           constant_values=17)}
    expected = model(**short)
    for batch in (padded, other):
        out = model(**batch, output_attentions=True)
        assert_close(out.prediction_logits[:, :5], expected.prediction_logits, 1e-13)
        assert_close(out.sop_logits, expected.sop_logits, 1e-13)
        assert not any(probs[..., 5:].any() for probs in out.attentions)


@both_versions
def test_a_fully_padded_sequence_is_harmless(version: Version) -> None:
    """No NaN anywhere, and the other sequences do not notice it."""
    model = make_model()
    batch = make_batch(model.config, lengths=(7, 0, 4))
    batch["sentence_order_label"][:] = [0, -100, 1]
    kept = {k: v[[0, 2]] for k, v in batch.items()}
    with version():
        out, added = trained(model, batch)
        expected_out, expected = trained(model, kept)
        assert np.isfinite(model(**batch).prediction_logits).all()
    assert_close(out.loss, expected_out.loss, 1e-13)
    for name, g in expected.items():
        assert_close(added[name], g, 1e-12, name, scale=max(1e-3, abs(g).max()))


def test_an_output_is_a_mapping_of_what_is_there() -> None:
    out = AlbertForPreTraining(tiny_config())([[5, 6]])
    assert "loss" not in out and "sop_logits" in out
    assert list(out) == out.keys() == ["prediction_logits", "sop_logits"]
    assert out["sop_logits"] is out[1]
    with pytest.raises(KeyError):
        out["loss"]
