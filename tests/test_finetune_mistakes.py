"""What fine-tuning does with examples, folders and settings that cannot be right."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_finetuning import FAST, pretrained, quiet, voices

from tinyalbert import pipeline
from tinyalbert.errors import InputError
from tinyalbert.finetuning.choices import ChoiceExample
from tinyalbert.finetuning.classification import Classification, TextExample
from tinyalbert.finetuning.config import FinetuneConfig
from tinyalbert.finetuning.conll import Sentence
from tinyalbert.finetuning.finetune import Result, finetune, split
from tinyalbert.finetuning.finetuned import FineTuned, begin, task_class
from tinyalbert.finetuning.metrics import classification_metrics
from tinyalbert.finetuning.squad import Answer, QuestionExample
from tinyalbert.report.figures import to_png
from tinyalbert.report.finetuning_figures import confusion_matrix

ONE_STEP = FAST.replace(max_steps=1)
TRAIN = [TextExample(text, None, label) for text, label in voices(24)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"))


def train(model: Path, run: Path, examples: Any = TRAIN, dev: Any = TRAIN[:8],
          config: FinetuneConfig = ONE_STEP, **options: Any) -> Result:
    return finetune("classify", model, examples, dev, run, config, progress=False,
                    **{"log": quiet, **options})


# ---- examples made by hand


ANSWER = Answer("Ada", 0)


@pytest.mark.parametrize("task, example, said", [
    ("classify", ("ba", None, "low"), "must be a TextExample"),
    ("classify", "ba do", "must be a TextExample, not 'ba do'"),
    ("classify", TextExample("ba"), "has no label"),
    ("classify", TextExample("ba", None, 1), "the label must be a text, a number too, not 1"),
    ("ner", TextExample("ba", None, "low"), "must be a Sentence"),
    ("ner", Sentence(["Ada", "came"]), "has no tags"),
    ("ner", Sentence(["Ada", "came"], ["B-PER"]), "a list of words with a tag for each"),
    ("ner", Sentence([], []), "a list of words with a tag for each"),
    ("ner", Sentence("Ada", ["O", "O", "O"]), "a list of words with a tag for each"),
    ("ner", Sentence(["Ada", "came"], ["S-PER", "O"]), "['B-PER', 'O'], not ['S-PER', 'O']"),
    ("ner", Sentence(["Ada", "came"], ["I-PER", "O"]), "['B-PER', 'O'], not ['I-PER', 'O']"),
    ("qa", QuestionExample("Who?", "Ada came."), "has no answers"),
    ("qa", QuestionExample("Who?", "Ada came.", [ANSWER]), "a tuple of Answer"),
    ("qa", QuestionExample("Who?", "Ada came.", ({"text": "Ada"},)), "a tuple of Answer"),
    ("qa", QuestionExample("Who?", "Ada came.", (ANSWER, Answer("Ada", 4))), "no 'Ada' at 4"),
    ("qa", QuestionExample("Who?", "Ada came.", (Answer("came.", -5),)), "no 'came.' at -5"),
    ("qa", QuestionExample("Who?", "Ada came.", (Answer("", 0),)), "no '' at 0"),
    ("qa", QuestionExample(" ", "Ada came.", ()), "may be empty"),
    ("choice", ChoiceExample("Ada", "", ["came", "went"]), "has no label"),
    ("choice", ChoiceExample("Ada", "", ["came", "went"], 2), "not 2 of 2"),
    ("choice", ChoiceExample("Ada", "", ["came", "went"], "came"), "not 'came' of 2"),
    ("choice", ChoiceExample("Ada", "", ["came"], 0), "not 0 of 1"),
    ("choice", ChoiceExample("Ada", None, ["came", "went"], 0), "the question must be a text"),
])
def test_an_impossible_example_is_named(task: str, example: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        task_class(task).checked([example], "dev")
    assert str(caught.value).startswith("dev[0]") and said in str(caught.value)


def test_examples_know_where_they_stood() -> None:
    examples = [TRAIN[0], TRAIN[1]._replace(where="x.csv, line 3")]
    found = Classification.checked(iter(examples), "dev")
    assert [example.where for example in found] == ["dev[0]", "x.csv, line 3"]
    assert Classification.checked([TextExample("ba")], "dev", labelled=False)
    with pytest.raises(InputError, match="dev is empty"):
        Classification.checked([], "dev")


def test_generators_are_as_good_as_lists(model: Path, tmp_path: Path) -> None:
    result = train(model, tmp_path, iter(TRAIN), iter(TRAIN[:8]), test=iter(TRAIN[:4]))
    assert len(result.predictions) == 8 and result.test is not None
    assert len(result.finetuned.predict(iter(TRAIN))) == len(TRAIN)
    row = json.loads((tmp_path / "predictions.jsonl").read_text().splitlines()[3])
    assert row["example"]["where"] == "dev[3]"


def test_a_model_is_asked_and_measured_with_examples_of_its_task(model: Path,
                                                                tmp_path: Path) -> None:
    finetuned = train(model, tmp_path).finetuned
    assert finetuned.predict([]) == []
    with pytest.raises(InputError, match=r"examples\[1\] must be a TextExample"):
        finetuned.predict([TextExample("ba"), "do"])
    with pytest.raises(InputError, match=r"examples\[0\] has no label"):
        finetuned.evaluate([TextExample("ba")])
    with pytest.raises(InputError, match="examples is empty"):
        finetuned.evaluate([])


# ---- labels


def of(*labels: str) -> Classification:
    return Classification.of_examples([TextExample("ba", None, label, f"line {i}")
                                       for i, label in enumerate(labels)])


def test_words_among_numbers_with_a_fraction() -> None:
    """Most likely a number is missing there; where words prevail, numbers are names too."""
    with pytest.raises(InputError, match="line 2: the label 'N/A' is not a finite number; most"):
        of("0.5", "1.25", "N/A")
    assert of("other", "old", "new", "1.5").labels == ["new", "old", "other", "1.5"]
    with pytest.raises(InputError, match="the label '0.5': there is nothing to tell apart"):
        of("0.5", "0.5")


def test_numbers_too_large_to_be_squared(model: Path, tmp_path: Path) -> None:
    numbers = [e._replace(label="0.5" if i else "1e300") for i, e in enumerate(TRAIN)]
    with pytest.raises(InputError, match=r"train\[0\]: the label must be a number.*not '1e300'"):
        train(model, tmp_path / "run", numbers, numbers[1:])


def test_a_label_that_is_there_but_once_may_be_held_out(model: Path, tmp_path: Path) -> None:
    examples = [*TRAIN, TextExample("si si si", None, "rare")]
    config = next(c for seed in range(100) if examples[-1] in split(
        examples, None, c := ONE_STEP.replace(seed=seed))[1])
    result = train(model, tmp_path, examples, None, config)
    assert result.finetuned.task.labels == ["high", "low", "rare"]


def test_unknown_labels_of_test_are_found_before_training(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"test\[0\]: the label 'middle' is none of those"):
        train(model, tmp_path / "run", test=[TextExample("ba", None, "middle")])
    assert not (tmp_path / "run").exists()


def test_a_share_that_leaves_nothing() -> None:
    with pytest.raises(InputError, match="leaves none for evaluation: give --dev"):
        split(TRAIN[:4], None, FAST)
    with pytest.raises(InputError, match="leaves none to learn from"):
        split(TRAIN[:4], None, FAST.replace(held_out=0.95))


def test_one_answer_is_no_answer_to_everything(model: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")      # of scikit-learn, for one label
        train(model, tmp_path, dev=TRAIN[:1], log=messages.append)
    assert not any("warning" in message for message in messages)


def test_metrics_of_one_label_are_plain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert classification_metrics(["a", "a"], ["a", "a"])["matthews"] == 0
        assert classification_metrics(["a", "a"], ["a", "b"])["accuracy"] == 0.5


def test_labels_that_the_font_lacks_are_drawn_in_silence() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_png(confusion_matrix(["日本", "$x^{"], np.eye(2, dtype=int)), dpi=20)


# ---- settings


@pytest.mark.parametrize("name", ["epochs", "learning_rate", "weight_decay", "max_grad_norm"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_settings_are_finite(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} must be .* finite, not"):
        FAST.replace(**{name: value})


def test_a_tokenizer_cuts_where_the_positions_end(model: Path, tmp_path: Path) -> None:
    """So that Transformers' pipelines do, which ask the tokenizer."""
    begin(Classification(["a", "b"]), model, backend="numpy", seed=0, max_length=16).save(tmp_path)
    kept = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert kept["model_max_length"] == 32 and FineTuned.load(tmp_path).max_length == 16


# ---- folders


def test_a_training_is_not_written_over(model: Path, tmp_path: Path) -> None:
    train(model, tmp_path)
    with pytest.raises(InputError, match="holds a training already"):
        train(model, tmp_path)


def test_the_model_to_begin_with_is_not_written_over(model: Path, tmp_path: Path) -> None:
    before = (model / "model.safetensors").read_bytes()
    for resume in (False, True):
        with pytest.raises(InputError, match="holds the model to begin with"):
            train(model, model, resume=resume)
    assert (model / "model.safetensors").read_bytes() == before


def test_other_examples_are_not_gone_on_with(model: Path, tmp_path: Path) -> None:
    train(model, tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    relabelled = [TRAIN[0]._replace(label="high"), *TRAIN[1:]]
    for changes in ({"examples": TRAIN[:-1]}, {"examples": relabelled}, {"dev": None}):
        with pytest.raises(InputError, match="was begun with other examples"):
            train(model, tmp_path, resume=True, **changes)  # type: ignore[arg-type]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    moved = [example._replace(where="elsewhere.csv") for example in TRAIN]
    assert train(model, tmp_path, moved, resume=True).predictions


def test_a_head_of_another_task_answers_nothing(model: Path, tmp_path: Path) -> None:
    """Its weights would fit: [2, H] for two labels of texts or of words."""
    train(model, tmp_path)
    with pytest.raises(InputError, match="not trained as AlbertForTokenClassification but as"):
        pipeline("ner", tmp_path)
