"""The SentencePiece model: normalized text to pieces, and where each piece lies in the text.

    "it cost 2000, then" -> ▁it ▁cost ▁2000 , ▁then

"▁" stands for the space before a word. Special tokens and ids are the business of tokenizer.py.
"""

from __future__ import annotations

import string
from pathlib import Path

from ..errors import InputError
from .tokenizer_json import sentencepiece_model

_PUNCTUATION = set(string.punctuation) - set("'<=>")
_INSIDE_WORDS = _PUNCTUATION | set(string.ascii_letters)


def is_start_piece(piece: str) -> bool:
    """Whether a piece begins a whole word (Google's create_pretraining_data.py).

    Pretraining masks whole words: a start piece and the pieces up to the next one. A piece starts
    a word if it begins with "▁" or "<", is a single punctuation mark, or holds anything but ASCII
    letters and punctuation. Digits, accented letters and ' < = > count as neither.
    """
    return (piece.startswith(("▁", "<")) or piece in _PUNCTUATION
            or any(character not in _INSIDE_WORDS for character in piece))


class PieceModel:
    """A `spiece.model`, or what a `tokenizer.json` holds: `pieces` by id, `ids` by piece.

    InputError if it is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        import sentencepiece

        path = Path(path)
        try:
            self.content = (sentencepiece_model(path) if path.suffix == ".json"
                            else path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(self.content)
        except RuntimeError as error:
            raise InputError(f"{path} is not a SentencePiece model, or is damaged") from error
        self.pieces: list[str] = self._processor.id_to_piece(list(range(len(self._processor))))
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}

    def split(self, text: str) -> list[str]:
        """The pieces of a text; joined, they are the text after SentencePiece's own NFKC step."""
        pieces = []
        for piece in self._processor.encode(text, out_type=str):
            if piece.endswith(",") and piece[-2:-1].isdigit():
                pieces += self._split_digits_comma(piece)
            else:
                pieces.append(piece)
        return pieces

    def _split_digits_comma(self, piece: str) -> list[str]:
        """"▁2000," -> "▁2000" "," so that a number is one token whatever follows it.

        The number is encoded again, as a word of its own; the "▁" which that adds to a piece from
        the middle of a word goes away. (Google's code means to do so but compares str with bytes.)
        """
        first, *rest = self._processor.encode(piece[:-1].replace("▁", ""), out_type=str)
        if not piece.startswith("▁"):
            first = first.removeprefix("▁")
        digits = [first] if first in self.ids else list(first)    # none left if it was just "▁"
        return [*digits, *rest, ","]

    def spans(self, text: str, pieces: list[str]) -> list[tuple[int, int]]:
        """The (start, end) in `text` of each of `split(text)`, less the space of its "▁".

        A "▁" on its own gets the character after it, as in Hugging Face.
        """
        _, origin = self._processor.normalize(text, with_offsets=True)
        spans, stop = [], 0
        for piece in pieces:
            start = stop + len(piece) - len(piece.lstrip("▁"))
            stop += len(piece)
            last = max(start, stop - 1)
            # Up to where the next character comes from: NFKC may have merged or dropped some.
            spans.append((origin[start], max(origin[last + 1], origin[last] + 1)))
        return spans
