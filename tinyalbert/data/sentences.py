"""Prose to sentences, by rule.

A sentence ends at . ! ? or an ellipsis that white space follows, or at 。！？ whatever follows. It
does not end before a lower-case letter, after an abbreviation or an initial, or after the number
of a list item. The rules are for English; other languages with the same marks are split well
enough for pretraining, where a sentence boundary is only a place at which a segment may begin.
"""

from __future__ import annotations

import re

_MARK = re.compile(r"""(?<![.!?…])(?P<mark>[.!?…]+)["'”’)\]]*\s|[。！？]+[」』”’）]*\s?""")
_LAST_WORD = re.compile(r"""[^\s("'“‘\[—-]*$""")
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")  # U.S, p.m: the last dot is the mark itself
_OPENING = "\"'“‘(["
_BEFORE_NAME = re.compile(
    "mrs?|ms|messrs|mme|dr|prof|rev|hon|gen|col|maj|capt|lt|lieut|sgt|gov|sen|rep|pres|adm|st|mt|"
    "vs|viz|jan|feb|mar|apr|aug|sept|oct|nov|dec",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(
    "nos?|vol|pp?|sect?|art|fig|ch|jan|feb|mar|apr|aug|sept|oct|nov|dec", re.IGNORECASE
)


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of one paragraph, white space collapsed; line breaks count as spaces."""
    text = " ".join(paragraph.split())
    sentences, start = [], 0
    for match in _MARK.finditer(text):
        if _ends_sentence(text, start, match):
            sentences.append(text[start : match.end()].rstrip())
            start = match.end()
    return [*sentences, text[start:]] if start < len(text) else sentences


def split_prose(text: str) -> list[str]:
    """The sentences of a text whose paragraphs are separated by blank lines."""
    paragraphs = re.split(r"\n\s*\n", text)
    return [sentence for paragraph in paragraphs for sentence in split_sentences(paragraph)]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    follows = text[match.end() : match.end() + 3].lstrip(_OPENING)[:1]
    if match["mark"] is None:  # 。！？
        return True
    if follows.islower():
        return False
    if match["mark"] != ".":
        return True
    head = text[max(start, match.start() - 24) : match.start()]
    last = _LAST_WORD.search(head)
    word = last[0] if last else ""
    if follows.isdigit():
        return not _BEFORE_NUMBER.fullmatch(word)
    initial = len(word) == 1 and word.isupper() and word != "I"
    list_item = match.start() - start < 4 and text[start : match.start()].isdigit()
    return not (initial or list_item or _DOTTED.fullmatch(word) or _BEFORE_NAME.fullmatch(word))
