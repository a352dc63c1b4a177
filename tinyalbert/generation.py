"""Text token by token, from a model that says how likely each token is to come next.

One loop does three searches. Between two calls of the model it keeps a few sequences for each
source and chooses among all their continuations by one more token, finished sequences with them:

    greedy     one sequence, and the likeliest token
    sampling   one sequence, and a token drawn as likely as the model says
    beams      the K sequences of the largest  Σ log p / length^length_penalty

What the model is does not matter here; seq2seq.py has one. Options have Hugging Face's names and
meanings. In two points the search is simpler than theirs: log p is taken after the logits were
changed (suppressed tokens have no share in it), and a finished sequence holds its place among the K
as long as no K others are better, instead of being put aside. The search ends when all K are
finished. Left out: beams that sample, groups of beams, streaming.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .errors import InputError

# (tokens [R, n] written so far, parents [R]: which row of the last call each one continues, of the
# same source) -> logits [R, V] of the next token. In the first call n is 0, and the rows are the B
# sources; then they are R/B for each source, one source after the other.
NextLogits: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
SMALLEST = {"max_new_tokens": 1, "min_new_tokens": 0, "num_beams": 1, "top_k": 0,
            "no_repeat_ngram_size": 0, "seed": 0}


@dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How to write.

    max_new_tokens, min_new_tokens: limits of the length, with the end-of-sequence token.
    num_beams: sequences kept for each source; 1 is greedy. length_penalty: what a sequence's score
        is divided by is its length to this power: 0 prefers short ones, above 1 long ones.
    do_sample: draw from softmax(logits / temperature), of the top_k likeliest tokens (0: of all),
        of the fewest tokens that hold the share top_p. seed: of the drawing.
    repetition_penalty: above 1, tokens that were written before become less likely (Keskar et al.
        2019): their logits are divided by it, or multiplied if negative.
    no_repeat_ngram_size: no n tokens in a row are written twice (0: they may be).
    eos_token_id: ends a sequence. pad_token_id: fills up what follows, and is never written.
    suppress_tokens: never written; `tokenizer.all_special_ids` will do, eos_token_id excepted.

    Raises InputError for a value that means nothing.
    """

    eos_token_id: int
    pad_token_id: int
    suppress_tokens: Sequence[int] = ()
    max_new_tokens: int = 64
    min_new_tokens: int = 0
    num_beams: int = 1
    length_penalty: float = 1.0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, smallest in SMALLEST.items():
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < smallest:
                raise InputError(f"{name} must be a whole number of at least {smallest}, not "
                                 f"{value!r}")
        for name in ("temperature", "repetition_penalty"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be a number above 0, not {getattr(self, name)!r}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p!r}")
        if not math.isfinite(self.length_penalty):
            raise InputError(f"length_penalty must be a number, not {self.length_penalty!r}")
        if self.min_new_tokens > self.max_new_tokens:
            raise InputError(f"min_new_tokens {self.min_new_tokens} exceeds max_new_tokens "
                             f"{self.max_new_tokens}")
        if self.do_sample and self.num_beams > 1:
            raise InputError("do_sample draws one sequence and num_beams keeps several: "
                             "choose one of them")
        if not self.do_sample and (self.temperature, self.top_k, self.top_p) != (1, 0, 1):
            raise InputError("temperature, top_k and top_p change what is drawn: they need "
                             "do_sample=True")


def search(next_logits: NextLogits, batch: int, config: GenerationConfig) -> np.ndarray:
    """The tokens written for each of B sources, [B, <= max_new_tokens], padded at the end."""
    rng, eos = np.random.default_rng(config.seed), config.eos_token_id
    tokens = np.empty((batch, 0), np.int64)                 # [R, n], from one row a source to K
    totals, parents = np.zeros(batch), np.arange(batch)     # [R] Σ log p; whom each continues
    lengths, done = lengths_of(tokens, eos)
    while tokens.shape[1] < config.max_new_tokens and not done.all():
        logits = next_logits(tokens, parents).astype(np.float64)            # [R, V]
        log_probs = log_softmax(process(logits, tokens, config))
        log_probs[done] = -np.inf               # after the end comes padding, for certain
        log_probs[done, config.pad_token_id] = 0
        sums = totals[:, None] + log_probs                                  # [R, V]
        if config.do_sample:                    # log p + Gumbel noise is largest at token i with
            ranks = log_probs + rng.gumbel(size=log_probs.shape)            # probability p_i
        else:
            ranks = sums / (lengths + ~done)[:, None] ** config.length_penalty
        parents, new = best_continuations(ranks, batch, config.num_beams)
        totals, tokens = sums[parents, new], np.column_stack([tokens[parents], new])
        lengths, done = lengths_of(tokens, eos)
    best = slice(None, None, len(tokens) // batch)          # the first of each source's K
    return tokens[best, :lengths[best].max()]


def lengths_of(tokens: np.ndarray, eos: int) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens each row [R, n] has, the end counted, and whether it has ended."""
    ends = tokens == eos
    return (np.cumsum(ends, 1) - ends == 0).sum(1), ends.any(1)


def best_continuations(ranks: np.ndarray, batch: int,
                       width: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each source's rows and their next tokens, ranks [R, V], the `width` best, the best first.
    Returns the rows [B*K] that are continued and the tokens [B*K] that continue them."""
    by_source = ranks.reshape(batch, -1)                    # [B, R/B*V]
    width = min(width, by_source.shape[1])
    chosen = np.argpartition(-by_source, width - 1, axis=1)[:, :width]
    order = np.argsort(-np.take_along_axis(by_source, chosen, 1), axis=1)
    row, token = np.divmod(np.take_along_axis(chosen, order, 1), ranks.shape[1])      # [B, K]
    first = np.arange(0, len(ranks), len(ranks) // batch)   # of each source's rows
    return (first[:, None] + row).ravel(), token.ravel()


# --- what the options do to logits [R, V], given the tokens [R, n] written so far -----------------


def process(logits: np.ndarray, tokens: np.ndarray, config: GenerationConfig) -> np.ndarray:
    """Every option in Hugging Face's order; a token with the logit -∞ is never written."""
    eos = config.eos_token_id
    logits = penalize_repetition(logits, tokens, config.repetition_penalty)
    logits = forbid_repeated_ngrams(logits, tokens, config.no_repeat_ngram_size)
    never = {config.pad_token_id, *config.suppress_tokens} - {eos}
    logits[:, list(never)] = -np.inf
    if tokens.shape[1] < config.min_new_tokens:
        logits[:, eos] = -np.inf
    logits[np.isneginf(logits).all(1), eos] = 0             # where nothing else may come
    if config.do_sample:
        logits = logits / config.temperature
        logits = keep_top_k(logits, config.top_k)
        logits = keep_top_p(logits, config.top_p)
    return logits


def penalize_repetition(logits: np.ndarray, tokens: np.ndarray, penalty: float) -> np.ndarray:
    if penalty == 1:
        return logits
    written = np.zeros(logits.shape, bool)
    np.put_along_axis(written, tokens, True, axis=1)
    penalized = np.where(logits < 0, logits * penalty, logits / penalty)
    return np.where(written, penalized, logits)


def forbid_repeated_ngrams(logits: np.ndarray, tokens: np.ndarray, size: int) -> np.ndarray:
    """-∞ for a token with which the last `size` tokens would be some that are there already."""
    written = tokens.shape[1]
    if size == 0 or size > written:
        return logits
    ngrams = sliding_window_view(tokens, size, axis=1)                      # [R, n-size+1, size]
    begun = tokens[:, None, written - size + 1:]                            # [R, 1, size-1]
    rows, places = (ngrams[..., :-1] == begun).all(-1).nonzero()
    logits = logits.copy()
    logits[rows, ngrams[rows, places, -1]] = -np.inf
    return logits


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """The k largest (more if they are equal); 0 means all."""
    if k == 0 or k >= logits.shape[1]:
        return logits
    smallest = np.partition(logits, -k, axis=1)[:, -k, None]                # [R, 1]
    return np.where(logits < smallest, -np.inf, logits)


def keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """The fewest tokens that together have the probability p: a token stays if those likelier than
    itself have less. (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration")"""
    if p == 1:
        return logits
    order = np.argsort(-logits, axis=1)
    probs = np.exp(np.take_along_axis(log_softmax(logits), order, 1))
    likelier = np.empty_like(logits)
    np.put_along_axis(likelier, order, np.cumsum(probs, 1) - probs, axis=1)
    return np.where(likelier < p, logits, -np.inf)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
