"""The estimators with scikit-learn's own tools: cloned, searched over, in pipelines, pickled."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from toy_finetuning import VOICES, pretrained, voices

import tinyalbert
from tinyalbert.errors import InputError
from tinyalbert.estimators import AlbertClassifier, AlbertRegressor
from tinyalbert.finetuning.finetuned import FineTuned
from tinyalbert.finetuning.trainer import Trainer

TEXTS, LABELS = map(list, zip(*voices(80), strict=True))
NEW, ANSWERS = map(list, zip(*voices(20, seed=1), strict=True))
SETTINGS: dict[str, Any] = {"learning_rate": 1e-2, "batch_size": 8, "random_state": 3}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def fitted(model: Path) -> AlbertClassifier:
    return AlbertClassifier(model, **SETTINGS).fit(TEXTS, LABELS)


def lower(texts: Any) -> list[str]:
    return [text.lower() for text in texts]


# ---- it classifies


def test_fit_predict_score(fitted: AlbertClassifier) -> None:
    assert fitted.score(NEW, ANSWERS) == 1 and fitted.predict(NEW).tolist() == ANSWERS
    assert fitted.classes_.tolist() == ["high", "low"]
    probs = fitted.predict_proba(NEW)
    assert probs.shape == (20, 2) and probs.sum(1) == pytest.approx(np.ones(20))
    assert fitted.classes_[probs.argmax(1)].tolist() == ANSWERS


@pytest.mark.parametrize("low, high", [(3, 7), (-1, 1), (False, True), (2.0, 10.0), ("1.5", "0.5")])
def test_labels_come_back_as_they_were_given(model: Path, low: Any, high: Any) -> None:
    y = [{"low": low, "high": high}[label] for label in LABELS]
    for given in (y, np.array(y)):
        found = AlbertClassifier(model, **SETTINGS).fit(TEXTS, given)
        assert found.classes_.tolist() == sorted([low, high])
        predicted = found.predict(NEW)
        assert type(predicted[0].item()) is type(low)
        assert predicted.tolist() == [{"low": low, "high": high}[label] for label in ANSWERS]


def test_columns_and_pairs(model: Path, fitted: AlbertClassifier) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"text": NEW, "label": ANSWERS}, index=range(5, 25))
    expected = fitted.predict_proba(NEW)
    for X in (tuple(NEW), np.array(NEW), np.array(NEW, object), frame["text"], frame[["text"]]):
        np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    assert fitted.score(frame["text"], frame["label"]) == 1

    pairs = [("la", text) for text in TEXTS]
    found = AlbertClassifier(model, **SETTINGS).fit(pairs, pd.Series(LABELS).astype("category"))
    new = [("la", text) for text in NEW]
    for X in (new, np.array(new), pd.Series(new), pd.DataFrame(new), [list(pair) for pair in new]):
        assert found.predict(X).tolist() == ANSWERS
    assert found.finetuned_.predict([]) == []


def test_the_seed(model: Path) -> None:
    def probs(seed: Any) -> list[list[float]]:
        found = AlbertClassifier(model, **{**SETTINGS, "epochs": 1, "random_state": seed})
        return found.fit(TEXTS, LABELS).predict_proba(NEW[:2]).tolist()
    assert probs(1) == probs(1) == probs(np.int64(1)) != probs(2)
    assert probs(np.random.RandomState(1)) == probs(np.random.RandomState(1))
    assert probs(None) != probs(None)


def test_the_best_weights_on_held_out_examples(model: Path, monkeypatch) -> None:
    """The second evaluation is made the best one, and two epochs later training gives up."""
    seen: list[dict[str, np.ndarray]] = []
    note = Trainer.note

    def noted(trainer: Trainer, value: float) -> bool:
        seen.append(trainer.model.state_dict(tied=False))
        assert len(trainer.features) == 60
        return note(trainer, [0.5, 0.8, 0.7, 0.6][len(seen) - 1])

    monkeypatch.setattr(Trainer, "note", noted)
    found = AlbertClassifier(model, validation_fraction=0.25, patience=2, epochs=9, **SETTINGS)
    weights = found.fit(TEXTS, LABELS).finetuned_.model.state_dict(tied=False)
    assert len(seen) == 4
    for name, array in weights.items():
        np.testing.assert_array_equal(array, seen[1][name])


def test_all_examples_are_learned_from(model: Path, monkeypatch) -> None:
    steps: list[int] = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda trainer: (
        steps.append(len(trainer.features)), step(trainer)))
    AlbertClassifier(model, epochs=2, **SETTINGS).fit(TEXTS, LABELS)
    assert steps == [80] * 20


def test_balanced_class_weights(model: Path) -> None:
    """Nine of one label, one of the other: without weights the rare one is given up."""
    texts = [text for text, label in voices(120) if label == "low"][:54] + ["mu ne"] * 6
    y = ["low"] * 54 + ["high"] * 6
    few = {**SETTINGS, "epochs": 2}
    plain, balanced = (AlbertClassifier(model, class_weight=weight, **few).fit(texts, y)
                       .predict_proba(["mu ne"])[0, 0] for weight in (None, "balanced"))
    assert plain < 0.2 and balanced > 0.4


# ---- scikit-learn's tools


def test_parameters() -> None:
    made = AlbertClassifier("a", learning_rate=1e-3)
    copy = clone(made.set_params(epochs=7, batch_size=4))
    assert copy is not made and copy.get_params() == made.get_params()
    assert copy.get_params()["epochs"] == 7 and copy.get_params()["model"] == "a"
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        made.set_params(rate=1)
    assert is_classifier(made) and is_regressor(AlbertRegressor())
    assert repr(made) == "AlbertClassifier(batch_size=4, epochs=7, learning_rate=0.001, model='a')"


@pytest.mark.parametrize("estimator", [AlbertClassifier(), AlbertRegressor()])
def test_checks_of_scikit_learn(estimator) -> None:
    """Those that it has for estimators of text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Can't test estimator")
        results = check_estimator(estimator)
    assert results and all(result["status"] == "passed" for result in results)
    tags = estimator.__sklearn_tags__()
    assert tags.input_tags.string and not tags.input_tags.two_d_array
    assert tags.target_tags.required


def test_cross_validation(model: Path) -> None:
    scores = cross_val_score(AlbertClassifier(model, **SETTINGS), TEXTS, LABELS, cv=2)
    assert len(scores) == 2 and scores.min() > 0.9


def test_grid_search_in_a_pipeline(model: Path) -> None:
    """The rate that is far too low loses. Capitals do not matter: they are made small before."""
    steps = Pipeline([("clean", FunctionTransformer(lower)),
                      ("albert", AlbertClassifier(model, **SETTINGS))])
    search = GridSearchCV(steps, {"albert__learning_rate": [1e-7, 1e-2]}, cv=2)
    search.fit(np.array([text.upper() for text in TEXTS]), LABELS)
    assert search.best_params_ == {"albert__learning_rate": 1e-2} and search.best_score_ > 0.9
    assert search.predict([text.upper() for text in NEW]).tolist() == ANSWERS


UNPICKLE = """
import json, pickle, sys
import joblib
load = joblib.load if sys.argv[1].endswith("joblib") else lambda name: pickle.load(open(name, "rb"))
found = load(sys.argv[1])
print(json.dumps([found.predict_proba(sys.argv[2:]).tolist(), found.classes_.tolist()]))
"""


@pytest.mark.parametrize("name", ["a.pickle", "a.joblib"])
def test_a_pickle_works_elsewhere(model: Path, tmp_path: Path, name: str) -> None:
    """In another process, when the folder that it was made from is gone; same numbers, all bits."""
    folder = shutil.copytree(model, tmp_path / "model")
    found = AlbertClassifier(folder, **SETTINGS).fit(TEXTS, LABELS)
    if name == "a.joblib":
        joblib.dump(found, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(found))
    shutil.rmtree(folder)
    command = [sys.executable, "-c", UNPICKLE, str(tmp_path / name), *NEW]
    result = subprocess.run(command, cwd=Path(tinyalbert.__file__).parents[1], text=True,
                            capture_output=True, check=True)
    assert json.loads(result.stdout) == [found.predict_proba(NEW).tolist(), ["high", "low"]]


def test_a_pickle_of_one_that_is_not_fitted() -> None:
    copy = pickle.loads(pickle.dumps(AlbertClassifier("a", epochs=7)))
    assert copy.get_params() == AlbertClassifier("a", epochs=7).get_params()
    with pytest.raises(NotFittedError):
        copy.predict(["ba"])


def test_a_pickle_is_not_much_larger_than_the_weights(fitted: AlbertClassifier) -> None:
    weights = sum(array.nbytes for array in fitted.finetuned_.model.state_dict(tied=False).values())
    spare = pickle.dumps(fitted)
    vocabulary = len(fitted.finetuned_.tokenizer.vocab_file_content())
    assert weights < len(spare) < weights + vocabulary + 20_000


def test_what_was_learned_can_be_saved(fitted: AlbertClassifier, tmp_path: Path) -> None:
    fitted.finetuned_.save(tmp_path)
    found = FineTuned.load(tmp_path).predict(
        [example for example in fitted.finetuned_.task.read(write_lines(tmp_path), labelled=False)])
    assert [answer["label"] for answer in found] == ANSWERS


def write_lines(folder: Path) -> Path:
    path = folder / "new.txt"
    path.write_text("\n".join(NEW))
    return path


# ---- numbers


def test_regression(model: Path) -> None:
    rng = np.random.default_rng(0)
    highs = rng.integers(0, 5, 160)
    texts = [" ".join([*rng.choice(VOICES["high"], n), *rng.choice(VOICES["low"], 4 - n)])
             for n in highs]
    y = highs / 2 - 1
    found = AlbertRegressor(model, epochs=6, **SETTINGS).fit(texts[:120], y[:120])
    assert found.predict(texts[120:]).shape == (40,) and found.score(texts[120:], y[120:]) > 0.9
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(texts), found.predict(texts))
    with pytest.raises(InputError, match=r"y\[1\]: the label must be a number.* not 'x'"):
        AlbertRegressor(model).fit(["ba", "do"], [1, "x"])
    with pytest.raises(InputError, match="class_weights must be none"):
        AlbertRegressor(model, class_weight="balanced").fit(["ba", "do"], [1, 2])


# ---- what cannot be learned from: InputError is a ValueError, as scikit-learn's users expect


@pytest.mark.parametrize("X, said", [
    ([None, "ba"], r"X\[0\] must be a text, or a pair of texts, not None"),
    (["ba", ""], r"X\[1\] must be a text, or a pair of texts, not ''"),
    (["ba", " \n"], r"X\[1\] must be a text"), (["ba", float("nan")], r"X\[1\] must be .* not nan"),
    ([("ba", "do"), ("ba", None)], r"X\[1\] must be a text, or a pair"),
    ([("ba", "do", "ki")] * 2, r"X\[0\] must be a text, or a pair"), ([1, 2], r"X\[0\] must be"),
    ([b"ba", b"do"], r"X\[0\] must be"), ("ba", "X must be a list or a column of texts"),
    ([], "X must be a list or a column"), (None, "X must be a list or a column"),
    (np.ones((2, 2, 2)), "X must be a list or a column"),
])
def test_bad_texts(fitted: AlbertClassifier, X: Any, said: str) -> None:
    for call in (lambda: clone(fitted).fit(X, [0, 1]), lambda: fitted.predict(X)):
        with pytest.raises(InputError, match=said) as caught:
            call()
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("y, said", [
    ([0, None, 1], r"y\[1\] is None: leave out"), ([0, 1, float("nan")], r"y\[2\] is nan"),
    (["a", float("nan"), "b"], r"y\[1\] is nan"), ([1, 1, 1], "all labels in y are 1: there is"),
    (["a", "a", "a"], "all labels in y are 'a'"), ([0, 1], "X has 3 texts and y 2 labels"),
    ([0, 1, "a"], "y mixes texts with other labels"), ([0.5, 1.2, 3.3], "continuous"),
    ([[0, 1], [1, 0], [1, 1]], "y should be a 1d array"),
])
def test_bad_labels(model: Path, y: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AlbertClassifier(model).fit(["ba", "do", "ki"], y)


def test_missing_labels_of_pandas(model: Path) -> None:
    pd = pytest.importorskip("pandas")
    for y in (pd.Series([0, None, 1], dtype="Int64"), pd.Series(["a", None, "b"]),
              pd.Series(pd.to_datetime(["2020-01-01", None, "2021-01-01"]))):
        with pytest.raises(InputError, match=r"y\[1\] is "):
            AlbertClassifier(model).fit(["ba", "do", "ki"], y)
    found = AlbertClassifier(model, **SETTINGS).fit(TEXTS, pd.Series(range(80), dtype="Int64") % 2)
    assert found.predict(NEW).tolist() == [0, 1] * 10


@pytest.mark.parametrize("changes, said", [
    ({"epochs": 0}, "epochs must be greater than 0"), ({"batch_size": 0}, "batch_size must be"),
    ({"validation_fraction": 1.0}, r"held_out must be in \[0, 1\)"),
    ({"class_weight": "heavy"}, "class_weights must be one of none, balanced"),
    ({"model": "no/such/folder/anywhere"}, "no/such/folder"),
    ({"max_seq_length": 64}, "max_seq_length 64 exceeds the 32 positions"),
])
def test_bad_parameters(model: Path, changes: dict[str, Any], said: str) -> None:
    """Found by fit, as scikit-learn wants it."""
    with pytest.raises(InputError, match=said):
        AlbertClassifier(**{"model": model, **changes}).fit(["ba", "do"], [0, 1])
