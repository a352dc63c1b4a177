import time

import pytest

from tinyalbert.data.sentences import split_prose, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Peace is near.", "War is far."],
        ["Is it so?", "It is!", "“Then go.”", "(We went.)", "'Good.'"],
        ["Mr. Smith met Gen. Grant.", "They spoke."],
        ["The U.S. Government agreed at 9 p.m. Eastern time."],
        ["J. Q. Adams wrote to St. Louis."],
        ["See No. 5 of vol. 2.", "No.", "I will not."],
        ["You and I.", "The others left."],
        ["He rose 3.5 percent in 1890.", "In 1891 he fell."],
        ["He said, e.g. this, etc. and so on."],
        ["“Why?” he asked.", "Nobody knew."],
        ["1. Reform the currency.", "2. Build a navy."],
        ["Wait...", "Now it comes."],
        ["No mark at the end"],
        ["Dots ......... leaders 12"],
    ],
)
def test_a_paragraph_is_split_where_its_sentences_meet(sentences):
    assert split_sentences("  \n ".join(sentences)) == sentences


def test_chinese_and_japanese_need_no_space():
    assert split_sentences("今天天气很好。我们去吗？「走！」好") == [
        "今天天气很好。", "我们去吗？", "「走！」", "好",
    ]  # fmt: skip


def test_line_breaks_are_spaces_within_a_paragraph_and_end_nothing():
    assert split_prose("One\nsentence. Two\n\n \nno mark\n\nLast.") == [
        "One sentence.", "Two", "no mark", "Last.",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "   \n\n "])
def test_nothing_gives_nothing(text):
    assert split_prose(text) == []


@pytest.mark.parametrize("text", ["." * 300_000 + "a", "e.g. " * 60_000, "a" * 300_000])
def test_time_grows_with_the_text_not_with_its_square(text):
    start = time.perf_counter()
    assert len(split_sentences(text)) == 1
    assert time.perf_counter() - start < 5
