"""What the tokenizers of ALBERT and BERT have in common: all but how a text becomes pieces.

    "a [MASK] day" -> "a ", [MASK], " day" -> pieces -> ids -> [CLS] ids [SEP] -> {"input_ids": ...}

The call style is Hugging Face's. A text is cut at the special and added tokens that it spells out
(vocabulary.py); what lies between is for the subclass (`split`, `spans`). Left out: text that comes
split into words, and padding on the left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ..errors import InputError
from ..files import write_atomically
from ..hub import local_directory
from .batch_encoding import (
    BatchEncoding,
    Padding,
    Segment,
    Span,
    Truncation,
    as_pairs,
    check_options,
    join,
    pad,
    to_arrays,
    truncate,
)
from .directory import FILES, find_vocabulary, read_settings, write_settings
from .vocabulary import AddedToken, Vocabulary


class PreTrainedTokenizer(ABC):
    """Text to token ids and back.

    vocab_file: the file that `pieces`, by id, were read from.
    settings: of the subclass, as in `tokenizer_config.json`; do_lower_case among them.
    model_max_length: the max_length of calls that give none.
    added_tokens: what else to cut out of a text.
    special_tokens: other names for the special ones, such as {"mask_token": "<mask>"}.
    """

    vocab_files: ClassVar[tuple[str, ...]]      # looked for in this order; the first one is saved
    setting_types: ClassVar[dict[str, type]]
    default_special_tokens: ClassVar[dict[str, str]]        # pad, unk, cls, sep, mask
    mask_takes_space: ClassVar[bool]            # in Hugging Face the span of [MASK] has the space

    pad_token: str
    unk_token: str
    cls_token: str
    sep_token: str
    mask_token: str

    def __init__(self, vocab_file: str | Path, pieces: list[str], settings: dict[str, Any],
                 model_max_length: int, added_tokens: Iterable[AddedToken],
                 special_tokens: dict[str, str]) -> None:
        for name in special_tokens.keys() - self.default_special_tokens:
            raise InputError(f"{type(self).__name__} takes no argument {name!r}")
        self.settings = settings
        self.model_max_length = model_max_length
        self.special_tokens = self.default_special_tokens | special_tokens
        self.vocabulary = Vocabulary(vocab_file, pieces, self.special_tokens.values(),
                                     added_tokens, settings["do_lower_case"])
        vars(self).update(self.special_tokens)
        (self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id,
         self.mask_token_id) = (self.vocabulary.ids[t] for t in self.special_tokens.values())

    # ---- what a subclass adds

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The pieces of a text without special tokens."""

    @abstractmethod
    def spans(self, text: str, pieces: list[str]) -> list[Span]:
        """For each of `split(text)`, the characters [start, end) of the text it came from."""

    @abstractmethod
    def begins_word(self, piece: str) -> bool:
        """Whether a piece is the first of its word."""

    @abstractmethod
    def word_start_table(self) -> np.ndarray:
        """For every id, whether pretraining takes it for the start of a whole word: bool [V]."""

    @abstractmethod
    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Text as it may have been."""

    @abstractmethod
    def vocab_file_content(self) -> bytes:
        """Of the first of `vocab_files`."""

    # ---- files

    @classmethod
    def from_pretrained(cls, name_or_directory: str | Path) -> Self:
        """From a directory, or by a name on the Hugging Face hub: `vocab_files`, and if they are
        there `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`."""
        directory = local_directory(name_or_directory, FILES)
        vocab_file = find_vocabulary(directory, cls.vocab_files)
        settings = read_settings(vocab_file, cls.setting_types, cls.default_special_tokens)
        if vocab_file.name == "tokenizer.json":
            settings = cls.tokenizer_json_settings(vocab_file) | settings
        return cls(vocab_file, **settings)

    @classmethod
    @abstractmethod
    def tokenizer_json_settings(cls, path: Path) -> dict[str, Any]:
        """Arguments of the class out of a `tokenizer.json`."""

    def save_pretrained(self, directory: str | Path) -> None:
        """Write what `from_pretrained` reads, here and in Hugging Face; each file in one step."""
        write_settings(Path(directory), type(self).__name__,
                       {**self.settings, "model_max_length": self.model_max_length},
                       self.special_tokens, self.mask_takes_space,
                       self.vocabulary.added_tokens_decoder())
        write_atomically(Path(directory, self.vocab_files[0]), self.vocab_file_content())

    def __repr__(self) -> str:
        shown = {"vocab_size": self.vocab_size, **self.settings,
                 "model_max_length": self.model_max_length}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in shown.items())})"

    # ---- vocabulary

    @property
    def vocab_size(self) -> int:
        """Without added tokens; `len` counts them."""
        return self.vocabulary.size

    def __len__(self) -> int:
        return len(self.vocabulary.tokens)

    def get_vocab(self) -> dict[str, int]:
        return dict(self.vocabulary.ids)

    @property
    def all_special_ids(self) -> list[int]:
        """Padding, unknown, [CLS], [SEP], [MASK], then added ones."""
        return self.vocabulary.special_ids

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        return 3 if pair else 2

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> int | list[int]:
        """An unknown token is `unk_token`."""
        if isinstance(tokens, str):
            return self.vocabulary.ids.get(tokens, self.unk_token_id)
        return [self.vocabulary.ids.get(token, self.unk_token_id) for token in tokens]

    def convert_ids_to_tokens(self, ids: int | Iterable[int],
                              skip_special_tokens: bool = False) -> str | list[str]:
        """InputError for an id outside the vocabulary."""
        if not isinstance(ids, Iterable):
            return self.vocabulary.token(ids)
        tokens = [(i, self.vocabulary.token(i)) for i in ids]
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [token for i, token in tokens if i not in skipped]

    # ---- ids to text

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(ids, skip_special_tokens))

    def batch_decode(self, rows: Iterable[Iterable[int]],
                     skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(ids, skip_special_tokens) for ids in rows]

    # ---- text to ids

    def tokenize(self, text: str) -> list[str]:
        """The pieces of a text, without [CLS] and [SEP]."""
        if not isinstance(text, str):
            raise InputError(f"tokenize takes one string, not {text!r:.50}")
        return [piece for _, part, token in self.vocabulary.cut(text)
                for piece in ([token] if token else self.split(part))]

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
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in names}
        if return_tensors == "np":
            columns = to_arrays(columns)
        elif isinstance(text, str):
            columns = {name: column[0] for name, column in columns.items()}
        return BatchEncoding(columns, [row["word_ids"] for row in rows])

    def _encode(self, text: str, with_spans: bool) -> Segment:
        ids: list[int] = []
        spans: list[Span] = []
        words: list[int] = []
        word = -1
        for start, part, token in self.vocabulary.cut(text):
            pieces = [token] if token else self.split(part)
            ids += [self.vocabulary.ids.get(piece, self.unk_token_id) for piece in pieces]
            words += [word := word + (piece == token or self.begins_word(piece))
                      for piece in pieces]
            if with_spans:
                places = [(0, len(part))] if token else self.spans(part, pieces)
                spans += [(start + a, start + b) for a, b in places]
        return ids, spans, words
