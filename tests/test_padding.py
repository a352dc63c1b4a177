"""Sequences of like length go through the encoder together, and nobody can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict_array import StrictBackend
from tiny import assert_close, gradients, make_batch, randomize, tiny_config, without_labels

from tinyalbert import AlbertForPreTraining, AlbertForQuestionAnswering, check_gradients, padding
from tinyalbert.backend import get_backend
from tinyalbert.inputs import check_inputs
from tinyalbert.padding import by_length

NUMPY = get_backend("numpy")
LENGTHS = (9, 2, 0, 5, 9, 3, 1, 8)


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "PADDING", 4)


def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "PADDING", 10**9)


def model_and_batch(**options: Any) -> tuple[AlbertForPreTraining, dict[str, np.ndarray]]:
    model = randomize(AlbertForPreTraining(tiny_config(num_hidden_layers=2), dtype="float64",
                                           **options))
    return model, make_batch(model.config, LENGTHS)     # type: ignore[return-value]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any), st.integers(0, 10**6))
def test_every_token_is_in_one_group(lengths: list[int], seed: int) -> None:
    rng, columns = np.random.default_rng(seed), max(lengths)
    mask = (np.arange(columns) < np.array(lengths)[:, None]).astype(int)
    asked = rng.permutation(mask.size)[:rng.integers(0, mask.size + 1)]         # padding too
    ids = rng.integers(0, 23, mask.shape)
    inputs = check_inputs(tiny_config(), ids, mask, None, None, None)
    for tokens in (None, asked):
        groups = by_length(inputs, tokens, NUMPY).parts
        if groups[0].sequences is ...:
            assert len(groups) == 1 and groups[0].inputs is inputs and groups[0].tokens is tokens
            continue
        assert sorted(np.concatenate([g.sequences for g in groups])) == list(range(len(lengths)))
        for g in groups:
            length = g.inputs.attention_mask.shape[1]
            np.testing.assert_array_equal(g.inputs.input_ids, ids[g.sequences, :length])
            np.testing.assert_array_equal(g.inputs.attention_mask, mask[g.sequences, :length])
            assert not mask[g.sequences, length:].any()
            if tokens is not None:
                np.testing.assert_array_equal(g.inputs.input_ids.ravel()[g.tokens],
                                              ids.ravel()[tokens[g.places]])
        if tokens is not None:
            assert sorted(np.concatenate([g.places for g in groups])) == list(range(len(tokens)))


def groups_of(*lengths: int, columns: int) -> list[tuple[Any, int]]:
    mask = (np.arange(columns) < np.array(lengths)[:, None]).astype(int)
    groups = by_length(check_inputs(tiny_config(), mask, mask, None, None, None), None, NUMPY)
    return [(group.sequences if group.sequences is ... else group.sequences.tolist(),
             group.inputs.attention_mask.shape[1]) for group in groups.parts]


def test_groups_by_hand() -> None:
    assert groups_of(9, 8, 9, 7, columns=9) == [(..., 9)]               # 3 of padding: left alone
    assert groups_of(2, 9, 8, 3, columns=9) == [([1, 2], 9), ([3, 0], 3)]
    assert groups_of(2, 2, columns=12) == [([0, 1], 2)]                 # cut, as "max_length" pads
    assert groups_of(0, 5, columns=12) == [([0], 12), ([1], 5)]


def test_the_same_answers_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_and_batch()
    out, cache = model.forward(**batch)
    assert len(cache.albert.caches) > 1
    model.backward(cache)
    grouped, evaluated = gradients(model), model(**batch)
    hidden = model.albert(**without_labels(batch)).last_hidden_state

    whole_batches(monkeypatch)
    model.zero_grad()
    expected, cache = model.forward(**batch)
    model.backward(cache)
    assert len(cache.albert.caches) == 1
    for name in ("loss", "prediction_logits", "sop_logits"):
        assert_close(out[name], expected[name], 1e-12, name)
    for name, gradient in gradients(model).items():
        assert_close(grouped[name], gradient, 1e-12, name, scale=max(1e-3, abs(gradient).max()))
    real = batch["attention_mask"] == 1
    whole = model(**batch)
    assert_close(evaluated.prediction_logits[real], whole.prediction_logits[real], 1e-12)
    assert_close(evaluated.sop_logits, whole.sop_logits, 1e-12)
    assert_close(hidden[real], model.albert(**without_labels(batch)).last_hidden_state[real], 1e-12)


def test_a_batch_that_is_padded_far_too_long() -> None:
    """As padding="max_length" does."""
    model, batch = model_and_batch()
    short = without_labels(make_batch(model.config, (3, 2)))
    long = {name: np.pad(array, ((0, 0), (0, 8))) for name, array in short.items()}
    out, expected = model(**long), model(**short)
    assert out.prediction_logits.shape == (2, 11, 23)
    assert_close(out.prediction_logits[:, :2], expected.prediction_logits[:, :2], 1e-12)
    assert_close(out.sop_logits, expected.sop_logits, 1e-12)


def test_gradients_with_dropout() -> None:
    config = tiny_config(num_hidden_layers=1, hidden_dropout_prob=0.2,
                         attention_probs_dropout_prob=0.2)
    model = randomize(AlbertForPreTraining(config, dtype="float64"))
    report = check_gradients(model, elements=1, **make_batch(config, LENGTHS))
    assert report.ok, report


def test_on_a_device() -> None:
    model, batch = model_and_batch()
    device, _ = model_and_batch(backend=StrictBackend())
    for m in (model, device):
        m.backward(m.forward(**batch)[1])
    for name, gradient in gradients(model).items():
        assert_close(gradients(device)[name], gradient, 1e-10, name,
                     scale=max(1e-3, abs(gradient).max()))


def test_question_answering_sees_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = randomize(AlbertForQuestionAnswering(tiny_config(), dtype="float64"))
    batch = without_labels(make_batch(model.config, LENGTHS))
    scores = model(**batch).start_logits                # type: ignore[operator]
    whole_batches(monkeypatch)
    assert_close(scores, model(**batch).start_logits, 1e-12)        # type: ignore[operator]
