"""The task "choice": layouts of files, what the model sees, and questions of several sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import assert_close, tiny_model
from toy_finetuning import FAST, VOICES, pretrained, quiet, voices

from tinyalbert import load_tokenizer
from tinyalbert.errors import InputError
from tinyalbert.finetuning.choices import Choice, ChoiceExample, chance, fill, joined
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.finetuned import FineTuned


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tokenizer(model):
    return load_tokenizer(model)


def read(tmp_path: Path, *rows: dict[str, Any] | str, name: str = "a.jsonl",
         labelled: bool = True) -> list[ChoiceExample]:
    path = tmp_path / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n"
                            for row in rows))
    return [example._replace(where=example.where.removeprefix(f"{path}, "))
            for example in Choice.read(path, labelled=labelled)]


# ---- files


def test_swag(shared_data: Path) -> None:
    examples = Choice.read(shared_data / "fixtures-squad2-cnn" / "swag.csv")
    assert len(examples) == 11 and all(len(example.options) == 4 for example in examples)
    assert examples[0][:4] == (
        "Students lower their eyes nervously.", "She",
        ["pats her shoulder, then saunters toward someone.", "turns with two students.",
         "walks slowly towards someone.", "wheels around as her dog thunders out."], 2)
    assert examples[0].where.endswith("swag.csv, line 2")


def test_races_own_layout(tmp_path: Path) -> None:
    race = {"id": "high1.txt", "article": "Long ago.", "questions": ["When _ ?", "Who?"],
            "options": [["was it", "is it", "will it"], ["he", "she"]], "answers": ["C", "A"]}
    assert read(tmp_path, race, race)[1:3] == [
        ChoiceExample("Long ago.", "Who?", ["he", "she"], 0, "line 1, question 2"),
        ChoiceExample("Long ago.", "When _ ?", race["options"][0], 2, "line 2, question 1")]


@pytest.mark.parametrize("row", [
    {"article": "t", "question": "q", "options": ["a b", "c"], "answer": "B"},
    {"context": "t", "question": "q", "choices": ["a b", "c"], "label": 1},
    {"passage": "t", "question": "q", "endings": ["a b", "c"], "answer": "c"},
    {"sent1": "t", "sent2": "q", "ending0": "a b", "ending1": "c", "label": "1"},
    {"text": "t", "question": "q", "choice_1": "a b", "choice_2": "c", "answer": " c "},
])
def test_flat_layouts(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(tmp_path, row) == [ChoiceExample("t", "q", ["a b", "c"], 1, "line 1")]


def test_a_text_without_a_question_and_the_other_way_round(tmp_path: Path) -> None:
    assert read(tmp_path, {"ctx": "t", "endings": ["a", "b"], "label": 0},
                {"question": "q", "options": ["a", "b"], "label": 0},
                {"context": "t", "question": "", "options": ["a", "b"], "label": 0}) == [
        ChoiceExample("t", "", ["a", "b"], 0, "line 1"),
        ChoiceExample("q", "", ["a", "b"], 0, "line 2"),
        ChoiceExample("t", "", ["a", "b"], 0, "line 3")]


def test_columns_in_the_order_of_their_numbers_and_empty_last_ones(tmp_path: Path) -> None:
    names = ",".join(f"ending{i}" for i in (10, 2, 1, 0))
    examples = read(tmp_path, f"sent1,{names},label", "t,k,c,b,a,3", "t,,c,b,a,2", name="a.csv")
    assert [example.options for example in examples] == [["a", "b", "c", "k"], ["a", "b", "c"]]
    assert [example.where for example in examples] == ["line 2", "line 3"]


def test_answers_that_are_not_there(tmp_path: Path) -> None:
    rows = [{"context": "t", "options": ["a", "b"]}, {"context": "t", "options": ["a", "b"],
                                                      "answer": ""}]
    assert [e.label for e in read(tmp_path, *rows, labelled=False)] == [None, None]
    assert read(tmp_path, {**rows[0], "answer": 1}, labelled=False)[0].label == 1
    with pytest.raises(InputError, match="line 1: the answer None is none of the options"):
        read(tmp_path, rows[0])
    with pytest.raises(InputError, match="no question says which of its options is right"):
        Choice.of_examples([ChoiceExample("t", "q", ["a", "b"])])


@pytest.mark.parametrize("changes, said", [
    ({"answer": "D"}, "'D' is none of the options: give the number of the right one, 0 to 2"),
    ({"answer": 3}, "3 is none of the options"), ({"answer": -1}, "-1 is none of the options"),
    ({"answer": "x"}, "'x' is none"), ({"answer": True}, "True is none"),
    ({"answer": 1.0}, "1.0 is none"), ({"answer": ["B"]}, "is none"),
    ({"options": ["1", "2", "3"], "answer": "1"}, "'1' is more than one of the options"),
    ({"options": ["a", "a", "b"], "answer": "a"}, "'a' is more than one of the options"),
    ({"options": ["a"]}, "two or more options are needed"),
    ({"options": "a, b"}, "two or more options are needed"),
    ({"options": ["a", "", "b"]}, "option 1 must be a text, not ''"),
    ({"options": ["a", None, "b"]}, "option 1 must be a text, not None"),
    ({"context": " "}, "'context' must be a text, not ' '"),
    ({"question": ["q"]}, "'question' must be a text"),
    ({"questions": ["q"], "options": [["a", "b"], ["c", "d"]]}, "must be lists with an entry"),
    ({"questions": ["q"], "options": "a"}, "questions, options must be lists with an entry"),
    ({"questions": ["q"], "options": [["a"]]}, "line 2, question 1: two or more options"),
])
def test_bad_rows(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    good = {"context": "t", "question": "q", "options": ["a", "b", "c"], "answer": "B"}
    with pytest.raises(InputError) as caught:
        read(tmp_path, good, {**good, **changes})
    assert said in str(caught.value) and "line 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: which column is the text. They are a, b; call"):
        read(tmp_path, {"a": "t", "b": ["x", "y"]})
    with pytest.raises(InputError, match="line 2: option 0 must be a text"):
        read(tmp_path, "sent1,ending0,ending1,label", "t,,b,1", name="a.csv")
    with pytest.raises(InputError, match="line 2: two or more options"):
        read(tmp_path, "text,label", "t,1", name="a.csv")


# ---- what the model sees


def test_blanks_are_filled() -> None:
    assert fill("He _ home.", "went") == "He went home."
    assert fill("Why?", "Because.") == "Why? Because." and fill("", "went") == "went"


@pytest.mark.parametrize("text, option, length, kept", [
    (500, 20, 512, (489, 20)),      # the article loses its end
    (500, 200, 512, (381, 128)),    # Google's RACE: 128 pieces of question and option
    (10, 200, 512, (10, 128)),
    (40, 40, 33, (15, 15)),         # half of the room each
    (5, 40, 33, (5, 25)),           # all that the text leaves
    (0, 3, 33, (0, 3)),
])
def test_what_is_cut(tokenizer, text: int, option: int, length: int, kept: tuple[int, int]) -> None:
    first, second = list(range(1000, 1000 + text)), list(range(3000, 3000 + option))
    ids, types = joined(tokenizer, first, second, length)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert ids == [cls, *first[:kept[0]], sep, *second[-kept[1]:], sep]
    assert types == [0] * (kept[0] + 2) + [1] * (kept[1] + 1)


def test_features_and_batch(tokenizer) -> None:
    """As the tokenizer encodes the pairs; a question of two options among some of three."""
    examples = [ChoiceExample("ba do", "ki _ la", ["mu ne", "po"], 1),
                ChoiceExample("ba", "si", ["ta", "ta ta ta", "ru"], 2)]
    features = Choice().features(tokenizer, examples, 32)
    expected = tokenizer(["ba do", "ba do", "ba", "ba", "ba"],
                         ["ki mu ne la", "ki po la", "si ta", "si ta ta ta", "si ru"])
    for name in ("input_ids", "token_type_ids"):
        assert features[0][name] + features[1][name] == expected[name]
    batch = Choice().batch(features, tokenizer.pad_token_id)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, 3, max(
        map(len, expected["input_ids"])))
    assert batch["labels"].tolist() == [1, 2]
    assert not batch["attention_mask"][0, 2].any()
    rows = batch["input_ids"].reshape(6, -1)[[0, 1, 3, 4, 5]]
    for row, ids in zip(rows, expected["input_ids"], strict=True):
        assert row.tolist() == ids + [tokenizer.pad_token_id] * (len(row) - len(ids))
    unlabelled = Choice().features(tokenizer, [examples[0]._replace(label=None)], 32)
    assert "labels" not in Choice().batch([features[1], *unlabelled], tokenizer.pad_token_id)


@pytest.mark.parametrize("name", ["AlbertForMultipleChoice", "BertForMultipleChoice"])
@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(2, 4), min_size=2, max_size=3), seed=st.integers(0, 99))
def test_an_absent_choice_changes_nothing(name: str, sizes: list[int], seed: int) -> None:
    """Logits, loss and gradients of questions of several sizes are those of each by itself."""
    rng = np.random.default_rng(seed)
    model = tiny_model(name)
    features = [{"input_ids": [rng.integers(1, 23, n).tolist() for n in rng.integers(2, 9, size)],
                 "label": int(rng.integers(size))} for size in sizes]
    for feature in features:
        feature["token_type_ids"] = [[0] * len(ids) for ids in feature["input_ids"]]
    out, cache = model.forward(**Choice().batch(features, 0))
    model.backward(cache)
    together = model.state_dict(gradients=True)
    model.zero_grad()
    losses = []
    for feature, logits in zip(features, out.logits, strict=True):
        alone, cache = model.forward(**Choice().batch([feature], 0))
        model.backward(cache, 1 / len(sizes))
        size = len(feature["input_ids"])
        assert_close(logits[:size], alone.logits[0], 1e-10)
        assert (logits[size:] < -9000).all()
        losses.append(alone.loss)
    assert_close(out.loss, np.mean(losses), 1e-10)
    for key, gradient in model.state_dict(gradients=True).items():
        assert_close(together[key], gradient, 1e-10, key, scale=1.0)


# ---- what comes out


def test_predictions_and_metrics() -> None:
    """Softmax of log 3 and log 1 is 3/4 and 1/4; what stands for an absent choice is not seen."""
    examples = [ChoiceExample("t", "q", ["a", "b"], 0), ChoiceExample("t", "q", ["a", "b", "c"], 2)]
    outputs = [np.array([np.log(3), 0, -10000]), np.array([0, np.log(2), 0])]
    found = Choice().predictions(examples, [{}, {}], outputs)
    assert [(p["choice"], p["text"]) for p in found] == [(0, "a"), (1, "b")]
    assert found[0]["scores"] == pytest.approx([0.75, 0.25]) and found[0]["score"] == 0.75
    assert found[1]["scores"] == pytest.approx([0.25, 0.5, 0.25])
    assert Choice().metrics(examples, found) == {"accuracy": 0.5}


def test_baselines() -> None:
    """The better of the usual place and the longest option, with the accuracy of chance."""
    examples = [ChoiceExample("t", "q", ["aa", "bb b", "c"], 1),
                ChoiceExample("t", "q", ["a", "b"], 0), ChoiceExample("t", "q", ["a", "bb"], 1)]
    assert chance(examples) == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    name, metrics = Choice().baseline(examples, examples)           # 0 is the longest on a tie
    assert name == "the longest option (chance 44.4%)" and metrics == {"accuracy": 1.0}
    name, metrics = Choice().baseline(examples, [examples[0]._replace(options=["aaa", "b", "c"])])
    assert name == "always option 1 (chance 33.3%)" and metrics == {"accuracy": 1.0}
    assert Choice().summary(examples) == "3 questions with 2 or 3 options, chance 44.4%"


def test_a_model_that_prefers_nothing_is_stuck() -> None:
    even = {"score": 0.26, "scores": [0.26, 0.25, 0.25, 0.24]}
    assert Choice().stuck([even, even]) == "that all options are equally likely"
    assert Choice().stuck([even, {"score": 0.6, "scores": [0.6, 0.4]}]) is None


def test_which_continuation_is_of_the_same_voice(model: Path, tmp_path: Path) -> None:
    """Two or three options, of which one has a high word: learned, and told again from the folder.
    A dev set with an answer that is always the same place is no harm."""
    rng = np.random.default_rng(0)

    def questions(count: int, place: int | None = None) -> list[ChoiceExample]:
        found = []
        for text, _ in voices(count):
            size = int(rng.integers(2, 4))
            label = int(rng.integers(size)) if place is None else place
            options = [str(rng.choice(VOICES["low"])) for _ in range(size)]
            options[label] = str(rng.choice(VOICES["high"]))
            found.append(ChoiceExample(text, "si", options, label))
        return found

    dev = questions(40, place=1)
    result = finetune("choice", model, questions(120), dev, tmp_path, FAST.replace(epochs=4),
                      log=quiet, progress=False)
    assert result.metrics["accuracy"] == 1
    assert [found["text"] for found in result.predictions] == [e.options[1] for e in dev]
    loaded = FineTuned.load(tmp_path)
    assert loaded.task.name == "choice"
    alone = loaded.predict([dev[0]._replace(label=None)])[0]
    assert alone["scores"] == pytest.approx(result.predictions[0]["scores"], abs=1e-5)
    with pytest.raises(InputError, match="class_weights must be none"):
        finetune("choice", model, dev, dev, tmp_path / "other",
                 FAST.replace(class_weights="balanced"), log=quiet, progress=False)
