"""ALBERT's tokenizer: SentencePiece pieces behind Hugging Face's call style.

    "Hello world" -> [CLS] ▁hello ▁world [SEP] -> {"input_ids": [2, 10975, 126, 3], ...}

`▁` marks the start of a word. Steps: cut out literal special tokens, normalize the text
(`normalization.py`), let SentencePiece choose the pieces, split "2000," into "2000" and ",".
Left out: WordPiece vocabularies (BERT, Google's Chinese ALBERT), added tokens, text that is split
into words beforehand. `tokenizer_training.py` trains the SentencePiece model.
"""

import json
import operator
import re
import string
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .batch_encoding import PADDINGS, TRUNCATIONS, BatchEncoding, pad, to_arrays, truncated_lengths
from .errors import InputError
from .files import write_atomically
from .normalization import Normalizer

SPECIAL_TOKENS = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_SPECIAL_PATTERN = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS.values())) + ")")
_PUNCTUATION = set(string.punctuation) - set("'<=>")
_INSIDE_WORDS = _PUNCTUATION | set(string.ascii_letters)


def is_start_piece(piece: str) -> bool:
    """Whether a piece begins a whole word, by the rule of Google's create_pretraining_data.py.

    Masking hides whole words, a word being a start piece and the pieces up to the next one. A
    piece starts a word if it begins with "▁" or "<", is a single punctuation mark, or holds a
    character that is neither an ASCII letter nor punctuation: digits, "é", and also ' < = >.
    """
    return (
        piece.startswith(("▁", "<"))
        or piece in _PUNCTUATION
        or any(character not in _INSIDE_WORDS for character in piece)
    )


class AlbertTokenizer:
    """Text to token ids and back.

    vocab_file is a SentencePiece model (Hugging Face and Google call it `spiece.model`) with the
    symbols <pad>, <unk>, [CLS], [SEP] and [MASK]. The other arguments are Hugging Face's;
    model_max_length is the max_length of calls that give none. InputError if the file is missing,
    damaged or lacks a symbol.
    """

    def __init__(
        self,
        vocab_file: str | PathLike[str],
        *,
        do_lower_case: bool = True,
        keep_accents: bool = False,
        remove_space: bool = True,
        model_max_length: int = 512,
    ) -> None:
        self.normalizer = Normalizer(do_lower_case, keep_accents, remove_space)
        self.model_max_length = model_max_length
        self._model_file = _read(Path(vocab_file))
        self._processor = _load_processor(self._model_file, vocab_file)
        self._tokens: list[str] = self._processor.id_to_piece(list(range(len(self._processor))))
        self._vocab = {token: index for index, token in enumerate(self._tokens)}
        for name, token in SPECIAL_TOKENS.items():
            if token not in self._vocab:
                raise InputError(
                    f"{vocab_file} has no {token}, so it is not an ALBERT tokenizer: use ALBERT's "
                    f"spiece.model or train one with train_tokenizer."
                )
            setattr(self, name, token)
            setattr(self, f"{name}_id", self._vocab[token])

    @classmethod
    def from_pretrained(cls, directory: str | PathLike[str]) -> "AlbertTokenizer":
        """Read `spiece.model` and, if there, `tokenizer_config.json` from a local directory."""

