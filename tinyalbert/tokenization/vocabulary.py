"""Which token has which id, and which tokens are cut out of a text before the rest is split.

The pieces come first, in the order of the model's embedding table; added tokens may follow them.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class AddedToken:
    """A token that is cut out of a text, as the special tokens are.

    id: as in the vocabulary or the next after it; None to have it found or given.
    special: decoding may skip it.
    normalized: it is looked for in normalized text; here that means, whatever its case.
    single_word: it counts only where no letter or digit stands next to it.
    """

    content: str
    id: int | None = None
    special: bool = True
    normalized: bool = False
    single_word: bool = False


class Vocabulary:
    """tokens: all of them by id; ids: by token; size: how many are not added ones.

    Raises InputError, naming the file, if a special token is missing or an id is taken.
    """

    def __init__(self, path: str | Path, pieces: Sequence[str], special_tokens: Iterable[str],
                 added_tokens: Iterable[AddedToken], ignore_case: bool) -> None:
        self.tokens = list(pieces)
        self.ids = {piece: i for i, piece in enumerate(pieces)}
        self.size = len(self.tokens)
        added = sorted(added_tokens, key=lambda token: (token.id is None, token.id))
        for token in added:
            self._add(token, path)
        for content in special_tokens:
            if content not in self.ids:
                raise InputError(f"{path} has no {content}: it is no vocabulary of this kind, "
                                 f"unless tokenizer_config.json tells how it calls that token")
        special = {content: AddedToken(content) for content in special_tokens}
        self.added_tokens = [token for token in added if token.content not in special]
        cut = [*special.values(), *self.added_tokens]
        self.special_ids = [self.ids[token.content] for token in cut if token.special]
        self._any_case = {token.content.lower(): token.content for token in cut
                          if token.normalized and ignore_case}
        self._exact = {token.content for token in cut} - set(self._any_case.values())
        cut.sort(key=lambda token: -len(token.content))             # the longest match wins
        self._cut = re.compile("|".join(map(self._pattern, cut)))

    def _add(self, token: AddedToken, path: str | Path) -> None:
        expected = self.ids.setdefault(token.content, len(self.tokens))
        if token.id not in (None, expected):
            raise InputError(f"the added token {token.content!r} in the folder of {path} has id "
                             f"{token.id}, where the vocabulary asks for {expected}")
        if expected == len(self.tokens):
            self.tokens.append(token.content)

    def _pattern(self, token: AddedToken) -> str:
        pattern = re.escape(token.content)
        if token.content not in self._exact:
            pattern = f"(?i:{pattern})"
        return rf"(?<!\w){pattern}(?!\w)" if token.single_word else pattern

    def cut(self, text: str) -> Iterator[tuple[int, str, str | None]]:
        """(start, part, token): the parts of a text, each a special or added token or none."""
        start = 0
        for match in self._cut.finditer(text):
            if match.start() > start:
                yield start, text[start:match.start()], None
            found = match.group()
            token = found if found in self._exact else self._any_case[found.lower()]
            yield match.start(), found, token
            start = match.end()
        if start < len(text):
            yield start, text[start:], None

    def added_tokens_decoder(self) -> dict[str, dict[str, Any]]:
        """The added tokens by id, as they stand in `tokenizer_config.json`."""
        return {str(self.ids[token.content]):
                {"content": token.content, "lstrip": False, "normalized": token.normalized,
                 "rstrip": False, "single_word": token.single_word, "special": token.special}
                for token in self.added_tokens}

    def token(self, token_id: Any) -> str:
        """InputError if it is no whole number, or no id."""
        try:
            index = operator.index(token_id)
        except TypeError:
            raise InputError(f"token id {token_id!r} is not a whole number") from None
        if not 0 <= index < len(self.tokens):
            raise InputError(f"token id {index} is outside the vocabulary of {len(self.tokens)}")
        return self.tokens[index]
