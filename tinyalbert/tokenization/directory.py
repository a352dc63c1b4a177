"""The files of a tokenizer's directory, and the arguments of the tokenizer that they hold.

    spiece.model | vocab.txt | tokenizer.json    the vocabulary
    tokenizer_config.json                        settings, names of special tokens, added tokens
    special_tokens_map.json, added_tokens.json   the last two, in older directories

Settings in tokenizer_config.json win over those in tokenizer.json, as in Hugging Face.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json_object, write_atomically
from .tokenizer_json import read_tokenizer_json
from .vocabulary import AddedToken

CONFIG_FILE, SPECIAL_TOKENS_FILE = "tokenizer_config.json", "special_tokens_map.json"
VOCABULARIES = ("spiece.model", "vocab.txt", "tokenizer.json")
FILES = (*VOCABULARIES, CONFIG_FILE, SPECIAL_TOKENS_FILE, "added_tokens.json")


def find_vocabulary(directory: Path, names: Sequence[str]) -> Path:
    """The first of these files that is there. InputError if none is."""
    for name in names:
        if (directory / name).exists():
            return directory / name
    raise InputError(f"there is no tokenizer in {directory}: looked for {', '.join(names)}")


def read_settings(vocab_file: Path, types: Mapping[str, type],
                  special_tokens: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments out of the files beside `vocab_file`; those that are not set are absent.

    types: the settings and their types. special_tokens: the names under which the configuration
    may rename special tokens.
    """
    directory = vocab_file.parent
    path = directory / CONFIG_FILE
    config = _read(path)
    if "added_tokens_decoder" not in config:        # as old directories are read
        config |= {name: token for name, token in _read(directory / SPECIAL_TOKENS_FILE).items()
                   if name in special_tokens or name == "additional_special_tokens"}
    settings = {name: config[name] for name in types if config.get(name) is not None}
    for name, value in settings.items():
        if type(value) is not types[name]:
            raise InputError(f"{name} in {path} must be of type {types[name].__name__}, "
                             f"not {value!r:.50}")
    if settings.get("model_max_length", 0) > 10**9:    # Hugging Face's way to say "not set"
        del settings["model_max_length"]
    settings |= {name: _content(config[name], name, path) for name in special_tokens
                 if config.get(name) is not None}
    return settings | {"added_tokens": _added_tokens(vocab_file, config)}


def write_settings(directory: Path, tokenizer_class: str, settings: Mapping[str, Any],
                   special_tokens: Mapping[str, str], mask_takes_space: bool,
                   added_tokens_decoder: Mapping[str, dict[str, Any]]) -> None:
    """What `read_settings` reads, as Hugging Face writes it; each file in one step."""
    config = {"tokenizer_class": tokenizer_class, **settings, **special_tokens,
              # Never absent: transformers 5 would take "(" and "." of an ALBERT vocabulary.
              "additional_special_tokens": [],
              # Left out, transformers 5 would tell an ALBERT nothing of where a pair's second
              # text begins.
              "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    if added_tokens_decoder:
        config["added_tokens_decoder"] = added_tokens_decoder
    mask = {"content": special_tokens["mask_token"], "lstrip": mask_takes_space,
            "normalized": False, "rstrip": False, "single_word": False}
    for name, content in ((CONFIG_FILE, config),
                          (SPECIAL_TOKENS_FILE, {**special_tokens, "mask_token": mask})):
        write_atomically(directory / name, json.dumps(content, indent=2).encode())


def _added_tokens(vocab_file: Path, config: dict[str, Any]) -> list[AddedToken]:
    """From the places where Hugging Face has put them over the years."""
    directory = vocab_file.parent
    tokens: dict[str, AddedToken] = {}
    if vocab_file.name == "tokenizer.json":
        for record in read_tokenizer_json(vocab_file).get("added_tokens") or []:
            token = _added_token(record, vocab_file)
            tokens[token.content] = token
    for content, i in _read(directory / "added_tokens.json").items():
        token = _added_token({"content": content, "id": i, "normalized": True},
                             directory / "added_tokens.json")
        tokens.setdefault(content, token)
    path = directory / CONFIG_FILE
    decoder = config.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise InputError(f"added_tokens_decoder in {path} must be a JSON object")
    for i, record in decoder.items():
        if not (i.isdecimal() and len(i) < 10 and isinstance(record, dict)):
            raise InputError(f"added_tokens_decoder in {path} must give each id a token, not "
                             f"{i!r:.20}: {record!r:.50}")
        token = _added_token(record | {"id": int(i)}, path)
        tokens[token.content] = token
    more = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if not isinstance(more, list | dict):
        raise InputError(f"the additional special tokens in {path} must be a list")
    for record in more.values() if isinstance(more, dict) else more:
        content = _content(record, "a special token", path)
        tokens.setdefault(content, AddedToken(content))
    return list(tokens.values())


def _added_token(record: Any, path: Path) -> AddedToken:
    if not isinstance(record, dict) or type(record.get("id")) is not int or record["id"] < 0:
        raise InputError(f"an added token in {path} has no id: {record!r:.50}")
    return AddedToken(_content(record, "an added token", path), record["id"],
                      *(record.get(name, False) is True
                        for name in ("special", "normalized", "single_word")))


def _content(token: Any, name: str, path: Path) -> str:
    """Of a token that is written as a string, or as an object with its `content`."""
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str) or not content:
        raise InputError(f"{name} in {path} must be a string, not {token!r:.50}")
    return content


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}
