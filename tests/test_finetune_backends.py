"""A step of every task on every array library: the same loss and the same weights as NumPy's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import assert_close
from toy_finetuning import FAST, pretrained, voices

from tinyalbert.backend import Backend
from tinyalbert.finetuning.choices import ChoiceExample
from tinyalbert.finetuning.classification import TextExample
from tinyalbert.finetuning.conll import Sentence
from tinyalbert.finetuning.finetuned import begin, task_class
from tinyalbert.finetuning.squad import Answer, QuestionExample
from tinyalbert.finetuning.trainer import Trainer

TEXTS = [text for text, _ in voices(8)]
EXAMPLES: dict[str, list[Any]] = {
    "classify": [TextExample(text, label=label) for text, label in voices(8)],
    "ner": [Sentence(text.split(), ["B-X", "I-X", "O", "O"]) for text in TEXTS],
    "choice": [ChoiceExample(text, "la", ["ba do", "mu ne"], i % 2) for i, text in
               enumerate(TEXTS)],
    "qa": [QuestionExample("ba do", text, (Answer(text[:2], 0),)) for text in TEXTS],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"), hidden_dropout_prob=0.0,
                      attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.0)


def two_steps(name: str, model: Path, backend: Any, **changes: Any) -> tuple[float, Trainer]:
    task = task_class(name).of_examples(EXAMPLES[name])
    made = begin(task, model, backend=backend, seed=0, max_length=None)
    features = task.features(made.tokenizer, EXAMPLES[name], made.max_length)
    trainer = Trainer(made.model, task, made.tokenizer,
                      FAST.replace(batch_size=4, warmup_ratio=0.0, **changes), features)
    trainer.step()
    trainer.step()
    loss = trainer.sums["loss"]
    predictions, dev_loss = task.predict(made.model, made.tokenizer, EXAMPLES[name],
                                         features=features)
    assert len(predictions) == len(EXAMPLES[name]) and np.isfinite(dev_loss or 0.0)
    return loss, trainer


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_array_library_takes_the_same_steps(name: str, model: Path,
                                                  backend: Backend) -> None:
    changes: dict[str, Any] = {"layer_decay": 0.9}
    if name in ("classify", "ner"):
        changes["class_weights"] = "balanced"
    loss, trainer = two_steps(name, model, backend, **changes)
    expected_loss, expected = two_steps(name, model, "numpy", **changes)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    weights = trainer.model.state_dict()
    for key, value in expected.model.state_dict().items():
        assert_close(weights[key], value, 1e-4, key, scale=1.0)      # a step moves them by 1e-2
