"""SQuAD: its files, versions 1.1 and 2.0, its official scores, and a guess to compare with.

    {"data": [{"paragraphs": [{"context": TEXT, "qas": [
        {"id": ID, "question": TEXT, "is_impossible": false,
         "answers": [{"text": TEXT, "answer_start": CHARACTER}]}]}]}]}

Scores are shares in [0, 1]; the official script prints percents. Left out: the plausible answers
that version 2.0 gives for questions without an answer.

Source: Rajpurkar et al. 2016 and 2018, and their evaluate-v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.sentences import split_sentences
from ..errors import InputError
from .tables import parse_json, read_text

PUNCTUATION = str.maketrans("", "", string.punctuation)
NAME = r"(?:[A-Z][\w'’]*|\d[\d,.]*\w*)"
NAMES = re.compile(rf"{NAME}(?:[ -]{NAME})*")


class Answer(NamedTuple):
    text: str
    start: int                      # its first character in the context


class QuestionExample(NamedTuple):
    question: str
    context: str
    answers: tuple[Answer, ...] | None = None       # () if it has none, None if nobody said
    id: str = ""
    where: str = ""


# ---- files


def read_squad(path: Path, labelled: bool = True) -> list[QuestionExample]:
    """Every question of a file, in its order.

    labelled: whether each must have answers or `"is_impossible": true`. InputError names the file
    and the question if something is missing, or if an answer is not where its offset says.
    """
    content = parse_json(read_text(path), str(path))
    found: list[QuestionExample] = []
    for article, of_article in items(content, "data", str(path)):
        for paragraph, of_paragraph in items(article, "paragraphs", of_article):
            context = text_in(paragraph, "context", of_paragraph)
            for qa, where in items(paragraph, "qas", of_paragraph):
                if "id" in qa:
                    where = f"{path}, question {qa['id']}"
                found.append(QuestionExample(text_in(qa, "question", where), context,
                                             answers_of(qa, context, where, labelled),
                                             str(qa.get("id", len(found))), where))
    if not found:
        raise InputError(f"{path} holds no questions")
    return found


def items(record: Any, key: str, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects of a list in a record, and the words for where they stand."""
    if not isinstance(record, dict) or not isinstance(record.get(key), list):
        raise InputError(f"{where}: SQuAD has an object with a list {key!r} here, not "
                         f"{record!r:.60}")
    for i, item in enumerate(record[key]):
        if not isinstance(item, dict):
            raise InputError(f"{where}, {key}[{i}] must be an object, not {item!r:.60}")
        yield item, f"{where}, {key}[{i}]"


def text_in(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {key!r} must be a text, not {value!r:.60}")
    return value


def answers_of(qa: dict[str, Any], context: str, where: str,
               labelled: bool) -> tuple[Answer, ...] | None:
    impossible, given = qa.get("is_impossible", False), qa.get("answers") or []
    if not isinstance(impossible, bool) or (impossible and given):
        raise InputError(f"{where}: 'is_impossible' must be true or false, and a question with "
                         "answers is possible")
    if not given and not impossible:
        if labelled:
            raise InputError(f"{where} has no answers: give some, or \"is_impossible\": true")
        return None
    answers = []
    for answer, place in items({"answers": given}, "answers", where):
        text = text_in(answer, "text", place)
        start = answer.get("answer_start")
        if type(start) is not int or start < 0:
            raise InputError(f"{place}: 'answer_start' must be a number of characters, not "
                             f"{start!r:.60}")
        if (there := context[start:start + len(text)]) != text:
            only = (f"; it occurs only at {context.find(text)}" if context.count(text) == 1 else "")
            raise InputError(f"{place}: the context has {there!r:.60} at answer_start {start}, not "
                             f"the answer {text!r:.60}{only}")
        answers.append(Answer(text, start))
    return tuple(answers)


# ---- scores


def normalize(text: str) -> str:
    """In lower case, without punctuation, articles, and white space beyond single spaces."""
    text = text.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, gold: str) -> float:
    return float(normalize(answer) == normalize(gold))


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of words; where one has no words, exact match."""
    words, gold_words = normalize(answer).split(), normalize(gold).split()
    if not words or not gold_words:
        return float(words == gold_words)
    common = (Counter(words) & Counter(gold_words)).total()
    return 2 * common / (len(words) + len(gold_words))


def score(metric: Callable[[str, str], float], answer: str, example: QuestionExample) -> float:
    """Against the gold answer that fits best; "" is right for a question without an answer."""
    golds = [gold.text for gold in example.answers or () if normalize(gold.text)]
    return max(metric(answer, gold) for gold in golds or [""])


def squad_metrics(examples: Sequence[QuestionExample], answers: Sequence[str]) -> dict[str, float]:
    """Means of exact match and F1. Where some questions have no answer also over the questions
    with one (HasAns_) and without (NoAns_)."""
    scores = {name: np.array([score(metric, answer, example)
                              for answer, example in zip(answers, examples, strict=True)])
              for name, metric in (("exact", exact_match), ("f1", f1))}
    answerable = np.array([bool(example.answers) for example in examples])
    parts = {"": np.full(len(examples), True)}
    if not answerable.all():
        parts |= {"HasAns_": answerable, "NoAns_": ~answerable}
    return {part + name: float(values[where].mean()) for part, where in parts.items()
            for name, values in scores.items() if where.any()}


def best_threshold(answered: Sequence[float], silent: Sequence[float],
                   differences: Sequence[float]) -> tuple[float, float]:
    """The best mean score by answering only questions with difference <= threshold, and the
    smallest threshold that has it. Exact: no other threshold does better.

    answered, silent: each question's score if it is answered and if it is not. differences: how
    far "no answer" is ahead of the best answer.
    """
    order = np.argsort(differences, kind="stable")
    ranked = np.asarray(differences, np.float64)[order]
    gains = np.subtract(answered, silent)[order]
    totals = np.sum(silent) + np.concatenate([[0.0], np.cumsum(gains)])     # first k answered
    between = np.diff(ranked, prepend=-np.inf, append=np.inf) > 0       # equals go together
    best = int(np.where(between, totals, -np.inf).argmax())
    return (float(totals[best] / len(order)),
            float(ranked[best - 1] if best else ranked[0] - 1))


# ---- a baseline


def guess(example: QuestionExample) -> str:
    """Of the sentence that shares most words with the question: the name or number, none of the
    question's own, that stands nearest to them."""
    asked = set(normalize(example.question).split())
    sentence = max(split_sentences(example.context),
                   key=lambda sentence: len(asked & set(normalize(sentence).split())))
    shared = [word.start() for word in re.finditer(r"\S+", sentence)
              if normalize(word[0]) in asked]
    names = [name for name in NAMES.finditer(sentence)
             if normalize(name[0]) and not asked & set(normalize(name[0]).split())]
    nearest = min(names, default=None,
                  key=lambda name: sum(abs(name.start() - place) for place in shared))
    return nearest[0] if nearest else sentence
