"""ALBERT's tokenizer: Hugging Face's call style around SentencePiece.

    "This is a test" -> [CLS] ▁this ▁is ▁a ▁test [SEP] -> {"input_ids": [2, 48, 25, 21, 1289, 3]}

A text is cut at the special tokens it spells out ("a [MASK] day"); what lies between is normalized
(normalization.py) and split into pieces (pieces.py). Left out: WordPiece vocabularies (BERT,
Google's Chinese ALBERT), added tokens, text that comes split into words, and padding on the left.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..files import read_json_object, write_atomically
from .batch_encoding import (
    BatchEncoding,
    Padding,
    Span,
    Truncation,
    as_pairs,
    check_options,
    join,
    pad,
    to_arrays,
    truncate,
)
from .normalization import Normalizer
from .pieces import PieceModel, is_start_piece

SPECIAL_TOKENS = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "[CLS]",
                  "sep_token": "[SEP]", "mask_token": "[MASK]"}
_SPECIAL_TOKEN = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS.values())) + ")")
CONFIG_TYPES = {"do_lower_case": bool, "keep_accents": bool, "remove_space": bool,
                "model_max_length": int}


class AlbertTokenizer:
    """Text to token ids and back.

    vocab_file: a SentencePiece model (`spiece.model`) with <pad>, <unk>, [CLS], [SEP], [MASK].
    do_lower_case, keep_accents, remove_space: how text is normalized first; must be what the
        model was trained on.
    model_max_length: the max_length of calls that give none.

    Raises InputError if the file is missing, damaged, or lacks one of the special tokens.
    """

    pad_token, unk_token, cls_token, sep_token, mask_token = SPECIAL_TOKENS.values()

    def __init__(self, vocab_file: str | Path, *, do_lower_case: bool = True,
                 keep_accents: bool = False, remove_space: bool = True,
                 model_max_length: int = 512) -> None:
        self.normalizer = Normalizer(do_lower_case, keep_accents, remove_space)
        self.model_max_length = model_max_length
        self.model = PieceModel(vocab_file)
        for token in SPECIAL_TOKENS.values():
            if token not in self.model.ids:
                raise InputError(f"{vocab_file} has no {token}, so it is not an ALBERT vocabulary: "
                                 f"use ALBERT's spiece.model or make one with train_tokenizer")
        (self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id,
         self.mask_token_id) = self.all_special_ids

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> AlbertTokenizer:
        """From `spiece.model` and, if there, `tokenizer_config.json` in a local directory."""
        directory = Path(directory)
        if not directory.is_dir():
            raise InputError(f"{directory} is not a directory: give one that holds spiece.model")
        return cls(directory / "spiece.model", **_read_config(directory / "tokenizer_config.json"))

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_pretrained` reads, here and in Hugging Face; each file in one step."""
        config = {"tokenizer_class": "AlbertTokenizer", **vars(self.normalizer),
                  "model_max_length": self.model_max_length, **SPECIAL_TOKENS,
                  # Else transformers 5 cuts at "(" or "." first: "3.0" -> "▁3" "." "▁0".
                  "additional_special_tokens": []}
        mask = {"content": self.mask_token, "lstrip": True, "normalized": False, "rstrip": False,
                "single_word": False}
        for name, content in (("tokenizer_config.json", config),
                              ("special_tokens_map.json", SPECIAL_TOKENS | {"mask_token": mask})):
            write_atomically(Path(directory, name), json.dumps(content, indent=2).encode())
        write_atomically(Path(directory, "spiece.model"), self.model.content)

    def __repr__(self) -> str:
        settings = {"vocab_size": self.vocab_size, **vars(self.normalizer),
                    "model_max_length": self.model_max_length}
        return f"AlbertTokenizer({', '.join(f'{k}={v}' for k, v in settings.items())})"

    # ---- vocabulary

    @property
    def vocab_size(self) -> int:
        return len(self.model.pieces)

    def __len__(self) -> int:
        return self.vocab_size

    def get_vocab(self) -> dict[str, int]:
        return dict(self.model.ids)

    @property
    def all_special_ids(self) -> list[int]:
        """In the order <pad>, <unk>, [CLS], [SEP], [MASK]."""
        return [self.model.ids[token] for token in SPECIAL_TOKENS.values()]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 3 if pair else 2

    def word_start_table(self) -> np.ndarray:
        """For every id, whether its piece starts a whole word: bool [V]. See `is_start_piece`."""
        return np.array([is_start_piece(token) for token in self.model.pieces])

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """An unknown token is <unk>."""
        if isinstance(tokens, str):
            return self.model.ids.get(tokens, self.unk_token_id)
        return [self.model.ids.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: int | Iterable[int],
                              skip_special_tokens: bool = False) -> str | list[str]:
        """InputError for an id outside the vocabulary."""
        if not isinstance(ids, Iterable):
            return self.model.pieces[self._check_id(ids)]
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.model.pieces[i] for i in map(self._check_id, ids) if i not in skipped]

    def _check_id(self, token_id: Any) -> int:
        try:
            index = operator.index(token_id)
        except TypeError:
            raise InputError(f"token id {token_id!r} is not a whole number") from None
        if not 0 <= index < self.vocab_size:
            raise InputError(f"token id {index} is outside the vocabulary of {self.vocab_size}")
        return index

    # ---- ids to text

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        return "".join(tokens).replace("▁", " ").removeprefix(" ")

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(ids, skip_special_tokens))

    def batch_decode(self, rows: Iterable[Iterable[int]],
                     skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(ids, skip_special_tokens) for ids in rows]

    # ---- text to ids

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text, without [CLS] and [SEP]. Unknown characters stay as they are."""
        if not isinstance(text, str):
            raise InputError(f"tokenize takes one string, not {text!r:.50}")
        return [piece for _, _, pieces in self._parts(text) for piece in pieces]

    def encode(self, text: str, text_pair: str | None = None, **options: Any) -> list[int]:
        """The `input_ids` of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def __call__(self, text: str | list[str], text_pair: str | list[str] | None = None, *,
                 add_special_tokens: bool = True, padding: Padding = False,
                 truncation: Truncation = False, max_length: int | None = None,
                 return_offsets_mapping: bool = False, return_special_tokens_mask: bool = False,
                 return_tensors: Literal["np"] | None = None) -> BatchEncoding:
        """[CLS] text [SEP], or [CLS] text [SEP] text_pair [SEP]; for one text or a list of them.

        Returns `input_ids`, `token_type_ids` (1 for text_pair and its [SEP]), `attention_mask`
        (0 for padding) and, if asked for, `offset_mapping` (the characters [start, end) of the
        text as given; (0, 0) for what was added) and `special_tokens_mask` (1 for what was
        added): a list each, or one per text. With return_tensors="np": int64 arrays [B, T].

        padding: to the longest row (True, "longest") or to "max_length".
        truncation: to max_length, by shortening the longer text (True, "longest_first"; the
            second one on a tie), "only_first" or "only_second".
        """
        check_options(padding, truncation, max_length, return_tensors, text_pair is not None)
        pairs = as_pairs(text, text_pair)
        cls, sep = ([self.cls_token_id], [self.sep_token_id]) if add_special_tokens else ([], [])
        limit = self.model_max_length if max_length is None else max_length
        room = limit - len(cls) - len(sep) * len(pairs[0])
        if room < 0:
            raise InputError(f"max_length {limit} is too small for the special tokens alone")

        rows = []
        for pair in pairs:
            segments = [self._encode(part, return_offsets_mapping) for part in pair]
            rows.append(join(truncate(segments, room, truncation), cls, sep))
        if padding:
            pad(rows, limit if padding == "max_length" else None, self.pad_token_id)
        names = ["input_ids", "token_type_ids", "attention_mask"]
        names += ["offset_mapping"] * return_offsets_mapping
        names += ["special_tokens_mask"] * return_special_tokens_mask
        columns = {name: [row[name] for row in rows] for name in names}
        if return_tensors == "np":
            return BatchEncoding(to_arrays(columns))
        return BatchEncoding({name: column[0] for name, column in columns.items()}
                             if isinstance(text, str) else columns)

    def _encode(self, text: str, with_spans: bool) -> tuple[list[int], list[Span]]:
        """The ids of one text and, if asked for, the characters each covers."""
        ids: list[int] = []
        spans: list[Span] = []
        for start, part, pieces in self._parts(text):
            ids += [self.model.ids.get(piece, self.unk_token_id) for piece in pieces]
            if with_spans:
                spans += [(start + a, start + b) for a, b in self._spans(part, pieces)]
        return ids, spans

    def _parts(self, text: str) -> Iterator[tuple[int, str, list[str]]]:
        """(start, part, pieces) for each special token in a text and for what lies between.

        Hugging Face lets [MASK] eat the space before it; pieces drop it at the end of any part.
        """
        start = 0
        for part in _SPECIAL_TOKEN.split(text):
            if part in SPECIAL_TOKENS.values():
                yield start, part, [part]
            else:
                yield start, part, self.model.split(self.normalizer.normalize(part))
            start += len(part)

    def _spans(self, part: str, pieces: list[str]) -> list[Span]:
        """The characters of `part` behind each piece, back through pieces and normalization."""
        if part in SPECIAL_TOKENS.values():
            return [(0, len(part))]
        origin = self.normalizer.align(part)
        return [(origin[start][0], origin[end - 1][1])
                for start, end in self.model.spans(self.normalizer.normalize(part), pieces)]


def _read_config(path: Path) -> dict[str, Any]:
    """Our arguments out of a `tokenizer_config.json`; none if there is no such file."""
    config = read_json_object(path) if path.exists() else {}
    arguments = {name: config[name] for name in CONFIG_TYPES if config.get(name) is not None}
    for name, value in arguments.items():
        if type(value) is not CONFIG_TYPES[name]:
            raise InputError(f"{name} in {path} must be of type {CONFIG_TYPES[name].__name__}, "
                             f"not {value!r}")
    if arguments.get("model_max_length", 0) > 10**9:    # Hugging Face's way to say "not set"
        del arguments["model_max_length"]
    return arguments
