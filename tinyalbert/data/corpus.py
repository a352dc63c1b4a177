"""Text to documents: lists of sentences, streamed, so a corpus may be larger than memory.

A source is the name of a built-in corpus, a file, a folder (searched recursively) or a glob.

    .txt     prose. A blank line ends a paragraph, two or more end a document; so does the end of
             the file. Lines are joined, then split into sentences.
    .txt     Google's format: one sentence per line, a blank line ends a document. Recognized when
             most lines of the beginning are one whole sentence; `one_sentence_per_line` decides
             if the guess is wrong.
    .jsonl   one document per line: {"text": "..."}; other fields are ignored.

Each may be gzipped (.gz). Text is UTF-8. A document of a .txt is cut after 256 sentences, so that
a book without chapter breaks can still be divided into training and held-out documents; a line
longer than a mebibyte is read in pieces of that size.

Nothing here cleans, deduplicates or detects languages.
"""

from __future__ import annotations

import codecs
import difflib
import glob
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError
from .demo_corpora import DEMO_CORPORA
from .sentences import split_prose, split_sentences

MAX_DOCUMENT_SENTENCES = 256
MAX_LINE_BYTES = 1 << 20
MAX_JSON_BYTES = 1 << 26
_ENDINGS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")
_READ_ERRORS = (OSError, EOFError, zlib.error)  # the last two: a damaged .gz


def read_documents(
    source: str | Path, *, one_sentence_per_line: bool | None = None
) -> Iterator[list[str]]:
    """Stream the documents of a source, each a non-empty list of sentences.

    one_sentence_per_line applies to .txt files; None looks at the beginning of each file.
    Raises InputError, at once or while streaming, naming the file and line that cannot be used.
    """
    files = corpus_files(source)
    return _stream(str(source), files, one_sentence_per_line)


def corpus_files(source: str | Path) -> list[Path]:
    """The files that a source stands for, in the order in which they are read."""
    name = str(source)
    if name in DEMO_CORPORA:
        return DEMO_CORPORA[name].files()
    if os.path.isfile(name):
        if not name.endswith(_ENDINGS):
            raise InputError(f"{name}: cannot tell its format; name it {', '.join(_ENDINGS)}")
        return [Path(name)]
    if os.path.isdir(name):
        found = [str(path) for path in Path(name).rglob("*")]
    else:
        found = glob.glob(name, recursive=True)
    files = sorted(Path(f) for f in found if f.endswith(_ENDINGS) and os.path.isfile(f))
    if not files:
        raise InputError(_not_found(name))
    return files


def digest_files(files: list[Path]) -> str:
    """A hash of names and contents: a corpus with the same digest is the same corpus."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        try:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "blake2b").digest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def _not_found(name: str) -> str:
    if os.path.isdir(name):
        return f"{name}: no file in this folder ends in {', '.join(_ENDINGS)}"
    near = difflib.get_close_matches(name.lower(), DEMO_CORPORA, n=1)
    if near:
        return f"no such file or corpus: {name}; did you mean the built-in corpus {near[0]!r}?"
    built_in = " and ".join(DEMO_CORPORA)
    return f"no such file, folder or corpus: {name}; the built-in corpora are {built_in}"


def _stream(
    source: str, files: list[Path], one_sentence_per_line: bool | None
) -> Iterator[list[str]]:
    empty = True
    for path in files:
        for document in read_file(source, path, one_sentence_per_line):
            empty = False
            yield document
    if empty:
        raise InputError(f"{source}: no text in it")


def read_file(
    source: str, path: Path, one_sentence_per_line: bool | None
) -> Iterator[list[str]]:
    """The documents of one of the files that the source stands for."""
    if source in DEMO_CORPORA:
        text = "".join(line for _, line in _read_lines(path, MAX_LINE_BYTES))
        return DEMO_CORPORA[source].read(text)
    if ".jsonl" in path.suffixes:
        return _read_jsonl(path)
    return _read_text(path, one_sentence_per_line)


def _read_jsonl(path: Path) -> Iterator[list[str]]:
    for number, line in _read_lines(path, MAX_JSON_BYTES):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
            sentences = split_prose(text)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{path}, line {number}: expected a JSON object such as {{"text": "..."}} '
                f"of at most 64 MiB ({type(error).__name__}: {error})"
            ) from error
        if sentences:
            yield sentences


def _read_text(path: Path, one_sentence_per_line: bool | None) -> Iterator[list[str]]:
    lines: Iterator[str] = (line.strip() for _, line in _read_lines(path, MAX_LINE_BYTES))
    if one_sentence_per_line is None:
        head = list(_take(lines, characters=1 << 16))
        one_sentence_per_line = _has_one_sentence_per_line(head)
        lines = chain(head, lines)
    end_of_document = 1 if one_sentence_per_line else 2  # blank lines

    paragraph: list[str] = []
    sentences: list[str] = []
    size = blank = 0
    for line in chain(lines, ["", ""]):
        if line:
            paragraph.append(line)
            size, blank = size + len(line), 0
        else:
            blank += 1
        if blank or size > MAX_LINE_BYTES:
            if not one_sentence_per_line:
                paragraph = split_sentences(" ".join(paragraph))
            sentences += paragraph
            paragraph, size = [], 0
        while len(sentences) > MAX_DOCUMENT_SENTENCES:
            yield sentences[:MAX_DOCUMENT_SENTENCES]
            sentences = sentences[MAX_DOCUMENT_SENTENCES:]
        if sentences and blank >= end_of_document:
            yield sentences
            sentences = []


def _take(lines: Iterator[str], characters: int) -> Iterator[str]:
    """Lines, until they hold so many characters."""
    for line in lines:
        yield line
        characters -= len(line)
        if characters <= 0:
            return


def _has_one_sentence_per_line(head: list[str]) -> bool:
    """Whether most lines that another line follows directly are exactly one whole sentence."""
    followed = [line for line, below in pairwise(head) if line and below]
    whole = sum(
        line.rstrip("\"'”’)]」』）").endswith((".", "!", "?", "…", "。", "！", "？"))
        and len(split_sentences(line)) == 1
        for line in followed
    )
    return whole > 0.7 * len(followed)


def _read_lines(path: Path, limit: int) -> Iterator[tuple[int, str]]:
    """Numbered lines; one that is longer than `limit` bytes comes in several pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    number, offset = 1, 0
    try:
        with _open(path) as file:
            while raw := file.readline(limit):
                if b"\0" in raw:
                    raise InputError(
                        f"{path}, line {number}: a zero byte, so this is a binary file or not "
                        "UTF-8; give plain text in UTF-8"
                    )
                yield number, decoder.decode(raw).lstrip("\ufeff")  # a byte order mark
                number += raw.endswith(b"\n")
                offset += len(raw)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        at = offset - len(decoder.getstate()[0]) + error.start
        raise InputError(
            f"{path}, line {number}: byte {error.object[error.start]:#04x} at offset {at} is not "
            "UTF-8; convert the file to UTF-8"
        ) from error
    except _READ_ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error


def _open(path: Path) -> BinaryIO:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rb")
