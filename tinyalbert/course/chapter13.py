"""Exercises of notebook 13: from BERT to ALBERT."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .exercise import backward, function

Array = np.ndarray
BLOCK = "albert.encoder.albert_layer_groups.0.albert_layers.0."
RENAMED = [("attention.query", "attention.self.query"), ("attention.key", "attention.self.key"),
           ("attention.value", "attention.self.value"),
           ("attention.dense", "attention.output.dense"),
           ("attention.LayerNorm", "attention.output.LayerNorm"),
           ("ffn_output", "output.dense"), ("ffn.", "intermediate.dense."),
           ("full_layer_layer_norm", "output.LayerNorm")]


# --- names


def bert_name(name: str, layer: int) -> str:
    name = name.removeprefix(BLOCK)
    for ours, theirs in RENAMED:
        if name.startswith(ours):
            name = name.replace(ours, theirs, 1)
            break
    return f"bert.encoder.layer.{layer}.{name}"


def block_names(rng: np.random.Generator) -> Iterator[tuple]:
    for layer, (name, _) in enumerate(RENAMED):
        yield f"{BLOCK}{name.rstrip('.')}.weight", layer
        yield f"{BLOCK}{name.rstrip('.')}.bias", 11


# --- parameters


def parameters(vocab: int, size: int, hidden: int, layers: int, groups: int, *,
               with_map: bool = True, applied: bool = False, wide: bool = False,
               biases: bool = True, norms: bool = True) -> int:
    block = 12 * hidden * hidden + biases * 9 * hidden + norms * 4 * hidden
    table = vocab * (hidden if wide else size)
    step = size * hidden + hidden if with_map and size != hidden else 0
    return table + step + (layers if applied else groups) * block


def models(rng: np.random.Generator) -> Iterator[tuple]:
    yield 30000, 128, 768, 12, 1
    yield 30000, 768, 768, 12, 12
    yield 1000, 16, 32, 6, 2


# --- a vector for a sentence


def sentence_vectors(hidden: Array, mask: Array, *, padding: bool = False, first: bool = False,
                     unit: bool = True) -> Array:
    weights = np.ones_like(mask) if padding else mask
    mean = (hidden * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)
    vectors: Array = hidden[:, 0] if first else mean
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) if unit else vectors


def padded(rng: np.random.Generator) -> Iterator[tuple]:
    for lengths in ((5, 2, 3), (4,)):
        mask = (np.arange(5) < np.array(lengths)[:, None]).astype(int)
        yield rng.standard_normal((len(lengths), 5, 6)), mask


# --- pairs of segments


def segment_pair(first: str, second: str, stranger: str, task: str,
                 positive: bool) -> tuple[str, str, int]:
    """(A, B, label)"""
    if positive:
        return first, second, 0
    return (second, first, 1) if task == "sop" else (first, stranger, 1)


def pairs(rng: np.random.Generator) -> Iterator[tuple]:
    for task in ("sop", "nsp"):
        for positive in (True, False):
            yield "He opened the box.", "It was empty.", "Whales are mammals.", task, positive


# --- the two-word encoder


def two_words(x: Array, W: Array, b: Array) -> Array:
    """h_i = tanh([x_i; x_{i+1}] W + b), with 0 after the last. x [T, E], W [2E, H] -> [T, H]"""
    following = np.concatenate([x[1:], np.zeros_like(x[:1])])
    return np.tanh(np.concatenate([x, following], -1) @ W + b)


def two_words_backward(dh: Array, x: Array, W: Array, b: Array, *, own: bool = True,
                       shift: int = 1, bend: bool = True) -> tuple[Array, Array, Array]:
    following = np.concatenate([x[1:], np.zeros_like(x[:1])])
    both = np.concatenate([x, following], -1)                               # [T, 2E]
    du = dh * (1 - two_words(x, W, b)**2) if bend else dh                   # [T, H]
    d_own, d_following = np.split(du @ W.T, 2, -1)
    dx = d_own.copy()
    if own and shift:
        dx[1:] += d_following[:-1]
    elif own:
        dx += d_following
    return dx, both.T @ du, du.sum(0)


def words(rng: np.random.Generator) -> Iterator[tuple]:
    for tokens, size, hidden in ((5, 3, 4), (2, 2, 3)):
        yield (rng.standard_normal((tokens, size)), rng.standard_normal((2 * size, hidden)),
               rng.standard_normal(hidden))


EXERCISES = [
    function("bert_name", bert_name, block_names, mistakes={
        "the block of ALBERT has no number; BERT's is of the layer that was asked for":
            lambda name, layer: bert_name(name, 0),
        "that is the encoder's name without the model's in front: bert.encoder.layer...":
            lambda name, layer: bert_name(name, layer).removeprefix("bert."),
        "`ffn_output` begins with `ffn` too: look for the longer one first, or for `ffn.`":
            lambda name, layer: bert_name(name, layer).replace(
                f"{layer}.output.dense", f"{layer}.intermediate.dense_output"),
    }),
    function("encoder_parameters", parameters, models, mistakes={
        "a parameter is counted once for every group, not for every time it is applied":
            lambda *sizes: parameters(*sizes, applied=True),
        "the map from E to H, with its bias, is missing (there is none where E = H)":
            lambda *sizes: parameters(*sizes, with_map=False),
        "where E = H there is no map": lambda vocab, size, hidden, layers, groups: (
            parameters(vocab, size, hidden, layers, groups)
            + (size == hidden) * (size * hidden + hidden)),
        "the biases in the block are missing: 4 H of attention's maps, F + H behind them":
            lambda *sizes: parameters(*sizes, biases=False),
        "the norms are missing: two in each block, each with a gain and a shift":
            lambda *sizes: parameters(*sizes, norms=False),
        "the word table of ALBERT is V x E; V x H is BERT's":
            lambda *sizes: parameters(*sizes, wide=True),
    }),
    function("sentence_vectors", sentence_vectors, padded, mistakes={
        "the mean runs over padding too: weigh every token by its mask, divide by their number":
            lambda hidden, mask: sentence_vectors(hidden, mask, padding=True),
        "divide every vector by its own length, not all by one": lambda hidden, mask: (
            (mean := sentence_vectors(hidden, mask, unit=False)) / np.linalg.norm(mean)),
        "that is the vector of [CLS]; this model was trained for the mean of all":
            lambda hidden, mask: sentence_vectors(hidden, mask, first=True),
        "the mean is right; divide it by its length, so that a product is a cosine":
            lambda hidden, mask: sentence_vectors(hidden, mask, unit=False),
    }),
    function("segment_pair", segment_pair, pairs, mistakes={
        "the label is the other way round: 0 for a true pair, 1 for a negative one":
            lambda *given: (*segment_pair(*given)[:2], 1 - segment_pair(*given)[2]),
        "sentence order swaps the two segments; a stranger is the negative of next sentence":
            lambda first, second, stranger, task, positive: segment_pair(
                first, second, stranger, "nsp", positive),
        "that swaps for both tasks; the negative of next sentence has a stranger in second place":
            lambda first, second, stranger, task, positive: segment_pair(
                first, second, stranger, "sop", positive),
    }),
    backward("two_words_backward", two_words, words, mistakes={
        "every word is read twice, by its own place and by the one before: add the second share":
            lambda dh, x, W, b: two_words_backward(dh, x, W, b, own=False),
        "what place i read as its neighbour is word i+1: that share belongs one place further on":
            lambda dh, x, W, b: two_words_backward(dh, x, W, b, shift=0),
        "the slope of tanh, 1 - h², is missing":
            lambda dh, x, W, b: two_words_backward(dh, x, W, b, bend=False),
    }),
]
