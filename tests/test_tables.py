"""CSV, TSV, JSONL and lines: what is read, and where a message says that something is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalbert.errors import InputError
from tinyalbert.finetuning.tables import STDIN, Row, find_column, read_rows, text_of


def rows_of(tmp_path: Path, name: str, content: str | bytes, **options) -> list[Row]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [Row(row.values, row.where.removeprefix(f"{path}, ")) for row in
            read_rows(path, **options)]


def error_of(tmp_path: Path, name: str, content: str | bytes, **options) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(tmp_path, name, content, **options)
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)
    return str(caught.value)


# ---- what is read


def test_quotation_marks_of_csv(tmp_path):
    content = 'text,label\n"a, b",x\n"he said ""yes""",y\n"",z\n'
    assert rows_of(tmp_path, "a.csv", content) == [
        Row({"text": "a, b", "label": "x"}, "line 2"),
        Row({"text": 'he said "yes"', "label": "y"}, "line 3"),
        Row({"text": "", "label": "z"}, "line 4")]


def test_a_row_of_several_lines_stands_where_it_begins(tmp_path):
    content = 'text,label\n"one\ntwo\n\nthree",x\nfour,y\n\n"five\nsix",z\n'
    assert rows_of(tmp_path, "a.csv", content) == [
        Row({"text": "one\ntwo\n\nthree", "label": "x"}, "line 2"),
        Row({"text": "four", "label": "y"}, "line 6"),
        Row({"text": "five\nsix", "label": "z"}, "line 8")]


def test_quotation_marks_of_tsv_are_characters(tmp_path):
    content = 'text\tlabel\n"Yes" he said\tx\nan inch is 1"\ty\n""\tz\n'
    assert [row.values["text"] for row in rows_of(tmp_path, "a.tsv", content)] == [
        '"Yes" he said', 'an inch is 1"', '""']


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_ends_of_lines_and_blank_lines(tmp_path, end):
    rows = rows_of(tmp_path, "a.csv", end.join(["", "text,label", "", "a,x", " , ", "b,y", ""]))
    assert rows == [Row({"text": "a", "label": "x"}, "line 4"),
                    Row({"text": "b", "label": "y"}, "line 6")]


@pytest.mark.parametrize("name, content, where", [
    ("a.csv", "text,n\nä,1\n", "line 2"), ("a.tsv", "text\tn\nä\t1\n", "line 2"),
    ("a.jsonl", '{"text": "ä", "n": "1"}\n', "line 1")])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
def test_byte_order_mark_and_gzip(tmp_path, name, content, where, mark, packed):
    data = mark + content.encode()
    given_name, data = (f"{name}.gz", gzip.compress(data)) if packed else (name, data)
    assert rows_of(tmp_path, given_name, data) == [Row({"text": "ä", "n": "1"}, where)]


def test_names_of_columns(tmp_path):
    """Stripped; given by the caller where the file has none."""
    assert rows_of(tmp_path, "a.csv", " text , label\na,x\n")[0].values == {
        "text": "a", "label": "x"}
    assert rows_of(tmp_path, "a.csv", "a,x\nb,y\n", columns=["text", "label"]) == [
        Row({"text": "a", "label": "x"}, "line 1"), Row({"text": "b", "label": "y"}, "line 2")]


def test_jsonl(tmp_path):
    """U+2028 and U+0085 end a line for str.splitlines, and may stand in JSON as they are."""
    content = '{"text": "a\u2028b\x85c", "n": 1}\n\n  \n{"text": "d", "more": [1, null]}\r\n'
    assert rows_of(tmp_path, "a.jsonl", content) == [
        Row({"text": "a\u2028b\x85c", "n": 1}, "line 1"),
        Row({"text": "d", "more": [1, None]}, "line 4")]


def test_lines(tmp_path):
    assert rows_of(tmp_path, "a.txt", "one, two\n\n {3}\r\n") == [
        Row({"text": "one, two"}, "line 1"), Row({"text": "{3}"}, "line 3")]


def test_standard_input_holds_lines_or_objects(monkeypatch):
    content = 'plain\n{"text": "of an object", "id": 3}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert [row.values for row in read_rows(STDIN)] == [
        {"text": "plain"}, {"text": "of an object", "id": 3}]


@given(table=st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")),
                               min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_csv_writes_is_read(table, tmp_path_factory):
    """Any text: delimiters, quotation marks, all kinds of line ends. Rows of blanks are none."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *table])
    kept = [row for row in table if any(cell.strip() for cell in row)]
    if kept:
        assert [list(row.values.values()) for row in read_rows(path)] == kept
    else:
        with pytest.raises(InputError, match="holds no rows"):
            read_rows(path)


@given(table=st.lists(st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.none()),
                      min_size=1, max_size=5), ascii=st.booleans())
def test_what_json_writes_is_read(table, ascii, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    lines = [json.dumps(row, ensure_ascii=ascii) for row in table]
    path.write_text("\n".join(lines), "utf-8", newline="")
    assert [row.values for row in read_rows(path)] == table


# ---- what is wrong


@pytest.mark.parametrize("content, said", [
    ("text,label\na,x\nb\n", "line 3: 1 fields, but the columns are 2: text, label"),
    ("text,label\na, b,x\n", "line 2: 3 fields, but the columns are 2: text, label"),
    ('text,label\n"a\nb",x\nc,d,y\n', "line 4: 3 fields"),
    ('text,label\na,x\n"b,y\nc,z\n', "line 3: unexpected end of data; is a quotation mark left"),
    ('text,label\n"a"b,x\n', "line 2: ',' expected after '\"'; is a quotation mark left open"),
    ("text;label\na;x\n", "line 1: only one column, 'text;label'; the delimiter seems to be a"),
    ("text\tlabel\na\tx\n", "the delimiter seems to be a tab, not ',': .csv needs commas"),
    ("text,text\na,x\n", "line 1: two columns have the same name: text, text"),
    ("", "holds no rows"), ("\n\n", "holds no rows"), ("text,label\n", "holds no rows"),
    (b"text,label\na,x\nb\xff,y\n", "line 3: not UTF-8"),
])
def test_bad_csv(tmp_path, content, said):
    assert said in error_of(tmp_path, "a.csv", content)


def test_a_tsv_with_commas(tmp_path):
    assert "seems to be a comma, not '\\t'" in error_of(tmp_path, "a.tsv", "text,label\na,x\n")


@pytest.mark.parametrize("content, said", [
    ('{"a": 1}\n{"a": \n', "line 2 is not JSON"),
    ('{"a": 1}\n\n{"a": 1} 2\n', "line 3 is not JSON"),
    ("[1, 2]\n", "line 1 must hold a JSON object, not a list"),
    ('"text"\n', "line 1 must hold a JSON object, not a str"),
    ("[" * 100_000, "line 1 is not JSON"), ('{"a": ' + "9" * 5000 + "}", "line 1 is not JSON"),
    ("\n", "holds no rows"), ('{"a": "x"}\n{"a": "\\uD83D"}', "line 2: '\\ud83d' is half a char"),
])
def test_bad_jsonl(tmp_path, content, said):
    assert said in error_of(tmp_path, "a.jsonl", content)


def test_the_case_of_an_ending_does_not_matter(tmp_path):
    assert rows_of(tmp_path, "A.CSV", "text,label\na,x\n") == [
        Row({"text": "a", "label": "x"}, "line 2")]
    assert rows_of(tmp_path, "A.CSV.GZ", gzip.compress(b"text\na\n"))[0].values == {"text": "a"}


def test_an_array_of_objects_is_no_table(tmp_path):
    assert "or .jsonl, an object a line" in error_of(tmp_path, "a.json", '[{"text": "a"}]')


def test_whole_characters_written_as_two_halves_are_read(tmp_path):
    assert rows_of(tmp_path, "a.jsonl", '{"a": "\\ud83d\\ude00"}')[0].values == {"a": "\U0001f600"}


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot read .*missing.csv: No such file"):
        read_rows(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="cannot read .*: Is a directory"):
        read_rows(tmp_path)
    packed = gzip.compress(b"text,label\n" + b"a,x\n" * 1000)
    for damaged in (packed[:-20], b"no gzip at all", packed[:20] + b"\0" * 20 + packed[40:]):
        assert "cannot read" in error_of(tmp_path, "a.csv.gz", damaged)


def test_columns_by_their_usual_names():
    rows = [Row({"ID": 1, "Text": "a", "review": "b"}, "here")]
    path, words = Path("a.csv"), ("the text", "--text-column")
    assert find_column(rows, path, None, ("text", "review"), *words) == "Text"
    assert find_column(rows, path, None, ("review", "text"), *words) == "review"
    assert find_column(rows, path, None, ("label",), *words) is None
    assert find_column(rows, path, "ID", ("text",), *words) == "ID"
    with pytest.raises(InputError, match=r"a.csv has no column 'text' for the text \(--text-column"
                                         r"\): its columns are ID, Text, review"):
        find_column(rows, path, "text", (), *words)


@pytest.mark.parametrize("value", ["", " \n", None, 3, ["a"]])
def test_a_text_says_something(value):
    with pytest.raises(InputError, match="line 7: 'text' must be a text, not"):
        text_of(Row({"text": value}, "a.csv, line 7"), "text")
    assert text_of(Row({"text": " a "}, ""), "text") == " a "
