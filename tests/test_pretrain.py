"""Pretraining on a toy language: what it leaves behind, that it learns, and what it says when it
cannot begin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_run import MODEL, STEPS, checkpoints, quiet, settings

from tinyalbert.config import AlbertConfig
from tinyalbert.data.batches import held_out_batches
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.errors import InputError
from tinyalbert.optim import learning_rate
from tinyalbert.pretraining.config import PretrainConfig
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.run import load_run
from tinyalbert.pretraining.trainer import EVAL_PASSES
from tinyalbert.training.metrics_log import read_metrics


def test_the_folder(finished: Path, corpus: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.json", "pretrain.json", "spiece.model", "tokenizer_config.json",
        "special_tokens_map.json", "model.safetensors", "metrics.jsonl", "checkpoints", "shards"}
    assert AlbertConfig.from_json_file(finished / "config.json") == MODEL
    assert json.loads((finished / "config.json").read_text())["architectures"] == \
        ["AlbertForPreTraining"]
    assert PretrainConfig.from_dict(json.loads((finished / "pretrain.json").read_text())) == \
        settings(corpus)
    assert checkpoints(finished) == ["step-00000012", "step-00000014"]
    model, tokenizer = load_run(finished)
    assert tokenizer.vocab_size == model.config.vocab_size == 36


def test_metrics(finished: Path, corpus: Path) -> None:
    lines = read_metrics(finished)
    start, *rest = lines
    train = [line for line in rest if line["kind"] == "train"]
    held_out = [line for line in rest if line["kind"] == "eval"]
    model, _ = load_run(finished)
    assert start["kind"] == "start" and start["step"] == 0 and start["total_steps"] == STEPS
    assert start["parameters"] == model.num_parameters()
    assert 0 < start["held_out_tokens"] * 10 < start["train_tokens"]
    assert 0 < start["unigram_entropy"] < np.log(36)

    assert [line["step"] for line in train] == [3, 6, 9, 12, 14]
    assert [line["step"] for line in held_out] == [5, 10, 14]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    shared = {"kind", "step", "seconds", "loss", "masked_lm_loss", "masked_lm_accuracy",
              "sop_loss", "sentence_order_accuracy", "pairs", "tokens_per_second",
              "max_seq_length"}
    for line in train:
        assert line.keys() == shared | {"learning_rate", "grad_norm"}
        assert line["learning_rate"] == learning_rate(line["step"] - 1, STEPS, 1, 1e-2)
        assert line["grad_norm"] > 0
    assert [line["pairs"] for line in train] == [12, 12, 12, 12, 8]
    for line in held_out:
        assert line.keys() - {"final"} == shared | {"reference_loss", "reference_accuracy"}
    assert [line.get("final") for line in held_out] == [None, None, True]
    assert [line["pairs"] for line in held_out][:2] == [8, 8] < [held_out[-1]["pairs"]]


def test_the_final_evaluation_is_that_of_the_saved_model(finished: Path, corpus: Path) -> None:
    """Recomputed from the files, over all held-out text: every word and pair counts the same."""
    model, tokenizer = load_run(finished)
    _, held_out = build_shards(corpus, tokenizer, finished / "shards").split()
    config, words, pairs = settings(corpus), [], []

    def judge(logits: np.ndarray, label: int) -> tuple[float, bool]:
        return np.log(np.exp(logits).sum()) - logits[label], logits.argmax() == label

    for batch in held_out_batches(held_out, config.segments(), config.masked_lm(), batch_size=4,
                                  passes=EVAL_PASSES):
        out = model(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        words += [judge(out.prediction_logits[at], batch.labels[at])
                  for at in zip(*np.nonzero(batch.labels != -100), strict=True)]
        pairs += map(judge, out.sop_logits, batch.sentence_order_label)
    final = read_metrics(finished)[-1]
    assert len(words) > 30 and final["pairs"] == len(pairs) > 10
    for names, values in ((("masked_lm_loss", "masked_lm_accuracy"), words),
                          (("sop_loss", "sentence_order_accuracy"), pairs)):
        for name, mean in zip(names, np.mean(values, axis=0), strict=True):
            assert final[name] == pytest.approx(mean, rel=1e-5), name


@pytest.mark.parametrize("objective", ["sop", "nsp", "none"])
def test_objectives(objective: Any, run: Path, corpus: Path) -> None:
    pretrain(run, MODEL, settings(corpus, objective=objective, max_steps=3), log=quiet)
    line = next(line for line in read_metrics(run) if line["kind"] == "train")
    assert ("sop_loss" in line) == ("sentence_order_accuracy" in line) == (objective != "none")
    if objective == "none":
        assert line["loss"] == pytest.approx(line["masked_lm_loss"], rel=0.05)
    else:
        assert line["loss"] == pytest.approx(line["masked_lm_loss"] + line["sop_loss"], rel=0.05)


def test_a_model_with_one_segment_type_can_learn_words(run: Path, corpus: Path) -> None:
    config = MODEL.replace(type_vocab_size=1)
    pretrain(run, config, settings(corpus, objective="none", max_steps=1), log=quiet)


@pytest.mark.parametrize("optimizer, rate", [("adamw", 3e-3), ("lamb", 1e-2)])
def test_it_learns(optimizer: Any, rate: float, run: Path, corpus: Path) -> None:
    """Below the unigram entropy is only who looks at the other words."""
    messages: list[str] = []
    config = settings(corpus, max_steps=150, batch_size=16, max_seq_length=32, optimizer=optimizer,
                      learning_rate=rate, log_every=10, eval_every=1000, save_every=1000)
    model = MODEL.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                          initializer_range=0.3)
    pretrain(run, model, config, log=messages.append)
    start, *_ = lines = read_metrics(run)
    final, = (line for line in lines if line.get("final"))
    assert final["masked_lm_loss"] < start["unigram_entropy"] - 0.5
    assert final["reference_loss"] < start["unigram_entropy"] - 0.5
    assert any("begun to use context" in message for message in messages)
    assert any(line["kind"] == "doctor" and "context" in line["message"] for line in lines)


def test_the_output_bias_can_start_at_the_frequencies(run: Path, corpus: Path) -> None:
    """The model is then at the unigram level before the first step."""
    config = settings(corpus, unigram_bias=True, max_steps=1, log_every=1)
    pretrain(run, MODEL.replace(initializer_range=0.001), config, log=quiet)
    start, line, *_ = read_metrics(run)
    assert line["masked_lm_loss"] == pytest.approx(start["unigram_entropy"], abs=0.4)
    assert start["unigram_entropy"] < np.log(36) - 0.6


# --- what cannot work ---------------------------------------------------------------------------


def refused(run: Path, config: PretrainConfig, model: AlbertConfig = MODEL) -> str:
    with pytest.raises(InputError) as caught:
        pretrain(run, model, config, log=quiet)
    return str(caught.value)


def test_what_fails_before_the_text_is_read(tmp_path: Path) -> None:
    """A corpus that does not exist would be the next complaint."""
    nothing = settings(tmp_path / "nothing.txt")
    assert refused(tmp_path / "run", nothing.replace(max_seq_length=33)) == (
        "max_seq_length 33 exceeds the model's max_position_embeddings 32: lower the one or raise "
        "the other")
    message = refused(tmp_path / "run", nothing, MODEL.replace(type_vocab_size=1))
    assert message.startswith("objective sop needs type_vocab_size 2")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("in the way")
    assert refused(tmp_path / "file" / "run", nothing).endswith("Not a directory")
    assert "nothing.txt" in refused(tmp_path / "run", nothing)


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tinyalbert.pretraining.pretrain.find_spec", lambda name: None)
    config = settings(tmp_path / "nothing.txt", tensorboard=True)
    assert "pip install 'tinyalbert[tensorboard]'" in refused(tmp_path / "run", config)


@pytest.mark.parametrize("text, part", [
    ("aba.\n", "cannot hold out 1 of 1 document"),
    ("aba\n\n\naba\n\n\naba\n", "too short"),
    ("", "no text"),
])
def test_a_corpus_that_is_too_small(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text(text)
    config = settings(tmp_path / "small.txt", one_sentence_per_line=False)
    assert part in refused(tmp_path / "run", config, MODEL.replace(vocab_size=16))


def test_a_vocabulary_larger_than_the_text_supports(tmp_path: Path, corpus: Path) -> None:
    message = refused(tmp_path / "run", settings(corpus), MODEL.replace(vocab_size=3000))
    assert message.startswith("vocab_size 3000 is too large: this corpus supports ")


def test_a_tokenizer_of_another_size(run: Path, corpus: Path) -> None:
    message = refused(run, settings(corpus), MODEL.replace(vocab_size=40))
    assert message == (f"the tokenizer in {run} has 36 pieces, the model's vocab_size is 40: set "
                       f"that to 36, or delete {run / 'spiece.model'}")


@pytest.mark.parametrize("name", ["held_out", "max_steps"])
def test_none_at_all(name: str, corpus: Path) -> None:
    with pytest.raises(InputError, match=f"{name} must be at least 1, not 0"):
        settings(corpus, **{name: 0})


@pytest.mark.parametrize("length", [7, 17])
def test_a_short_length_that_is_too_short_or_too_long(length: int, corpus: Path) -> None:
    with pytest.raises(InputError, match="first_seq_length must be between 8 and max_seq_length "
                       f"16, not {length}"):
        settings(corpus, first_seq_length=length)


def test_sequences_double_until_they_are_full() -> None:
    config = PretrainConfig(max_seq_length=128, first_seq_length=12, growing_ratio=0.5,
                            max_steps=80)
    assert config.seq_lengths() == [12, 24, 48, 96, 128]
    assert [config.stage(step) for step in (0, 9, 10, 39, 40, 79)] == [0, 0, 1, 3, 4, 4]
    assert PretrainConfig(max_seq_length=128).seq_lengths() == [128]
    assert PretrainConfig(max_steps=10).stage(0) == 0
