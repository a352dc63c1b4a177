"""A corpus to shards: tokenized once, by one process or by several ranks.

A shard is the tokens of a block of documents, and where a block ends depends on the text alone. So
several ranks (training/ranks.py) can each read and tokenize a part, and the files are the same for
any number of them. What the files are is said in shards.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import accumulate, chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import PARTIAL, write_json
from ..training.ranks import ALONE, Ranks
from .corpus import corpus_files, digest_files, read_file
from .shards import ARRAYS, Shards, array_path, checksum

FORMAT = 3
SHARD_CHARACTERS = 1 << 24  # about 4 million tokens
GOLDEN_RATIO = (1 + 5**0.5) / 2  # the fractions of its multiples fill [0, 1) evenly

T = TypeVar("T")
Block: TypeAlias = tuple[str, list[list[str]]]  # a name, and documents
Entries: TypeAlias = dict[str, dict[str, int]]  # of the index, by the names of the blocks


class Tokenizer(Protocol):
    """What tokenizing a corpus asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def word_start_table(self) -> np.ndarray: ...  # bool [V]
    def save_pretrained(self, directory: Path) -> None: ...


def build_shards(
    source: str | Path,
    tokenizer: Tokenizer,
    directory: str | Path,
    *,
    one_sentence_per_line: bool | None = None,
    progress: bool = False,
    ranks: Ranks = ALONE,
) -> Shards:
    """The shards of a corpus under `directory`, tokenized now unless that has been done.

    Raises InputError for a corpus that cannot be read or a directory that cannot be written.
    """
    files = corpus_files(source)

    def name() -> str:
        identity = [FORMAT, digest_files(files), _tokenizer_digest(tokenizer),
                    one_sentence_per_line]
        return hashlib.blake2b(repr(identity).encode(), digest_size=8).hexdigest()

    folder = Path(directory) / ranks.first(name)
    if not ranks.first(folder.exists):
        blocks = _own_blocks(files, str(source), one_sentence_per_line, ranks)
        try:
            with ExitStack() as temporary:
                partial = ranks.first(lambda: _make_partial(folder, temporary))
                entries = _write(blocks, tokenizer, partial, progress and ranks.rank == 0)
                written = {k: v for part in ranks.gather(entries) for k, v in part.items()}
                ranks.first(lambda: _complete(written, str(source), tokenizer, partial, folder))
        except OSError as error:
            raise InputError(f"cannot write shards to {directory}: {error.strerror}") from error
    return Shards(folder)


def _tokenizer_digest(tokenizer: Tokenizer) -> str:
    """A hash of the files that the tokenizer saves: they are all it depends on."""
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(Path(folder))
        return digest_files(sorted(Path(folder).iterdir()))


def _own_blocks(
    files: list[Path], source: str, one_sentence_per_line: bool | None, ranks: Ranks
) -> Iterator[Block]:
    """The blocks of documents that this rank tokenizes; their names sort as the text.

    A block ends where its group of files ends, if not before, so a group can be read by itself. All
    bytes in a row are divided equally among the ranks, and a rank reads the groups that its part of
    them touches. How many blocks a group will have is not known yet: they go to places in it that
    are spread evenly however many there are, and so to the ranks that have these places.
    """
    groups = list(_divide(files, lambda path: path.stat().st_size))
    sizes = [max(sum(path.stat().st_size for path in group), 1) for group in groups]
    # Group i lies between edges[i] and edges[i + 1]; a rank's part is [rank, rank + 1).
    edges = [Fraction(end, sum(sizes)) * ranks.size for end in accumulate(sizes, initial=0)]
    for i, group in enumerate(groups):
        if edges[i] < ranks.rank + 1 and ranks.rank < edges[i + 1]:
            documents = chain.from_iterable(
                read_file(source, path, one_sentence_per_line) for path in group)
            for j, block in enumerate(_divide(documents, lambda document: sum(map(len, document)))):
                place = edges[i] + (edges[i + 1] - edges[i]) * Fraction(j * GOLDEN_RATIO % 1)
                if int(place) == ranks.rank:
                    yield f"{i:09}-{j:09}", block


def _divide(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Neighboring items together, as many as have the size of a shard."""
    part: list[T] = []
    total = 0
    for item in items:
        part.append(item)
        total += size(item)
        if total >= SHARD_CHARACTERS:
            yield part
            part, total = [], 0
    if part:
        yield part


def _make_partial(folder: Path, temporary: ExitStack) -> Path:
    """A folder to write to, which is gone when `temporary` ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for leftover in folder.parent.glob(f"{folder.name}*{PARTIAL}"):     # of a process that died
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(temporary.enter_context(TemporaryDirectory(
        dir=folder.parent, prefix=folder.name, suffix=PARTIAL, ignore_cleanup_errors=True)))
    (partial / "shards").mkdir()
    return partial / "shards"


def _write(blocks: Iterable[Block], tokenizer: Tokenizer, folder: Path, progress: bool) -> Entries:
    """A shard of each block of which something is left. Returns what the index says of each."""
    entries: Entries = {}
    with tqdm(unit="token", unit_scale=True, desc="tokenizing", disable=not progress) as bar:
        for name, block in blocks:
            arrays = _tokenize(block, tokenizer, bar)
            if len(arrays[0]):
                for kind, values in zip(ARRAYS, arrays, strict=True):
                    _save(array_path(folder, name, kind), values)
                entries[name] = {"documents": len(arrays[2]) - 1, "crc32": checksum(arrays)}
    return entries


def _tokenize(documents: list[list[str]], tokenizer: Tokenizer, bar: tqdm) -> list[np.ndarray]:
    """Tokens, sentence starts and document starts."""
    tokens, sentences, starts = array("I"), array("q", [0]), array("q", [0])
    for document in documents:
        for sentence in document:
            ids = tokenizer.encode(sentence, add_special_tokens=False)
            if ids:
                tokens.extend(ids)
                sentences.append(len(tokens))
                bar.update(len(ids))
        if len(sentences) - 1 > starts[-1]:  # else nothing was left of the document
            starts.append(len(sentences) - 1)
    token_type = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    return [np.array(tokens, dtype=token_type), np.array(sentences), np.array(starts)]


def _complete(
    entries: Entries, source: str, tokenizer: Tokenizer, partial: Path, folder: Path
) -> None:
    """Number the shards, write what else belongs to them, and give the folder its name."""
    if not entries:
        raise InputError(f"{source}: nothing is left of its text after tokenizing")
    for i, name in enumerate(sorted(entries)):
        for kind in ARRAYS:
            array_path(partial, name, kind).rename(array_path(partial, f"{i:05}", kind))
    word_starts = tokenizer.word_start_table()
    _save(partial / "word_starts.npy", word_starts)
    index = {"source": source, "vocab_size": tokenizer.vocab_size,
             "word_starts": {"crc32": checksum([word_starts])},
             "shards": [entries[name] for name in sorted(entries)]}
    write_json(partial / "index.json", index)
    if not folder.exists():  # another run may have been faster
        partial.rename(folder)


def _save(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, values)
        file.flush()
        os.fsync(file.fileno())
