"""Reading words and tags, the schemes of tags, and conlleval's way of counting entities."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalbert.errors import InputError
from tinyalbert.finetuning.conll import (
    Entity,
    Found,
    Sentence,
    entities_of,
    entity_metrics,
    found_by_type,
    read_conll,
    to_iob2,
)
from tinyalbert.finetuning.entities import Entities


def read(text: str, **options) -> list[Sentence] | None:
    return read_conll(Path("x.conll"), text, **options)


# ---- schemes

IOB2 = "B-PER I-PER O B-LOC B-LOC I-LOC I-LOC B-PER B-PER"


@pytest.mark.parametrize("tags", [
    IOB2,
    "I-PER I-PER O I-LOC B-LOC I-LOC I-LOC I-PER B-PER",        # IOB1
    "B-PER E-PER O S-LOC B-LOC I-LOC E-LOC S-PER S-PER",        # BIOES
    "B-PER L-PER O U-LOC B-LOC I-LOC L-LOC U-PER U-PER",        # BILOU
])
def test_every_scheme_means_the_same(tags):
    assert to_iob2(tags.split()) == IOB2.split()
    assert entities_of(tags.split()) == [
        Entity("PER", 0, 2), Entity("LOC", 3, 4), Entity("LOC", 4, 7), Entity("PER", 7, 8),
        Entity("PER", 8, 9)]


def write_tags(runs: list[tuple[str, int]], scheme: str) -> list[str]:
    """Runs of (type, words), "O" for words of none, as the definitions of the schemes say."""
    tags, before = [], None
    for kind, length in runs:
        if kind == "O":
            tags += ["O"] * length
        elif scheme in ("BIOES", "BILOU"):
            last, single = scheme[3 if scheme == "BIOES" else 2], scheme[-1]
            tags += ([f"{single}-{kind}"] if length == 1 else
                     [f"B-{kind}"] + [f"I-{kind}"] * (length - 2) + [f"{last}-{kind}"])
        else:
            first = "B" if scheme == "IOB2" or before == kind else "I"
            tags += [f"{first}-{kind}"] + [f"I-{kind}"] * (length - 1)
        before = kind
    return tags


@given(st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC", "creative-work"]),
                          st.integers(1, 4))))
def test_any_tags_in_any_scheme(runs):
    expected, start = [], 0
    for kind, length in runs:
        if kind != "O":
            expected.append(Entity(kind, start, start + length))
        start += length
    for scheme in ("IOB1", "IOB2", "BIOES", "BILOU"):
        tags = write_tags(runs, scheme)
        assert entities_of(tags) == expected
        assert to_iob2(tags) == write_tags(runs, "IOB2")


@pytest.mark.parametrize(("tags", "expected"), [
    ("O I-PER I-PER", [("PER", 1, 3)]),
    ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
    ("I-PER I-LOC I-PER", [("PER", 0, 1), ("LOC", 1, 2), ("PER", 2, 3)]),
    ("I-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
    ("B-PER O I-PER", [("PER", 0, 1), ("PER", 2, 3)]),
    ("E-PER", [("PER", 0, 1)]),
    ("E-PER E-PER", [("PER", 0, 1), ("PER", 1, 2)]),
    ("B-PER E-PER I-PER", [("PER", 0, 2), ("PER", 2, 3)]),
    ("B-PER O E-PER", [("PER", 0, 1), ("PER", 2, 3)]),
    ("S-PER I-PER E-PER", [("PER", 0, 1), ("PER", 1, 3)]),
    ("I-PER S-PER", [("PER", 0, 1), ("PER", 1, 2)]),
    ("B-PER E-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
    ("PER PER O LOC", [("PER", 0, 2), ("LOC", 3, 4)]),          # a model's labels without prefixes
    ("O", []),
    ("", []),
])
def test_what_breaks_the_rules_is_read_as_conlleval_does(tags, expected):
    assert entities_of(tags.split()) == [Entity(*one) for one in expected]


# ---- measuring


def test_the_example_of_seqeval():
    """From its README: f1 0.50, accuracy 0.80; MISC 0 of 1, PER 1 of 1."""
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    said = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    assert entity_metrics(true, said) == {"f1": 0.5, "precision": 0.5, "recall": 0.5,
                                          "accuracy": 0.8}
    assert found_by_type(true, said) == {"MISC": Found(0, 1, 1), "PER": Found(1, 1, 1)}


def test_counted_by_hand():
    """Four true entities and three predicted; right: LOC at 3, PER of the second sentence. Too
    short is wrong, and so is another type."""
    true = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-PER"], ["B-ORG"]]
    said = [["B-PER", "O", "O", "I-LOC"], ["O", "I-PER"], ["O"]]
    assert found_by_type(true, said) == {
        "LOC": Found(1, 1, 1), "ORG": Found(0, 0, 1), "PER": Found(1, 2, 2)}
    metrics = entity_metrics(true, said)
    assert metrics["precision"] == pytest.approx(2 / 3)
    assert metrics["recall"] == 2 / 4
    assert metrics["f1"] == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert metrics["accuracy"] == 3 / 7         # I is not B, though the entity is right
    assert Found(1, 2, 4).precision == 0.5 and Found(1, 2, 4).recall == 0.25


def test_an_entity_does_not_go_on_in_the_next_sentence():
    assert found_by_type([["B-PER"], ["I-PER"]], [["B-PER"], ["B-PER"]]) == {"PER": Found(2, 2, 2)}


def test_where_there_is_nothing():
    nothing = {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_metrics([["O", "O"]], [["O", "O"]]) == {**nothing, "accuracy": 1.0}
    assert entity_metrics([["O"]], [["B-X"]]) == {**nothing, "accuracy": 0.0}
    assert entity_metrics([["B-X"]], [["O"]]) == {**nothing, "accuracy": 0.0}


# ---- reading

TWO = [Sentence(["Ada", "wrote"], ["B-PER", "O"], "x.conll, line 1"),
       Sentence(["In", "New", "York"], ["O", "B-LOC", "I-LOC"], "x.conll, line 4")]


@pytest.mark.parametrize("text", [
    "Ada B-PER\nwrote O\n\nIn O\nNew B-LOC\nYork I-LOC\n",
    "Ada\tB-PER\r\nwrote\tO\r\n\r\nIn\tO\r\nNew\tB-LOC\r\nYork\tI-LOC",
    "Ada   B-PER \nwrote O\n\t\nIn O\nNew B-LOC\nYork I-LOC\n \n\n\ufeff",
    "B-PER\tAda\nO\twrote\n\nO\tIn\nB-LOC\tNew\nI-LOC\tYork",
    "Ada NNP B-NP I-PER\nwrote VBD B-VP O\n\nIn IN B-PP O\nNew NNP B-NP I-LOC\nYork NNP I-NP I-LOC",
    "1 Ada _ S-PER\n2 wrote _ O\n\n1 In _ O\n2 New _ B-LOC\n3 York _ E-LOC",
    "1 NNP Ada S-PER d\n2 VBD wrote O d\n\n1 IN In O d\n2 NNP New B-LOC d\n3 NNP York E-LOC d",
    "Ada\tB-PER\t\nwrote\tO\t\n\nIn\tO\t\nNew\tB-LOC\t\nYork\tI-LOC\t",
])
def test_any_columns(text):
    assert read(text) == TWO


def test_the_columns_that_are_asked_for():
    text = "Ada I-ada B-PER O\nwrote I-write O O\n\nYork O B-LOC B-CITY"
    assert [x.tags for x in read(text)] == [["O", "O"], ["B-CITY"]]
    assert [x.tags for x in read(text, tag_column=2)] == [["B-PER", "O"], ["B-LOC"]]
    assert read(text, word_column=1)[0].words == ["I-ada", "I-write"]
    assert read("Ada NNP\nwrote VBD", labelled=False, word_column=0) == [
        Sentence(["Ada", "wrote"], None, "x.conll, line 1")]


def test_documents_and_comments_and_hashtags():
    text = ("-DOCSTART- -X- O O\n\n# id 7 domain=en\nAda NNP B-NP I-PER\n# text = Ada wrote\n"
            "#wrote VBD B-VP O\n-DOCSTART- -X- O O\n# NN B-NP O\n#begin document (x); part 1\n")
    assert read(text) == [
        Sentence(["Ada", "#wrote"], ["B-PER", "O"], "x.conll, line 4"),
        Sentence(["#"], ["O"], "x.conll, line 8")]


def test_a_word_may_hold_spaces_where_columns_are_parted_by_tabs():
    (sentence,) = read("New York\tB-LOC\n\u00a0\tO\nwas\u200bit\u2028\tO")
    assert sentence.words == ["New York", "\u00a0", "was\u200bit\u2028"]
    for word, (start, end) in zip(sentence.words, sentence.offsets, strict=True):
        assert sentence.text[start:end] == word


@pytest.mark.parametrize(("text", "options", "message"), [
    ("Ada B-PER\nwrote\n\nYork B-LOC", {},
     "x.conll, line 2: 1 columns where the others have 2: 'wrote'"),
    ("Ada NNP B-PER\nwrote O\nit PRP O", {}, "line 2: 2 columns where the others have 3"),
    ("Ada B-PER\n#wrote\nit O", {}, "line 2: 1 columns where the others have 2"),
    ("Ada\tB-PER\n\tO\nit\tO", {}, "line 2: there is no word before the tag"),
    ("Ada B-PER\nwrote X\nit O", {}, "line 2: the tag 'X' is of no known scheme"),
    ("Ada B-PER\nwrote O\nit B-", {}, "line 3: the tag 'B-' is of no known scheme"),
    ("Ada B-PER\n\nin o\nParis B-LOC", {}, "line 3: the tag 'o' is of no known scheme"),
    ("Ada\tB-PER\nwrote\t\nit\tO", {}, "line 2: the tag '' is of no known scheme"),
    ("Ada S-PER\nin O\nParis U-LOC", {}, "line 3: the tag 'U-LOC' does not belong to BIOES, as"),
    ("Ada PER\nwrote none", {}, "x.conll: no column looks like tags"),
    ("Ada wrote it.", {}, "x.conll: no column looks like tags"),
    ("O\nO", {}, "x.conll: no column looks like tags"),
    ("", {}, "x.conll holds no words"),
    ("-DOCSTART- O\n\n# a comment", {"labelled": False}, "x.conll holds no words"),
    ("Ada B-PER", {"tag_column": 2}, "there is no tag column 2: the lines have 2 columns, and th"),
    ("Ada B-PER", {"word_column": -1}, "there is no word column -1"),
    ("Ada B-PER", {"word_column": 1}, "words and tags cannot both be in column 1"),
    ("Ada\nwrote", {"tag_column": 0}, "words and tags cannot both be in column 0"),
    ("Ada NNP B-PER", {"tag_column": 1}, "line 1: the tag 'NNP' is of no known scheme"),
])
def test_bad_files(text, options, message):
    with pytest.raises(InputError, match=message):
        read(text, **options)


def test_one_bad_line_does_not_make_text_of_a_table():
    with pytest.raises(InputError, match="line 2: 1 columns"):
        read("Ada B-PER\nwrote\nit O", labelled=False)
    assert read("Ada wrote it.\nO B-PER", labelled=False) is None
    assert read("Ada\nwrote", labelled=False) is None


def test_files(tmp_path):
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress("\ufeffAda B-PER\nwrote O".encode()))
    assert Entities.read(path) == [Sentence(["Ada", "wrote"], ["B-PER", "O"], f"{path}, line 1")]
    path = tmp_path / "b.conll"
    path.write_bytes("Ada B-PER\nEtnà O".encode("latin-1"))
    with pytest.raises(InputError, match="b.conll, line 2: not UTF-8"):
        Entities.read(path)
    with pytest.raises(InputError, match="cannot read .*c.conll: No such file"):
        Entities.read(tmp_path / "c.conll")


@pytest.mark.parametrize(("name", "sentences", "words", "entities"), [
    ("wnut17train.conll", 3394, 62730, 1975),
    ("emerging.dev.conll", 1009, 15733, 836),
    ("emerging.test.annotated", 1287, 23394, 1079),
])
def test_real_files(shared_data, name, sentences, words, entities):
    """Counted with awk: lines with a word, runs of them, and tags with B-; in dev one entity more,
    which begins with I- right after one of another type."""
    examples = Entities.read(shared_data / "wnut17" / name)
    assert len(examples) == sentences
    assert sum(len(example.words) for example in examples) == words
    assert sum(len(entities_of(example.tags)) for example in examples) == entities
