"""Exercises of notebook 11: fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import functional as F
from .exercise import backward, function

Array = np.ndarray


# --- a label for a text


def pooled_logits(x: Array, Wp: Array, bp: Array, W: Array, b: Array) -> Array:
    """tanh(x_[CLS] Wp + bp) W + b: x [B, T, H], Wp [H, H], W [H, K] -> [B, K]"""
    return np.tanh(x[:, 0] @ Wp + bp) @ W + b


def head_backward(dy: Array, x: Array, Wp: Array, bp: Array, W: Array, b: Array, *,
                  bend: bool = True, every: bool = False) -> tuple[Array, ...]:
    pooled = np.tanh(x[:, 0] @ Wp + bp)                         # [B, H]
    du = dy @ W.T * (1 - pooled**2 if bend else 1)              # [B, H]
    dx = np.zeros_like(x)
    dx[:, slice(None) if every else slice(0, 1)] = (du @ Wp.T)[:, None]
    return dx, x[:, 0].T @ du, du.sum(0), pooled.T @ dy, dy.sum(0)


def texts(rng: np.random.Generator) -> Iterator[tuple]:
    for batch, tokens, hidden, labels in ((3, 4, 5, 2), (1, 2, 3, 4)):
        yield (rng.standard_normal((batch, tokens, hidden)), rng.standard_normal((hidden, hidden)),
               rng.standard_normal(hidden), rng.standard_normal((hidden, labels)),
               rng.standard_normal(labels))


def macro_f1(counts: Array) -> float:
    """counts [K, K]: how many of the row's label were called the column's."""
    right = np.diag(counts)
    both = counts.sum(0) + counts.sum(1)                        # answered so, and being so
    return float(np.mean(2 * right / np.maximum(both, 1)))


def f1_of_all(counts: Array) -> float:
    return float(np.trace(counts) / counts.sum())


def recall(counts: Array) -> float:
    return float(np.mean(np.diag(counts) / counts.sum(1)))


def precision(counts: Array) -> float:
    return float(np.mean(np.diag(counts) / np.maximum(counts.sum(0), 1)))


def unguarded(counts: Array) -> float:
    """From precision and recall, the first of which is 0/0 where a label is nobody's."""
    with np.errstate(invalid="ignore"):
        p, r = (np.diag(counts) / counts.sum(axis) for axis in (0, 1))
        return float(np.mean(2 * p * r / (p + r)))


def tables(rng: np.random.Generator) -> Iterator[tuple]:
    yield (np.array([[8, 2], [5, 5]]),)
    yield (rng.integers(1, 30, (4, 4)),)
    yield (np.array([[3, 1, 0], [2, 4, 0], [1, 0, 0]]),)        # a label that nobody is called


# --- which rate


def relative_rates(groups: int, decay: float) -> Array:
    """Of the embeddings, of each parameter set of the layers from the bottom up, of the head."""
    return decay ** np.arange(groups + 1, -1, -1.0)


# --- an answer in a text


def span_loss(x: Array, W: Array, starts: Array, ends: Array) -> Array:
    """x [B, T, H], W [H, 2]; starts, ends [B]: places of tokens."""
    logits = x @ W                                              # [B, T, 2]
    losses = [F.cross_entropy(logits[..., i], places)[0] for i, places in enumerate((starts, ends))]
    return np.asarray(sum(losses) / 2)


def span_loss_backward(d_loss: Array | float, x: Array, W: Array, starts: Array, ends: Array, *,
                       share: float = 0.5, mean: bool = True,
                       which: tuple = (0, 1)) -> tuple[Array, Array]:
    logits = x @ W
    probs = np.exp(logits - logits.max(1, keepdims=True))
    d_logits = probs / probs.sum(1, keepdims=True)              # [B, T, 2], over the tokens
    rows = np.arange(len(x))
    d_logits[rows, starts, 0] -= 1
    d_logits[rows, ends, 1] -= 1
    d_logits *= d_loss * share / (len(x) if mean else 1)
    d_logits[..., [i for i in (0, 1) if i not in which]] = 0
    return d_logits @ W.T, np.einsum("bth,btk->hk", x, d_logits)


def over_both(d_loss: Array, x: Array, W: Array, starts: Array, ends: Array) -> tuple:
    """The softmax over start and end of a token instead of over the tokens."""
    d_logits = F.softmax(x @ W)
    rows = np.arange(len(x))
    d_logits[rows, starts, 0] -= 1
    d_logits[rows, ends, 1] -= 1
    d_logits *= d_loss / 2 / len(x)
    return d_logits @ W.T, np.einsum("bth,btk->hk", x, d_logits)


def passages(rng: np.random.Generator) -> Iterator[tuple]:
    for batch, tokens, hidden in ((3, 5, 4), (2, 3, 2)):
        yield (rng.standard_normal((batch, tokens, hidden)), rng.standard_normal((hidden, 2)),
               rng.integers(tokens, size=batch), rng.integers(tokens, size=batch))


def best_span(start: Array, end: Array, longest: int, shortest: int = 1) -> tuple[int, int]:
    scores = start[:, None] + end[None, :]                      # [T, T]
    ahead = np.arange(len(end)) - np.arange(len(start))[:, None]
    scores = np.where((ahead >= shortest - 1) & (ahead < longest), scores, -np.inf)
    first, last = np.unravel_index(scores.argmax(), scores.shape)
    return int(first), int(last)


def best_pair(start: Array, end: Array, longest: int) -> tuple[int, int]:
    return int(start.argmax()), int(end.argmax())


def end_after_start(start: Array, end: Array, longest: int) -> tuple[int, int]:
    first = int(start.argmax())
    return first, first + int(end[first:first + longest].argmax())


def scores_of_tokens(rng: np.random.Generator) -> Iterator[tuple]:
    yield np.array([0.0, 1.0, 5.0, 0.0]), np.array([0.0, 6.0, 1.0, 0.0]), 3     # end before start
    yield np.array([4.9, 0.0, 5.0]), np.array([0.0, 3.0, 0.0]), 2               # a better pair
    yield np.array([5.0, 0.0, 3.0]), np.array([0.0, 0.0, 4.0]), 2               # too long by one
    for tokens, longest in ((8, 3), (6, 1), (5, 9)):
        yield rng.standard_normal(tokens), rng.standard_normal(tokens), longest


# --- a text for a text


def who_looks(types: Array) -> Array:
    target = types == 1
    earlier = np.tri(len(types), dtype=bool)
    return ((types == 0)[None, :] | target[:, None] & target[None, :] & earlier).astype(int)


def sources_and_targets(rng: np.random.Generator) -> Iterator[tuple]:
    for source, target in ((3, 2), (1, 4), (4, 1)):
        yield (np.repeat([0, 1], [source, target]),)


EXERCISES = [
    backward("head_backward", pooled_logits, texts, mistakes={
        "only [CLS] was read: every other token's gradient is 0":
            lambda *given: head_backward(*given, every=True),
        "the slope of tanh, 1 - pooled², is missing":
            lambda *given: head_backward(*given, bend=False),
    }),
    function("macro_f1", macro_f1, tables, mistakes={
        "that is the accuracy: F1 is of each label by itself, then their mean": f1_of_all,
        "that is the mean recall; F1 looks at the columns as well": recall,
        "that is the mean precision; F1 looks at the rows as well": precision,
        "that is the F1 of the mean precision and the mean recall; take each label's F1 first":
            lambda counts: 2 / (1 / precision(counts) + 1 / recall(counts)),
        "a label that nobody is called gives 0/0 here; its F1 is 0": unguarded,
    }),
    function("relative_rates", relative_rates,
             lambda rng: iter([(1, 0.8), (12, 0.95), (3, 0.5)]), mistakes={
        "that is from the head down; give it from the embeddings up":
            lambda groups, decay: relative_rates(groups, decay)[::-1],
        "the embeddings lie one below the lowest layer": lambda groups, decay:
            np.concatenate([relative_rates(groups, decay)[1:2], relative_rates(groups, decay)[1:]]),
        "the head is new and has the full rate, 1":
            lambda groups, decay: decay * relative_rates(groups, decay),
    }),
    backward("span_loss_backward", span_loss, passages, constants=2, mistakes={
        "the softmax runs over the tokens, axis 1: which of them is the start? Yours runs over "
        "start and end": over_both,
        "the loss is the mean of two losses: each gets half": lambda *given:
            span_loss_backward(*given, share=1),
        "the loss is a mean over the texts: divide by B": lambda *given:
            span_loss_backward(*given, mean=False),
        "d_loss is missing: the chain rule multiplies by what comes from above":
            lambda d_loss, *given: span_loss_backward(1.0, *given),
        "the end's share is missing": lambda *given: span_loss_backward(*given, which=(0,)),
    }),
    function("best_span", best_span, scores_of_tokens, mistakes={
        "the two are chosen one by one, so the end may stand before the start: choose the pair":
            best_pair,
        "the best start need not be part of the best pair: look at all pairs": end_after_start,
        "`longest` counts tokens: start and end may be at most longest - 1 apart":
            lambda start, end, longest: best_span(start, end, longest + 1),
        "an answer may be a single token": lambda start, end, longest:
            best_span(start, end, max(longest, 2), shortest=2),
    }),
    function("who_looks", who_looks, sources_and_targets, mistakes={
        "rows are those who look, columns those who are looked at; yours is turned round":
            lambda types: who_looks(types).T,
        "the target sees what is still to be written": lambda types:
            np.where(types[:, None] == 1, 1, who_looks(types)),
        "the source must not see the target": lambda types: np.tri(len(types), dtype=int)
            | (types == 0)[None, :] | (types == 0)[:, None],
        "source tokens see the whole source, the later ones as well":
            lambda types: np.tri(len(types), dtype=int),
        "a target token sees itself": lambda types:
            who_looks(types) - np.diag((types == 1).astype(int)),
    }),
]
