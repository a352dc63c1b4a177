"""Long texts through windows, and the parts of a text that score best in them.

A token seen at the edge of a window lacks its surroundings, so an answer counts only in the window
that shows most around its first token (the "maximum context"), and a word only in the one that
shows most around it.

Source: Google's run_squad_v1.py. There the 20 best starts and ends are picked from the whole input;
here from what can be one, so that the question takes no places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..tokenization.base import PreTrainedTokenizer
from .task import Features

N_BEST = 20             # starts, ends, and answers that are kept
OVERLAP = 0.25          # of a window of words with the next one


class Tokens(NamedTuple):
    """Of a text, without [CLS] and [SEP]."""

    ids: list[int]
    spans: np.ndarray       # [T, 2], the characters [start, end) of each


class Span(NamedTuple):
    """A part of a text and the sum of its two logits."""

    logit: float
    start: int              # characters [start, end)
    end: int


def tokens_of(tokenizer: PreTrainedTokenizer, text: str) -> Tokens:
    encoding: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return Tokens(encoding["input_ids"],
                  np.array(encoding["offset_mapping"], np.int64).reshape(-1, 2))


def covering(spans: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The first and the last token of the characters [start, end); (-1, -1) if they have none."""
    tokens = np.flatnonzero((spans[:, 0] < end) & (spans[:, 1] > start))
    return (int(tokens[0]), int(tokens[-1])) if len(tokens) else (-1, -1)


def max_context(windows: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    """For each of T tokens, which window shows most around it: [T].

    windows: the first token of each and how many it has. The measure is the number of tokens on
    the left or on the right, whichever is smaller, plus 0.01 times the window's length; the first
    window wins ties.
    """
    best, owner = np.full(length, -np.inf), np.zeros(length, np.int64)
    for number, (first, count) in enumerate(windows):
        left = np.arange(count)
        around = np.minimum(left, left[::-1]) + 0.01 * count
        here = slice(first, first + count)
        owner[here][around > best[here]] = number
        best[here] = np.maximum(best[here], around)
    return owner


def best_spans(context: str, windows: Sequence[tuple[Features, np.ndarray]],
               max_tokens: int) -> list[Span]:
    """The N_BEST different texts of at most max_tokens, best first, out of those that the N_BEST
    starts and ends of each window make. windows: features, and the logits [2, T] of start and end.
    """
    spans = windows[0][0]["spans"]
    places = [(feature["first"], len(feature["input_ids"]) - feature["context_start"] - 1)
              for feature, _ in windows]
    owner = max_context(places, len(spans))
    found = []
    for number, ((feature, logits), (first, count)) in enumerate(zip(windows, places, strict=True)):
        begin = feature["context_start"]
        start, end = logits[:, begin:begin + count]                     # [T] each
        own = np.flatnonzero(owner[first:first + count] == number)
        starts = own[np.argsort(-start[own], kind="stable")[:N_BEST]]
        ends = np.argsort(-end, kind="stable")[:N_BEST]
        s, e = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
        fits = (s <= e) & (e < s + max_tokens)
        s, e = s[fits], e[fits]
        found.append((start[s] + end[e], spans[first + s, 0], spans[first + e, 1]))
    scores, begins, ends = (np.concatenate(parts) for parts in zip(*found, strict=True))
    best: dict[str, Span] = {}
    for i in np.argsort(-scores, kind="stable"):
        span = Span(float(scores[i]), int(begins[i]), int(ends[i]))
        text = context[span.start:span.end]
        if text.strip():
            best.setdefault(text, span)
        if len(best) == N_BEST:
            break
    return list(best.values())


def word_windows(lengths: Sequence[int], room: int) -> Iterator[tuple[int, int, range]]:
    """The words [first, last) of each window, and the range of those it answers for, where words
    have so many pieces and a window has room for so many."""
    ends = np.cumsum(lengths, dtype=np.int64)                                           # [W]
    starts = ends - lengths
    spans, first, last = [], 0, 0
    while last < len(lengths):
        last = int(np.searchsorted(ends, starts[first] + room, "right"))
        spans.append((first, last))
        if last < len(lengths):
            back = max(ends[last - 1] - int(OVERLAP * room), ends[last] - room)
            first = int(np.searchsorted(starts, back))
    around, owner = np.full(len(lengths), -1), np.zeros(len(lengths), np.int64)
    for number, (first, last) in enumerate(spans):
        inside = slice(first, last)
        context = np.minimum(starts[inside] - starts[first], ends[last - 1] - ends[inside])
        better = context > around[inside]
        owner[inside][better], around[inside][better] = number, context[better]
    for number, (first, last) in enumerate(spans):
        mine = np.flatnonzero(owner == number)
        if len(mine):
            yield first, last, range(mine[0], mine[-1] + 1)
