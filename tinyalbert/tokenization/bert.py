"""BERT's tokenizer: WordPiece (wordpiece.py), cased or uncased.

    "This is naïve" -> [CLS] this is naive [SEP] -> {"input_ids": [101, 2023, 2003, 15743, 102]}

Google's Chinese ALBERT has such a vocabulary too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .base import PreTrainedTokenizer
from .batch_encoding import Span
from .tokenizer_json import bert_settings, wordpiece_vocabulary
from .vocabulary import AddedToken
from .wordpiece import BasicTokenizer, WordPiece


class BertTokenizer(PreTrainedTokenizer):
    """Text to token ids and back.

    vocab_file: `vocab.txt`, one piece a line, or a `tokenizer.json` that holds one, with [PAD],
        [UNK], [CLS], [SEP], [MASK].
    do_lower_case: False for cased models. strip_accents: by default as do_lower_case.
    tokenize_chinese_chars: every Chinese character is a word.
    model_max_length: the max_length of calls that give none.
    added_tokens, special_tokens: see `PreTrainedTokenizer`.

    Raises InputError if the file is missing, damaged, or lacks one of the special tokens.
    """

    vocab_files = ("vocab.txt", "tokenizer.json")
    setting_types = {"do_lower_case": bool, "tokenize_chinese_chars": bool, "strip_accents": bool,
                     "model_max_length": int}
    default_special_tokens = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                              "sep_token": "[SEP]", "mask_token": "[MASK]"}
    mask_takes_space = False

    def __init__(self, vocab_file: str | Path, *, do_lower_case: bool = True,
                 tokenize_chinese_chars: bool = True, strip_accents: bool | None = None,
                 model_max_length: int = 512, added_tokens: Iterable[AddedToken] = (),
                 **special_tokens: str) -> None:
        settings = {"do_lower_case": do_lower_case, "strip_accents": strip_accents,
                    "tokenize_chinese_chars": tokenize_chinese_chars}
        pieces = read_vocabulary(Path(vocab_file))
        super().__init__(vocab_file, pieces, settings, model_max_length, added_tokens,
                         special_tokens)
        self.basic = BasicTokenizer(do_lower_case, tokenize_chinese_chars,
                                    do_lower_case if strip_accents is None else strip_accents)
        self.wordpiece = WordPiece(frozenset(pieces), self.unk_token)

    @classmethod
    def tokenizer_json_settings(cls, path: Path) -> dict[str, Any]:
        return bert_settings(path)

    def vocab_file_content(self) -> bytes:
        return "".join(f"{piece}\n" for piece in self.vocabulary.tokens[:self.vocab_size]).encode()

    def split(self, text: str) -> list[str]:
        """The pieces of a text without special tokens. An unknown word is [UNK]."""
        return [piece for word in self.basic.words(text) for piece in self.wordpiece[word]]

    def spans(self, text: str, pieces: list[str]) -> list[Span]:
        """A character that was dropped at the end of a word, such as an accent, is in no span."""
        spans = []
        for word, origins in self.basic.words_with_origins(text):
            start = 0
            for piece in self.wordpiece[word]:
                stop = start + len(piece) - (2 if start else 0)
                if piece == self.unk_token:
                    stop = len(word)
                spans.append((origins[start], origins[stop - 1] + 1))
                start = stop
        return spans

    def begins_word(self, piece: str) -> bool:
        return not piece.startswith("##")

    def word_start_table(self) -> np.ndarray:
        """For every id, whether its piece starts a whole word: bool [V]."""
        return np.array([not token.startswith("##") for token in self.vocabulary.tokens])

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        """Words with spaces between them, but none before . ? ! and , marks."""
        return re.sub(r" ([.?!,])", r"\1", " ".join(tokens).replace(" ##", ""))


def read_vocabulary(path: Path) -> list[str]:
    """The pieces of a `vocab.txt` or a `tokenizer.json`."""
    if path.suffix == ".json":
        return wordpiece_vocabulary(path)
    try:
        lines = path.read_bytes().decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text, as a vocabulary must be") from error
    first: dict[str, int] = {}
    for number, piece in enumerate(lines, start=1):
        if first.setdefault(piece, number) != number:
            raise InputError(f"line {number} of {path} repeats line {first[piece]}, {piece!r}: "
                             f"every piece must be there once")
    return lines
