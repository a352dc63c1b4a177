"""Exercises of notebook 04: factorized embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .exercise import backward, number

Array = np.ndarray


# --- forward passes: ids come last, they have no gradient


def lookup(W: Array, ids: Array) -> Array:
    return W[ids]                                                       # [..., E]


def factorized(W: Array, M: Array, b: Array, ids: Array) -> Array:
    return W[ids] @ M + b                                               # [B, T, H]


def three_tables(words: Array, positions: Array, types: Array, ids: Array, type_ids: Array,
                 ) -> Array:
    return words[ids] + positions[:ids.shape[1]] + types[type_ids]      # [B, T, E]


def tied(W: Array, A: Array, ids: Array) -> Array:
    return np.tanh(W[ids] @ A) @ W.T                                    # [n, V]


# --- what they are tried on: ids that repeat, and words that do not occur


def lookups(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((6, 3)), np.array([[1, 4, 1, 2], [4, 4, 0, 1]])
    yield rng.standard_normal((3, 2)), np.array([2, 2, 2])


def maps(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((6, 2)), rng.standard_normal((2, 5)), rng.standard_normal(5),
           np.array([[1, 4, 1, 2], [4, 4, 0, 1]]))


def sequences(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((6, 3)), rng.standard_normal((5, 3)), rng.standard_normal((2, 3)),
           np.array([[1, 4, 1, 2], [4, 4, 0, 1]]), np.array([[0, 0, 1, 1], [0, 1, 1, 1]]))


def ties(rng: np.random.Generator) -> Iterator[tuple]:
    yield (0.5 * rng.standard_normal((6, 3)), rng.standard_normal((3, 3)),
           np.array([1, 4, 1, 2]))


# --- backward passes, some of them wrong


def added(W: Array, ids: Array, dy: Array, mean: bool = False) -> Array:
    dW = np.zeros_like(W)
    np.add.at(dW, ids, dy)
    if mean:
        dW /= np.maximum(np.bincount(ids.reshape(-1), minlength=len(dW)), 1)[:, None]
    return dW


def overwritten(dy: Array, W: Array, ids: Array) -> Array:
    dW = np.zeros_like(W)
    dW[ids] = dy
    return dW


def row_by_row(dy: Array, W: Array, ids: Array) -> Array:
    dW = np.zeros_like(W)
    for t, v in enumerate(ids):                         # of ids [B, T], v is a whole sequence
        dW[v] += dy[t]
    return dW


def through_the_map(dy: Array, W: Array, M: Array, b: Array, ids: Array) -> tuple:
    x, dy_rows = W[ids].reshape(-1, W.shape[1]), dy.reshape(-1, dy.shape[-1])
    return added(W, ids, dy @ M.T), x.T @ dy_rows, dy_rows.sum(0)


def of_three_tables(dy: Array, words: Array, positions: Array, types: Array, ids: Array,
                    type_ids: Array, sequences: slice = slice(None)) -> tuple:
    d_positions = np.zeros_like(positions)
    d_positions[:ids.shape[1]] = dy[sequences].sum(0)
    return added(words, ids, dy), d_positions, added(types, type_ids, dy)


def of_the_tied(dy: Array, W: Array, A: Array, ids: Array, lookup: bool = True,
                decoder: bool = True, bend: bool = True,
                scatter: Callable[..., Array] = added) -> tuple:
    x = W[ids]
    h = np.tanh(x @ A)
    du = dy @ W * (1 - h * h if bend else 1)
    return lookup * scatter(W, ids, du @ A.T) + decoder * dy.T @ h, x.T @ du


def buffered(W: Array, ids: Array, dy: Array) -> Array:
    return overwritten(dy, W, ids)


EXERCISES = [
    backward("embedding_backward", lookup, lookups, constants=1, mistakes={
        "a row that was looked up twice has only its last gradient, also with +=: use np.add.at":
            overwritten,
        "the uses of a row are averaged; they add up, as every gradient does":
            lambda dy, W, ids: added(W, ids, dy, mean=True),
        "the loop goes over the first axis only: of ids [B, T] each step is a whole sequence, and "
        "+= keeps one gradient of each id in it": row_by_row,
    }),
    number("factorized_parameters", 30000 * 128 + 128 * 4096, mistakes={
        "that is the unfactorized table, V * H": 30000 * 4096,
        "that is the table alone; the map from E to H has E * H more": 30000 * 128,
        "that counts the map's bias, too; the question is about V * E + E * H":
            30000 * 128 + 128 * 4096 + 4096,
        "that is ALBERT-base, H = 768": 30000 * 128 + 128 * 768,
    }),
    number("break_even_size", 748, mistakes={
        "at E = 749 the two factors already have more numbers than V * H": 749,
        "that is where both have the same size; E is a whole number": 30000 * 768 / 30768,
        "E is smaller than H, but the map costs something too: solve V E + E H < V H for E": 767,
        "at E = H the table is as large as before, and the map comes on top": 768,
    }),
    backward("factorized_backward", factorized, maps, constants=1, mistakes={
        "a row of W that was looked up twice has only one of its gradients: np.add.at":
            lambda dy, W, M, b, ids: (overwritten(dy @ M.T, W, ids),
                                      *through_the_map(dy, W, M, b, ids)[1:]),
        "the gradient of M has the right shape only by accident: it is xᵀ dy with x = W[ids]":
            lambda dy, W, M, b, ids: (through_the_map(dy, W, M, b, ids)[0], np.tensordot(
                dy @ M.T, dy, ((0, 1), (0, 1))), dy.sum((0, 1))),
        "the sequences' gradients of M and b are averaged; they add up":
            lambda dy, W, M, b, ids: (through_the_map(dy, W, M, b, ids)[0], *(
                gradient / len(ids) for gradient in through_the_map(dy, W, M, b, ids)[1:])),
    }),
    backward("three_tables_backward", three_tables, sequences, constants=2, mistakes={
        "a position is used once by every sequence, so its gradient is a sum over them, no mean":
            lambda dy, w, p, t, ids, types: (
                of_three_tables(dy, w, p, t, ids, types)[0],
                of_three_tables(dy, w, p, t, ids, types)[1] / len(ids), added(t, types, dy)),
        "that is one sequence's share of the positions; all sequences use the same rows, so sum":
            lambda dy, w, p, t, ids, types: of_three_tables(dy, w, p, t, ids, types, slice(1)),
        "the type table's rows are used by many tokens each, and all of them add up: np.add.at":
            lambda dy, w, p, t, ids, types: (
                *of_three_tables(dy, w, p, t, ids, types)[:2], overwritten(dy, t, types)),
        "the word table's rows are used repeatedly, and all their gradients add up: np.add.at":
            lambda dy, w, p, t, ids, types: (
                overwritten(dy, w, ids), *of_three_tables(dy, w, p, t, ids, types)[1:]),
    }),
    backward("tied_backward", tied, ties, constants=1, mistakes={
        "the decoder's share of dW is missing: W is used a second time, as W.T":
            lambda dy, W, A, ids: of_the_tied(dy, W, A, ids, decoder=False),
        "the lookup's share of dW is missing: W is used a first time, as W[ids]":
            lambda dy, W, A, ids: of_the_tied(dy, W, A, ids, lookup=False),
        "the slope of tanh, 1 - h², is missing": lambda dy, W, A, ids: of_the_tied(
            dy, W, A, ids, bend=False),
        "the lookup's share loses the gradients of a repeated id: np.add.at(dW, ids, dx)":
            lambda dy, W, A, ids: of_the_tied(dy, W, A, ids, scatter=buffered),
    }),
]
