"""Fine-tuning as a whole, on the first task: labels and numbers for texts and pairs."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import assert_close
from toy_finetuning import CONFIG, FAST, VOICES, pretrained, quiet, voices

from tinyalbert import AlbertForSequenceClassification, load_tokenizer, pipeline
from tinyalbert.errors import InputError
from tinyalbert.finetuning.classification import Classification, TextExample
from tinyalbert.finetuning.config import FinetuneConfig
from tinyalbert.finetuning.finetune import Result, finetune
from tinyalbert.finetuning.finetuned import FineTuned, begin
from tinyalbert.finetuning.trainer import Trainer, is_of_encoder, layer_rates
from tinyalbert.training.metrics_log import read_metrics
from tinyalbert.training.numbers import TrainingError

UNDISTURBED = {"hidden_dropout": 0.0, "classifier_dropout": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"))


def examples(count: int = 80, seed: int = 0) -> list[TextExample]:
    return [TextExample(text, None, label) for text, label in voices(count, seed)]


TRAIN, DEV = examples(), examples(40, seed=1)


def train(model: Path, run: Path, config: FinetuneConfig = FAST, *,
          train: Sequence[TextExample] = TRAIN, dev: Sequence[TextExample] | None = DEV,
          **options: Any) -> Result:
    return finetune("classify", model, train, dev, run, config, progress=False,
                    **{"log": quiet, **options})


def trainer(model: Path, config: FinetuneConfig, examples: Sequence[TextExample] = TRAIN,
            dtype: str = "float32") -> Trainer:
    task = Classification.of_examples(examples)
    made = begin(task, model, backend="numpy", seed=config.seed, max_length=None,
                 hidden_dropout=config.hidden_dropout, classifier_dropout=config.classifier_dropout)
    if dtype == "float64":
        made.model.dtype = made.model.albert.dtype = np.dtype(dtype)
        for p in made.model.named_parameters().values():
            p.data, p.grad = p.data.astype(dtype), p.grad.astype(dtype)
    return Trainer(made.model, task, made.tokenizer, config,
                   task.features(made.tokenizer, examples, made.max_length))


def weights(model: Any) -> dict[str, np.ndarray]:
    return model.state_dict(tied=False)


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


# ---- the whole path


def test_a_task_that_can_be_learned_is_learned(model: Path, tmp_path: Path) -> None:
    """From files to a folder that answers like the result, in our pipeline too."""
    files = [write_csv(tmp_path / f"{name}.csv", [("id", "text", "label"), *(
        (str(i), e.text, e.label or "") for i, e in enumerate(part))])
        for name, part in (("train", TRAIN), ("dev", DEV))]
    read = [Classification.read(file) for file in files]
    messages: list[str] = []
    result = train(model, tmp_path / "run", train=read[0], dev=read[1], log=messages.append)
    assert result.metrics["accuracy"] == result.metrics["matthews"] == 1
    assert [found["label"] for found in result.predictions] == [e.label for e in DEV]
    assert "80 texts, 2 labels: low 50%, high 50%" in messages[0]
    assert any("always" in message and "accuracy 0.500" in message for message in messages)

    loaded = FineTuned.load(tmp_path / "run")
    assert loaded.task.labels == ["high", "low"] and loaded.max_length == 32
    assert loaded.predict(DEV) == result.predictions
    for found in result.predictions:
        assert sum(found["scores"].values()) == pytest.approx(1)
        assert found["score"] == max(found["scores"].values())
    answers = pipeline("text-classification", tmp_path / "run")([e.text for e in DEV])
    assert [answer["label"] for answer in answers] == [e.label for e in DEV]

    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 31))
    assert [line["step"] for line in lines if line["kind"] == "eval"] == [10, 20, 30]
    assert json.loads((tmp_path / "run" / "finetune.json").read_text())["task"] == "classify"


def test_numbers(model: Path, tmp_path: Path) -> None:
    """How much of a text is high; the answer is a number, on the scale of the targets."""
    def rated(count: int, seed: int) -> list[TextExample]:
        rng = np.random.default_rng(seed)
        highs = rng.integers(0, 5, count)
        return [TextExample(" ".join([*rng.choice(VOICES["high"], n), *rng.choice(VOICES["low"],
                            4 - n)]), None, str(n / 2 - 1)) for n in highs]
    result = train(model, tmp_path, FAST.replace(epochs=6), train=rated(120, 0), dev=rated(40, 1))
    assert result.metrics["pearson"] > 0.95 and result.metrics["rmse"] < 0.25
    assert set(result.predictions[0]) == {"score"}
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["problem_type"] == "regression" and len(config["id2label"]) == 1


def test_the_second_text_of_a_pair_is_read(model: Path, tmp_path: Path) -> None:
    """The first says nothing."""
    pairs = [[TextExample("la si ru", text, label) for text, label in voices(80, seed)]
             for seed in (0, 1)]
    task = Classification(["high", "low"])
    tokenizer = load_tokenizer(model)
    feature = task.features(tokenizer, pairs[0][:1], 32)[0]
    ids = feature["input_ids"]
    first = ids.index(tokenizer.sep_token_id)
    assert feature["token_type_ids"] == [0] * (first + 1) + [1] * (len(ids) - first - 1)
    assert ids[-1] == tokenizer.sep_token_id and feature["label"] == 1
    result = train(model, tmp_path, train=pairs[0], dev=pairs[1])
    assert result.metrics["accuracy"] == 1


def test_without_dev_a_share_of_the_examples_is_held_out(model: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    train(model, tmp_path, FAST.replace(held_out=0.25, max_steps=1), dev=None, log=messages.append)
    assert messages[0].startswith("train: 60 texts") and messages[1].startswith("dev: 20 texts")
    with pytest.raises(InputError, match="4 training examples leaves none for evaluation"):
        train(model, tmp_path / "other", dev=None, train=TRAIN[:4])


# ---- which weights are kept


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> list[dict[str, np.ndarray]]:
    """Let dev's accuracy be these values in turn; returns the weights of each evaluation."""
    seen: list[dict[str, np.ndarray]] = []
    note = Trainer.note

    def noted(trainer: Trainer, value: float) -> bool:
        seen.append(weights(trainer.model))
        return note(trainer, values[len(seen) - 1])

    monkeypatch.setattr(Trainer, "note", noted)
    return seen


def test_the_best_weights_are_kept_not_the_last(model, tmp_path, monkeypatch) -> None:
    seen = scripted(monkeypatch, [0.5, 0.9, 0.9, 0.7])
    result = train(model, tmp_path, FAST.replace(epochs=4))
    assert len(seen) == 4
    for name, array in weights(result.finetuned.model).items():
        np.testing.assert_array_equal(array, seen[1][name])
    assert any((seen[1][name] != seen[3][name]).any() for name in seen[1])


def test_early_stopping(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After two evaluations without a better one; the third value starts the count again."""
    seen = scripted(monkeypatch, [0.5, 0.4, 0.6, 0.6, 0.5])
    messages: list[str] = []
    train(model, tmp_path, FAST.replace(epochs=9, patience=2), log=messages.append)
    assert len(seen) == 5
    assert any("stopped early" in message for message in messages)


def test_a_model_that_says_the_same_to_everything_is_named(model, tmp_path) -> None:
    messages: list[str] = []
    train(model, tmp_path, FAST.replace(max_steps=1), log=messages.append,
          dev=[TextExample("la", None, label) for label in VOICES])
    warning = next(message for message in messages if message.startswith("warning"))
    assert "answers the label" in warning and "lower learning rate" in warning


# ---- the steps


def test_class_weights(model: Path) -> None:
    """Σ w log p / Σ w with w = M / (K * count): 6 of 8 are low, so w = 8/12 and 8/4."""
    some = [e for e in TRAIN if e.label == "low"][:6] + [e for e in TRAIN if e.label == "high"][:2]
    config = FAST.replace(class_weights="balanced", learning_rate=1e-9, **UNDISTURBED)
    learner = trainer(model, config, some)
    batch = learner.task.batch(learner.features, learner.tokenizer.pad_token_id)
    labels, logits = batch.pop("labels"), learner.model(**batch).logits.astype(float)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    w = np.where(labels == 1, 8 / 12, 8 / 4)
    learner.step()
    assert learner.means(1)["loss"] == pytest.approx(
        -(w * log_probs[range(8), labels]).sum() / w.sum(), rel=1e-5)
    with pytest.raises(InputError, match="class_weights must be none"):
        trainer(model, config, [TextExample("ba", None, "0.5"), TextExample("do", None, "1")])


def test_layer_rates_by_hand() -> None:
    """The head and the pooler at 1, then 0.5 to the power of the way down."""
    shared = ["classifier.weight", "albert.pooler.weight",
              "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight",
              "albert.encoder.embedding_hidden_mapping_in.weight",
              "albert.embeddings.word_embeddings.weight"]
    assert list(layer_rates(shared, 1, 0.5).values()) == [1, 1, 0.5, 0.25, 0.25]
    three = [f"albert.encoder.albert_layer_groups.{i}.x" for i in range(3)]
    assert list(layer_rates([*three, shared[-1]], 3, 0.5).values()) == [0.125, 0.25, 0.5, 0.0625]


def test_layer_decay_is_applied(model: Path) -> None:
    """Adam's first step moves an element by the rate, if its gradient is far above epsilon."""
    config = FAST.replace(layer_decay=0.1, weight_decay=0.0, warmup_ratio=0.0, adam_epsilon=1e-12,
                          schedule="constant", max_grad_norm=0.0, **UNDISTURBED)
    learner = trainer(model, config)
    before = {name: p.data.copy() for name, p in learner.model.named_parameters().items()}
    learner.step()
    moved = {name: np.abs(p.data - before[name]).max()
             for name, p in learner.model.named_parameters().items()}
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0."
    for name, rate in (("classifier.weight", 1e-2), ("albert.pooler.dense.weight", 1e-2),
                       (layer + "feed_forward.ffn.weight", 1e-3),
                       (layer + "attention.LayerNorm.bias", 1e-3),
                       ("albert.encoder.embedding_hidden_mapping_in.weight", 1e-4),
                       ("albert.embeddings.word_embeddings.weight", 1e-4)):
        assert moved[name] == pytest.approx(rate, rel=1e-3), name


def test_a_frozen_encoder_stays_as_it_was(model: Path) -> None:
    learner = trainer(model, FAST.replace(freeze_encoder=True, schedule="constant",
                                          warmup_ratio=0.0))
    before = weights(learner.model)
    for _ in range(3):
        learner.step()
    changed = {name for name, array in weights(learner.model).items()
               if (array != before[name]).any()}
    names = [learner.model.hugging_face_name(name) for name in learner.model.named_parameters()]
    assert changed == {name for name in names if not is_of_encoder(name)}
    assert "classifier.weight" in changed and any("pooler" in name for name in changed)


@pytest.mark.parametrize("count", [32, 28])
def test_two_batches_of_8_are_one_of_16(model: Path, count: int) -> None:
    """In the last step of the second case, one of 8 and one of 4 are one of 12."""
    large, small = (
        trainer(model, FAST.replace(epochs=2, weight_decay=0.1, **UNDISTURBED, **sizes),
                examples(count), "float64")
        for sizes in ({"batch_size": 16}, {"batch_size": 8, "gradient_accumulation_steps": 2}))
    assert large.total == small.total == 4
    for _ in range(4):
        large.step()
        small.step()
    assert large.means(1)["loss"] == pytest.approx(small.means(1)["loss"], rel=1e-12)
    for (name, one), other in zip(weights(large.model).items(), weights(small.model).values(),
                                  strict=True):
        assert_close(other, one, 1e-9, name, scale=1.0)


def test_every_example_is_seen_once_in_an_epoch(model: Path) -> None:
    learner = trainer(model, FAST, TRAIN[:20])
    seen = []
    for step in range(6):
        learner.optimizer.steps = step
        seen.append([feature["example"] for part in learner.micro_batches() for feature in part])
    assert [len(part) for part in seen] == [8, 8, 4] * 2
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    assert sorted(first) == sorted(second) == list(range(20)) and first != second


@pytest.mark.parametrize("stops", [(1,), (10,), (4, 17)])
def test_stopped_and_resumed_is_the_same_training(model, tmp_path, monkeypatch, stops) -> None:
    """Ctrl-C in the middle of a step, before and after evaluations; dropout is on."""
    config = FAST.replace(eval_every=5, epochs=2)
    undisturbed = train(model, tmp_path / "whole", config)
    step = Trainer.step
    for stop in stops:
        def stopped(trainer: Trainer, stop: int = stop) -> None:
            if trainer.steps == stop - 1:
                signal.raise_signal(signal.SIGINT)
            step(trainer)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", stopped)
            with pytest.raises(KeyboardInterrupt):
                train(model, tmp_path / "run", config, resume=stop > stops[0])
    resumed = train(model, tmp_path / "run", config, resume=True)
    assert resumed.metrics == undisturbed.metrics
    for name in ("model.safetensors", "config.json", "finetune.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    whole, again = ([{key: line[key] for key in line if "second" not in key}
                     for line in read_metrics(tmp_path / name)] for name in ("whole", "run"))
    assert again == whole


def test_a_rate_that_explodes_is_named(model: Path, tmp_path: Path) -> None:
    with (np.errstate(all="ignore"),
          pytest.raises(TrainingError, match="no longer a finite number; .*--learning-rate")):
        train(model, tmp_path, FAST.replace(learning_rate=1e30, warmup_ratio=0.0))


# ---- what cannot be learned from


def message_of(action: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        action(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("rows, said", [
    ([("text", "label"), ("ba", "x"), ("", "y")], "bad.csv, line 3: 'text' must be a text, not ''"),
    ([("text", "label"), ("ba", "x"), ("do", " ")], "bad.csv, line 3: 'label' must be a label"),
    ([("text", "label"), ("ba", "x"), ("do",)], "bad.csv, line 3: 1 fields, but the columns are 2"),
    ([("text;label",), ("ba;x",)], "the delimiter seems to be a semicolon"),
    ([("text\tlabel",), ("ba\tx",)], "the delimiter seems to be a tab"),
    ([("words", "label"), ("ba", "x")], "which column is the text? They are words, label"),
    ([("text", "kind"), ("ba", "x")], "which column is the label? They are text, kind"),
    ([("text", "label")], "bad.csv holds no rows"),
])
def test_bad_tables(rows, said: str, tmp_path: Path) -> None:
    assert said in message_of(Classification.read, write_csv(tmp_path / "bad.csv", rows))


def test_labels_may_be_missing_where_they_are_not_needed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "new.csv", [("text", "label"), ("ba", ""), ("do", "x")])
    assert [e.label for e in Classification.read(path, labelled=False)] == [None, "x"]


def test_bad_labels(model: Path, tmp_path: Path) -> None:
    def labelled(*labels: str) -> list[TextExample]:
        return [TextExample("ba do", None, label, f"file.csv, line {i}")
                for i, label in enumerate(labels, 2)]
    of = Classification.of_examples
    assert "all 3 examples have the label 'x'" in message_of(of, labelled("x", "x", "x"))
    for wrong in ("nan", "NaN", "inf"):
        assert f"line 3: the label {wrong!r} is not a finite number" in message_of(
            of, labelled("0.5", wrong, "1"))
    assert "different labels in" in message_of(of, labelled(*(f"id {i}" for i in range(120))))
    assert "no example has a label" in message_of(of, [TextExample("ba")])
    two = labelled("x", "y") * 8
    assert "line 3: the label 'z' is none of those learned: x, y" in message_of(
        train, model, tmp_path / "run", train=two, dev=labelled("x", "z"))
    assert "line 2: the label must be a number, as in training" in message_of(
        train, model, tmp_path / "run", train=labelled("0.5", "1") * 8, dev=labelled("x"))
    assert not (tmp_path / "run").exists()          # found before anything was begun


def test_labels_are_found(model: Path) -> None:
    """Whole numbers are labels in their order, numbers with a fraction are numbers."""
    def found(*labels: str) -> list[str]:
        return Classification.of_examples(
            [TextExample("ba", None, label) for label in labels]).labels
    assert found("10", "9", "9") == ["9", "10"]
    assert found("b", "a") == ["a", "b"]
    assert found("1.5", "2") == [] and found("-1", "1") == ["-1", "1"]


def test_a_model_and_a_length_that_do_not_fit(model: Path, tmp_path: Path) -> None:
    assert "max_seq_length 33 exceeds the 32 positions" in message_of(
        train, model, tmp_path / "run", FAST.replace(max_seq_length=33))
    with pytest.raises(InputError, match="was fine-tuned for no task"):
        FineTuned.load(model)


def test_long_texts_are_cut(model: Path, tmp_path: Path) -> None:
    long = [TextExample(" ".join([e.text] * 2500), None, e.label) for e in TRAIN[:16]]
    result = train(model, tmp_path, FAST.replace(max_steps=2, max_seq_length=16), train=long,
                   dev=long)
    assert result.finetuned.max_length == 16 and len(result.predictions) == 16
    assert FineTuned.load(tmp_path).max_length == 16


def test_a_new_head_is_drawn_from_the_seed(model: Path) -> None:
    heads = [begin(Classification(["a", "b", "c"]), model, backend="numpy", seed=seed,
                   max_length=None).model for seed in (0, 0, 1)]
    first, same, other = (head.classifier.weight.data for head in heads)
    assert isinstance(heads[0], AlbertForSequenceClassification) and first.shape == (32, 3)
    assert heads[0].config.hidden_dropout_prob == CONFIG.hidden_dropout_prob
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
