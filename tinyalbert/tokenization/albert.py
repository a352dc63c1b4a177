"""ALBERT's tokenizer: SentencePiece, and what Google and Hugging Face do to a text before it.

    "This is a test" -> [CLS] ▁this ▁is ▁a ▁test [SEP] -> {"input_ids": [2, 48, 25, 21, 1289, 3]}

A text is normalized (normalization.py) and split into pieces (pieces.py). Where Google's code and
Hugging Face's differ, these are as in Hugging Face: `` and '' are quotes, and no "▁" comes into a
number before a comma. These are as in Google's: what counts as an accent (not the vowel signs of
Indic scripts, nor the variation selectors of emoji), what as a space (vertical tab and form feed
too), the final sigma of Greek, and that "2000," is split into "2000" and "," after the best pieces
were found, while Hugging Face's tokenizer.json gives such pieces a low score.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .base import PreTrainedTokenizer
from .batch_encoding import Span
from .normalization import Normalizer
from .pieces import PieceModel, is_start_piece
from .tokenizer_json import albert_settings
from .vocabulary import AddedToken


class AlbertTokenizer(PreTrainedTokenizer):
    """Text to token ids and back.

    vocab_file: a SentencePiece model (`spiece.model`), or a `tokenizer.json` that holds one, with
        <pad>, <unk>, [CLS], [SEP], [MASK].
    do_lower_case, keep_accents, remove_space: how text is normalized first; must be what the
        model was trained on.
    model_max_length: the max_length of calls that give none.
    added_tokens, special_tokens: see `PreTrainedTokenizer`.

    Raises InputError if the file is missing, damaged, or lacks one of the special tokens.
    """

    vocab_files = ("spiece.model", "tokenizer.json")
    setting_types = {"do_lower_case": bool, "keep_accents": bool, "remove_space": bool,
                     "model_max_length": int}
    default_special_tokens = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "[CLS]",
                              "sep_token": "[SEP]", "mask_token": "[MASK]"}
    mask_takes_space = True

    def __init__(self, vocab_file: str | Path, *, do_lower_case: bool = True,
                 keep_accents: bool = False, remove_space: bool = True,
                 model_max_length: int = 512, added_tokens: Iterable[AddedToken] = (),
                 **special_tokens: str) -> None:
        self.normalizer = Normalizer(do_lower_case, keep_accents, remove_space)
        self.model = PieceModel(vocab_file)
        super().__init__(vocab_file, self.model.pieces, vars(self.normalizer), model_max_length,
                         added_tokens, special_tokens)

    @classmethod
    def tokenizer_json_settings(cls, path: Path) -> dict[str, Any]:
        return albert_settings(path)

    def vocab_file_content(self) -> bytes:
        return self.model.content

    def split(self, text: str) -> list[str]:
        """The pieces of a text without special tokens. Unknown characters stay as they are."""
        return self.model.split(self.normalizer.normalize(text))

    def spans(self, text: str, pieces: list[str]) -> list[Span]:
        """Back through pieces and normalization."""
        origin = self.normalizer.align(text)
        return [(origin[start][0], origin[end - 1][1])
                for start, end in self.model.spans(self.normalizer.normalize(text), pieces)]

    def begins_word(self, piece: str) -> bool:
        return piece.startswith("▁")

    def word_start_table(self) -> np.ndarray:
        """For every id, whether its piece starts a whole word: bool [V]. See `is_start_piece`."""
        return np.array([is_start_piece(token) for token in self.vocabulary.tokens])

    def convert_tokens_to_string(self, tokens: Iterable[str]) -> str:
        return "".join(tokens).replace("▁", " ").removeprefix(" ")
