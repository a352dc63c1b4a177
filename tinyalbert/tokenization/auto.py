"""The tokenizer of a directory or of a name on the hub, whichever kind it is."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import read_json_object
from ..hub import local_directory
from .albert import AlbertTokenizer
from .base import PreTrainedTokenizer
from .bert import BertTokenizer
from .directory import CONFIG_FILE, FILES, VOCABULARIES, find_vocabulary
from .tokenizer_json import BERT, read_tokenizer_json

CLASSES: dict[str, type[PreTrainedTokenizer]] = {"AlbertTokenizer": AlbertTokenizer,
                                                 "BertTokenizer": BertTokenizer}
ANY_CLASS = ("", "PreTrainedTokenizer", "TokenizersBackend")     # these say nothing of the kind


def load_tokenizer(name_or_directory: str | Path) -> PreTrainedTokenizer:
    """An AlbertTokenizer or a BertTokenizer: by tokenizer_class in `tokenizer_config.json`, or by
    the vocabulary's file.

    InputError if there is none, or of another kind.
    """
    directory = local_directory(name_or_directory, FILES)
    return tokenizer_class(directory).from_pretrained(directory)


def tokenizer_class(directory: Path) -> type[PreTrainedTokenizer]:
    config = directory / CONFIG_FILE
    named = read_json_object(config).get("tokenizer_class") if config.exists() else None
    name = str(named or "").removesuffix("Fast")
    if name in CLASSES:
        return CLASSES[name]
    if name not in ANY_CLASS:
        raise InputError(f"{config} asks for a {name}: only {' and '.join(CLASSES)} are known here")
    vocab_file = find_vocabulary(directory, VOCABULARIES)
    if vocab_file.name == "tokenizer.json":
        is_bert = read_tokenizer_json(vocab_file)["model"]["type"] == BERT
    else:
        is_bert = vocab_file.name == "vocab.txt"
    return BertTokenizer if is_bert else AlbertTokenizer
