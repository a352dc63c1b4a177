"""A model and its tokenizer by name, whichever family they are of."""

from __future__ import annotations

import importlib
from pathlib import Path

from ..config import config_from_dict
from ..errors import InputError
from ..files import read_json_object
from ..hub import local_directory
from ..pretrained import PreTrainedModel
from ..tokenization import load_tokenizer
from ..tokenization.base import PreTrainedTokenizer

# Their heads have the same name, and may have the same shape.
CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")


def load(name_or_directory: str | Path, kind: str, tokenizer: PreTrainedTokenizer | None = None, *,
         backend: str = "numpy") -> tuple[PreTrainedModel, PreTrainedTokenizer]:
    """The model of a run, a directory or the hub, and the tokenizer beside it unless one is given.

    kind: the class without its family, "ForMaskedLM" or "Model".

    Raises InputError if there is none, or if its head would be a random one or is another task's.
    """
    directory = local_directory(name_or_directory, ["config.json"])
    values = read_json_object(directory / "config.json")
    config = config_from_dict(values)
    model_class = getattr(importlib.import_module("tinyalbert"),
                          config.model_type.capitalize() + kind)
    trained = str((values.get("architectures") or [""])[0])
    if kind in CLASSIFIERS and trained.endswith(CLASSIFIERS) and not trained.endswith(kind):
        raise InputError(f"{name_or_directory} was not trained as {model_class.__name__} but as "
                         f"{trained}, and what its head answers here means nothing")
    model, loading = model_class.from_pretrained(name_or_directory, backend=backend,
                                                 output_loading_info=True)
    missing = loading["missing_keys"]
    if missing and kind != "Model":         # which lacks its pooler at most
        raise InputError(f"{name_or_directory} was not trained as {model_class.__name__}: its file "
                         f"lacks {missing[0]!r}, and what a random head answers means nothing")
    return model, load_tokenizer(name_or_directory) if tokenizer is None else tokenizer
