"""Text the way ALBERT reads it: single spaces, plain quotes, no accents, lower case.

A tokenizer must see the same text when it is trained and when it is used, so both go through
`Normalizer`. `normalize` is the definition (Google's `preprocess_text`, with Hugging Face's rule
for quotes); `align` says where each character of its result came from, which is what turns a
token back into a place in the user's text. Left out: the NFKC step that SentencePiece takes by
itself, because it is stored in the model file.
"""

import re
import unicodedata
from dataclasses import dataclass

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: cannot be written as UTF-8
_UNIT = re.compile(r"\s+|``|''|.", re.DOTALL)  # what `normalize` rewrites independently


@dataclass(frozen=True)
class Normalizer:
    do_lower_case: bool = True
    keep_accents: bool = False
    remove_space: bool = True

    def normalize(self, text: str) -> str:
        """Spaces, then quotes, then accents, then case: the order of Hugging Face's tokenizer."""
        if self.remove_space:
            text = " ".join(text.split())
        text = text.replace("``", '"').replace("''", '"')
        if not text.isascii():
            text = _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
            if not self.keep_accents:
                text = unicodedata.normalize("NFKD", text)
                text = "".join(c for c in text if not unicodedata.combining(c))
        return text.lower() if self.do_lower_case else text

    def align(self, text: str) -> list[tuple[int, int]]:
        """For each character of `normalize(text)`, the (start, end) in `text` that it came from.

        A dropped accent belongs to the letter before it, so that a span never cuts "e´" in two.
        """
        spans: list[tuple[int, int]] = []
        stop = len(text)
        start = 0
        if self.remove_space:
            start, stop = stop - len(text.lstrip()), len(text.rstrip())
        for unit in _UNIT.finditer(text, start, stop):
            is_space = self.remove_space and unit.group().isspace()
            width = 1 if is_space else len(self.normalize(unit.group()))
            if width == 0 and spans:
                spans[-1] = spans[-1][0], unit.end()
            spans += [unit.span()] * width
        return spans
