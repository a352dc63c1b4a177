"""A corpus, tokenized once: memory-mapped arrays in shards of a few million tokens.

    <directory>/<fingerprint>/index.json            source, vocabulary size, counts and checksums
                              word_starts.npy       bool [V]: the piece begins a word
                              00000.tokens.npy      uint16 or uint32 [tokens]
                              00000.sentences.npy   int64 [sentences + 1], offsets into tokens
                              00000.documents.npy   int64 [documents + 1], offsets into sentences

The fingerprint names the corpus, the tokenizer and this format, so a second run finds its shards
and a changed corpus or tokenizer gets new ones. The folder appears under its name only when it is
complete; tokenizing that was interrupted starts again.

Here they are read; tokenizing.py writes them.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

ARRAYS = ("tokens", "sentences", "documents")


@dataclass(frozen=True, eq=False)
class Shard:
    """Some documents in one token array; `documents` are those that belong to this split."""

    tokens: np.ndarray  # [tokens], mapped from the file
    sentence_starts: np.ndarray  # [sentences + 1]
    document_starts: np.ndarray  # [all documents + 1]
    documents: np.ndarray  # [documents of the split], ascending

    def sentence_bounds(self, document: int) -> np.ndarray:
        """[sentences of the document + 1]: sentence i is tokens[bounds[i] : bounds[i + 1]]."""
        first, stop = self.document_starts[document : document + 2]
        return self.sentence_starts[first : stop + 1]

    def unigram_counts(self, vocab_size: int) -> np.ndarray:
        """How often each piece occurs in the documents of the split, int64 [V]."""
        chosen = np.zeros(len(self.document_starts) - 1, dtype=bool)
        chosen[self.documents] = True
        tokens_of_document = np.diff(self.sentence_starts[self.document_starts])
        return np.bincount(self.tokens[np.repeat(chosen, tokens_of_document)], minlength=vocab_size)


class Shards:
    """The shards in one folder, or a split of their documents; shards[i] maps one into memory."""

    def __init__(self, folder: str | Path, documents: list[np.ndarray] | None = None) -> None:
        self.folder = Path(folder)
        try:
            self._index = json.loads((self.folder / "index.json").read_text("utf-8"))
            self.word_starts: np.ndarray = np.load(self.folder / "word_starts.npy")
            self.vocab_size: int = self._index["vocab_size"]
            sizes = [entry["documents"] for entry in self._index["shards"]]
            written = self._index["word_starts"]["crc32"]
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise self._damaged("its index cannot be read", error) from error
        if checksum([self.word_starts]) != written or len(self.word_starts) != self.vocab_size:
            raise self._damaged("word_starts.npy is not what was written")
        self._documents = [np.arange(n) for n in sizes] if documents is None else documents

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Shard]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Shard:
        entry = self._index["shards"][i]
        try:
            tokens, sentences, documents = (
                np.load(array_path(self.folder, f"{i:05}", kind), mmap_mode="r")
                for kind in ARRAYS
            )
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(f"shard {i:05} cannot be read", error) from error
        if (checksum([tokens, sentences, documents]) != entry["crc32"]
                or len(documents) != entry["documents"] + 1):
            raise self._damaged(f"shard {i:05} does not have the checksum it was written with")
        # NumPy repeats and counts by the platform's own integers: in a browser these have 32 bits
        sentences, documents = (a.astype(np.intp, copy=False) for a in (sentences, documents))
        return Shard(tokens, sentences, documents, self._documents[i])

    @property
    def num_documents(self) -> int:
        return sum(map(len, self._documents))

    def unigram_counts(self) -> np.ndarray:
        """How often each piece occurs, int64 [V]. Their entropy is the loss of a model that
        ignores context; their logarithm is where the output bias may start."""
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for shard in self:
            counts += shard.unigram_counts(self.vocab_size)
        return counts

    def split(self, held_out: int | None = None) -> tuple[Shards, Shards]:
        """Training and held-out documents.

        The held-out ones are evenly spaced: with n documents, number (2i + 1) n / (2 held_out),
        rounded down, for each i. None holds out one in twenty (12 of the 249 messages), at least
        one and at most 1000. Raises InputError if that leaves nothing to train on.
        """
        total = self.num_documents
        if held_out is None:
            held_out = min(max(total // 20, 1), 1000)
        if not 0 <= held_out < total:
            raise InputError(
                f"cannot hold out {held_out} of {total} document{'s' * (total != 1)}: hold out "
                "fewer, or give more text (two blank lines separate the documents of a .txt)"
            )
        is_held_out = np.zeros(total, dtype=bool)
        is_held_out[(2 * np.arange(held_out) + 1) * total // (2 * max(held_out, 1))] = True
        parts = np.split(is_held_out, np.cumsum([len(d) for d in self._documents])[:-1])
        pairs = list(zip(self._documents, parts, strict=True))
        return (
            Shards(self.folder, [documents[~held] for documents, held in pairs]),
            Shards(self.folder, [documents[held] for documents, held in pairs]),
        )

    def _damaged(self, what: str, error: Exception | None = None) -> InputError:
        detail = f" ({error})" if error else ""
        return InputError(f"{self.folder}: {what}{detail}; delete this folder and run again")


def held_out_of(run: Path, held_out: int | None) -> Shards | None:
    """The documents that a training with this setting held out, of the newest shards in its folder;
    None if these are gone."""
    folders = sorted(run.glob("shards/*/index.json"), key=lambda path: path.stat().st_mtime)
    return Shards(folders[-1].parent).split(held_out)[1] if folders else None


def array_path(folder: Path, shard: str, kind: str) -> Path:
    return folder / f"{shard}.{kind}.npy"


def checksum(arrays: Iterable[np.ndarray]) -> int:
    """The CRC-32 of their values, one after the other."""
    crc = 0
    for values in arrays:
        crc = zlib.crc32(values.data, crc)
    return crc
