"""Reading `tokenizer.json`, the one file in which Hugging Face saves a whole tokenizer.

It holds the vocabulary ("model"), what happens to a text before it is split ("normalizer"), and
the added tokens. Out of ALBERT's, a SentencePiece model is built, so that one code serves both
kinds of file. Left out: writing it, and every tokenizer but BERT's WordPiece and ALBERT's Unigram.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json_object

ALBERT, BERT = "Unigram", "WordPiece"
NORMAL, UNKNOWN, CONTROL = 1, 2, 3                          # SentencePiece's types of pieces
_QUOTES_AND_SPACES = ({"String": "``"}, {"String": "''"}, {"Regex": " {2,}"})
_NORMALIZERS = ("NFKD", "StripAccents", "Lowercase", "Precompiled")


def read_tokenizer_json(path: Path, kind: str | None = None) -> dict[str, Any]:
    """The file, with the kind of its model in model["type"]. InputError if that is neither ALBERT
    nor BERT, or not `kind`."""
    content = read_json_object(path)
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict | list):
        raise InputError(f"{path} has no vocabulary (model.vocab), so it is not a tokenizer")
    model["type"] = found = str(model.get("type") or _guess_type(model))
    if found not in (ALBERT, BERT):
        raise InputError(f"{path} holds a {found} tokenizer: only {BERT} (BERT) and {ALBERT} "
                         f"(ALBERT) are known here")
    if kind not in (None, found):
        raise InputError(f"{path} holds a {found} tokenizer, not {kind}: use load_tokenizer, which "
                         f"finds out whether it is ALBERT's or BERT's")
    if not isinstance(content.get("added_tokens") or [], list):
        raise InputError(f"added_tokens in {path} must be a list")
    return content


def _guess_type(model: dict[str, Any]) -> str:
    """Old files do not name it."""
    if isinstance(model["vocab"], list):
        return ALBERT
    return "BPE" if "merges" in model else BERT


# ---- BERT


def wordpiece_vocabulary(path: Path) -> list[str]:
    """The pieces in the order of their ids."""
    ids = read_tokenizer_json(path, BERT)["model"]["vocab"]
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
        raise InputError(f"model.vocab in {path} must give each piece a whole number")
    pieces = sorted(ids, key=lambda piece: ids[piece])
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise InputError(f"model.vocab in {path} must number the pieces from 0 without gaps")
    if found := re.search("[\n\r\ud800-\udfff]", "".join(pieces)):
        raise InputError(f"model.vocab in {path} has {found[0]!r} in a piece, which no vocab.txt "
                         f"can hold")
    return pieces


def bert_settings(path: Path) -> dict[str, Any]:
    """BertTokenizer's arguments."""
    content = read_tokenizer_json(path, BERT)
    normalizer, model = _dict(content, "normalizer"), content["model"]
    for part, name in ((normalizer, "BertNormalizer"),
                       (_dict(content, "pre_tokenizer"), "BertPreTokenizer")):
        if part.get("type") != name:
            raise InputError(f"{path} has {part.get('type')!r:.50} where BERT has its {name}")
    if (model.get("continuing_subword_prefix", "##"), model.get("max_input_chars_per_word", 100),
            normalizer.get("clean_text", True)) != ("##", 100, True):
        raise InputError(f"{path} is not BERT's WordPiece, which marks continuations by ##, cleans "
                         f"the text and gives up on words of more than 100 characters")
    settings = {"do_lower_case": normalizer.get("lowercase"),
                "strip_accents": normalizer.get("strip_accents"),
                "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
                "unk_token": model.get("unk_token")}
    for name, value in settings.items():
        if not isinstance(value, str if name == "unk_token" else bool) and value is not None:
            raise InputError(f"{name} cannot be {value!r:.50}, as in the normalizer of {path}")
    return {name: value for name, value in settings.items() if value is not None}


# ---- ALBERT


def albert_settings(path: Path) -> dict[str, Any]:
    """AlbertTokenizer's arguments."""
    content = read_tokenizer_json(path, ALBERT)
    types = {step.get("type") for step in _normalizers(path, content)}
    return {"do_lower_case": "Lowercase" in types, "keep_accents": "StripAccents" not in types}


def sentencepiece_model(path: Path) -> bytes:
    """A `spiece.model` of the same pieces, scores and character map.

    sentencepiece_model.proto, in short: ModelProto {pieces 1, trainer_spec 2, normalizer_spec 3},
    SentencePiece {piece 1, score 2, type 3}, NormalizerSpec {precompiled_charsmap 2}.
    """
    content = read_tokenizer_json(path, ALBERT)
    unk_id = content["model"].get("unk_id")
    special = [token.get("content") for token in content.get("added_tokens") or []
               if isinstance(token, dict) and token.get("special")]
    fields = []
    try:
        for i, (piece, score) in enumerate(content["model"]["vocab"]):
            if not math.isfinite(score):
                raise ValueError(score)
            kind = UNKNOWN if i == unk_id else CONTROL if piece in special else NORMAL
            fields.append(_field(1, _field(1, piece.encode()) + _field(2, float(score))
                                 + _field(3, kind)))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"model.vocab in {path} must be a list of pieces with scores") from error
    for step in _normalizers(path, content):
        if step.get("type") == "Precompiled":
            try:
                charsmap = base64.b64decode(step["precompiled_charsmap"], validate=True)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"precompiled_charsmap in {path} is not base64") from error
            fields.append(_field(3, _field(2, charsmap)))
    return b"".join(fields)


def _normalizers(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of the normalizer, if they are those of ALBERT."""
    steps = [_dict(content, "normalizer")]
    if steps[0].get("type") == "Sequence" and isinstance(steps[0].get("normalizers"), list):
        steps = steps[0]["normalizers"]
    for step in steps:
        kind, pattern = ((step.get("type"), step.get("pattern")) if isinstance(step, dict)
                         else (step, None))
        if kind not in _NORMALIZERS and (kind != "Replace" or pattern not in _QUOTES_AND_SPACES):
            raise InputError(f"{path} normalizes text by {kind!r:.50}, which ALBERT does not")
    return steps


def _field(number: int, value: bytes | float | int) -> bytes:
    """One field of a protocol buffer: its number and wire type, then the value."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _dict(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}
