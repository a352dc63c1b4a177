"""tinyalbert: ALBERT from scratch on NumPy, forward and backward by hand."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public names and the module each lives in, in reading order; loaded when first used.
_HOME = {
    "AlbertConfig": "config",
    "AlbertModel": "model",
    "AlbertForPreTraining": "model",
    "check_gradients": "gradcheck",
    "AlbertTokenizer": "tokenization.tokenizer",
    "train_tokenizer": "tokenization.training",
    "PretrainConfig": "pretraining.config",
    "pretrain": "pretraining.pretrain",
    "load_run": "pretraining.run",
    "InputError": "errors",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tinyalbert' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
