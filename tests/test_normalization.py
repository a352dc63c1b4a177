"""Expected values by hand; alignment must hold for any text hypothesis comes up with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalbert.tokenization.normalization import Normalizer
from tinyalbert.tokenization.pieces import PieceModel, is_start_piece


@pytest.mark.parametrize(("text", "expected"), [
    ("  Hello \t\n World ", "hello world"),
    ("``quoted''", '"quoted"'),
    ("Ünïcödé É", "unicode e"),
    ("ﬁ ½", "fi 1\u20442"),
    ("a\u00a0b\u2003c\x1cd", "a b c d"),
    ("a¨b", "a b"),             # the decomposition of ¨ is a space and an accent
    ("हि", "हि"),               # a vowel sign, not an accent: its combining class is 0
    ("İstanbul", "istanbul"),
    ("ΟΔΟΣ", "οδος"),           # the last sigma of a word has its own lower case
    ("\ud83d!", "\ufffd!"),
])
def test_normalize(text, expected):
    assert Normalizer().normalize(text) == expected


def test_normalize_can_keep_accents_case_and_space():
    assert Normalizer(keep_accents=True).normalize("FALSÉ ½") == "falsé ½"
    assert Normalizer(do_lower_case=False).normalize("FALSÉ") == "FALSE"
    assert Normalizer(remove_space=False).normalize(" a  ''") == ' a  "'


def test_align_by_hand():
    #        0  1       2  3    4    5  6  7   8
    text = " e\u0301  ﬁ''É"
    normalizer = Normalizer()
    assert normalizer.normalize(text) == 'e fi"e'
    assert normalizer.align(text) == [(1, 3), (3, 5), (5, 6), (5, 6), (6, 8), (8, 9)]


@given(st.text(), st.builds(Normalizer, st.booleans(), st.booleans(), st.booleans()))
def test_align_has_one_span_inside_the_text_for_each_character(text, normalizer):
    spans = normalizer.align(text)
    assert len(spans) == len(normalizer.normalize(text))
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)


@pytest.mark.parametrize(("piece", "starts"), [
    *dict.fromkeys(["▁the", "▁", "<unk>", "'s", "'", "2000", "s2", "-", ",", "=", "é", "€"], True)
    .items(),
    *dict.fromkeys(["s", "ing", "ING", "e.", ".com", "--", ""], False).items(),
])
def test_is_start_piece(piece, starts):
    assert is_start_piece(piece) is starts


class StubProcessor:
    """Encodes what a vocabulary with "2000," would."""

    answers = {"92000,": ["▁9", "2000,"], "2000": ["▁2000"], "▁7,": ["▁7,"], "7": ["▁7"],
               "x30,": ["▁x", "30,"], "30": ["▁", "30"]}

    def encode(self, text: str, out_type: type) -> list[str]:
        return self.answers[text]


def stub_model(*vocabulary: str) -> PieceModel:
    model = PieceModel.__new__(PieceModel)
    model._processor, model.ids = StubProcessor(), {piece: 0 for piece in vocabulary}
    return model


def test_digits_and_comma_are_split_without_a_new_word():
    assert stub_model("2000").split("92000,") == ["▁9", "2000", ","]
    assert stub_model("▁7").split("▁7,") == ["▁7", ","]
    assert stub_model("30").split("x30,") == ["▁x", "30", ","]
    # "2000" is only known as a word of its own: its digits rather than <unk>
    assert stub_model("▁2000").split("92000,") == ["▁9", "2", "0", "0", "0", ","]
