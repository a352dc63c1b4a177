"""Learn a SentencePiece vocabulary from sentences, with the settings of Google's ALBERT.

The sentences go through the same normalization as later in use. Left out: every setting that
ALBERT leaves at SentencePiece's default.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import InputError
from ..files import write_atomically
from .albert import AlbertTokenizer
from .normalization import Normalizer

# From the README of google-research/albert. Ids: 0 <pad>, 1 <unk>, then the symbols, in this order.
SETTINGS: dict[str, Any] = {
    "model_type": "unigram", "pad_id": 0, "unk_id": 1, "eos_id": -1, "bos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
    "user_defined_symbols": ["(", ")", '"', "-", ".", "–", "£", "€"],
    "shuffle_input_sentence": True, "input_sentence_size": 10_000_000,
}
# Ours: longer sentences (bytes) are dropped silently; errors are raised, so nothing needs a log.
SETTINGS |= {"max_sentence_length": 2**30, "minloglevel": 2}
# U+2585 is its own mark for unknown text: it drops sentences that hold one. U+FFFD is broken text.
UNUSABLE = str.maketrans("\u2585\ufffd", "  ")


def train_tokenizer(sentences: Iterable[str], directory: str | Path, *, vocab_size: int = 30000,
                    character_coverage: float = 0.99995, do_lower_case: bool = True,
                    keep_accents: bool = False) -> AlbertTokenizer:
    """Train on sentences, read once, and save the tokenizer in `directory`.

    vocab_size: pieces, among them the 13 symbols that every ALBERT vocabulary begins with.
    character_coverage: the share of all characters, counted in running text, that must be in the
        vocabulary; the rarest others become <unk>.

    The same sentences give the same vocabulary, byte for byte. Files appear only when training
    has succeeded. Raises InputError if there is no text, if a sentence is not a string, if the
    text supports fewer pieces than vocab_size, if its characters alone need more, or in a browser.
    """
    import sentencepiece

    if sys.platform == "emscripten":        # SentencePiece might end the whole session
        raise InputError("SentencePiece learns a vocabulary in threads, and a browser's Python has "
                         "none: train the tokenizer elsewhere and load it with AlbertTokenizer")
    if isinstance(sentences, str):
        raise InputError("sentences must be several strings, not one: pass a list of them")
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise InputError(f"vocab_size must be a positive whole number, not {vocab_size!r}")
    if not 0.98 <= character_coverage <= 1:
        raise InputError(f"character_coverage must be in [0.98, 1], not {character_coverage!r}")
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)    # better to fail now than after training
    except OSError as error:
        raise InputError(f"cannot make the directory {directory}: {error.strerror}") from error

    corpus = _Corpus(sentences, Normalizer(do_lower_case, keep_accents))
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus), model_writer=model,
            vocab_size=vocab_size, character_coverage=character_coverage, **SETTINGS)
    except Exception as error:
        if corpus.failure:
            raise corpus.failure from None
        if explanation := _explain(str(error), vocab_size):
            raise InputError(explanation) from error
        raise
    with TemporaryDirectory() as folder:
        vocabulary = Path(folder, "spiece.model")
        write_atomically(vocabulary, model.getvalue())
        tokenizer = AlbertTokenizer(vocabulary, do_lower_case=do_lower_case,
                                    keep_accents=keep_accents)
    tokenizer.save_pretrained(directory)        # the vocabulary last: where that is, the rest is
    return tokenizer


class _Corpus:
    """Normalized sentences; remembers what went wrong, since SentencePiece would garble it."""

    def __init__(self, sentences: Iterable[str], normalizer: Normalizer) -> None:
        self.sentences = sentences
        self.normalizer = normalizer
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._checked()
        except BaseException as failure:
            self.failure = failure
            raise

    def _checked(self) -> Iterator[str]:
        is_empty = True
        for number, sentence in enumerate(self.sentences, start=1):
            if not isinstance(sentence, str):
                raise InputError(f"sentence {number} must be a string, not {sentence!r:.50}")
            text = self.normalizer.normalize(sentence).translate(UNUSABLE)
            if any(c.isprintable() and c != " " for c in text):
                is_empty = False
                yield text
        if is_empty:
            raise InputError("there is no text to train a tokenizer on: every sentence is empty")


def _explain(message: str, vocab_size: int) -> str | None:
    """SentencePiece's message as one that says what to do; None if it is none of the user's."""
    if found := re.search(r"size too high .* value <= (\d+)", message):
        return (f"vocab_size {vocab_size} is too large: this corpus supports {found[1]} pieces, so "
                f"set vocab_size to at most {found[1]} or give more text")
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (f"vocab_size {vocab_size} is too small: the symbols and characters alone need "
                f"{found[1]}, so set vocab_size to at least that or lower character_coverage")
    return None
