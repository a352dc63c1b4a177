"""What fine-tuning asks of a task; a sub-class for each stands in a file of its own.

    examples      what a file holds: texts and labels as a person writes them
    features      what the tokenizer makes of them: ids, and labels as numbers
    batch         padded arrays: the arguments of model.forward
    outputs       what the model says, an array for each feature
    predictions   what the user gets: answers as dicts in the shape of Hugging Face's pipelines

A long example may have several features (the windows of a question's text), so a feature knows
under "example" whose it is.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from tqdm import tqdm

from ..config import AnyConfig
from ..errors import InputError
from ..pipelines.batches import by_length
from ..tokenization.base import PreTrainedTokenizer

Example = Any                   # a task's own: a text with its label, a question with its text
Features = dict[str, Any]       # input_ids and token_type_ids as lists, "example", the labels
Prediction = dict[str, Any]


class Task(ABC):
    """A task whose labels are known.

    The class methods come first: `read` a file, then `of_examples` finds the labels in what is to
    be learned; `of_model` finds them in a model that has learned.
    """

    name: ClassVar[str]             # on the command line
    model: ClassVar[str]            # the class without its family: "ForSequenceClassification"
    metric: str                     # decides which weights are kept; larger is better
    example: ClassVar[Any]          # the class of its examples, which know `where` they stood
    label: ClassVar[str] = "label"  # their field that is learned

    # ---- before training

    @classmethod
    @abstractmethod
    def read(cls, path: Path, *, labelled: bool = True) -> list[Example]:
        """The examples of a file, `-` for standard input. InputError names file and line.
        labelled: whether an example without its label is one of those errors."""

    @classmethod
    def of_text(cls, text: str) -> Example:
        """An example without a label from one text; InputError if the task needs more than that."""
        raise InputError(f"a text alone is not enough for {cls.name}: give --file, or JSON objects "
                         "through a pipe")

    @classmethod
    def checked(cls, examples: Iterable[Example], name: str, *,
                labelled: bool = True) -> list[Example]:
        """As a list, in which each knows where it stood: `name[0]` if it was made by hand.
        InputError if one is not an example of this task, has no label or an impossible one; or if
        there is none to be learned from."""
        found: list[Example] = []
        for i, example in enumerate(examples):
            if not isinstance(example, cls.example):
                raise InputError(f"{name}[{i}] must be a {cls.example.__name__}, not "
                                 f"{example!r:.60}")
            where = example.where or f"{name}[{i}]"
            if labelled and getattr(example, cls.label) is None:
                raise InputError(f"{where} has no {cls.label}: leave it out, or add it")
            if labelled and (problem := cls.problem(example)):
                raise InputError(f"{where}: {problem}")
            found.append(example._replace(where=where))
        if labelled and not found:
            raise InputError(f"{name} is empty: there must be examples")
        return found

    @classmethod
    def problem(cls, example: Example) -> str | None:
        """What is wrong with a labelled example. `read` has seen to it; one may be made by hand."""
        return None

    @classmethod
    @abstractmethod
    def of_examples(cls, examples: Sequence[Example]) -> Self:
        """InputError if there is nothing to be learned from them, as all have the same label."""

    @classmethod
    @abstractmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        """From a fine-tuned model's configuration and what `settings` kept beside it."""

    def config_changes(self) -> dict[str, Any]:
        """What the task changes in the pretrained model's configuration: the labels' names."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What of_model needs beyond the configuration, as JSON."""
        return {}

    def summary(self, examples: Sequence[Example]) -> str:
        """One sentence about the data: how many of what, how unbalanced."""
        return f"{len(examples):,} examples"

    def looked_at(self, dev: Sequence[Example]) -> Sequence[Example]:
        """Those that choose the best weights: all of dev, unless answers take long."""
        return dev

    # ---- in

    @abstractmethod
    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[Example],
                 max_length: int) -> list[Features]:
        """At most max_length tokens each. Labels are left out where an example has none."""

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        """The arguments of model.forward, labels included where every feature has them."""
        return pad(features, pad_token_id)

    def loss_options(self, features: Sequence[Features], class_weights: str) -> dict[str, Any]:
        """More arguments of model.forward in training. class_weights: "none" or "balanced"."""
        if class_weights != "none":
            raise InputError(f"class_weights must be none: here {self.name} has no labels that "
                             "could weigh more or less")
        return {}

    # ---- out

    def outputs(self, out: Any, batch: dict[str, Any], to_numpy: Any) -> list[Any]:
        """The model's answer for each feature of a batch, on the host."""
        return list(to_numpy(out.logits))

    @abstractmethod
    def predictions(self, examples: Sequence[Example], features: Sequence[Features],
                    outputs: Sequence[Any]) -> list[Prediction]:
        """One for each example."""

    @abstractmethod
    def metrics(self, examples: Sequence[Example],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        """What the field reports, in [0, 1] where it is a share; `metric` is among them."""

    def tune(self, examples: Sequence[Example],
             predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """Choose by the predictions of dev what training does not learn, as a threshold, for
        `settings` to keep; the predictions as they are with it."""
        return predictions

    @abstractmethod
    def baseline(self, train: Sequence[Example],
                 examples: Sequence[Example]) -> tuple[str, dict[str, float]]:
        """The same metrics of what knows nothing: "majority class", {"accuracy": ...}."""

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        """If the model says the same to everything: what it says."""
        return None

    def show(self, example: Example, prediction: Prediction) -> str:
        """An answer for people, on a terminal."""
        return json.dumps(prediction, ensure_ascii=False)

    def predict(self, model: Any, tokenizer: PreTrainedTokenizer, examples: Sequence[Example], *,
                max_length: int | None = None, batch_size: int = 32,
                features: list[Features] | None = None, progress: bool = False,
                ) -> tuple[list[Prediction], float | None]:
        """The predictions, and the mean loss where the examples are labelled.

        features: if they have been made before; else max_length says how long they may be.
        """
        if not examples:
            return [], None
        if features is None:
            features = self.features(tokenizer, examples, max_length or tokenizer.model_max_length)
        outputs: list[Any] = [None] * len(features)
        losses: list[float] = []
        order = list(by_length([length(feature) for feature in features], batch_size))
        for rows in tqdm(order, unit="batch", disable=not progress, leave=False):
            batch = self.batch([features[i] for i in rows], tokenizer.pad_token_id)
            out = model(**batch)
            for i, output in zip(rows, self.outputs(out, batch, model.backend.to_numpy),
                                 strict=True):
                outputs[i] = output
            if out.loss is not None:
                losses.append(float(model.backend.to_numpy(out.loss)) * len(rows))
        loss = sum(losses) / len(features) if losses else None
        return self.predictions(examples, features, outputs), loss


def balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights [K] that make the classes count alike: M / (K * count), 0 for one that is absent."""
    counts = np.bincount(labels.astype(np.intp), minlength=classes)
    return np.where(counts > 0, len(labels) / (classes * np.maximum(counts, 1)), 0.0)


def length(feature: Features) -> int:
    """In tokens; of the longest, where a feature is several choices."""
    ids = feature["input_ids"]
    return max(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)


def pad(features: Sequence[Features], pad_token_id: int) -> dict[str, np.ndarray]:
    """input_ids, token_type_ids and attention_mask [B, T]."""
    lengths = np.array([len(feature["input_ids"]) for feature in features])
    mask = np.arange(lengths.max()) < lengths[:, None]                      # [B, T]
    ids = np.full(mask.shape, pad_token_id, np.int64)
    types = np.zeros(mask.shape, np.int64)
    ids[mask] = np.concatenate([feature["input_ids"] for feature in features])
    types[mask] = np.concatenate([feature["token_type_ids"] for feature in features])
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": types}
