"""The task "ner": names of people, places, ...; or any other label for each word of a sentence.

A word is tokenized by itself and its first piece bears its label. A sentence that is too long is
cut into windows that overlap; each word is answered for by the one window in which it has the
most around it, in training too, so that no word is lost and none counts twice.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..config import AnyConfig
from ..errors import InputError
from ..functional import IGNORED, softmax
from ..tokenization.base import PreTrainedTokenizer
from .classification import TEXTS
from .conll import (
    Found,
    Sentence,
    entities_of,
    entity_metrics,
    found_by_type,
    read_conll,
    split_tag,
    to_iob2,
)
from .entity_view import to_terminal
from .spans import word_windows
from .tables import STDIN, find_column, lines, read_rows, read_text, shown, text_of
from .task import Features, Prediction, Task, balanced

LETTER = r"[\w\u0300-\u036f]"       # or digit, or an accent that stands by itself
WORD = re.compile(rf"""
    (?:https?://|www\.)\S*[\w/]
  | [@#]{LETTER}+                                   # of tweets
  | (?:[^\W\d_]\.){{2,}}                            # U.S.
  | {LETTER}+?(?=n['’]t\b) | n['’]t\b               # do n't
  | ['’](?:s|m|d|re|ve|ll)\b                        # it 's
  | \d+(?:[.,:]\d+)+                                # 1,000.50
  | {LETTER}+(?:-{LETTER}+)*                        # London-based
  | \S
""", re.VERBOSE | re.IGNORECASE)


def divide(text: str, where: str = "") -> Sentence:
    """A text cut into words and punctuation marks, as the files are that models learn from."""
    return Sentence(WORD.findall(text), None, where, text)


class Entities(Task):
    """labels: O, and B- and I- of each type, in the order of their numbers."""

    name = "ner"
    model = "ForTokenClassification"
    metric = "f1"
    example, label = Sentence, "tags"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        self.ids = {label: i for i, label in enumerate(self.labels)}

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True, word_column: int | None = None,
             tag_column: int | None = None) -> list[Sentence]:
        """A file of words and tags (conll.py); or, to be labelled, texts as in tables.py."""
        text = read_text(path)
        found = read_conll(Path(shown(path)), text, labelled=labelled, word_column=word_column,
                           tag_column=tag_column)
        if found is not None:
            return found
        rows = list(lines(path, text)) if path == STDIN else read_rows(path)
        column = find_column(rows, path, None, TEXTS, "the text", "")
        if column is None:
            raise InputError(f"{shown(path)}: which column is the text? Name it text; they are "
                             f"{', '.join(rows[0].values)}")
        return [divide(text_of(row, column), row.where) for row in rows]

    @classmethod
    def of_text(cls, text: str) -> Sentence:
        return divide(text)

    @classmethod
    def problem(cls, example: Sentence) -> str | None:
        words, tags = example.words, example.tags or []
        if not 0 < len(words) == len(tags) or isinstance(words, str):
            return f"a sentence is a list of words with a tag for each: {words!r:.60}, {tags!r:.60}"
        if to_iob2(tags) != list(tags):
            return f"tags must be IOB2, O, B-TYPE and I-TYPE after it: {to_iob2(tags)}, not {tags}"
        return None

    @classmethod
    def of_examples(cls, examples: Sequence[Sentence]) -> Self:
        types = sorted({entity.type for example in examples
                        for entity in entities_of(example.tags or [])})
        if not types:
            raise InputError(f"there is no entity in {len(examples):,} sentences: nothing to learn")
        return cls(["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")])

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        names = config.id2label or {}
        return cls([names[i] for i in range(config.num_labels)])

    def config_changes(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.labels))}

    def summary(self, examples: Sequence[Sentence]) -> str:
        counts = Counter(entity.type for example in examples
                         for entity in entities_of(example.tags or []))
        words = sum(len(example.words) for example in examples)
        outside = sum((example.tags or []).count("O") for example in examples)
        shown = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common())
        return (f"{len(examples):,} sentences, {words:,} words of which {outside / words:.0%} are "
                f"in no entity; {counts.total():,} entities: {shown}")

    # ---- in

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[Sentence],
                 max_length: int) -> list[Features]:
        """With "words": those that a window answers for, each with its pieces [begin, end)."""
        room = max_length - tokenizer.num_special_tokens_to_add()
        pieces = pieces_of_words(tokenizer, examples, room)
        features = []
        for number, example in enumerate(examples):
            labels = None if example.tags is None else self.label_ids(example)
            each = [pieces[word] for word in example.words]
            for first, last, mine in word_windows([len(ids) for ids in each], room):
                ids, words = [tokenizer.cls_token_id], []
                for word in range(first, last):
                    if word in mine:
                        words.append((word, len(ids), len(ids) + len(each[word])))
                    ids += each[word]
                ids.append(tokenizer.sep_token_id)
                feature: Features = {"input_ids": ids, "token_type_ids": [0] * len(ids),
                                     "example": number, "words": words}
                if labels is not None:
                    feature["labels"] = [IGNORED] * len(ids)
                    for word, begin, _ in words:
                        feature["labels"][begin] = labels[word]
                features.append(feature)
        return features

    def label_ids(self, example: Sentence) -> list[int]:
        """InputError if training knew no such type."""
        for word, tag in zip(example.words, example.tags or [], strict=True):
            if tag not in self.ids:
                raise InputError(f"{example.where}: in this sentence {word!r} has the tag {tag!r}; "
                                 f"the types that were learned are {', '.join(self.types[:10])}")
        return [self.ids[tag] for tag in example.tags or []]

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        batch = super().batch(features, pad_token_id)
        if all("labels" in feature for feature in features):
            batch["labels"] = np.full(batch["input_ids"].shape, IGNORED)                # [B, T]
            batch["labels"][batch["attention_mask"] == 1] = np.concatenate(
                [feature["labels"] for feature in features])
        return batch

    def loss_options(self, features: Sequence[Features], class_weights: str) -> dict[str, Any]:
        if class_weights == "balanced":
            labels = np.concatenate([feature["labels"] for feature in features])
            return {"class_weights": balanced(labels[labels != IGNORED], len(self.labels))}
        return super().loss_options(features, class_weights)

    # ---- out

    def predictions(self, examples: Sequence[Sentence], features: Sequence[Features],
                    outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """{"tags": IOB2, "entities": [{"entity_group", "score", "word", "start", "end"}, ...]}.

        score: the mean of the probabilities of its words' labels. start, end: characters of the
        text, `word == text[start:end]`.
        """
        probs = [np.zeros((len(example.words), len(self.labels))) for example in examples]
        for feature, logits in zip(features, outputs, strict=True):
            words, begins, _ = np.array(feature["words"]).T
            probs[feature["example"]][words] = softmax(logits[begins].astype(np.float64))
        return [self.prediction(*both) for both in zip(examples, probs, strict=True)]

    def prediction(self, example: Sentence, probs: np.ndarray) -> Prediction:
        """probs [W, K] of the labels of each word."""
        tags, scores = [self.labels[i] for i in probs.argmax(-1)], probs.max(-1)
        offsets, found = example.offsets, []
        for kind, first, last in entities_of(tags):
            start, end = offsets[first][0], offsets[last - 1][1]
            found.append({"entity_group": kind, "score": float(scores[first:last].mean()),
                          "word": example.text[start:end], "start": start, "end": end})
        return {"tags": to_iob2(tags), "entities": found}

    def metrics(self, examples: Sequence[Sentence],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        return entity_metrics([example.tags or [] for example in examples],
                              [prediction["tags"] for prediction in predictions])

    def by_type(self, examples: Sequence[Sentence],
                predictions: Sequence[Prediction]) -> dict[str, Found]:
        """Precision, recall and F1 of each type."""
        return found_by_type([example.tags or [] for example in examples],
                             [prediction["tags"] for prediction in predictions])

    def baseline(self, train: Sequence[Sentence],
                 examples: Sequence[Sentence]) -> tuple[str, dict[str, float]]:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for example in train:
            for word, tag in zip(example.words, example.tags or [], strict=True):
                counts[word][tag] += 1
        usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        said = [{"tags": [usual.get(word, "O") for word in example.words]} for example in examples]
        return "each word's most frequent tag", self.metrics(examples, said)

    def show(self, example: Sentence, prediction: Prediction) -> str:
        return to_terminal(example.text, prediction["entities"], "NO_COLOR" not in os.environ,
                           self.types)

    @property
    def types(self) -> list[str]:
        return sorted({split_tag(label)[1] for label in self.labels} - {""})

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        return None if any(p["entities"] for p in predictions) else "'O' (no entity)"


def pieces_of_words(tokenizer: PreTrainedTokenizer, examples: Sequence[Sentence],
                    room: int) -> dict[str, list[int]]:
    """Of each word once. The unknown token for a word that leaves no trace, such as a control
    character; of one longer than a window, as many as there is room for."""
    words = list({word for example in examples for word in example.words})
    rows = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    return {word: ids[:room] or [tokenizer.unk_token_id]
            for word, ids in zip(words, rows, strict=True)}
