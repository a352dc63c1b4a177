"""Expected windows and scores are worked out by hand; the best answers by trying every span."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY
from nonsense import SYLLABLES
from tiny import randomize, tiny_config
from toy_finetuning import FAST, SHARED, VOICES, pretrained, quiet

from tinyalbert import AlbertForQuestionAnswering, AlbertModel
from tinyalbert.errors import InputError
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.questions import Questions
from tinyalbert.finetuning.spans import best_spans, covering, max_context
from tinyalbert.finetuning.squad import Answer, QuestionExample, guess
from tinyalbert.pipelines import pipeline
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.bert import BertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *SYLLABLES,
          *(f"##{syllable}" for syllable in SYLLABLES)]
CLS, SEP = 2, 3
CONTEXT = "Bado kila mune. Posi ta bado ki."        # ba do ki la mu ne . po si ta ba do ki .


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pretrained(tmp_path_factory.mktemp("model"))


def asked(context: str, *answers: str, question: str = "ki?") -> QuestionExample:
    return QuestionExample(question, context,
                           tuple(Answer(text, context.index(text)) for text in answers))


def ids(pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces.split()]


def random_logits(features: list[dict[str, Any]], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((2, len(feature["input_ids"]))) for feature in features]


# ---- windows


def test_windows_by_hand(tokenizer):
    """Room for 6 of the 14 pieces, and each window begins 3 later."""
    features = Questions().features(tokenizer, [asked(CONTEXT, "mune")], 11)
    begin = [CLS, *ids("ki ?"), SEP]
    for feature, (window, start, end) in zip(features, [
            ("ba ##do ki ##la mu ##ne", 8, 9), ("##la mu ##ne . po ##si", 5, 6),
            (". po ##si ta ba ##do", 0, 0), ("ta ba ##do ki .", 0, 0)], strict=True):
        assert feature["input_ids"] == [*begin, *ids(window), SEP]
        assert feature["token_type_ids"] == [0] * 4 + [1] * (len(window.split()) + 1)
        assert (feature["start"], feature["end"]) == (start, end)


def test_a_window_with_half_of_the_answer_does_not_hold_it(tokenizer):
    features = Questions().features(tokenizer, [asked(CONTEXT, "Posi ta")], 11)
    assert [(f["start"], f["end"]) for f in features] == [(0, 0), (0, 0), (5, 7), (0, 0)]


def test_what_has_no_answer_and_what_nobody_labelled(tokenizer):
    task = Questions()
    features = task.features(tokenizer, [asked(CONTEXT)], 24)
    batch = task.batch(features, tokenizer.pad_token_id)
    assert batch["start_positions"].tolist() == batch["end_positions"].tolist() == [0]
    features += task.features(tokenizer, [QuestionExample("ki?", "ba")], 24)
    assert sorted(task.batch(features, 0)) == ["attention_mask", "input_ids", "token_type_ids"]


def test_the_first_answer_is_learned_and_pieces_are_taken_whole(tokenizer):
    feature, = Questions().features(tokenizer, [asked("bado kila", "do ki", "bado")], 24)
    assert (feature["start"], feature["end"]) == (5, 6)         # [CLS] ki ? [SEP] ba ##do ki ##la
    feature, = Questions().features(tokenizer, [asked("bado kila", "o k")], 24)
    assert (feature["start"], feature["end"]) == (5, 6)
    assert covering(np.array([[0, 1], [3, 4]]), 1, 3) == (-1, -1)


@pytest.mark.parametrize(("max_length", "kept"), [(512, 64), (65, 31), (8, 2)])
def test_long_questions_are_cut(tokenizer, max_length, kept):
    """To 64 tokens, and to half of what [CLS] and [SEP] leave."""
    feature, *_ = Questions().features(tokenizer, [asked("bado", "bado", question="ki " * 100)],
                                       max_length)
    assert feature["input_ids"] == [CLS, *ids("ki " * kept), SEP, *ids("ba ##do"), SEP]


def test_a_context_is_tokenized_once(tokenizer, monkeypatch):
    seen = []
    call = BertTokenizer.__call__
    monkeypatch.setattr(BertTokenizer, "__call__", lambda self, text, **options:
                        seen.append(text) or call(self, text, **options))
    Questions().features(tokenizer, [asked(CONTEXT, "mune")] * 3, 24)
    assert seen.count(CONTEXT) == 1


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), max_length=st.integers(8, 40), doc_stride=st.integers(1, 40),
       data=st.data())
def test_windows_cover_the_context(tokenizer, count, max_length, doc_stride, data):
    words = data.draw(st.lists(st.sampled_from(SYLLABLES), min_size=count, max_size=count))
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    text = " ".join(words)
    example = QuestionExample("ki", text, (Answer(text[3 * first:3 * last + 2], 3 * first),))
    features = Questions(doc_stride=doc_stride).features(tokenizer, [example], max_length)
    size = max_length - 4
    stride = min(doc_stride, size // 2)
    seen = set()
    for number, feature in enumerate(features):
        assert feature["first"] == number * stride
        window = feature["input_ids"][3:-1]
        assert window == ids(text)[number * stride:number * stride + size]
        seen |= set(range(number * stride, number * stride + len(window)))
        whole = number * stride <= first and last < number * stride + size
        assert (feature["start"], feature["end"]) == (
            (3 + first - number * stride, 3 + last - number * stride) if whole else (0, 0))
    assert seen == set(range(count))
    assert count > size or len(features) == 1
    assert len(features) == 1 or len(window) > size - stride    # the last one shows something new


# ---- the best answers


def test_max_context_by_hand():
    # Of tokens 2 and 3, which both windows show, the first has 1 on its right in the first window
    # and 0 on its left in the second.
    assert max_context([(0, 4), (2, 4)], 6).tolist() == [0, 0, 0, 1, 1, 1]
    # Token 2 has 1 beside it in both: the first window.
    assert max_context([(0, 4), (1, 4)], 5).tolist() == [0, 0, 0, 1, 1]
    # And token 1 has 1 beside it in both, but the second window is longer.
    assert max_context([(0, 3), (0, 6)], 6).tolist() == [1] * 6


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 30), max_length=st.integers(8, 24), longest=st.integers(1, 8),
       seed=st.integers(0, 999))
def test_the_best_spans_are_those_of_all(tokenizer, count, max_length, longest, seed):
    """Windows this small have no more than 20 starts and ends."""
    rng = np.random.default_rng(seed)
    text = " ".join(rng.choice(SYLLABLES, count))
    features = Questions().features(tokenizer, [QuestionExample("ki", text)], max_length)
    outputs = random_logits(features, seed)
    owner = max_context([(f["first"], len(f["input_ids"]) - 4) for f in features], count)
    best: dict[str, float] = {}
    for number, (feature, logits) in enumerate(zip(features, outputs, strict=True)):
        place = 3 - feature["first"]
        for s in range(feature["first"], feature["first"] + len(feature["input_ids"]) - 4):
            for e in range(s, min(s + longest, len(feature["input_ids"]) - 1 - place)):
                answer = text[3 * s:3 * e + 2]
                value = logits[0, s + place] + logits[1, e + place]
                if owner[s] == number and value > best.get(answer, -np.inf):
                    best[answer] = value
    found = best_spans(text, list(zip(features, outputs, strict=True)), longest)
    expected = sorted(best.items(), key=lambda item: -item[1])[:20]
    assert [text[span.start:span.end] for span in found] == [answer for answer, _ in expected]
    assert [span.logit for span in found] == pytest.approx([value for _, value in expected])


@pytest.mark.parametrize("family", ["albert", "bert"])
def test_answers_are_cut_out_of_the_text_as_it_is(folder, tokenizer, family):
    if family == "albert":
        tokenizer = AlbertTokenizer.from_pretrained(folder)
    examples = [QuestionExample("ki", text) for text in NASTY]
    task = Questions()
    features = task.features(tokenizer, examples, 16)
    predictions = task.predictions(examples, features, random_logits(features, 0))
    for example, prediction in zip(examples, predictions, strict=True):
        for found in [prediction, *prediction["nbest"]]:
            assert example.context[found["start"]:found["end"]] == found["answer"]
        answers = [found["answer"] for found in prediction["nbest"]]
        assert len(answers) == len(set(answers)) <= 20
        assert sum(found["score"] for found in prediction["nbest"]) == pytest.approx(1)
        pieces = tokenizer(example.context, add_special_tokens=False)["input_ids"]
        assert bool(prediction["answer"]) == bool(pieces)       # a text may be of no pieces


def two_windows(tokenizer: BertTokenizer, **logits: float) -> tuple[Any, Any, Any]:
    """A text of two windows, "mune" found in the first, and the logits of [CLS] in both."""
    examples = [asked("bado kila mune posi", "mune", question="ki")]
    features = Questions().features(tokenizer, examples, 10)
    assert len(features) == 2
    outputs = [np.full((2, len(feature["input_ids"])), -9.0) for feature in features]
    outputs[0][0, 7] = outputs[0][1, 8] = 1.5           # [CLS] ki [SEP] ba ##do ki ##la mu ##ne
    for output, value in zip(outputs, (logits["first"], logits["second"]), strict=True):
        output[:, 0] = value
    return examples, features, outputs


def test_no_answer_is_as_likely_as_in_the_window_where_it_is_least(tokenizer):
    examples, features, outputs = two_windows(tokenizer, first=1.0, second=4.0)
    answer, = Questions(True).predictions(examples, features, outputs)
    assert (answer["answer"], answer["start"], answer["end"]) == ("mune", 10, 14)
    assert answer["null_score_diff"] == 2 * 1.0 - 2 * 1.5
    null = next(found for found in answer["nbest"] if not found["answer"])
    assert answer["score"] / null["score"] == pytest.approx(np.exp(1.0))
    silent, = Questions(True, null_threshold=-1.5).predictions(examples, features, outputs)
    assert (silent["answer"], silent["start"], silent["end"]) == ("", 0, 0)
    assert silent["score"] == null["score"]


def test_without_unanswerable_questions_there_is_always_an_answer(tokenizer):
    examples, features, outputs = two_windows(tokenizer, first=50.0, second=50.0)
    answer, = Questions(False).predictions(examples, features, outputs)
    assert answer["answer"] == "mune" and "null_score_diff" not in answer
    assert all(found["answer"] for found in answer["nbest"])


# ---- scores


def prediction(answer: str, null_score_diff: float, null_threshold: float = 0.0) -> dict[str, Any]:
    nbest = [{"answer": text, "score": 0.5, "start": 0, "end": len(text)} for text in (answer, "")]
    return Questions(True, null_threshold).decided(nbest, null_score_diff)


def test_the_threshold_is_tuned_and_kept():
    """To answer where "no answer" leads by at most 3 is right for all but one; 0 answers no one."""
    examples = [asked("ba", "ba"), asked("do", "do"), asked("ki"), asked("la", "la"), asked("mu")]
    predictions = [prediction(e.context, diff) for e, diff in zip(examples, (1, 3, 4, 5, 6),
                                                                 strict=True)]
    task = Questions(True)
    before = task.metrics(examples, predictions)
    assert (before["f1"], before["HasAns_f1"], before["NoAns_f1"]) == (2 / 5, 0, 1)
    assert before["best_f1"] == before["best_exact"] == 4 / 5
    tuned = task.tune(examples, predictions)
    assert [p["answer"] for p in tuned] == ["ba", "do", "", "", ""]
    assert task.metrics(examples, tuned)["f1"] == 4 / 5
    assert json.loads(json.dumps(task.settings())) == {"has_unanswerable": True,
                                                       "null_threshold": 3.0}
    again = Questions.of_model(tiny_config(), task.settings())
    assert again.settings() == task.settings()


def test_nothing_to_tune():
    examples, predictions = [asked("ba", "ba")], [prediction("ba", 1)]
    for task, of in ((Questions(True), examples), (Questions(False), [asked("ba")])):
        assert task.tune(of, predictions) is predictions
        assert task.null_threshold == 0
    assert Questions(True).metrics(examples, predictions) == {"exact": 0, "f1": 0}
    # Questions without an answer, put to a model that always gives one.
    assert sorted(Questions().metrics([asked("ba")], [{"answer": "ba"}])) == [
        "NoAns_exact", "NoAns_f1", "exact", "f1"]


def test_the_baseline_by_hand():
    context = ("The Rhine is a river. It rises in the Swiss Alps and ends after 1,230 km in the "
               "North Sea. Nobody knows why.")
    # The sentence shares "rises" and "in" with the question, and "Swiss Alps" stands nearest.
    assert guess(asked(context, question="Where in the world does it begin, that rises?")
                 ) == "Swiss Alps"
    assert guess(asked(context, question="Why does nobody know?")) == "Nobody knows why."
    assert guess(asked(context, question="How many km?")) == "1,230"
    known = [asked(context, "Swiss Alps", question="Where does it rise, in which mountains?")]
    name, values = Questions().baseline([], known)
    assert name.startswith("the name or number") and values["exact"] == 1
    name, values = Questions(True).baseline([], [*known, asked("ba"), asked("do")])
    assert name == "never an answer" and values["f1"] == pytest.approx(2 / 3)


def test_stuck():
    same = [{"answer": "ba"}] * 3
    assert Questions().stuck(same) == "'ba'"
    assert Questions().stuck([{"answer": ""}] * 3) == "that there is no answer"
    assert Questions().stuck([*same, {"answer": "do"}]) is None
    assert Questions().stuck(same[:1]) is None


# ---- files and words


def test_what_kind_of_questions_they_are():
    with_all, with_some = [asked("ba do", "ba")] * 3, [asked("ba do", "ba"), asked("do")]
    assert Questions.of_examples(with_all).settings()["has_unanswerable"] is False
    assert Questions.of_examples(with_some).settings()["has_unanswerable"] is True
    assert Questions().summary(with_all) == "3 questions on 1 texts, the longest of 2 words"
    assert Questions().summary(with_some).endswith("; 50% of the questions have no answer")
    for nothing in ([asked("do")] * 2, [QuestionExample("ki", "do")] * 2):
        with pytest.raises(InputError, match="none of the 2 questions has an answer to learn from"):
            Questions.of_examples(nothing)


def test_questions_from_tables(tmp_path):
    (tmp_path / "q.csv").write_text('id,Question,context\n7,ki?,"ba, do"\n')
    (tmp_path / "q.jsonl").write_text('{"question": "ki?", "context": "ba, do"}\n')
    first, = Questions.read(tmp_path / "q.csv", labelled=False)
    second, = Questions.read(tmp_path / "q.jsonl", labelled=False)
    assert first[:4] == ("ki?", "ba, do", None, "7") and second[:4] == ("ki?", "ba, do", None, "0")
    (tmp_path / "q.json").write_text('{"data": [{"paragraphs": [{"context": "ba", "qas": '
                                     '[{"question": "ki?"}]}]}]}')
    third, = Questions.read(tmp_path / "q.json", labelled=False)
    assert third[:3] == ("ki?", "ba", None)


@pytest.mark.parametrize(("name", "content", "labelled", "message"), [
    ("q.csv", "question,context\nki,ba\n", True, "questions with answers are read from SQuAD's"),
    ("q.txt", "ki?\n", False, r"q\.txt has no columns question and context: give SQuAD's \.json"),
    ("q.csv", "question,text\nki,ba\n", False, r"q\.csv has no columns question and"),
    ("q.csv", "question,context\nki,ba\nki,\n", False, r"q\.csv, line 3: 'context' must be a text"),
    ("q.jsonl", '{"question": 3, "context": "ba"}', False, r"q\.jsonl, line 1: 'question' must be"),
    ("q.json", '{"data": 3}', False, r"q\.json: SQuAD has an object with a list 'data'"),
])
def test_bad_files(tmp_path, name, content, labelled, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        Questions.read(tmp_path / name, labelled=labelled)


# ---- learning


def find_the_voice(count: int, seed: int) -> list[QuestionExample]:
    """Which word of the low voice, or of the high one, is in the text? In every third there is
    none of that voice."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        voice = "low" if number % 2 else "high"
        words = [str(rng.choice(VOICES[v])) for v in VOICES if number % 3 or v != voice]
        answers = [word for word in words if word in VOICES[voice]]
        words += rng.choice(SHARED, 4).tolist()
        rng.shuffle(words)
        examples.append(asked(" ".join(words), *answers, question="bado" if number % 2 else "mune"))
    return examples


def test_it_learns_which_word_is_asked_for(folder, tmp_path):
    config = FAST.replace(epochs=5, learning_rate=3e-3, hidden_dropout=0.0)
    result = finetune("qa", folder, find_the_voice(960, 0), find_the_voice(60, 1), tmp_path / "run",
                      config, log=quiet, progress=False)
    assert result.metrics["HasAns_f1"] > 0.9 and result.metrics["NoAns_f1"] > 0.9
    assert result.finetuned.task.has_unanswerable


# ---- pipeline


@pytest.fixture(scope="module")
def answerer(tokenizer):
    model = AlbertForQuestionAnswering(tiny_config(vocab_size=len(PIECES),
                                                   max_position_embeddings=24))
    return pipeline("question-answering", randomize(model), tokenizer)


def test_the_pipeline_says_what_the_task_does(answerer, tokenizer):
    context = " ".join([CONTEXT] * 4)
    example = QuestionExample("posi?", context)
    (expected,), _ = Questions(True, max_answer_length=4, doc_stride=3).predict(
        answerer.model, tokenizer, [example], max_length=24)
    found = answerer(question="posi?", context=context, top_k=100, max_answer_len=4, doc_stride=3,
                     handle_impossible_answer=True)
    assert found == expected["nbest"]
    best = answerer({"question": "posi?", "context": context}, max_answer_len=4, doc_stride=3)
    assert best["answer"] == next(one["answer"] for one in found if one["answer"])
    assert sorted(best) == ["answer", "end", "score", "start"]
    assert context[best["start"]:best["end"]] == best["answer"]


def test_the_ways_to_ask(answerer):
    first, second = ({"question": q, "context": CONTEXT} for q in ("posi?", "bado"))
    one, two = answerer(first), answerer(second)
    assert answerer(**first) == answerer([first]) == one
    for both in (answerer([first, second]), answerer([first, second], batch_size=1),
                 answerer(question=["posi?", "bado"], context=CONTEXT),
                 answerer(question=["posi?", "bado"], context=[CONTEXT] * 2)):
        for ours, expected in zip(both, (one, two), strict=True):
            assert ours == {**expected, "score": pytest.approx(expected["score"], rel=1e-5)}
    assert [len(best) for best in answerer([first, second], top_k=3)] == [3, 3]


def test_ten_thousand_words_and_a_context_shorter_than_the_question(answerer):
    long = "bado kila mune posi ta. " * 2000
    assert long[slice(*(answerer(question="ki?", context=long)[key] for key in ("start", "end")))]
    assert answerer(question="posi ta bado kila " * 30, context="ba")["answer"] == "ba"


@pytest.mark.parametrize(("arguments", "message"), [
    ({}, "a question needs its context"),
    ({"question": "ki?"}, "a question needs its context"),
    ({"inputs": "ki?"}, "a question needs its context, as in .*: 'ki.'"),
    ({"inputs": {"question": "ki?"}}, "a question needs its context"),
    ({"question": "ki?", "context": " "}, "neither may be empty: {'question': 'ki.', 'context'"),
    ({"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts: give one context"),
    ({"inputs": []}, "there is no question"),
    ({"question": "a", "context": "b", "top_k": 0}, "top_k must be at least 1, not 0"),
    ({"question": "a", "context": "b", "max_answer_len": 0}, "max_answer_len must be at least 1"),
    ({"question": "a", "context": "b", "doc_stride": 0}, "doc_stride must be at least 1"),
])
def test_bad_questions(answerer, arguments, message):
    with pytest.raises(InputError, match=message):
        answerer(**arguments)


def test_a_model_that_answers_nothing(tokenizer):
    answerer = pipeline("question-answering", AlbertModel(tiny_config()), tokenizer)
    with pytest.raises(InputError, match="AlbertModel has no question-answering head"):
        answerer(question="ki?", context="ba")
