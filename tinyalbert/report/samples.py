"""Sentences to try a trained model on: a few famous ones, and ones from text it never saw."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.shards import Shard, held_out_of
from ..tokenization.albert import AlbertTokenizer

PROMPTS = {
    "sotu": ["We the people of the United [MASK].",
             "The [MASK] of the United States shall be commander in chief.",
             "We wish to live in peace and [MASK] with all nations.",
             "I recommend that [MASK] pass this bill.",
             "God bless [MASK]."],
    "shakespeare": ["To be, or not to be, that is the [MASK].",
                    "Good night, good night! Parting is such sweet [MASK].",
                    "My [MASK], my lord, what say you?",
                    "The king is [MASK], long live the king."],
}


class Sample(NamedTuple):
    """A sentence with one word hidden."""

    before: str
    word: str
    after: str

    @property
    def masked(self) -> str:
        return f"{self.before} [MASK]{self.after}"

    @property
    def whole(self) -> str:
        return f"{self.before} {self.word}{self.after}"


def held_out_samples(run: Path, tokenizer: AlbertTokenizer, held_out: int | None,
                     count: int = 6) -> list[Sample]:
    """Sentences of 8 to 16 tokens from the held-out documents of a run, one of each document, with
    the word in their middle hidden; always the same ones. [] if the shards are gone."""
    chosen = (sample for shard in held_out_of(run, held_out) or () for document in shard.documents
              for sample in islice(samples_of(shard, document, tokenizer), 1))
    return list(islice(chosen, count))


def samples_of(shard: Shard, document: int, tokenizer: AlbertTokenizer) -> Iterator[Sample]:
    """The usable sentences of a document, from its middle on (documents open with formalities)."""
    bounds = shard.sentence_bounds(document)
    for i in range((len(bounds) - 1) // 2, len(bounds) - 1):
        ids = np.asarray(shard.tokens[bounds[i]:bounds[i + 1]]).tolist()
        if not 8 <= len(ids) <= 16:
            continue
        tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]
        words = [k for k in range(1, len(tokens) - 1)
                 if len(tokens[k]) > 4 and tokens[k].startswith("▁") and tokens[k][1:].isalpha()
                 and not tokens[k + 1][0].isalpha()]
        if words and tokenizer.unk_token not in tokens:
            k = min(words, key=lambda k: abs(k - len(tokens) / 2))
            yield Sample(tokenizer.convert_tokens_to_string(tokens[:k]), tokens[k][1:],
                         "".join(tokens[k + 1:]).replace("▁", " "))
