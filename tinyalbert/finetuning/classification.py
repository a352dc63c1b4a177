"""The task "classify": one label, or one number, for a text or a pair of texts.

Topic, spam, sentiment, entailment; similarity and ratings are numbers. Left out: several labels
for one text (the model class can, `problem_type="multi_label_classification"`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ..config import AnyConfig
from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .tables import Row, find_column, read_rows, shown, text_of
from .task import Features, Prediction, Task, balanced

TEXTS = ("text", "sentence", "sentence1", "text_a", "premise", "question1", "review", "content",
         "document")
PAIRS = ("text_pair", "sentence2", "text_b", "hypothesis", "question2")
LABELS = ("label", "labels", "category", "class", "target", "sentiment", "topic", "score",
          "rating", "gold_label")
MANY = 100      # labels; a column with more of them is hardly one of labels
LARGEST = 1e9   # number; the squares of larger ones are no finite numbers before long


class TextExample(NamedTuple):
    text: str
    text_pair: str | None = None
    label: str | None = None        # as it is written, a number too
    where: str = ""


class Classification(Task):
    """labels: their names, in the order of their numbers; none where the answer is a number."""

    name = "classify"
    model = "ForSequenceClassification"
    example = TextExample

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.ids = {label: i for i, label in enumerate(self.labels)}
        self.metric = "accuracy" if labels else "pearson"

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True, columns: Sequence[str] | None = None,
             text_column: str | None = None, pair_column: str | None = None,
             label_column: str | None = None) -> list[TextExample]:
        """A table. The columns are found by their usual names where they are not given."""
        rows = read_rows(path, columns)
        text = find_column(rows, path, text_column, TEXTS, "the text", "--text-column")
        pair = find_column(rows, path, pair_column, PAIRS, "the second text", "--pair-column")
        label = find_column(rows, path, label_column, LABELS, "the label", "--label-column")
        for column, what in ((text, "text"), (label, "label")):
            if column is None and (labelled or what == "text"):
                raise InputError(f"{shown(path)}: which column is the {what}? They are "
                                 f"{', '.join(rows[0].values)}: give --{what}-column; or --columns "
                                 "if the first line is not their names, or a .csv, .tsv or .jsonl "
                                 "if the file is none")
        return [TextExample(text_of(row, text or ""), text_of(row, pair) if pair else None,
                            label_of(row, label, labelled), row.where) for row in rows]

    @classmethod
    def of_text(cls, text: str) -> TextExample:
        return TextExample(text)

    @classmethod
    def problem(cls, example: TextExample) -> str | None:
        if not isinstance(example.label, str):
            return f"the label must be a text, a number too, not {example.label!r:.50}"
        return None

    @classmethod
    def of_examples(cls, examples: Sequence[TextExample]) -> Self:
        """Numbers with a fraction mean regression, whatever else is written means labels."""
        counts = Counter(example.label for example in examples if example.label is not None)
        if not counts:
            raise InputError("no example has a label to learn from")
        numbers = {label: number for label in counts if (number := as_number(label)) is not None}
        fractions = any(number % 1 for number in numbers.values())      # of inf and nan it is nan
        mostly = fractions and sum(counts[label] for label in numbers) > len(examples) / 2
        for label, where in ((e.label, e.where) for e in examples if e.label is not None):
            if not math.isfinite(numbers.get(label, math.nan if mostly else 0)):
                raise InputError(f"{where}: the label {label!r:.50} is not a finite number"
                                 + "; most labels are" * mostly)
        if len(counts) == 1:
            raise InputError(f"all {len(examples):,} examples have the label "
                             f"{next(iter(counts))!r:.50}: there is nothing to tell apart")
        if mostly:
            return cls([])
        if len(counts) > MANY and len(counts) > len(examples) / 4:
            raise InputError(f"{len(counts):,} different labels in {len(examples):,} examples: is "
                             "--label-column the right one?")
        return cls(sorted(counts, key=lambda label: (as_number(label) or 0, label)))

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        names = config.id2label or {}
        return cls([] if config.num_labels == 1 else [names[i] for i in range(config.num_labels)])

    def config_changes(self) -> dict[str, Any]:
        if not self.labels:
            return {"num_labels": 1, "problem_type": "regression"}
        return {"id2label": dict(enumerate(self.labels)),
                "problem_type": "single_label_classification"}

    def summary(self, examples: Sequence[TextExample]) -> str:
        if not self.labels:
            values = np.array([self.target(example) for example in examples])
            return (f"{len(examples):,} texts with numbers from {values.min():g} to "
                    f"{values.max():g}, mean {values.mean():.3g}")
        counts = Counter(example.label for example in examples).most_common()
        shown = ", ".join(f"{label} {count / len(examples):.0%}" for label, count in counts[:8])
        rare = counts[0][1] > 3 * counts[-1][1]
        return (f"{len(examples):,} texts, {len(counts)} labels: {shown}"
                + (", ..." if len(counts) > 8 else "")
                + ("; unbalanced: look at macro_f1, and at --class-weights balanced"
                   if rare else ""))

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[TextExample],
                 max_length: int) -> list[Features]:
        features = []
        for number, example in enumerate(examples):
            encoding = tokenizer(example.text, example.text_pair, truncation=True,
                                 max_length=max_length)
            feature = {"input_ids": encoding["input_ids"],
                       "token_type_ids": encoding["token_type_ids"], "example": number}
            if example.label is not None:
                feature["label"] = self.target(example)
            features.append(feature)
        return features

    def target(self, example: TextExample) -> int | float:
        """The label's number; InputError if training knew no such label."""
        if not self.labels:
            number = as_number(example.label)
            if number is None or not abs(number) < LARGEST:
                raise InputError(f"{example.where}: the label must be a number, as in training, "
                                 f"of less than {LARGEST:g}, not {example.label!r:.50}")
            return number
        if example.label not in self.ids:
            raise InputError(f"{example.where}: the label {example.label!r:.50} is none of those "
                             f"learned: {', '.join(self.labels[:10])}")
        return self.ids[example.label]

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        batch = super().batch(features, pad_token_id)
        if all("label" in feature for feature in features):
            batch["labels"] = np.array([feature["label"] for feature in features],
                                       np.int64 if self.labels else np.float64)
        return batch

    def loss_options(self, features: Sequence[Features], class_weights: str) -> dict[str, Any]:
        if class_weights == "none" or not self.labels:
            return super().loss_options(features, class_weights)
        labels = np.array([feature["label"] for feature in features])
        return {"class_weights": balanced(labels, len(self.labels))}

    def predictions(self, examples: Sequence[TextExample], features: Sequence[Features],
                    outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """{"label", "score": its probability, "scores": of all labels}, or {"score": number}."""
        if not self.labels:
            return [{"score": float(output[0])} for output in outputs]
        found = []
        for probs in softmax(np.stack(outputs).astype(np.float64)):                 # [K]
            best = int(probs.argmax())
            found.append({"label": self.labels[best], "score": float(probs[best]),
                          "scores": dict(zip(self.labels, probs.tolist(), strict=True))})
        return found

    def metrics(self, examples: Sequence[TextExample],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        from .metrics import classification_metrics, regression_metrics
        if not self.labels:
            return regression_metrics([float(example.label or 0) for example in examples],
                                      [prediction["score"] for prediction in predictions])
        return classification_metrics([example.label or "" for example in examples],
                                      [prediction["label"] for prediction in predictions])

    def baseline(self, train: Sequence[TextExample],
                 examples: Sequence[TextExample]) -> tuple[str, dict[str, float]]:
        if not self.labels:
            mean = float(np.mean([float(example.label or 0) for example in train]))
            return f"always {mean:.3g}", self.metrics(examples, [{"score": mean}] * len(examples))
        label = Counter(example.label for example in train).most_common(1)[0][0]
        return f"always {label}", self.metrics(examples, [{"label": label}] * len(examples))

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        if self.labels and len({prediction["label"] for prediction in predictions}) == 1:
            return f"the label {predictions[0]['label']!r}"
        return None

    def show(self, example: TextExample, prediction: Prediction) -> str:
        said = f"{prediction['label']} {prediction['score']:.0%}" if self.labels else \
            f"{prediction['score']:.3g}"
        return f"{said:<24} {' | '.join(filter(None, example[:2]))}"


def label_of(row: Row, column: str | None, labelled: bool) -> str | None:
    value = row.values.get(column) if column else None
    if isinstance(value, int | float):
        value = str(value).lower()                  # true, 3, 0.5
    if isinstance(value, str) and value.strip():
        return value.strip()
    if labelled or value not in (None, ""):
        raise InputError(f"{row.where}: {column!r} must be a label, not {value!r:.50}")
    return None


def as_number(label: str | None) -> float | None:
    try:
        return None if label is None else float(label)
    except ValueError:
        return None
