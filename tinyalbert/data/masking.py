"""Which tokens are hidden, and behind what: the masked-language-model task.

Of the tokens chosen, 80 % become [MASK], 10 % a random piece and 10 % stay as they are; all of
them are to be predicted. Three ways to choose:

    ngram        whole-word n-grams, n <= 3, p(n) proportional to 1/n (paper, section 4.1)
    whole_word   whole words
    token        single pieces, whatever words they belong to (BERT's first masking)

Masks are drawn when a batch is made, new in every epoch; nothing is duplicated on disk. Left out:
Google's permutation of tokens (`do_permutation`), which no released model used.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from ..errors import InputError
from ..functional import IGNORED

PAD, CLS, SEP, MASK = 0, 2, 3, 4  # the ids that ALBERT's vocabulary gives them

Strategy = Literal["ngram", "whole_word", "token"]


@dataclass(frozen=True)
class Masking:
    """What is hidden.

    masked_lm_prob: share of a sequence's tokens that is predicted. "token" counts the tokens that
        can be hidden; the others count [CLS] and [SEP] too, as Google does.
    max_predictions_per_seq: an upper limit; Google's 20 is far below 15 % of 512.
    """

    strategy: Strategy = "ngram"
    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int | None = None

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            names = ", ".join(get_args(Strategy))
            raise InputError(f"masking strategy {self.strategy!r} is not one of {names}")
        if not 0 < self.masked_lm_prob < 1:
            raise InputError(f"masked_lm_prob {self.masked_lm_prob} is not between 0 and 1")
        if self.max_predictions_per_seq is not None and self.max_predictions_per_seq < 1:
            raise InputError("max_predictions_per_seq must be at least 1, or None for no limit")

    def budget(self, lengths: np.ndarray) -> np.ndarray:
        """Predictions per sequence: max(1, round(p * length)), ties to even as Python rounds."""
        budget = np.maximum(np.rint(self.masked_lm_prob * lengths).astype(np.int64), 1)
        limit = self.max_predictions_per_seq
        return budget if limit is None else np.minimum(budget, limit)


REFERENCE_MASKING = Masking("token", 0.15)


def mask_tokens(
    input_ids: np.ndarray, word_starts: np.ndarray, rng: np.random.Generator, masking: Masking
) -> tuple[np.ndarray, np.ndarray]:
    """Hide tokens of a batch.

    input_ids [B, T], padded; word_starts [V], the piece begins a word. Returns the ids with the
    chosen tokens replaced, and labels: the original id where it was chosen, -100 elsewhere. Both
    are [B, T], of the type of input_ids. [CLS], [SEP] and padding are never chosen.
    """
    maskable = (input_ids != PAD) & (input_ids != CLS) & (input_ids != SEP)  # [B, T]
    if masking.strategy == "token":
        chosen = _choose_tokens(maskable, masking.budget(maskable.sum(axis=1)), rng)
    else:
        budget = masking.budget((input_ids != PAD).sum(axis=1))
        # A word starts after [CLS] and [SEP] too, where cutting left only the end of one.
        starts = maskable & word_starts[input_ids]  # [B, T]
        starts[:, 1:] |= maskable[:, 1:] & ~maskable[:, :-1]
        starts[:, 0] |= maskable[:, 0]
        max_n = 3 if masking.strategy == "ngram" else 1
        chosen = _choose_words(maskable, starts, budget, max_n, rng)

    fate = rng.random(input_ids.shape, dtype=np.float32)  # [B, T]
    pieces = rng.integers(len(word_starts), size=input_ids.shape)  # special symbols included
    masked = np.where(fate < 0.8, MASK, np.where(fate < 0.9, pieces, input_ids))
    labels = np.where(chosen, input_ids, IGNORED)
    return np.where(chosen, masked, input_ids).astype(input_ids.dtype), labels


def draw_ngram_lengths(
    words_left: np.ndarray, max_n: int, rng: np.random.Generator
) -> np.ndarray:
    """For each word the length of the n-gram that starts there, int64.

    p(n) is proportional to 1/n among the lengths that the words left in the sequence allow:
    6/11, 3/11, 2/11 for three or more.
    """
    cumulative = np.cumsum(1 / np.arange(1, max_n + 1))
    draws = rng.random(len(words_left)) * cumulative[np.minimum(words_left, max_n) - 1]
    return 1 + np.searchsorted(cumulative, draws, side="right")


def _choose_tokens(
    maskable: np.ndarray, budget: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The `budget` maskable positions with the smallest random keys in each row, bool [B, T]."""
    keys = np.where(maskable, rng.random(maskable.shape, dtype=np.float32), 2)
    ranks = np.empty(maskable.shape, dtype=np.int64)
    np.put_along_axis(ranks, keys.argsort(axis=1), np.arange(maskable.shape[1])[None], axis=1)
    return maskable & (ranks < budget[:, None])


def _choose_words(
    maskable: np.ndarray, starts: np.ndarray, budget: np.ndarray, max_n: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Google's create_masked_lm_predictions, for all rows of a batch: bool [B, T].

    From each word of a row, in random order, an n-gram is tried: shortened until it fits the
    budget that is left, and skipped if it does not fit or meets a word that is chosen already.
    """
    word_of = np.cumsum(starts).reshape(starts.shape) - 1  # [B, T], numbered through the batch
    sizes = np.bincount(word_of[maskable]).tolist()  # tokens per word
    words_per_row = starts.sum(axis=1)
    row_ends = np.cumsum(words_per_row)
    row_of = np.repeat(np.arange(len(starts)), words_per_row)
    order = np.argsort(row_of + rng.random(len(row_of))).tolist()  # shuffled within each row
    ngram_lengths = draw_ngram_lengths(
        row_ends[row_of] - np.arange(len(row_of)), max_n, rng
    ).tolist()

    chosen = bytearray(len(sizes) + 1)  # the last one stands for "no word", index -1
    for (low, high), left in zip(pairwise([0, *row_ends]), budget.tolist(), strict=True):
        for word in order[low:high]:
            n = ngram_lengths[word]
            size = sum(sizes[word : word + n])
            while size > left and n:
                n -= 1
                size -= sizes[word + n]
            if n and not any(chosen[word : word + n]):
                chosen[word : word + n] = b"\1" * n
                left -= size
                if not left:
                    break
    return maskable & np.frombuffer(chosen, dtype=bool)[word_of]
