"""Exercises of notebook 07: what to predict."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import functional as F
from ..data.masking import CLS, MASK, SEP
from .exercise import backward, function, number

Array = np.ndarray
IGNORED = F.IGNORED


# --- masks


def ngram_probabilities(max_n: int) -> Array:
    weights = 1 / np.arange(1, max_n + 1)
    return weights / weights.sum()


def corrupt_tokens(ids: Array, chosen: Array, fate: Array, random_ids: Array, *,
                   hidden: float = 0.8, kept: float = 0.9,
                   everywhere: bool = False) -> tuple[Array, Array]:
    changed = np.where(fate < hidden, MASK, np.where(fate < kept, random_ids, ids))
    return (changed if everywhere else np.where(chosen, changed, ids),
            np.where(chosen, ids, IGNORED))


def label_where(asked: str) -> object:
    """The mistakes in the labels: of all tokens, of the changed ones, after the change."""
    def answer(ids: Array, chosen: Array, fate: Array, random_ids: Array) -> tuple[Array, Array]:
        masked, _ = corrupt_tokens(ids, chosen, fate, random_ids)
        labels = {"all": ids, "[MASK]": np.where(masked == MASK, ids, IGNORED),
                  "after": np.where(chosen, masked, IGNORED)}
        return masked, labels[asked]
    return answer


def sequences(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((2, 40), (3, 60)):
        yield (rng.integers(5, 50, shape), rng.random(shape) < 0.5, rng.random(shape),
               rng.integers(5, 50, shape))


# --- the loss


def masked_lm_loss(x: Array, W: Array, b: Array, labels: Array) -> Array:
    """x [T, H], W [V, H], b [V], labels [T]"""
    loss: Array = F.cross_entropy(x @ W.T + b, labels)[0]
    return loss


def masked_lm_loss_backward(d_loss: float, x: Array, W: Array, b: Array, labels: Array, *,
                            share: str = "asked", ignore: bool = True, onehot: bool = True,
                            ) -> tuple[Array, Array, Array]:
    asked = labels != IGNORED if ignore else np.ones(len(labels), bool)
    probs = F.softmax(x[asked] @ W.T + b)                                   # [M, V]
    if onehot:
        probs[np.arange(len(probs)), labels[asked]] -= 1
    d_logits = d_loss * probs / {"asked": len(probs), "all": len(x), "none": 1}[share]
    dx = np.zeros_like(x)
    dx[asked] = d_logits @ W
    return dx, d_logits.T @ x[asked], d_logits.sum(0)


def predictions(rng: np.random.Generator) -> Iterator[tuple]:
    for tokens, hidden, size, asked in ((6, 4, 120, 2), (5, 3, 101, 4), (4, 3, 110, 1)):
        labels = np.full(tokens, IGNORED)
        labels[rng.permutation(tokens)[:asked]] = rng.integers(size, size=asked)
        yield (rng.standard_normal((tokens, hidden)), rng.standard_normal((size, hidden)),
               rng.standard_normal(size), labels)


# --- pairs


def order_instance(first: list[int], second: list[int], swapped: bool, *, turned: bool = False,
                   last: bool = True, sep_type: int = 0) -> tuple[Array, Array, int]:
    a, b = (second, first) if swapped else (first, second)
    ids = [CLS, *a, SEP, *b] + [SEP] * last
    types = [0] * (1 + len(a)) + [sep_type] + [1] * (len(b) + last)
    return np.array(ids), np.array(types), int(swapped) ^ turned


def segments(rng: np.random.Generator) -> Iterator[tuple]:
    for swapped in (False, True):
        yield rng.integers(5, 99, 4).tolist(), rng.integers(5, 99, 6).tolist(), swapped


def bag_cosine(a: Array, b: Array, vocab_size: int) -> float:
    counts_a, counts_b = (np.bincount(ids, minlength=vocab_size) for ids in (a, b))
    return float(counts_a @ counts_b / np.linalg.norm(counts_a) / np.linalg.norm(counts_b))


def shared_pieces(a: Array, b: Array, vocab_size: int) -> float:
    return len(np.intersect1d(a, b)) / np.sqrt(len(np.unique(a)) * len(np.unique(b)))


def bags(rng: np.random.Generator) -> Iterator[tuple]:
    for sizes in ((5, 9), (30, 12)):
        yield (*(rng.integers(8, size=size) for size in sizes), 12)


EXERCISES = [
    function("ngram_probabilities", ngram_probabilities, lambda rng: iter([(3,), (1,), (5,)]),
             mistakes={
        "these do not add up to 1: divide by their sum": lambda n: 1 / np.arange(1, n + 1),
        "these are all alike; short n-grams are to be drawn more often, p(n) ∝ 1/n":
            lambda n: np.full(n, 1 / n),
        "these favour long n-grams: p(n) ∝ 1/n, not ∝ n":
            lambda n: np.arange(1, n + 1) / (n * (n + 1) / 2),
    }),
    number("mean_ngram_length", 18 / 11, tolerance=5e-3, mistakes={
        "that is the mean of 1, 2 and 3, as if all were drawn alike: weigh n by p(n)": 2,
        "that is the sum of the weights 1/n; the mean is Σ n p(n)": 11 / 6,
    }),
    function("corrupt_tokens", corrupt_tokens, sequences, mistakes={
        "tokens that were not chosen are changed, too": lambda *given:
            corrupt_tokens(*given, everywhere=True),
        "the labels ask for every token; they are -100 where none was chosen": label_where("all"),
        "the labels ask only where [MASK] stands: the tokens that became another or stayed are "
        "to be predicted as well": label_where("[MASK]"),
        "the labels hold what stands there now, not what stood there": label_where("after"),
        "fate in [0.8, 0.9) means another piece and [0.9, 1) the old one: you have them the other "
        "way round": lambda ids, chosen, fate, random_ids: corrupt_tokens(
            ids, chosen, np.where(fate < 0.8, fate, np.where(fate < 0.9, 0.95, 0.85)), random_ids),
        "every chosen token is hidden behind [MASK]: one in ten becomes another piece, one in "
        "ten stays": lambda *given: corrupt_tokens(*given, hidden=1),
        "no chosen token stays as it is": lambda *given: corrupt_tokens(*given, kept=1),
    }),
    backward("masked_lm_loss_backward", masked_lm_loss, predictions, constants=1, mistakes={
        "the mean is over the M labels that ask for something, not over all T tokens":
            lambda *given: masked_lm_loss_backward(*given, share="all"),
        "this is the gradient of a sum; the loss is a mean, so divide by M":
            lambda *given: masked_lm_loss_backward(*given, share="none"),
        "d_loss is missing: the chain rule multiplies by what comes from above":
            lambda d_loss, *given: masked_lm_loss_backward(1.0, *given),
        "the label is missing: d_logits is p minus the one-hot label":
            lambda *given: masked_lm_loss_backward(*given, onehot=False),
        "a label of -100 asks for nothing, and you let it ask for piece number V - 100":
            lambda *given: masked_lm_loss_backward(*given, ignore=False),
    }),
    function("order_instance", order_instance, segments, mistakes={
        "label 1 means swapped, 0 as written": lambda *given: order_instance(*given, turned=True),
        "the last [SEP] is missing": lambda *given: order_instance(*given, last=False),
        "the first [SEP] belongs to A: its type is 0":
            lambda *given: order_instance(*given, sep_type=1),
        "nothing is swapped": lambda first, second, swapped:
            (*order_instance(first, second, False)[:2], int(swapped)),
        "the types count the pieces as they were written; after a swap A is the second text":
            lambda first, second, swapped: (order_instance(first, second, swapped)[0],
                order_instance(first, second, False)[1], int(swapped)),
        "the types moved with the text: type 0 is what comes first now, whichever was written "
        "first": lambda first, second, swapped: (
            order_instance(first, second, swapped)[0],
            order_instance(first, second, swapped)[1] ^ swapped, int(swapped)),
    }),
    function("bag_cosine", bag_cosine, bags, mistakes={
        "divide by the lengths of both count vectors, or long segments look alike":
            lambda a, b, size: float(np.bincount(a, minlength=size)
                                     @ np.bincount(b, minlength=size)),
        "you divide by the numbers of pieces; the length of a vector is √Σ c²":
            lambda a, b, size: float(np.bincount(a, minlength=size)
                                     @ np.bincount(b, minlength=size)) / len(a) / len(b),
        "you only look whether a piece occurs; count how often": shared_pieces,
        "that is the distance 1 - cos": lambda *given: 1 - bag_cosine(*given),
    }),
    number("pairs_to_be_sure", 10_000, tolerance=1e-3, mistakes={
        "with so many pairs 51 % is one standard error from 50 %, not two": 2500,
        "that takes the standard error for 1/√n; of a fair coin it is 0.5/√n": 40_000,
    }),
]
