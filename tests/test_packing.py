"""Packed sequences go through the encoder without their padding, and nobody can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strict_array import StrictBackend
from tiny import assert_close, gradients, make_batch, randomize, tiny_config, without_labels

from tinyalbert import AlbertForPreTraining, AlbertForQuestionAnswering, check_gradients, packing
from tinyalbert.backend import get_backend
from tinyalbert.inputs import Inputs, check_inputs
from tinyalbert.packing import PackedCache, pack

NUMPY = get_backend("numpy")
LENGTHS = (9, 2, 0, 5, 9, 3, 1, 8)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PADDING", 4)


def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PADDING", 10**9)


def model_and_batch(**options: Any) -> tuple[AlbertForPreTraining, dict[str, np.ndarray]]:
    model = randomize(AlbertForPreTraining(tiny_config(num_hidden_layers=2), dtype="float64",
                                           **options))
    return model, make_batch(model.config, LENGTHS)     # type: ignore[return-value]


def inputs_of(lengths: Sequence[int], columns: int, seed: int = 0) -> Inputs:
    mask = (np.arange(columns) < np.array(lengths)[:, None]).astype(int)
    ids = np.random.default_rng(seed).integers(0, 23, mask.shape)
    return check_inputs(tiny_config(), ids, mask, None, None, None)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=9).filter(any), st.integers(0, 10**6))
def test_every_token_has_one_row(lengths: list[int], seed: int) -> None:
    inputs = inputs_of(lengths, max(lengths), seed)
    mask = inputs.attention_mask
    rng = np.random.default_rng(seed)
    asked = rng.permutation(mask.size)[:rng.integers(0, mask.size + 1)]         # padding too
    for tokens in (None, asked):
        packing = pack(inputs, tokens, NUMPY)
        if packing is None:
            assert mask.size - mask.sum() <= 4 or tokens is not None or not all(lengths)
            continue
        assert len(set(packing.places)) == len(packing.places)
        for place in [*np.flatnonzero(mask), *(() if tokens is None else tokens)]:
            assert packing.places[packing.row_of[place]] == place
        np.testing.assert_array_equal(packing.take(inputs.input_ids)[0],
                                      inputs.input_ids.ravel()[packing.places])
        bias = packing.bias(mask, np.float64, NUMPY)
        assert [block.rows.start for block in bias.blocks[1:]] == [
            block.rows.stop for block in bias.blocks[:-1]]
        rows = np.concatenate([block.bias[:, 0, 0].ravel() for block in bias.blocks])
        np.testing.assert_array_equal(rows == 0, mask.ravel()[packing.places] == 1)


def blocks_of(*lengths: int, columns: int) -> list[tuple[list[int], int]] | None:
    packing = pack(inputs_of(lengths, columns), None, NUMPY)
    return packing and [(sequences.tolist(), length) for sequences, length in packing.blocks]


def test_blocks_by_hand() -> None:
    assert blocks_of(9, 8, 9, 7, columns=9) is None                     # 3 of padding: left alone
    assert blocks_of(2, 9, 8, 3, columns=9) == [([1, 2], 9), ([3, 0], 3)]
    assert blocks_of(2, 2, columns=12) == [([0, 1], 2)]                 # cut, as "max_length" pads
    assert blocks_of(0, 5, columns=12) == [([0], 12), ([1], 5)]


def attention_of(cache: Any) -> Any:
    return cache.albert.encoder.applications[0].attention.attention


def test_the_same_answers_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_and_batch()
    out, cache = model.forward(**batch)
    assert len(attention_of(cache).blocks) > 1
    model.backward(cache)
    packed, evaluated = gradients(model), model(**batch)
    hidden = model.albert(**without_labels(batch)).last_hidden_state

    whole_batches(monkeypatch)
    model.zero_grad()
    expected, cache = model.forward(**batch)
    model.backward(cache)
    assert not isinstance(attention_of(cache), PackedCache)
    for name in ("loss", "prediction_logits", "sop_logits"):
        assert_close(out[name], expected[name], 1e-12, name)
    for name, gradient in gradients(model).items():
        assert_close(packed[name], gradient, 1e-12, name, scale=max(1e-3, abs(gradient).max()))
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
