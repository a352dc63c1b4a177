"""Expected scores are worked out by hand; thresholds are compared with trying every one."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalbert.errors import InputError
from tinyalbert.finetuning.squad import (
    Answer,
    QuestionExample,
    best_threshold,
    exact_match,
    f1,
    normalize,
    read_squad,
    score,
    squad_metrics,
)

CONTEXT = "The Rhine rises in the Alps. It ends in the North Sea."
QAS = [
    {"id": "a", "question": "Where does it rise?", "is_impossible": False,
     "answers": [{"text": "the Alps", "answer_start": 19}, {"text": "Alps", "answer_start": 23}]},
    {"id": "b", "question": "Who owns it?", "is_impossible": True, "answers": [],
     "plausible_answers": [{"text": "Alps", "answer_start": 23}]}]
CONTENT = {"version": "v2.0", "data": [{"title": "Rhine", "paragraphs": [
    {"context": CONTEXT, "qas": QAS}]}]}


def written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


# ---- files


def test_every_question_with_its_answers(tmp_path):
    first, second = read_squad(written(tmp_path / "x.json", CONTENT))
    assert first[:4] == ("Where does it rise?", CONTEXT,
                         (Answer("the Alps", 19), Answer("Alps", 23)), "a")
    assert second[:4] == ("Who owns it?", CONTEXT, (), "b")
    assert first.where == f"{tmp_path / 'x.json'}, question a"


def test_a_file_without_answers_and_ids(tmp_path):
    content = {"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q"}] * 2}]}]}
    found = read_squad(written(tmp_path / "x.json", content), labelled=False)
    assert [example[:4] for example in found] == [("q", "c", None, "0"), ("q", "c", None, "1")]


def test_a_compressed_file(tmp_path):
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(json.dumps(CONTENT).encode()))
    assert len(read_squad(path)) == 2


def test_real_files(shared_data):
    questions = read_squad(shared_data / "xquad-en" / "xquad.en.json")
    assert (len(questions), len({q.context for q in questions})) == (1190, 240)
    fixtures = shared_data / "fixtures-squad2-cnn"
    assert all(q.answers for q in read_squad(fixtures / "squad.json"))
    assert [q.question for q in read_squad(fixtures / "squad2.json") if q.answers == ()] == [
        "This is an unanswerable question?"]


PARAGRAPH = ("data", 0, "paragraphs", 0)
QA = (*PARAGRAPH, "qas", 0)
ANSWER = (*QA, "answers", 0)
AT_ANSWER = r"x\.json, question a, answers\[0\]: "


@pytest.mark.parametrize(("place", "value", "message"), [
    (("data",), None, r"x\.json: SQuAD has an object with a list 'data' here, not \{'version'"),
    (("data",), [], r"x\.json holds no questions"),
    (("data", 0), 3, r"x\.json, data\[0\] must be an object, not 3"),
    (("data", 0), {}, r"x\.json, data\[0\]: SQuAD has an object with a list 'paragraphs' here"),
    ((*PARAGRAPH, "qas"), {}, r"paragraphs\[0\]: SQuAD has an object with a list 'qas'"),
    ((*PARAGRAPH, "context"), " \n", r"data\[0\], paragraphs\[0\]: 'context' must be a text"),
    (QA, "who?", r"paragraphs\[0\], qas\[0\] must be an object, not 'who\?'"),
    ((*QA, "question"), None, r"x\.json, question a: 'question' must be a text, not None"),
    ((*QA, "answers"), [], r"question a has no answers: give some, or \"is_impossible\": true"),
    ((*QA, "answers"), {"text": "Alps"}, r"question a: SQuAD has an object with a list 'answers'"),
    ((*QA, "is_impossible"), True, r"question a: 'is_impossible' must be .* with answers is poss"),
    ((*QA, "is_impossible"), "no", r"question a: 'is_impossible' must be true or false"),
    ((*ANSWER, "text"), "", AT_ANSWER + "'text' must be a text, not ''"),
    ((*ANSWER, "answer_start"), None, AT_ANSWER + "'answer_start' must be a number of characters"),
    ((*ANSWER, "answer_start"), -36, AT_ANSWER + "'answer_start' must be .* not -36"),
    ((*ANSWER, "answer_start"), 18,
     AT_ANSWER + "the context has ' the Alp' at answer_start 18, not the answer 'the Alps'; it "
                 "occurs only at 19$"),
    (ANSWER, {"text": "the", "answer_start": 0}, "has 'The' at .* not the answer 'the'$"),
    (ANSWER, {"text": "Danube", "answer_start": 900}, "has '' at answer_start 900, not the answer "
                                                      "'Danube'$"),
])
def test_bad_files(tmp_path, place, value, message):
    content = copy.deepcopy(CONTENT)
    *path, last = place
    parent: object = content
    for step in path:
        parent = parent[step]
    parent[last] = value
    with pytest.raises(InputError, match=message):
        read_squad(written(tmp_path / "x.json", content))


def test_no_json(tmp_path):
    (tmp_path / "x.json").write_text('{"data": [')
    with pytest.raises(InputError, match=r"x\.json is not JSON: Expecting value: line 1"):
        read_squad(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"cannot read .*y\.json: No such file"):
        read_squad(tmp_path / "y.json")


# ---- scores


@pytest.mark.parametrize(("text", "expected"), [
    ("The  Cat,\n sat.", "cat sat"), ("a-b", "ab"), ("an A the", ""),
    ("Athe another", "athe another"), ("1,000", "1000"), ("«Été»", "«été»"),
    ("theory a", "theory")])
def test_normalize(text, expected):
    assert normalize(text) == expected


@pytest.mark.parametrize(("answer", "gold", "exact", "overlap"), [
    ("The Alps", "alps!", 1, 1),
    ("in the Alps", "the Alps", 0, 2 / 3),              # precision 1/2, recall 1
    ("red red blue", "red green", 0, 2 * 1 / 5),        # a word counts as often as both have it
    ("red red blue", "red red", 0, 4 / 5),
    ("north", "south", 0, 0),
    ("", "south", 0, 0),
    ("the", "", 1, 1),                                  # nothing is left of either
])
def test_exact_match_and_f1(answer, gold, exact, overlap):
    assert exact_match(answer, gold) == exact
    assert f1(answer, gold) == pytest.approx(overlap)


def example(*golds: str) -> QuestionExample:
    return QuestionExample("q", " ".join(golds), tuple(Answer(gold, 0) for gold in golds))


def test_the_best_gold_answer_counts():
    assert score(f1, "north sea", example("in the sea", "North Sea coast")) == pytest.approx(4 / 5)
    assert score(exact_match, "", example()) == 1
    assert score(exact_match, "sea", example()) == 0
    # "the" says nothing and is dropped, as officially.
    assert score(f1, "sea", example("the", "sea")) == 1
    assert score(f1, "", example("the", "sea")) == 0
    assert score(f1, "", example("the")) == 1


def test_metrics():
    examples = [example("Alps"), example("North Sea"), example(), example()]
    assert squad_metrics(examples[:2], ["alps", "sea"]) == pytest.approx({
        "exact": 1 / 2, "f1": (1 + 2 / 3) / 2})
    assert squad_metrics(examples, ["alps", "", "", "sea"]) == pytest.approx({
        "exact": 2 / 4, "f1": 2 / 4, "HasAns_exact": 1 / 2, "HasAns_f1": 1 / 2,
        "NoAns_exact": 1 / 2, "NoAns_f1": 1 / 2})
    assert squad_metrics(examples[2:], ["", ""]) == {
        "exact": 1, "f1": 1, "NoAns_exact": 1, "NoAns_f1": 1}


def test_a_threshold_by_hand():
    # Answering the first two is right, the third has no answer.
    assert best_threshold([1, 1, 0], [0, 0, 1], [-3, 2, 5]) == (1, 2)
    # The question without an answer is no less sure of one than a question with: no way to part.
    assert best_threshold([1, 0, 0], [0, 1, 1], [2, 2, 2]) == (pytest.approx(2 / 3), 1)
    # Best never to answer: lower than all.
    assert best_threshold([0, 0], [1, 1], [-4, 7]) == (1, -5)


@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 1]),
                          st.integers(-4, 4)), min_size=1, max_size=12))
def test_no_threshold_does_better(rows):
    answered, silent, differences = (np.array(column, float) for column in zip(*rows, strict=True))

    def mean(threshold: float) -> float:
        return np.where(differences <= threshold, answered, silent).mean()

    best, threshold = best_threshold(answered, silent, differences)
    assert best == pytest.approx(mean(threshold))
    assert best == pytest.approx(max(mean(t) for t in np.arange(-5, 5)))
