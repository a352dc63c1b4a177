"""Texts with their summaries: how they are read, and what both ways to sum up have in common.

    .csv, .tsv, .jsonl    a text and its summary (tables.py)
    .story                an article of CNN or the Daily Mail and its highlights (Hermann et al.
                          2015), or a folder of them
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .tables import Row, find_column, read_rows, read_text, shown, text_of
from .task import Prediction, Task

TEXTS = ("text", "article", "document", "source")
SUMMARIES = ("summary", "highlights", "headline", "title", "target")
HIGHLIGHT = "@highlight"


class SummaryExample(NamedTuple):
    text: str
    summary: str | None = None
    where: str = ""


class SummaryTask(Task):
    """Its predictions have a "summary_text"."""

    metric = "rougeL"
    example, label = SummaryExample, "summary"

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True, text_column: str | None = None,
             summary_column: str | None = None) -> list[SummaryExample]:
        if path.is_dir() or path.suffix == ".story":
            return read_stories(path, labelled)
        rows = read_rows(path)
        text = find_column(rows, path, text_column, TEXTS, "the text", "--text-column")
        summary = find_column(rows, path, summary_column, SUMMARIES, "the summary",
                              "--summary-column")
        for column, what in ((text, "text"), (summary, "summary")):
            if column is None and (labelled or what == "text"):
                raise InputError(f"{shown(path)}: which column is the {what}? They are "
                                 f"{', '.join(rows[0].values)}: give --{what}-column; or a .csv, "
                                 ".tsv or .jsonl, if the file is none")
        return [SummaryExample(text_of(row, text or ""), summary_of(row, summary, labelled),
                               row.where) for row in rows]

    @classmethod
    def of_text(cls, text: str) -> SummaryExample:
        return SummaryExample(text)

    @classmethod
    def problem(cls, example: SummaryExample) -> str | None:
        for name, text in (("text", example.text), ("summary", example.summary)):
            if not isinstance(text, str) or not text.strip():
                return f"the {name} must be a text, not {text!r:.50}"
        return None

    def metrics(self, examples: Sequence[SummaryExample],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        from .rouge import rouge
        return rouge([example.summary or "" for example in examples],
                     [prediction["summary_text"] for prediction in predictions])

    def show(self, example: SummaryExample, prediction: Prediction) -> str:
        return prediction["summary_text"]


def summary_of(row: Row, column: str | None, labelled: bool) -> str | None:
    if column is None or (not labelled and row.values.get(column) in (None, "")):
        return None
    return text_of(row, column)


def read_stories(path: Path, labelled: bool) -> list[SummaryExample]:
    stories = sorted(path.glob("*.story")) if path.is_dir() else [path]
    if not stories:
        raise InputError(f"the folder {path} holds no .story files")
    return [read_story(story, labelled) for story in stories]


def read_story(path: Path, labelled: bool) -> SummaryExample:
    """An article, and its highlights, each after a line that says so. They are sentences, most
    without their full stop."""
    article, *highlights = (part.strip() for part in read_text(path).split(HIGHLIGHT))
    highlights = list(filter(None, highlights))
    if not article:
        raise InputError(f"{path} has no text before its highlights")
    if labelled and not highlights:
        raise InputError(f"{path} has no {HIGHLIGHT} with a text after it")
    summary = " ".join(text if text[-1] in ".!?\"'" else f"{text}." for text in highlights)
    return SummaryExample(article, summary or None, str(path))
