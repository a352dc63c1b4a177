"""Tables of texts: CSV, TSV, JSONL, and plain lines.

    .csv, .tsv    the first line names the columns, or `columns` does where there is no such line
    .jsonl        one object a line; its keys are the columns
    others, -     a text a line, and the only column is "text"; a line of standard input that
                  begins with { is an object

Each may be gzipped (.gz). Text is UTF-8. A row knows where it stood, for messages.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError

STDIN = Path("-")


class Row(NamedTuple):
    values: dict[str, Any]
    where: str                  # "reviews.csv, line 3"


def read_rows(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """All rows but empty ones. InputError names the file and line that cannot be used."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".json"):
        raise InputError(f"{path}: tables are read from .csv, .tsv or .jsonl, an object a line; "
                         "in pandas, to_json(file, orient='records', lines=True)")
    text = read_text(path)
    if name.endswith((".csv", ".tsv")):
        rows = delimited(path, text, "\t" if name.endswith(".tsv") else ",", columns)
    elif name.endswith(".jsonl"):
        rows = objects(path, enumerate(text.split("\n"), 1))
    else:
        rows = lines(path, text)
    found = list(rows)
    if not found:
        raise InputError(f"{shown(path)} holds no rows")
    return found


def shown(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)


def read_text(path: Path) -> str:
    """A whole file, or standard input for `-`."""
    try:
        if path == STDIN:
            content = sys.stdin.buffer.read()
        else:
            opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
            with opener(path, "rb") as file:
                content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {shown(path)}: {reason}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{shown(path)}, line {line}: not UTF-8; convert the file to UTF-8"
                         ) from error


def delimited(path: Path, text: str, delimiter: str,
              columns: Sequence[str] | None) -> Iterator[Row]:
    """In TSV a quotation mark is a character like others: that is how most are written."""
    quoting: Any = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting,
                        strict=True)
    line, names = 1, list(columns) if columns else None
    csv.field_size_limit(1 << 30)
    try:
        for fields in reader:
            where, line = f"{path}, line {line}", reader.line_num + 1
            if not any(field.strip() for field in fields):
                continue
            if names is None:
                names = heading(where, [field.strip() for field in fields], delimiter)
                continue
            if len(fields) != len(names):
                raise InputError(f"{where}: {len(fields)} fields, but the columns are "
                                 f"{len(names)}: {', '.join(names)}; quote a text that holds the "
                                 f"delimiter {delimiter!r}")
            yield Row(dict(zip(names, fields, strict=True)), where)
    except csv.Error as error:
        raise InputError(f"{path}, line {line}: {error}; is a quotation mark left open?") from error


def heading(where: str, names: list[str], delimiter: str) -> list[str]:
    """The names of the columns; InputError if the file seems to use another delimiter."""
    if len(names) == 1:
        for other, called in ((";", "a semicolon"), ("\t", "a tab"), (",", "a comma")):
            if other in names[0]:
                raise InputError(f"{where}: only one column, {names[0]!r:.80}; the delimiter seems "
                                 f"to be {called}, not {delimiter!r}: .csv needs commas, .tsv tabs")
    if len(set(names)) < len(names):
        raise InputError(f"{where}: two columns have the same name: {', '.join(names)}")
    return names


def objects(path: Path, numbered: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for number, line in numbered:
        if not line.strip():
            continue
        where = f"{shown(path)}, line {number}"
        values = parse_json(line, where)
        if not isinstance(values, dict):
            raise InputError(f"{where} must hold a JSON object, not a {type(values).__name__}")
        yield Row(values, where)


def parse_json(text: str, where: str) -> Any:
    """InputError for what is not JSON, or has half a surrogate pair, which no file can hold."""
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {error.object[error.start]!r} is half a character; the other "
                         "half is missing") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    return value


def lines(path: Path, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if path == STDIN and line.startswith("{"):
            yield from objects(path, [(number, line)])
        elif line:
            yield Row({"text": line}, f"{shown(path)}, line {number}")


def find_column(rows: Sequence[Row], path: Path, asked: str | None, usual: Sequence[str],
                what: str, flag: str) -> str | None:
    """The column that is asked for, or the first of the usual names that is there, whatever its
    case; None if there is none of these. InputError if the one that is asked for is missing."""
    names = list(rows[0].values)
    if asked is not None:
        if asked not in names:
            raise InputError(f"{shown(path)} has no column {asked!r} for {what} ({flag}): its "
                             f"columns are {', '.join(names)}")
        return asked
    lowered = {name.lower(): name for name in reversed(names)}
    return next((lowered[name] for name in usual if name in lowered), None)


def text_of(row: Row, column: str) -> str:
    """A text that says something; InputError if it is missing, empty, or not a text."""
    value = row.values.get(column)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{row.where}: {column!r} must be a text, not {value!r:.50}")
    return value
