"""Fine-tuning in scikit-learn's manner: `AlbertClassifier(model).fit(texts, labels)`.

Estimators for its pipelines, cross-validation and grid search; a pickle of a fitted one holds its
weights. Left out: sample weights, several labels for one text, `partial_fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from .errors import InputError
from .finetuning.classification import Classification, TextExample
from .finetuning.config import FinetuneConfig
from .finetuning.finetune import Dev, split, train_and_keep_the_best
from .finetuning.finetuned import FineTuned, begin
from .finetuning.trainer import Trainer
from .training.metrics_log import MetricsLog

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d
except ImportError as error:
    raise ImportError("tinyalbert.estimators needs scikit-learn: pip install "
                      "'tinyalbert[finetune]'") from error


class AlbertEstimator(BaseEstimator):       # type: ignore[misc]
    """A pretrained encoder and, once fitted, its new head.

    model: a folder or a hub name, as for `from_pretrained`. class_weight: "balanced" lets rare
    labels weigh more; for classifiers. validation_fraction: share of the examples that is held out;
    the weights that do best on it are kept, and with `patience` training ends when so many epochs
    have brought nothing. With 0 all examples are learned from and the last weights are kept.
    The others are described in finetuning/config.py. An X that is given to a method is a list or
    column of texts, or of pairs (text, text_pair).

    Attributes: finetuned_ has the model, the tokenizer, and `save(folder)`.
    """

    def __init__(self, model: str | Path = "runs/demo", *, epochs: float = 3.0,
                 learning_rate: float | None = None, batch_size: int = 32,
                 max_seq_length: int | None = None, warmup_ratio: float = 0.1,
                 layer_decay: float = 1.0, freeze_encoder: bool = False,
                 class_weight: str | None = None, validation_fraction: float = 0.0,
                 patience: int = 0, random_state: Any = None, backend: str = "numpy",
                 verbose: bool = False) -> None:
        self.model = model
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_seq_length = max_seq_length
        self.warmup_ratio = warmup_ratio
        self.layer_decay = layer_decay
        self.freeze_encoder = freeze_encoder
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.backend = backend
        self.verbose = verbose

    def config(self) -> FinetuneConfig:
        """InputError for values that are impossible."""
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31 - 1)
        same = {name: getattr(self, name) for name in (
            "epochs", "learning_rate", "batch_size", "max_seq_length", "warmup_ratio",
            "layer_decay", "freeze_encoder", "patience", "backend")}
        return FinetuneConfig().replace(**same, class_weights=self.class_weight or "none",
                                        held_out=self.validation_fraction, seed=int(seed))

    def learn(self, task: Classification, examples: Sequence[TextExample]) -> Self:
        config, dev = self.config(), None
        if config.held_out:
            examples, dev = split(examples, None, config)
        finetuned = begin(task, self.model, backend=config.backend, seed=config.seed,
                          max_length=config.max_seq_length)
        model, tokenizer = finetuned.model, finetuned.tokenizer
        trainer = Trainer(model, task, tokenizer, config,
                          task.features(tokenizer, examples, finetuned.max_length))
        if dev:
            held = Dev(dev, task.features(tokenizer, dev, finetuned.max_length))
            best: dict[str, np.ndarray] = {}
            with TemporaryDirectory() as run:
                train_and_keep_the_best(
                    trainer, held, Path(run), MetricsLog(Path(run)),
                    lambda: best.update(model.state_dict(tied=False)),
                    tqdm.write if self.verbose else (lambda message: None), self.verbose)
            model.load_state_dict(best)
        else:
            for _ in tqdm(range(trainer.total), unit="step", disable=not self.verbose):
                trainer.step()
        self.finetuned_ = finetuned
        return self

    def answers(self, X: Any) -> list[dict[str, Any]]:
        """The task's predictions. NotFittedError before fit, InputError for what is no text."""
        check_is_fitted(self)
        return self.finetuned_.predict(as_examples(X), batch_size=self.batch_size,
                                       progress=self.verbose)

    def __getstate__(self) -> dict[str, Any]:
        """A pickle holds what was learned as files that Hugging Face can read."""
        state = super().__getstate__()
        if "finetuned_" not in state:
            return state
        with TemporaryDirectory() as folder:
            self.finetuned_.save(Path(folder))
            files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
        return {**state, "finetuned_": files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "finetuned_" in state:
            with TemporaryDirectory() as folder:
                for name, content in state["finetuned_"].items():
                    Path(folder, name).write_bytes(content)
                finetuned = FineTuned.load(folder, "classify", backend=state["backend"])
            state = {**state, "finetuned_": finetuned}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


class AlbertClassifier(ClassifierMixin, AlbertEstimator):        # type: ignore[misc]
    """One label for each text or pair: integers, texts or booleans, as they are given to `fit`.

    Attributes: classes_, the labels in the order of the columns of `predict_proba`.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """X [N] texts or pairs, y [N] labels. InputError (a ValueError) if one is missing or empty,
        or if all labels are the same."""
        examples = as_examples(X)
        given = as_column(y, len(examples)).tolist()
        if len({isinstance(label, str) for label in given}) > 1:
            raise InputError("y mixes texts with other labels: make all of them texts")
        labels = np.array(given)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"all labels in y are {given[0]!r}: there is nothing to tell "
                             "apart")
        names = [str(label) for label in self.classes_]
        return self.learn(Classification(names), [
            example._replace(label=names[number])
            for example, number in zip(examples, numbers, strict=True)])

    def predict_proba(self, X: Any) -> np.ndarray:
        """[N, K], in the order of classes_."""
        return np.array([list(answer["scores"].values()) for answer in self.answers(X)])

    def predict(self, X: Any) -> np.ndarray:
        """[N] labels."""
        probs = self.predict_proba(X)
        return self.classes_[probs.argmax(1)]


class AlbertRegressor(RegressorMixin, AlbertEstimator):          # type: ignore[misc]
    """A number for each text or pair. The head begins near 0 and moves slowly: wrap it in
    `TransformedTargetRegressor(..., transformer=StandardScaler())` where the numbers are large."""

    def fit(self, X: Any, y: Any) -> Self:
        """X [N] texts or pairs, y [N] finite numbers; InputError (a ValueError) otherwise."""
        examples = as_examples(X)
        targets = as_column(y, len(examples))
        return self.learn(Classification([]), [
            example._replace(label=str(target), where=f"y[{i}]")
            for i, (example, target) in enumerate(zip(examples, targets, strict=True))])

    def predict(self, X: Any) -> np.ndarray:
        """[N]"""
        return np.array([answer["score"] for answer in self.answers(X)])


def as_examples(X: Any) -> list[TextExample]:
    """InputError unless X is a column of texts or pairs, none of them missing or empty."""
    array = np.asarray(X, dtype=object)
    if isinstance(X, str) or array.ndim not in (1, 2) or not len(array):
        raise InputError("X must be a list or a column of texts, or of pairs (text, text_pair), "
                         f"not {X!r:.50}")
    examples = []
    for place, row in enumerate(array):
        texts = tuple(row) if isinstance(row, tuple | list | np.ndarray) else (row,)
        if not 1 <= len(texts) <= 2 or not all(isinstance(text, str) and text.strip()
                                               for text in texts):
            raise InputError(f"X[{place}] must be a text, or a pair of texts, not {row!r:.50}")
        examples.append(TextExample(*texts))
    return examples


def as_column(y: Any, count: int) -> np.ndarray:
    """[N] objects; InputError if there are more or fewer than texts, or one is missing."""
    column = column_or_1d(np.asarray(y, dtype=object))
    if len(column) != count:
        raise InputError(f"X has {count} texts and y {len(column)} labels: they must be as many")
    for place, label in enumerate(column):
        itself = label == label             # NaN and NaT are not, and of pandas' NA nobody knows
        if label is None or not isinstance(itself, bool | np.bool_) or not itself:
            raise InputError(f"y[{place}] is {label}: leave out texts without a label")
    return column
