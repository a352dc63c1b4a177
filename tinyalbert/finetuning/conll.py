"""Files of words and tags, and how well the entities in them were found.

    EU      NNP  B-ORG          a word a line, columns between tabs or spaces, a blank line after
    rejects VBZ  O              each sentence; -DOCSTART- lines and "# ..." comments are skipped
    German  JJ   B-MISC

Whichever scheme a file is written in, here its tags become IOB2:

    scheme          Ada    Lovelace  Paris          B begins an entity, I goes on with it
    IOB1            I-PER  I-PER     I-LOC          B only right after another of the same type
    IOB2            B-PER  I-PER     B-LOC
    BIOES, BILOU    B-PER  E-PER     S-LOC          and how the last (E, L) and single (S, U) differ

What breaks a scheme's rules is read as conlleval does, the script by which the field measures: an
I or E with nothing before it begins an entity. Left out: nested and overlapping entities.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

TAG = re.compile(r"O|[BIESLU]-\S.*")
SCHEMES = {"IOB": set("OBI"), "BIOES": set("OBIES"), "BILOU": set("OBILU")}
COMMENT = ("# ", "#begin document", "#end document")    # "#word" is a word
BLANK = " \t\r\ufeff"


class Sentence(NamedTuple):
    """raw: the text that the words were taken from, one after the other, if there was one."""

    words: list[str]
    tags: list[str] | None = None       # IOB2
    where: str = ""                     # "train.conll, line 3", of the first word
    raw: str | None = None

    @property
    def text(self) -> str:
        return " ".join(self.words) if self.raw is None else self.raw

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """For each word the characters [start, end) of the text."""
        spans: list[tuple[int, int]] = []
        end = 0
        for word in self.words:
            start = self.text.index(word, end) if self.raw else end + bool(spans)
            end = start + len(word)
            spans.append((start, end))
        return spans


class Entity(NamedTuple):
    type: str
    start: int              # words [start, end)
    end: int


# ---- tags


def split_tag(tag: str) -> tuple[str, str]:
    """B-PER is B of PER; a label without a prefix, as some models have, is I of itself."""
    if tag == "O":
        return "O", ""
    return (tag[0], tag[2:]) if TAG.fullmatch(tag) else ("I", tag)


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """The entities that tags of any scheme mean, by conlleval's rules."""
    found: list[Entity] = []
    start: int | None = None
    before, kind_before = "O", ""
    for i, tag in enumerate([*tags, "O"]):
        prefix, kind = split_tag(tag)
        if start is not None and (prefix in "OBSU" or before in "ESLU" or kind != kind_before):
            found.append(Entity(kind_before, start, i))
            start = None
        if start is None and prefix != "O":
            start = i
        before, kind_before = prefix, kind
    return found


def to_iob2(tags: Sequence[str]) -> list[str]:
    result = ["O"] * len(tags)
    for kind, start, end in entities_of(tags):
        result[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return result


# ---- reading


class Line(NamedTuple):
    where: str
    text: str
    fields: list[str]       # none of a line that ends a sentence


def read_conll(path: Path, text: str, *, labelled: bool = True, word_column: int | None = None,
               tag_column: int | None = None) -> list[Sentence] | None:
    """The sentences of a file that holds this text. Columns are counted from 0. Left out, the tags
    are in the last column that looks like it, and the words in the one with the most different
    values, numbers aside.

    None for a text without columns of words and tags, if it need not be labelled. InputError
    names the line where a column is missing or a tag fits no scheme.
    """
    lines = list(split_lines(path, text))
    rows = [line.fields for line in lines if line.fields and not line.text.startswith(COMMENT)]
    if not rows:
        raise InputError(f"{path} holds no words")
    width = Counter(map(len, rows)).most_common(1)[0][0]
    columns = list(zip(*(fields for fields in rows if len(fields) == width), strict=True))
    for name, column in (("word", word_column), ("tag", tag_column)):
        if column is not None and not 0 <= column < width:
            raise InputError(f"{path}: there is no {name} column {column}: the lines have {width} "
                             "columns, and the first is 0")
    tags = find_tags(columns, len(rows)) if tag_column is None else tag_column
    if tags is None and labelled:
        raise InputError(f"{path}: no column looks like tags (O, B-PER, I-PER, ...): give "
                         "--tag-column, or see that columns are parted by tabs or spaces")
    if tags is None and word_column is None:
        return None
    words = find_words(columns, tags) if word_column is None else word_column
    if words == tags:
        raise InputError(f"{path}: words and tags cannot both be in column {tags}")
    return list(sentences(lines, width, words, tags))


def split_lines(path: Path, text: str) -> Iterator[Line]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \r")
        fields = [field.strip(" ") for field in re.split("\t" if "\t" in line else " +", line)]
        ends = not line.strip(BLANK) or fields[0] == "-DOCSTART-"
        yield Line(f"{path}, line {number}", line, [] if ends else fields)


def find_tags(columns: Sequence[Sequence[str]], rows: int) -> int | None:
    """The last of several columns that holds tags in more than half of all rows: where one is
    misspelt, that line is to be named, and not the file refused."""
    alike = [sum(bool(TAG.fullmatch(tag)) for tag in column) > rows / 2 for column in columns]
    return max((i for i, tags in enumerate(alike) if tags and len(columns) > 1), default=None)


def find_words(columns: Sequence[Sequence[str]], tags: int | None) -> int:
    """The column with the most different values: neither their tags nor their parts of speech nor
    a document's name have as many. Their numbers do not count."""
    variety = {i: len({value for value in column if not value.isdigit()})
               for i, column in enumerate(columns) if i != tags}
    return max(variety, key=lambda i: variety[i], default=0)


def sentences(lines: Sequence[Line], width: int, words: int,
              tags: int | None) -> Iterator[Sentence]:
    possible = dict(SCHEMES)
    begun: list[Line] = []
    for line in [*lines, Line("", "", [])]:
        fields = line.fields
        if line.text.startswith(COMMENT) and (
                len(fields) != width or tags is not None and not TAG.fullmatch(fields[tags])):
            continue
        if fields:
            check_line(line, width, words, tags)
            if tags is not None:
                possible = check_scheme(line, fields[tags], possible)
            begun.append(line)
        elif begun:
            yield Sentence([line.fields[words] for line in begun],
                           None if tags is None else to_iob2([x.fields[tags] for x in begun]),
                           begun[0].where)
            begun = []


def check_line(line: Line, width: int, words: int, tags: int | None) -> None:
    if len(line.fields) != width:
        raise InputError(f"{line.where}: {len(line.fields)} columns where the others have {width}: "
                         f"{line.text!r:.60}")
    if not line.fields[words]:
        raise InputError(f"{line.where}: there is no word before the tag: {line.text!r:.60}")
    if tags is not None and not TAG.fullmatch(line.fields[tags]):
        raise InputError(f"{line.where}: the tag {line.fields[tags]!r:.40} is of no known scheme: "
                         "IOB and BIOES have O, B-TYPE, I-TYPE, E-TYPE and S-TYPE")


def check_scheme(line: Line, tag: str, possible: dict[str, set[str]]) -> dict[str, set[str]]:
    """The schemes that this tag leaves possible for its file."""
    left = {name: prefixes for name, prefixes in possible.items() if tag[0] in prefixes}
    if not left:
        raise InputError(f"{line.where}: the tag {tag!r:.40} does not belong to "
                         f"{' or '.join(possible)}, as the tags before it do")
    return left


# ---- measuring


class Found(NamedTuple):
    """How many entities; an entity is right if its type and both its ends are."""

    right: int = 0
    predicted: int = 0
    true: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.true if self.true else 0.0

    @property
    def f1(self) -> float:
        """2 P R / (P + R)"""
        either = self.predicted + self.true
        return 2 * self.right / either if either else 0.0


def found_by_type(true: Sequence[Sequence[str]],
                  predicted: Sequence[Sequence[str]]) -> dict[str, Found]:
    """For each type, in the order of their names; two tags for each word of each sentence."""
    counts: dict[str, list[int]] = {}
    for one, other in zip(true, predicted, strict=True):
        wanted, said = set(entities_of(one)), set(entities_of(other))
        for place, entities in enumerate((wanted & said, said, wanted)):
            for entity in entities:
                counts.setdefault(entity.type, [0, 0, 0])[place] += 1
    return {kind: Found(*counts[kind]) for kind in sorted(counts)}


def entity_metrics(true: Sequence[Sequence[str]],
                   predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """f1, precision and recall of the entities of all types together, as conlleval counts them;
    accuracy: the share of the words with the right tag."""
    total = Found(*(sum(counts) for counts in zip(*found_by_type(true, predicted).values(),
                                                  strict=True)))
    pairs = [pair for one, other in zip(true, predicted, strict=True)
             for pair in zip(one, other, strict=True)]
    return {"f1": total.f1, "precision": total.precision, "recall": total.recall,
            "accuracy": sum(a == b for a, b in pairs) / len(pairs)}
