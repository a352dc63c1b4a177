"""tinyalbert: ALBERT from scratch on NumPy, forward and backward by hand."""

from __future__ import annotations

import importlib
import os
from typing import Any

# OpenBLAS reads this when NumPy is first imported: its threads then sleep when a product is done,
# instead of spinning for 25 ms on the cores that the element-wise work between two products needs.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

__version__ = "0.1.0"

_TASKS = {"PreTraining": "tasks", "MaskedLM": "tasks", "TokenClassification": "tasks",
          "SequenceClassification": "classification", "MultipleChoice": "classification",
          "QuestionAnswering": "classification"}
# Public names and the module each lives in, in reading order; loaded when first used.
_HOME = {
    "AlbertConfig": "config",
    "BertConfig": "config",
    "AlbertModel": "model",
    **{f"AlbertFor{task}": module for task, module in _TASKS.items()},
    "BertModel": "bert",
    **{f"BertFor{task}": "bert" for task in _TASKS},
    "AlbertForSeq2SeqLM": "seq2seq",
    "BertForSeq2SeqLM": "seq2seq",
    "seq2seq_mask": "seq2seq",
    "GenerationConfig": "generation",
    "check_gradients": "gradcheck",
    "AlbertTokenizer": "tokenization.albert",
    "BertTokenizer": "tokenization.bert",
    "load_tokenizer": "tokenization.auto",
    "train_tokenizer": "tokenization.training",
    "PretrainConfig": "pretraining.config",
    "pretrain": "pretraining.pretrain",
    "load_run": "pretraining.run",
    "pipeline": "pipelines",
    "FinetuneConfig": "finetuning.config",
    "finetune": "finetuning.finetune",
    "FineTuned": "finetuning.finetuned",
    "AlbertClassifier": "estimators",
    "AlbertRegressor": "estimators",
    "pseudo_log_likelihood": "scoring",
    "InputError": "errors",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tinyalbert' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
