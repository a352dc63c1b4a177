"""Masks for every query, and sequence-to-sequence training, against Hugging Face's encoders in
PyTorch; what the options of `generate` do, against Hugging Face's own processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hugging_face import same_dropout, summed_gradients, tensors, twin
from tiny import (
    TOLERANCE,
    assert_close,
    assert_gradients_close,
    gradients,
    make_task_batch,
    randomize,
    task_of,
    tiny_bert_config,
    tiny_config,
    tiny_model,
)
from transformers.generation import logits_process as theirs_process

from tinyalbert import generation
from tinyalbert.inputs import MASKED
from tinyalbert.seq2seq import AlbertForSeq2SeqLM, BertForSeq2SeqLM, seq2seq_mask

torch.set_num_threads(1)

LENGTHS = (9, 6, 2)
both_precisions = pytest.mark.parametrize("dtype", TOLERANCE)
every_class = pytest.mark.parametrize("name", [
    "AlbertModel", "BertModel", "AlbertForMaskedLM", "BertForMaskedLM"])
both_families = pytest.mark.parametrize("family", ["Albert", "Bert"])


def square_mask(seed: int) -> np.ndarray:
    """[B, T, T]: real tokens look at themselves and at some others, padding at nothing."""
    real = np.arange(9) < np.array(LENGTHS)[:, None]
    some = np.random.default_rng(seed).random((3, 9, 9)) < 0.4
    return ((some | np.eye(9, dtype=bool)) & real[:, :, None] & real[:, None]).astype(int)


def as_theirs(mask: np.ndarray, dtype: Any) -> np.ndarray:
    """Theirs takes [B, 1, T, T] to add to the scores."""
    return ((1 - mask[:, None]) * MASKED).astype(dtype)


def compare_training(model: Any, theirs: Any, ours_batch: dict[str, Any],
                     theirs_batch: dict[str, Any], rng: np.random.Generator | None = None) -> None:
    """The output and every gradient, of one forward and backward pass."""
    tolerance = TOLERANCE[model.dtype.name]
    theirs.train(rng is not None).get_input_embeddings().padding_idx = None
    out, cache = model.forward(**ours_batch, rng=rng)
    expected = theirs(**tensors(theirs_batch))
    if task_of(model) == "Model":
        real = ours_batch["attention_mask"].any(2)      # padding's vectors are nobody's
        hidden, pooled = (np.cos(np.arange(y.size)).reshape(y.shape).astype(model.dtype)
                          for y in out.to_tuple())
        hidden[~real] = 0
        model.backward(hidden, pooled, cache)
        sum((y * torch.tensor(dy)).sum()
            for y, dy in zip(expected.to_tuple(), (hidden, pooled), strict=True)).backward()
        assert_close(out.last_hidden_state[real], expected.last_hidden_state.detach()[real],
                     tolerance)
        assert_close(out.pooler_output, expected.pooler_output.detach(), tolerance)
    else:
        model.backward(cache)
        expected.loss.backward()
        assert_close(out.loss, expected.loss.item(), tolerance, "loss")
    assert_gradients_close(gradients(model), summed_gradients(model, theirs), tolerance)


def model_and_batches(name: str, dtype: str, seed: int, **changes: Any) -> tuple[Any, Any, Any]:
    model = tiny_model(name, dtype, seed, **changes)
    batch, mask = make_task_batch(model, LENGTHS, seed), square_mask(seed)
    return (model, {**batch, "attention_mask": mask},
            {**batch, "attention_mask": as_theirs(mask, dtype)})


@both_precisions
@pytest.mark.parametrize("seed", range(3))
@every_class
def test_a_mask_for_every_query(name: str, seed: int, dtype: str) -> None:
    model, ours, theirs = model_and_batches(name, dtype, seed)
    compare_training(model, twin(model), ours, theirs)


@both_precisions
@every_class
def test_a_mask_for_every_query_with_dropout(name: str, dtype: str) -> None:
    model, ours, theirs = model_and_batches(name, dtype, 0, hidden_dropout_prob=0.2,
                                            attention_probs_dropout_prob=0.3)
    with same_dropout(model, 7, ours):
        compare_training(model, twin(model), ours, theirs, np.random.default_rng(7))


# --- source and target ----------------------------------------------------------------------------


def seq2seq_model(family: str, dtype: str = "float64", **changes: Any) -> tuple[Any, Any]:
    """Ours, and the masked language model with the same weights, which Hugging Face has too."""
    ours, config = ((AlbertForSeq2SeqLM, tiny_config(**changes)) if family == "Albert"
                    else (BertForSeq2SeqLM, tiny_bert_config(**changes)))
    model, masked = randomize(ours(config, dtype=dtype)), tiny_model(f"{family}ForMaskedLM", dtype,
                                                                     **changes)
    masked.load_state_dict(model.state_dict())
    return model, masked


TARGET = [[0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0, 0]]


@both_precisions
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@both_families
def test_training(family: str, dropout: float, dtype: str) -> None:
    """Theirs is told the mask, the labels and nothing else."""
    model, masked = seq2seq_model(family, dtype, hidden_dropout_prob=dropout,
                                  attention_probs_dropout_prob=dropout)
    batch = make_task_batch(masked, LENGTHS)
    batch |= {"token_type_ids": np.array(TARGET), "labels": batch["input_ids"]}
    mask = seq2seq_mask(TARGET, batch["attention_mask"])
    labels = np.full((3, 9), -100)
    labels[:, :-1] = np.where(np.array(TARGET)[:, 1:] == 1, batch["input_ids"][:, 1:], -100)
    theirs = {**batch, "labels": labels, "attention_mask": as_theirs(mask, dtype)}
    if dropout == 0:
        compare_training(model, twin(masked), batch, theirs)
    else:
        with same_dropout(masked, 7, theirs):
            compare_training(model, twin(masked), batch, theirs, np.random.default_rng(7))


@pytest.mark.parametrize("auto", [False, True], ids=["their class", "AutoModelForMaskedLM"])
@both_families
def test_transformers_opens_what_is_saved(family: str, auto: bool, tmp_path: Path) -> None:
    model, masked = seq2seq_model(family, "float32")
    model.save_pretrained(tmp_path)
    their_class = getattr(transformers, "AutoModelForMaskedLM" if auto else f"{family}ForMaskedLM")
    theirs, info = their_class.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == f"{family}ForMaskedLM"
    assert not any(info.values()), info
    for name, tensor in masked.state_dict().items():
        np.testing.assert_array_equal(theirs.state_dict()[name].numpy(), tensor)


# --- the options of generate ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_options(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, tokens = 2 * rng.standard_normal((4, 15)), rng.integers(0, 5, (4, 9))
    every = (
        (generation.penalize_repetition(logits, tokens, 1.4),
         theirs_process.RepetitionPenaltyLogitsProcessor(1.4)),
        *((generation.forbid_repeated_ngrams(logits, tokens, n),
           theirs_process.NoRepeatNGramLogitsProcessor(n)) for n in (1, 2, 3)),
        *((generation.keep_top_k(logits, k), theirs_process.TopKLogitsWarper(k))
          for k in (1, 4, 20)),
        *((generation.keep_top_p(logits, p), theirs_process.TopPLogitsWarper(p))
          for p in (0.1, 0.6, 0.95)))
    for ours, theirs in every:
        expected = theirs(torch.tensor(tokens), torch.tensor(logits)).numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-12, err_msg=type(theirs).__name__)
        assert np.isneginf(ours).any() or not np.isneginf(expected).any()


def test_all_options_at_once() -> None:
    """In their order, as they sample."""
    rng = np.random.default_rng(0)
    logits, tokens = 2 * rng.standard_normal((6, 40)), rng.integers(0, 8, (6, 5))
    config = generation.GenerationConfig(
        eos_token_id=0, pad_token_id=1, suppress_tokens=[7, 9], min_new_tokens=6, do_sample=True,
        temperature=0.7, top_k=12, top_p=0.8, repetition_penalty=1.5, no_repeat_ngram_size=2)
    every = [theirs_process.RepetitionPenaltyLogitsProcessor(1.5),
             theirs_process.NoRepeatNGramLogitsProcessor(2),
             theirs_process.MinNewTokensLengthLogitsProcessor(0, 6, 0),
             theirs_process.SuppressTokensLogitsProcessor([1, 7, 9]),
             theirs_process.TemperatureLogitsWarper(0.7), theirs_process.TopKLogitsWarper(12),
             theirs_process.TopPLogitsWarper(0.8)]
    expected = torch.tensor(logits)
    for theirs in every:
        expected = theirs(torch.tensor(tokens), expected)
    np.testing.assert_allclose(generation.process(logits, tokens, config), expected, rtol=1e-12)
