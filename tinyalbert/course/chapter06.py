"""Exercises of notebook 06: the block, and sharing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from .. import functional as F
from .exercise import backward, function, number

Array = np.ndarray
EPS = 1e-12
ATTENTION = 4 * (768 * 768 + 768) + 2 * 768             # ALBERT-base: four matrices, a norm
FEED_FORWARD = 2 * 768 * 3072 + 3072 + 768 + 2 * 768    # two matrices, a norm


# --- forward passes


def residual(x: Array, W: Array) -> Array:
    return x + np.tanh(x @ W)


def feed_forward_block(x: Array, W1: Array, b1: Array, W2: Array, b2: Array, gain: Array,
                       shift: Array) -> Array:
    activated = F.gelu(F.linear(x, W1, b1))[0]
    y: Array = F.layer_norm(x + F.linear(activated, W2, b2), gain, shift, EPS)[0]
    return y


def repeated(x: Array, W: Array, depth: int) -> Array:
    for _ in range(depth):
        x = np.tanh(x @ W)
    return x


def group_of_layer(layers: int, groups: int) -> Array:
    return np.arange(layers) * groups // layers


# --- what they are tried on


def rows(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
    yield rng.standard_normal((2, 5)), 0.5 * rng.standard_normal((5, 5))


def blocks(rng: np.random.Generator) -> Iterator[tuple]:
    yield (rng.standard_normal((4, 3)), rng.standard_normal((3, 6)), rng.standard_normal(6),
           rng.standard_normal((6, 3)), rng.standard_normal(3), rng.standard_normal(3),
           rng.standard_normal(3))


def stacks(rng: np.random.Generator) -> Iterator[tuple]:
    for depth in (3, 1, 5):
        yield rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), depth


# --- backward passes, some of them wrong


def of_the_residual(dy: Array, x: Array, W: Array, through: float = 1.0, around: float = 1.0,
                    slope: Callable[[Array], Array] = lambda u: 1 - np.tanh(u)**2) -> tuple:
    du = dy * slope(x @ W)
    return through * du @ W.T + around * dy, x.T @ du


def of_the_block(dy: Array, x: Array, W1: Array, b1: Array, W2: Array, b2: Array, gain: Array,
                 shift: Array, around: str = "sum", bend: bool = True) -> tuple:
    activated, activation = F.gelu(F.linear(x, W1, b1))
    norm = F.layer_norm(x + F.linear(activated, W2, b2), gain, shift, EPS)[1]
    d_sum, d_gain, d_shift = F.layer_norm_backward(dy, norm)
    d_activated, dW2, db2 = F.linear_backward(d_sum, activated, W2)
    d_wide = F.gelu_backward(d_activated, activation) if bend else d_activated
    dx, dW1, db1 = F.linear_backward(d_wide, x, W1)
    return (dx + {"sum": d_sum, "dy": dy, "nothing": 0}[around], dW1, db1, dW2, db2, d_gain,
            d_shift)


def of_the_stack(dy: Array, x: Array, W: Array, depth: int, keep: str = "all") -> tuple:
    inputs = [x]
    for _ in range(depth):
        inputs.append(np.tanh(inputs[-1] @ W))
    dW, last = np.zeros_like(W), depth - 1
    for i in reversed(range(depth)):
        du = dy * (1 - inputs[depth if keep == "last call" else i + 1]**2)
        if i == {"top": last, "bottom": 0}.get(keep, i):
            dW += inputs[{"last input": last, "last call": last, "x": 0}.get(keep, i)].T @ du
        dy = du @ W.T
    return dy, dW / depth if keep == "mean" else dW


EXERCISES = [
    backward("residual_backward", residual, rows, mistakes={
        "dx lacks the path around: y = x + ... hands dy to x as it is":
            lambda dy, x, W: of_the_residual(dy, x, W, around=0),
        "dx lacks the path through tanh: x also comes to y by x @ W":
            lambda dy, x, W: of_the_residual(dy, x, W, through=0),
        "the two paths add up; they are not averaged":
            lambda dy, x, W: of_the_residual(dy, x, W, 0.5, 0.5),
        "the slope of tanh is missing, 1 - tanh²(xW)":
            lambda dy, x, W: of_the_residual(dy, x, W, slope=np.ones_like),
        "the slope of tanh u is 1 - tanh² u, not 1 - u²":
            lambda dy, x, W: of_the_residual(dy, x, W, slope=lambda u: 1 - u**2),
    }),
    backward("block_backward", feed_forward_block, blocks, mistakes={
        "dx lacks the residual's share": partial(of_the_block, around="nothing"),
        "the residual joins before the norm, so its share is what comes out of the norm's backward "
        "pass, not dy": partial(of_the_block, around="dy"),
        "the GELU's slope is missing between the two maps": partial(of_the_block, bend=False),
    }),
    backward("shared_backward", repeated, stacks, constants=1, mistakes={
        "only the last application's share of dW is left: += instead of =, at each of them":
            partial(of_the_stack, keep="top"),
        "only the first application's share of dW is left: it was overwritten on the way down":
            partial(of_the_stack, keep="bottom"),
        "the applications' shares of dW are averaged; they add up":
            partial(of_the_stack, keep="mean"),
        "every application is given the last one's input; each had its own, so keep them all":
            partial(of_the_stack, keep="last input"),
        "every application is given the last one's input and output; each had its own, so keep "
        "them all": partial(of_the_stack, keep="last call"),
        "every application is given x; only the first one had it as its input":
            partial(of_the_stack, keep="x"),
    }),
    function("group_of_layer", group_of_layer,
             lambda rng: iter([(12, 1), (12, 3), (12, 12), (22, 22), (7, 3), (24, 4)]), mistakes={
        "the layers of a group stand together: 0 0 0 0 1 1 1 1 ..., not 0 1 2 0 1 2 ...":
            lambda layers, groups: np.arange(layers) % groups,
        "rounding puts a layer into the wrong group (22 layers, 22 groups): use whole numbers, //":
            lambda layers, groups: np.array([int(i / layers * groups) for i in range(layers)]),
        "L // G is rounded before it divides, which fails where G does not divide L: multiply "
        "first, i * G // L": lambda layers, groups: np.arange(layers) // (layers // groups),
        "groups are counted from 0": lambda layers, groups: group_of_layer(layers, groups) + 1,
    }),
    number("shared_attention_parameters", ATTENTION + 12 * FEED_FORWARD, mistakes={
        "that is with both halves shared": ATTENTION + FEED_FORWARD,
        "that is with nothing shared": 12 * (ATTENTION + FEED_FORWARD),
        "that is the other way round, with the feed-forward half shared":
            12 * ATTENTION + FEED_FORWARD,
        "that leaves out the biases and the norms": 4 * 768**2 + 12 * 2 * 768 * 3072,
        "that is the whole model, with embeddings and pooler": 63647232,
        "that leaves out the attention half: it is shared, but stored once": 12 * FEED_FORWARD,
        "that leaves out the norms": ATTENTION + 12 * FEED_FORWARD - 13 * 2 * 768,
    }),
    number("recomputing_cost", 4 / 3, tolerance=0.01, mistakes={
        "a backward pass costs about two forward passes: dx and dW for every product": 1.5,
        "a training step is more than its forward pass": 2,
        "that is what is added; by what factor does the whole grow?": 1 / 3,
    }),
]
