"""Fine-tuning beside PyTorch's and Transformers', and the answers of both to the same texts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hugging_face import tensors
from test_pipelines_reference import assert_same
from tiny import TOLERANCE, assert_close, randomize
from toy_finetuning import CONFIG, FAST, pretrained, voices

from tinyalbert import (
    AlbertForSequenceClassification,
    AlbertModel,
    BertConfig,
    BertModel,
    pipeline,
)
from tinyalbert.finetuning.choices import Choice, ChoiceExample
from tinyalbert.finetuning.classification import Classification, TextExample
from tinyalbert.finetuning.entities import Entities
from tinyalbert.finetuning.finetuned import FineTuned, begin
from tinyalbert.finetuning.questions import Questions
from tinyalbert.finetuning.task import Task
from tinyalbert.finetuning.trainer import Trainer, layer_rates
from tinyalbert.tokenization.bert import BertTokenizer

torch.set_num_threads(1)
STEPS = 50
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({
    word for text, _ in voices(200) for word in text.split()})]


@pytest.fixture(scope="module", params=["albert", "bert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every weight is drawn: no decay would show on biases of 0."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "albert":
        pretrained(folder, **STILL)
        randomize(AlbertModel.from_pretrained(folder)).save_pretrained(folder)
        return folder
    (folder / "vocab.txt").write_text("\n".join(PIECES))
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    config = BertConfig(vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=3,
                        num_attention_heads=2, intermediate_size=64, max_position_embeddings=32,
                        **STILL)
    randomize(BertModel(config)).save_pretrained(folder)
    return folder


def labelled() -> list[TextExample]:
    return [TextExample(text, "la si" if i % 3 else None, label)
            for i, (text, label) in enumerate(voices(80))]


def rated() -> list[TextExample]:
    return [example._replace(label=str(example.text.count("a") / 4 - 0.6))
            for example in labelled()]


def questions() -> list[ChoiceExample]:
    rng = random.Random(0)
    found = []
    for text, label in voices(80):
        options = [other for other, kind in rng.sample(voices(40, seed=2), 6) if kind != label][:2]
        place = rng.randrange(len(options) + 1)
        found.append(ChoiceExample(text, "ta", [*options[:place], text, *options[place:]], place))
    return [example for example in found if len(example.options) == 3]


TASKS: dict[str, tuple[type[Task], Any, str]] = {
    "labels": (Classification, labelled, "AutoModelForSequenceClassification"),
    "numbers": (Classification, rated, "AutoModelForSequenceClassification"),
    "choices": (Choice, questions, "AutoModelForMultipleChoice"),
}


def their_optimizer(theirs: Any, trainer: Trainer) -> torch.optim.Optimizer:
    """What fine-tuning scripts write: no decay of biases and LayerNorm; a rate for each layer."""
    config = trainer.config
    rates = layer_rates(trainer.model.named_parameters(), trainer.model.config.num_hidden_groups,
                        config.layer_decay)
    groups = [{"params": [theirs.get_parameter(trainer.model.hugging_face_name(name))],
               "weight_decay": 0.0 if "LayerNorm" in name or "bias" in name else
               config.weight_decay, "factor": rate} for name, rate in rates.items()]
    assert len(groups) == len(list(theirs.parameters()))
    return torch.optim.AdamW(groups, eps=config.adam_epsilon)


@pytest.mark.parametrize("task_name, changes", [
    ("labels", {}), ("labels", {"layer_decay": 0.7}), ("numbers", {}), ("choices", {}),
    ("labels", {"batch_size": 4, "gradient_accumulation_steps": 2})])
def test_fifty_losses(model: Path, tmp_path: Path, task_name: str, changes: dict[str, Any]) -> None:
    """From the same saved weights, with the same batches and rates: warmup, clipping, decay."""
    task_class, examples, their_class = TASKS[task_name]
    task = task_class.of_examples(examples())
    made = begin(task, model, backend="numpy", seed=0, max_length=None, classifier_dropout=0.0)
    made.save(tmp_path)
    config = FAST.replace(learning_rate=2e-3, max_steps=STEPS, weight_decay=0.5,
                          max_grad_norm=1.0, **changes)
    trainer = Trainer(made.model, task, made.tokenizer, config,
                      task.features(made.tokenizer, examples(), made.max_length))
    theirs = getattr(transformers, their_class).from_pretrained(tmp_path).train()
    optimizer = their_optimizer(theirs, trainer)
    clipped, losses = 0, []
    for _ in range(STEPS):
        parts, rate, expected = trainer.micro_batches(), trainer.rate, 0.0
        for part in parts:
            batch = tensors(task.batch(part, made.tokenizer.pad_token_id))
            if task_name == "numbers":
                batch["labels"] = batch["labels"].float()
            loss = theirs(**batch).loss / len(parts)
            loss.backward()
            expected += loss.item()
        clipped += torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0).item() > 1.0
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        optimizer.step()
        optimizer.zero_grad()
        trainer.step()
        losses.append((trainer.means(1)["loss"], expected))
    ours, expected_losses = np.array(losses).T
    np.testing.assert_allclose(ours, expected_losses, atol=1e-5, rtol=0)
    assert ours[-10:].mean() < 0.95 * ours[:10].mean() and clipped        # it was a training


@pytest.mark.parametrize("config", [
    {"id2label": {0: "low", 1: "middle", 2: "high"}},
    {"id2label": {0: "a", 1: "b"}, "problem_type": "multi_label_classification"},
    {"num_labels": 1}, {"num_labels": 1, "problem_type": "regression"}])
def test_text_classification(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = pretrained(tmp_path)
    randomize(AlbertForSequenceClassification(CONFIG.replace(**config))).save_pretrained(folder)
    ours = pipeline("text-classification", folder)
    theirs = transformers.pipeline("text-classification", str(folder))
    texts = [text for text, _ in voices(4)]
    pair = {"text": "ba do", "text_pair": "ki la mu"}
    for inputs in (texts[0], texts[:1], texts, pair, [pair, *texts]):
        for options in ({}, {"top_k": None}, {"top_k": 1}, {"top_k": 2},
                        {"function_to_apply": "none"}, {"function_to_apply": "sigmoid"},
                        {"function_to_apply": "softmax", "top_k": None}):
            assert_same(ours(inputs, **options), theirs(inputs, **options))
    long = " ".join(texts * 20)
    assert_same(ours(long, truncation=True), theirs(long, truncation=True, max_length=32))


def test_transformers_opens_what_was_fine_tuned(model: Path, tmp_path: Path) -> None:
    """Labels by name, and the same answers."""
    task = Classification.of_examples(labelled())
    begin(task, model, backend="numpy", seed=0, max_length=None).save(tmp_path)
    texts = [{"text": example.text, "text_pair": "la"} for example in labelled()[:8]]
    theirs = transformers.pipeline("text-classification", str(tmp_path), top_k=None)(texts)
    assert_same(pipeline("text-classification", tmp_path)(texts, top_k=None), theirs)
    answers = FineTuned.load(tmp_path).predict([TextExample(**text) for text in texts])
    for answer, labels in zip(answers, theirs, strict=True):
        assert answer["scores"] == pytest.approx(
            {label["label"]: label["score"] for label in labels}, abs=1e-5)


HEADS: dict[str, tuple[Any, str]] = {
    "classify": (Classification(["low", "high", "middle"]), "SequenceClassification"),
    "numbers": (Classification([]), "SequenceClassification"),
    "ner": (Entities(["O", "B-a", "I-a", "B-b", "I-b"]), "TokenClassification"),
    "qa": (Questions(), "QuestionAnswering"),
    "choice": (Choice(), "MultipleChoice"),
}


@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_read_by_transformers(model: Path, tmp_path: Path, name: str) -> None:
    """From the folder alone: the class, the tokenizer, the labels, all weights, equal outputs."""
    task, head = HEADS[name]
    made = begin(task, model, backend="numpy", seed=0, max_length=None)
    randomize(made.model)
    made.save(tmp_path)
    theirs, info = getattr(transformers, f"AutoModelFor{head}").from_pretrained(
        tmp_path, output_loading_info=True)
    assert not any(info.values()) and theirs.config.architectures == [type(made.model).__name__]
    if names := getattr(task, "labels", []):
        assert theirs.config.id2label == dict(enumerate(names))
        assert theirs.config.label2id == {label: i for i, label in enumerate(names)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text, _ in voices(4)]
    batch = tokenizer(texts, texts[::-1], padding=True, return_tensors="np")
    own = made.tokenizer(texts, texts[::-1], padding=True, return_tensors="np")
    for key in ("input_ids", "token_type_ids", "attention_mask"):
        np.testing.assert_array_equal(batch[key], own[key])
    arrays = {key: value.reshape(2, 2, -1) if name == "choice" else value
              for key, value in own.items()}
    with torch.no_grad():
        expected = theirs.eval()(**tensors(arrays))
    found = FineTuned.load(tmp_path).model(**arrays)
    for key in ("start_logits", "end_logits") if name == "qa" else ("logits",):
        assert_close(getattr(found, key), expected[key].numpy(), TOLERANCE["float32"], key)
