"""Documents to segment pairs: which tokens go into which training instance.

An instance is five numbers, A_START, A_STOP, B_START, B_STOP and LABEL, that point into a shard's
tokens: no text is copied, and an epoch over millions of tokens is planned in under a second.
The procedure is Google's create_pretraining_data.py: sentences are gathered until a target length
is reached, divided into A and B between two of them, and cut to fit.

It departs from Google's in three places, so that sentence order (paper, section 3.1) is about
order and nothing else.

  * A chunk of a single sentence has no order. Google makes it a next-sentence negative: B comes
    from another document. Here the sentence itself is divided, between two words, so that every
    pair is two neighboring pieces of one text (`sop_strict=False` restores Google's choice).
  * The sentence that completes a chunk is longer than average, because long sentences overshoot
    more often. Gathered from front to back, the second segment is the longer one more often than
    not, and length alone gives the order away (55 % right on presidents' messages, 128 tokens).
    Here half of the documents, drawn anew in every pass, are gathered from back to front.
  * A sentence longer than a whole sequence, as in text without punctuation, is divided between
    words into equal pieces that fit. Google keeps only the middle of it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ..errors import InputError
from ..functional import IGNORED
from .shards import Shard

Objective = Literal["sop", "nsp", "none"]
Instance = tuple[int, int, int, int, int]
A_START, A_STOP, B_START, B_STOP, LABEL = range(5)


@dataclass(frozen=True)
class Segments:
    """How documents become segment pairs.

    objective: "sop" (label 0: as written, 1: A and B swapped), "nsp" (0: B follows A, 1: B is from
        another document) or "none" (one segment, B is empty, label -100).
    short_seq_prob: the share of documents gathered to a random, shorter target length.
    """

    max_seq_length: int = 512
    objective: Objective = "sop"
    short_seq_prob: float = 0.1
    sop_strict: bool = True

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            names = ", ".join(get_args(Objective))
            raise InputError(f"objective {self.objective!r} is not one of {names}")
        if self.max_seq_length < 8:
            raise InputError(f"max_seq_length {self.max_seq_length} is too short: at least 8")
        if not 0 <= self.short_seq_prob <= 1:
            raise InputError(f"short_seq_prob {self.short_seq_prob} is not between 0 and 1")

    @property
    def max_num_tokens(self) -> int:
        """What is left of a sequence beside [CLS] and one [SEP] per segment."""
        return self.max_seq_length - (2 if self.objective == "none" else 3)


def plan_instances(
    shard: Shard, word_starts: np.ndarray, rng: np.random.Generator, segments: Segments
) -> np.ndarray:
    """The instances of one pass over the documents of a shard, in order, int64 [instances, 5].

    word_starts: bool [V], the piece begins a word.
    """
    planned: list[Instance] = []
    for position in range(len(shard.documents)):
        planned += _plan_document(shard, position, word_starts, rng, segments)
    instances = np.array(planned, dtype=np.int64).reshape(-1, 5)
    return truncate(instances, segments.max_num_tokens, rng)


def _plan_document(
    shard: Shard, position: int, word_starts: np.ndarray, rng: np.random.Generator,
    segments: Segments,
) -> Iterator[Instance]:
    bounds = _sentence_bounds(shard, position, word_starts, segments.max_num_tokens)
    target = segments.max_num_tokens
    if rng.random() < segments.short_seq_prob:
        target = int(rng.integers(2, target, endpoint=True))
    sop, nsp = segments.objective == "sop", segments.objective == "nsp"
    backward = sop and rng.random() < 0.5
    low, high = 0, len(bounds) - 1  # the sentences [low, high) have not been used yet
    while low < high:
        if backward:
            stop = high
            first = high = max(bisect_right(bounds, bounds[stop] - target) - 1, low)
        else:
            first = low
            stop = low = min(bisect_left(bounds, bounds[first] + target), high)
        start, end = bounds[first], bounds[stop]
        if not (sop or nsp):
            yield start, end, end, end, IGNORED
            continue

        single = stop - first == 1
        division = stop if single else int(rng.integers(first + 1, stop))
        middle = bounds[division]
        if single and segments.sop_strict:
            words = start + 1 + np.flatnonzero(word_starts[shard.tokens[start + 1 : end]])
            if not len(words):  # one word has no order either
                continue
            middle = int(words[rng.integers(len(words))])

        if middle == end or (nsp and rng.random() < 0.5):
            yield start, middle, *_random_text(shard, position, target - (middle - start), rng), 1
            if nsp:
                low = division  # the sentences that B would have been are not used yet
        elif sop and rng.random() < 0.5:
            yield middle, end, start, middle, 1
        else:
            yield start, middle, middle, end, 0


def _random_text(
    shard: Shard, position: int, length: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Sentences from a random place in another document (the same one, if there is no other)."""
    others = len(shard.documents) - 1
    other = position
    if others:
        other = int(rng.integers(others))
        other += other >= position
    bounds = shard.sentence_bounds(shard.documents[other])
    first = int(rng.integers(len(bounds) - 1))
    stop = max(int(np.searchsorted(bounds, bounds[first] + length)), first + 1)
    return int(bounds[first]), int(bounds[min(stop, len(bounds) - 1)])


def _sentence_bounds(
    shard: Shard, position: int, word_starts: np.ndarray, max_num_tokens: int
) -> list[int]:
    """Where the sentences of a document begin, and its end; too long ones are divided."""
    bounds = shard.sentence_bounds(shard.documents[position])
    lengths = np.diff(bounds)
    if lengths.max() > max_num_tokens:
        pieces = -(-lengths // max_num_tokens)  # rounded up
        of = np.repeat(np.arange(len(lengths)), pieces)  # the sentence of each piece
        rank = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        cuts = bounds[:-1][of] + rank * lengths[of] // pieces[of]
        words = bounds[0] + np.flatnonzero(word_starts[shard.tokens[bounds[0] : bounds[-1]]])
        allowed = np.union1d(words, bounds[:-1])
        cuts = allowed[np.searchsorted(allowed, cuts, side="right") - 1]  # back to a word's start
        bounds = np.append(np.unique(cuts), bounds[-1])
    return bounds.tolist()


def truncate(
    instances: np.ndarray, max_num_tokens: int, rng: np.random.Generator
) -> np.ndarray:
    """Cut pairs to max_num_tokens.

    The rule is: take a token from the longer segment (from B if they are equal), from its front
    or back with probability 1/2 each, until the pair fits. How many tokens each segment loses
    follows from the lengths; how many of them at the front is binomial.
    """
    length_a = instances[:, A_STOP] - instances[:, A_START]
    length_b = instances[:, B_STOP] - instances[:, B_START]
    excess = np.maximum(length_a + length_b - max_num_tokens, 0)
    until_equal = np.minimum(excess, abs(length_a - length_b))
    rest = excess - until_equal  # alternates, B first
    drop_a = np.where(length_a > length_b, until_equal, 0) + rest // 2
    drop_b = np.where(length_b > length_a, until_equal, 0) + rest - rest // 2
    front_a, front_b = rng.binomial(drop_a, 0.5), rng.binomial(drop_b, 0.5)
    none = np.zeros_like(drop_a)
    return instances + np.stack(
        [front_a, front_a - drop_a, front_b, front_b - drop_b, none], axis=1
    )
