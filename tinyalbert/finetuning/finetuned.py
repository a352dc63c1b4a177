"""A model with its task and its tokenizer: what fine-tuning makes, and what then answers.

    RUN/config.json, model.safetensors, the tokenizer's files    as Hugging Face reads them
        finetune.json       the task and every setting
        metrics.jsonl       one JSON object a line
        report.html         curves, mistakes, and what the model looked at
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import config_from_dict
from ..errors import InputError
from ..files import read_json_object, write_json
from ..hub import local_directory
from ..tokenization import load_tokenizer
from ..tokenization.base import PreTrainedTokenizer
from .task import Example, Prediction, Task

TASKS = {       # on the command line, and where each stands
    "classify": "classification.Classification",
    "ner": "entities.Entities",
    "qa": "questions.Questions",
    "choice": "choices.Choice",
    "summarize": "summaries.Summaries",
    "extract": "extraction.Extraction",
}
SETTINGS = "finetune.json"


@dataclass
class FineTuned:
    """max_length: tokens of an input; longer ones are cut."""

    task: Task
    model: Any
    tokenizer: PreTrainedTokenizer
    max_length: int

    def predict(self, examples: Iterable[Example], *, batch_size: int = 32,
                progress: bool = False) -> list[Prediction]:
        """One for each example. InputError if one cannot be used, or has an unknown label."""
        examples = self.task.checked(examples, "examples", labelled=False)
        return self.task.predict(self.model, self.tokenizer, examples, max_length=self.max_length,
                                 batch_size=batch_size, progress=progress)[0]

    def evaluate(self, examples: Iterable[Example], *, batch_size: int = 32,
                 progress: bool = False) -> tuple[dict[str, float], list[Prediction]]:
        """The task's metrics with the mean loss among them, and the predictions. InputError if an
        example cannot be used, or lacks its label."""
        examples = self.task.checked(examples, "examples")
        predictions, loss = self.task.predict(
            self.model, self.tokenizer, examples, max_length=self.max_length,
            batch_size=batch_size, progress=progress)
        metrics = self.task.metrics(examples, predictions)
        return metrics if loss is None else {**metrics, "loss": loss}, predictions

    @classmethod
    def load(cls, name_or_directory: str | Path, task: str | None = None, *,
             backend: str = "numpy") -> FineTuned:
        """From a fine-tuning's folder, or any model with the head of the task.

        Raises InputError if it was fine-tuned for another task, or not at all.
        """
        directory = local_directory(name_or_directory, ["config.json"])
        config = read_json_object(directory / "config.json")
        kept: dict[str, Any] = {}
        if (directory / SETTINGS).exists():
            kept = read_json_object(directory / SETTINGS)
        architecture = str((config.get("architectures") or [""])[0])
        known = kept.get("task") or next(
            (name for name in TASKS if architecture.endswith(task_class(name).model)), None)
        if known is None or (task or known) != known:
            was = f"for {known}, not for {task}" if known else "for no task"
            raise InputError(f"{name_or_directory} was fine-tuned {was}: begin with tinyalbert "
                             f"finetune {task or 'TASK'}, or give another folder")
        from ..pipelines.loading import load
        chosen = task_class(known)
        model, tokenizer = load(name_or_directory, chosen.model, backend=backend)
        longest = min(model.config.max_position_embeddings, tokenizer.model_max_length)
        return cls(chosen.of_model(model.config, kept.get("learned", {})), model, tokenizer,
                   min(longest, kept.get("max_length", longest)))

    def save(self, directory: Path, **settings: Any) -> None:
        """Everything that `load` reads."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        self.save_settings(directory, **settings)

    def save_settings(self, directory: Path, **settings: Any) -> None:
        """The task's part of it; settings: what else is to be known of the training."""
        write_json(directory / SETTINGS, {"task": self.task.name, "max_length": self.max_length,
                                          "learned": self.task.settings(), **settings})


def task_class(name: str) -> type[Task]:
    """InputError for an unknown name."""
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}: known are {', '.join(TASKS)}")
    module, class_name = TASKS[name].split(".")
    return getattr(importlib.import_module(f".{module}", __package__), class_name)


def begin(task: Task, name_or_directory: str | Path, *, backend: str, seed: int,
          max_length: int | None, hidden_dropout: float | None = None,
          classifier_dropout: float | None = None) -> FineTuned:
    """A pretrained encoder with a new head for the task.

    Raises InputError if the model or its tokenizer cannot be loaded.
    """
    directory = local_directory(name_or_directory, ["config.json"])
    config = config_from_dict(read_json_object(directory / "config.json"))
    changes = task.config_changes()
    if hidden_dropout is not None:
        changes |= {"hidden_dropout_prob": hidden_dropout,
                    "attention_probs_dropout_prob": hidden_dropout}
    if classifier_dropout is not None:
        field = "classifier_dropout" + "_prob" * (config.model_type == "albert")
        changes[field] = classifier_dropout
    model_class = getattr(importlib.import_module("tinyalbert"),
                          config.model_type.capitalize() + task.model)
    model, _ = model_class.from_pretrained(name_or_directory, backend=backend, seed=seed,
                                           ignore_mismatched_sizes=True, output_loading_info=True,
                                           **changes)
    tokenizer = load_tokenizer(name_or_directory)
    if len(tokenizer) > model.config.vocab_size:
        raise InputError(f"the tokenizer of {name_or_directory} has {len(tokenizer)} tokens and "
                         f"the model {model.config.vocab_size}: they do not belong together")
    tokenizer.model_max_length = min(model.config.max_position_embeddings,
                                     tokenizer.model_max_length)        # for Transformers, too
    if max_length is not None and max_length > model.config.max_position_embeddings:
        raise InputError(f"max_seq_length {max_length} exceeds the "
                         f"{model.config.max_position_embeddings} positions of {name_or_directory}"
                         ": give it as many at most (--max-seq-length)")
    return FineTuned(task, model, tokenizer, max_length or tokenizer.model_max_length)
