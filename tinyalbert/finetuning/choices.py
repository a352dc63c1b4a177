"""The task "choice": which of several options continues a text or answers a question.

    .csv, .tsv    sent1, sent2, ending0, ending1, ..., label    SWAG; empty last endings are none
    .jsonl        context, question, options, answer            RACE, a question a line
                  article, questions, options, answers          RACE's own, a text a line

The right option is given by its number, counted from 0, by its letter or by its text. Questions may
differ in how many options they have. The model scores each option by itself, as
`[CLS] text [SEP] question option [SEP]`, so it can neither compare two of them nor learn at which
place the right one usually stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ..config import AnyConfig
from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .tables import Row, read_rows, text_of
from .task import Features, Prediction, Task, pad

TEXTS = ("context", "article", "passage", "sent1", "ctx", "text")
QUESTIONS = ("question", "questions", "sent2")
OPTIONS = ("options", "choices", "endings")
ANSWERS = ("label", "answer", "answers")
NUMBERED = re.compile(r"(?:ending|option|choice)_?(\d+)")       # a column for each option
MAX_OPTION = 128    # pieces of question and option together (Google's RACE)
ALIKE = 1.05        # a probability of less than this times chance prefers nothing


class ChoiceExample(NamedTuple):
    text: str
    question: str               # "" where an option continues the text itself
    options: list[str]
    label: int | None = None    # which of them is right
    where: str = ""


class Choice(Task):
    """Its labels are places among the options, and need no names."""

    name = "choice"
    model = "ForMultipleChoice"
    metric = "accuracy"
    example = ChoiceExample

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True) -> list[ChoiceExample]:
        return [example_of(row, labelled) for given in read_rows(path) for row in flat(given)]

    @classmethod
    def problem(cls, example: ChoiceExample) -> str | None:
        if len(example.options) < 2 or example.label not in range(len(example.options)):
            return (f"the label must be the number of one of two or more options, counted from 0, "
                    f"not {example.label!r:.50} of {len(example.options)}")
        if not isinstance(example.question, str):
            return f"the question must be a text, '' if there is none, not {example.question!r:.50}"
        return None

    @classmethod
    def of_examples(cls, examples: Sequence[ChoiceExample]) -> Self:
        """That the right one always stands at the same place is no harm: see above."""
        if all(example.label is None for example in examples):
            raise InputError("no question says which of its options is right")
        return cls()

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        return cls()

    def summary(self, examples: Sequence[ChoiceExample]) -> str:
        sizes = Counter(len(example.options) for example in examples)
        shown = " or ".join(str(size) for size in sorted(sizes))
        return f"{len(examples):,} questions with {shown} options, chance {chance(examples):.1%}"

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[ChoiceExample],
                 max_length: int) -> list[Features]:
        """input_ids and token_type_ids are lists of C rows."""
        features = []
        for number, example in enumerate(examples):
            text = tokenizer.encode(example.text, add_special_tokens=False)
            rows = [joined(tokenizer, text, tokenizer.encode(filled, add_special_tokens=False),
                           max_length)
                    for filled in (fill(example.question, option) for option in example.options)]
            feature: Features = {"input_ids": [ids for ids, _ in rows],
                                 "token_type_ids": [types for _, types in rows],
                                 "example": number}
            if example.label is not None:
                feature["label"] = example.label
            features.append(feature)
        return features

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        """[B, C, T]. A question with fewer than C options gets some without any token, which the
        model takes for none."""
        choices = max(len(feature["input_ids"]) for feature in features)
        rows = [{name: feature[name][i] if i < len(feature[name]) else []
                 for name in ("input_ids", "token_type_ids")}
                for feature in features for i in range(choices)]
        batch: dict[str, Any] = {name: array.reshape(len(features), choices, -1)
                                 for name, array in pad(rows, pad_token_id).items()}
        if all("label" in feature for feature in features):
            batch["labels"] = np.array([feature["label"] for feature in features])      # [B]
        return batch

    def predictions(self, examples: Sequence[ChoiceExample], features: Sequence[Features],
                    outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """{"choice": its number, "text", "score": its probability, "scores": of all options}."""
        found = []
        for example, output in zip(examples, outputs, strict=True):
            probs = softmax(output[:len(example.options)].astype(np.float64))           # [C]
            best = int(probs.argmax())
            found.append({"choice": best, "text": example.options[best],
                          "score": float(probs[best]), "scores": probs.tolist()})
        return found

    def metrics(self, examples: Sequence[ChoiceExample],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        return {"accuracy": float(np.mean([
            prediction["choice"] == example.label
            for example, prediction in zip(examples, predictions, strict=True)]))}

    def baseline(self, train: Sequence[ChoiceExample],
                 examples: Sequence[ChoiceExample]) -> tuple[str, dict[str, float]]:
        """The better of two that do not read: the place that is right most often in training, and
        the longest option."""
        place = Counter(example.label for example in train).most_common(1)[0][0]
        longest = [int(np.argmax([len(option) for option in example.options]))
                   for example in examples]
        measured = {name: self.metrics(examples, [{"choice": choice} for choice in choices])
                    for name, choices in ((f"always option {place}", [place] * len(examples)),
                                          ("the longest option", longest))}
        best = max(measured, key=lambda name: measured[name]["accuracy"])
        return f"{best} (chance {chance(examples):.1%})", measured[best]

    def show(self, example: ChoiceExample, prediction: Prediction) -> str:
        return f"{prediction['choice']}: {prediction['text']}    {prediction['score']:.0%}"

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        if all(found["score"] * len(found["scores"]) < ALIKE for found in predictions):
            return "that all options are equally likely"
        return None


def chance(examples: Sequence[ChoiceExample]) -> float:
    """The accuracy of guessing."""
    return float(np.mean([1 / len(example.options) for example in examples]))


def fill(question: str, option: str) -> str:
    """The option takes the place of the blank, or follows the question (Google's RACE)."""
    if "_" in question:
        return question.replace("_", option)
    return f"{question} {option}" if question else option


def joined(tokenizer: PreTrainedTokenizer, text: list[int], option: list[int],
           max_length: int) -> tuple[list[int], list[int]]:
    """[CLS] text [SEP] option [SEP], input_ids and token_type_ids. The option keeps its end,
    MAX_OPTION pieces or half the room if the text needs the rest; the text keeps its beginning."""
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
    option = option[-min(MAX_OPTION, max(room // 2, room - len(text))):]
    text = text[:room - len(option)]
    sep = tokenizer.sep_token_id
    return ([tokenizer.cls_token_id, *text, sep, *option, sep],
            [0] * (len(text) + 2) + [1] * (len(option) + 1))


# ---- a row of a file to an example


def flat(row: Row) -> list[Row]:
    """RACE's own layout, where a text has many questions, as a row for each."""
    if not isinstance(row.values.get("questions"), list):
        return [row]
    lists = {name: row.values[name] for name in ("questions", "options", "answers")
             if name in row.values}
    if any(not isinstance(values, list) or len(values) != len(lists["questions"])
           for values in lists.values()):
        raise InputError(f"{row.where}: {', '.join(lists)} must be lists with an entry for each "
                         "question")
    return [Row({**row.values, **dict(zip(lists, of_one, strict=True))},
                f"{row.where}, question {number}")
            for number, of_one in enumerate(zip(*lists.values(), strict=True), 1)]


def example_of(row: Row, labelled: bool) -> ChoiceExample:
    text, question, answer = (next((name for name in names if name in row.values), None)
                              for names in (TEXTS, QUESTIONS, ANSWERS))
    if text is None:                    # a question about nothing but itself
        text, question = question, None
    if text is None:
        raise InputError(f"{row.where}: which column is the text? They are "
                         f"{', '.join(row.values)}; call it context, article or sent1")
    options = options_of(row)
    return ChoiceExample(
        text_of(row, text), text_of(row, question) if question and row.values[question] else "",
        options, label_of(row, answer, options, labelled), row.where)


def options_of(row: Row) -> list[str]:
    """Two or more texts; InputError otherwise."""
    column = next((name for name in OPTIONS if name in row.values), None)
    if column:
        options = row.values[column]
    else:
        numbered = {int(found[1]): row.values[found[0]]
                    for found in map(NUMBERED.fullmatch, row.values) if found}
        options = [numbered[number] for number in sorted(numbered)]
        while options and not options[-1]:
            options.pop()
    if not isinstance(options, list) or len(options) < 2:
        raise InputError(f"{row.where}: two or more options are needed, as a list under 'options' "
                         "or in columns ending0, ending1, ...")
    for number, option in enumerate(options):
        if not isinstance(option, str) or not option.strip():
            raise InputError(f"{row.where}: option {number} must be a text, not {option!r:.50}")
    return options


def label_of(row: Row, column: str | None, options: list[str], labelled: bool) -> int | None:
    """The place of the right option. InputError if it is missing, or could be none or several."""
    answer = row.values.get(column) if column else None
    if answer in (None, "") and not labelled:
        return None
    meant = [i for i, option in enumerate(options) if answer == i and type(answer) is int
             or isinstance(answer, str) and answer.strip() in (str(i), letter(i), option.strip())]
    if len(meant) != 1:
        raise InputError(f"{row.where}: the answer {answer!r:.50} is "
                         f"{'more than one' if meant else 'none'} of the options: give the number "
                         f"of the right one, 0 to {len(options) - 1}, its letter, or its text")
    return meant[0]


def letter(place: int) -> str:
    """0 -> A"""
    return chr(ord("A") + place)
