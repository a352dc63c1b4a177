"""Questions against transformers: windows as its tokenizer cuts them, answers as its model scores
them. Its evaluation of SQuAD, the official rules, ended with version 4: what 4.57.6 computed is
written down here. So did its pipeline for questions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from nonsense import SYLLABLES, sentences
from tiny import assert_close, randomize, tiny_config

from tinyalbert import AlbertForQuestionAnswering, BertConfig, BertForQuestionAnswering
from tinyalbert.finetuning.questions import Questions
from tinyalbert.finetuning.squad import Answer, QuestionExample, exact_match, f1, score
from tinyalbert.pipelines.loading import load
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "1", "##0", "2", "##00", "a",
          *SYLLABLES, *(f"##{syllable}" for syllable in SYLLABLES)]
LONGEST, STRIDE = 32, 5


def about_two_words(question: str, context: str) -> QuestionExample:
    """Their answer is the second and third word."""
    words = re.match(r"\S+\s+(\S+\s+\S+)", context)
    assert words
    return QuestionExample(question, context, (Answer(words[1], words.start(1)),))


EXAMPLES = [about_two_words("bado kila?", "Bado  Kila mune posi."),
            about_two_words("mu ne", " ".join(sentences(6))),
            about_two_words("Posi ta?", "\n".join(sentences(2, seed=1))),
            about_two_words("ki", " ".join(sentences(5, seed=2)))]


@pytest.fixture(scope="module", params=["albert", "bert"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer, saved by ours."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "albert":
        train_tokenizer(sentences(), folder, vocab_size=120)
        model = AlbertForQuestionAnswering(tiny_config(
            vocab_size=120, max_position_embeddings=LONGEST, type_vocab_size=2))
    else:
        (folder / "vocab.txt").write_text("\n".join(PIECES))
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        model = BertForQuestionAnswering(BertConfig(
            vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=LONGEST))
    randomize(model).save_pretrained(folder)
    return folder


def their_windows(tokenizer: Any, example: QuestionExample) -> Any:
    """Where ours begin STRIDE later each, theirs overlap by the rest."""
    room = LONGEST - 3 - len(tokenizer(example.question, add_special_tokens=False)["input_ids"])
    return tokenizer(example.question, example.context, max_length=LONGEST, stride=room - STRIDE,
                     truncation="only_second", return_overflowing_tokens=True,
                     return_offsets_mapping=True, return_token_type_ids=True, padding=True,
                     return_tensors="pt")


def test_windows(directory):
    _, tokenizer = load(directory, "ForQuestionAnswering")
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    features = Questions(doc_stride=STRIDE).features(tokenizer, EXAMPLES, LONGEST)
    assert len(features) > 2 * len(EXAMPLES)
    for number, example in enumerate(EXAMPLES):
        ours = [feature for feature in features if feature["example"] == number]
        expected = their_windows(theirs, example)
        assert len(ours) == len(expected["input_ids"])
        for i, feature in enumerate(ours):
            length = len(feature["input_ids"])
            assert feature["input_ids"] == expected["input_ids"][i, :length].tolist()
            assert feature["token_type_ids"] == expected["token_type_ids"][i, :length].tolist()
            assert not expected["attention_mask"][i, length:].any()
            answer, = example.answers or ()
            start, end = (expected.char_to_token(i, place, 1)
                          for place in (answer.start, answer.start + len(answer.text) - 1))
            whole = start is not None and end is not None
            assert (feature["start"], feature["end"]) == ((start, end) if whole else (0, 0))


@pytest.mark.parametrize("impossible", [False, True])
def test_answers(directory, impossible):
    """The best of all pairs of a start and an end, out of their logits and offsets."""
    model, tokenizer = load(directory, "ForQuestionAnswering")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    their_model = transformers.AutoModelForQuestionAnswering.from_pretrained(directory).eval()
    task = Questions(impossible, doc_stride=STRIDE, max_answer_length=6)
    predictions, _ = task.predict(model, tokenizer, EXAMPLES, max_length=LONGEST)
    for example, prediction in zip(EXAMPLES, predictions, strict=True):
        windows = their_windows(their_tokenizer, example)
        inputs = {key: windows[key] for key in ("input_ids", "token_type_ids", "attention_mask")}
        with torch.no_grad():
            out = their_model(**inputs)
        logits = torch.stack([out.start_logits, out.end_logits]).double().numpy()   # [2, W, T]
        best, null = best_answer(example.context, windows, logits), logits[:, :, 0].sum(0).min()
        found = next(found for found in prediction["nbest"] if found["answer"])
        assert found["answer"] == best[1]
        if impossible:
            assert_close(prediction["null_score_diff"], null - best[0], 1e-5, scale=1)
            assert prediction["answer"] == (best[1] if null <= best[0] else "")


def best_answer(context: str, windows: Any, logits: np.ndarray) -> tuple[float, str]:
    offsets = windows["offset_mapping"].tolist()
    inside = [[windows.sequence_ids(i)[t] == 1 for t in range(len(offsets[i]))]
              for i in range(len(offsets))]

    def around(window: int, offset: list[int]) -> float:
        """Tokens on the side with fewer of them, and a hundredth of the window's."""
        shown = [o for o, is_context in zip(offsets[window], inside[window], strict=True)
                 if is_context]
        if offset not in shown:
            return -1
        place = shown.index(offset)
        return min(place, len(shown) - 1 - place) + 0.01 * len(shown)

    best = -np.inf, ""
    for i, of_window in enumerate(offsets):
        for s, start in enumerate(of_window):
            rivals = [around(j, start) for j in range(len(offsets))]
            if not inside[i][s] or int(np.argmax(rivals)) != i:
                continue
            for e in range(s, min(s + 6, len(of_window))):
                if inside[i][e]:
                    text = context[start[0]:of_window[e][1]]
                    best = max(best, (float(logits[0, i, s] + logits[1, i, e]), text))
    return best


# The answer, the gold answers, by how much "no answer" leads; and of version 4.57.6 (there plus 10,
# since it takes probabilities): exact match and F1.
OFFICIAL: list[tuple[str, list[str], float, float, float]] = [
    ("The Alps.", ["alps"], -4.5, 1, 1.0),
    ("in the North Sea", ["North Sea", "the sea"], -1.25, 0, 0.8),
    ("1,230 km", ["1230km", "about 1,230 kilometres"], 0.5, 0, 0.4),
    ("a an-a THE", ["ana"], 0.75, 1, 1.0),
    ("Größe  «L»", ["grösse L", "Größe «L»"], 2.0, 1, 1.0),
    ("red red red blue", ["red red green"], -0.25, 0, 0.5714285714285715),
    ("Swiss", [], -2.0, 0, 0),
    ("Alps, Switzerland", [], 1.5, 0, 0),
    ("Rhine", [], 3.0, 0, 0),
    ("U.S.A.", ["USA"], 1.0, 1, 1.0),
    ("dog's day", ["dogs"], 4.0, 0, 0.6666666666666666),
    ("1858", ["in 1858"], 2.5, 0, 0.6666666666666666),
]


def test_the_official_scores():
    examples = [QuestionExample("", "", tuple(Answer(gold, 0) for gold in golds))
                for _, golds, *_ in OFFICIAL]
    predictions = []
    for (answer, _, lead, exact, overlap), example in zip(OFFICIAL, examples, strict=True):
        assert score(exact_match, answer, example) == exact
        assert score(f1, answer, example) == pytest.approx(overlap, rel=1e-12)
        nbest = [{"answer": text, "score": 0.5, "start": 0, "end": 0} for text in (answer, "")]
        predictions.append({"answer": answer, "nbest": nbest, "null_score_diff": lead})
    task = Questions(True)
    assert task.metrics(examples, predictions) == pytest.approx({
        "exact": 0.33333333333333336, "f1": 0.5920634920634921,
        "HasAns_exact": 0.4444444444444444, "HasAns_f1": 0.7894179894179898,
        "NoAns_exact": 0.0, "NoAns_f1": 0.0,
        "best_exact": 0.41666666666666664, "best_f1": 0.6198412698412699}, rel=1e-9)
    tuned = task.tune(examples, predictions)
    assert task.null_threshold == 12.5 - 10
    assert task.metrics(examples, tuned)["f1"] == pytest.approx(0.6198412698412699)
