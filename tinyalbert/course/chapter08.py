"""Exercises of notebook 08: optimizers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .exercise import function, number

Array = np.ndarray


# --- right, and some of them wrong


def adamw_step(theta: Array, g: Array, m: Array, v: Array, lr: float, decay: float, *,
               into: str = "step", root: str = "outside", late: bool = False,
               enters: tuple[float, float] = (0.1, 0.001)) -> tuple:
    if into == "gradient":
        g = g + decay * theta
    old_m = m
    m, v = 0.9 * m + enters[0] * g, 0.999 * v + enters[1] * g * g
    used = old_m if late else m
    u = used / (np.sqrt(v) + 1e-6) if root == "outside" else used / np.sqrt(v + 1e-6)
    if into == "step":
        u = u + decay * theta
    new = theta - lr * u
    if into == "weights":
        new = new - decay * theta
    return (new - lr * decay * new if into == "result" else new), m, v


def clip(gradients: list[Array], max_norm: float) -> list[Array]:
    length = np.sqrt(sum((g * g).sum() for g in gradients))
    return [g * min(1, max_norm / length) for g in gradients]


def lamb_step(theta: Array, u: Array, lr: float) -> Array:
    a, b = np.linalg.norm(theta), np.linalg.norm(u)
    moved: Array = theta - lr * (a / b if a > 0 and b > 0 else 1) * u
    return moved


def half_guarded(theta: Array, u: Array, lr: float, *guarded: str) -> Array:
    a, b = np.linalg.norm(theta), np.linalg.norm(u)
    one = a == 0 and "theta" in guarded or b == 0 and "u" in guarded
    with np.errstate(invalid="ignore", divide="ignore"):
        moved: Array = theta - lr * (1 if one else a / b) * u
    return moved


def bias_corrected(theta: Array, g: Array, m: Array, v: Array, lr: float, decay: float) -> tuple:
    _, m, v = adamw_step(theta, g, m, v, lr, decay)
    return theta - lr * (m / 0.1 / (np.sqrt(v / 0.001) + 1e-6) + decay * theta), m, v


def each_element(theta: Array, u: Array, lr: float) -> Array:
    size = np.where((theta != 0) & (u != 0), np.abs(theta) / np.where(u != 0, np.abs(u), 1), 1)
    moved: Array = theta - lr * size * u
    return moved


def inverted(theta: Array, u: Array, lr: float) -> Array:
    a, b = np.linalg.norm(theta), np.linalg.norm(u)
    moved: Array = theta - lr * (b / a if a > 0 and b > 0 else 1) * u
    return moved


# --- what they are tried on


def steps(rng: np.random.Generator) -> Iterator[tuple]:
    for shape in ((3, 4), (5,)):
        theta, g, m = (rng.standard_normal(shape) for _ in range(3))
        yield theta, g, m, rng.random(shape), 0.01, 0.1
        yield theta, 1e-4 * g, 0 * m, 0 * m, 0.01, 0.0


def gradients(rng: np.random.Generator) -> Iterator[tuple]:
    made = [scale * rng.standard_normal(shape) for scale, shape in
            ((3, (2, 3)), (0.1, (4,)), (1, (2, 2)))]
    for max_norm in (1.0, 2.5, 100.0):
        yield [g.copy() for g in made], max_norm


def tensors(rng: np.random.Generator) -> Iterator[tuple]:
    yield rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), 0.1
    yield np.zeros(3), rng.standard_normal(3), 0.1
    yield rng.standard_normal(3), np.zeros(3), 0.1


EXERCISES = [
    number("largest_stable_rate", 0.08, mistakes={
        "that is 1/25, where one step lands exactly at the bottom; beyond it the path only begins "
        "to swing": 0.04,
        "that is for the flat direction; the steepest one decides": 2.0,
    }),
    number("m_after_three_steps", 0.271, tolerance=1e-3, mistakes={
        "that is what is left of the 0 that it began with": 0.729,
        "the weights 0.1, 0.1, 0.1 are not all: what is in m shrinks by 0.9 in each step": 0.3,
    }),
    function("adamw_step", adamw_step, steps, mistakes={
        "decay is added to the gradient here, so Adam divides it by √v as well; add it to the step":
            lambda *a: adamw_step(*a, into="gradient"),
        "decay is a part of the step, and the step is multiplied by lr":
            lambda *a: adamw_step(*a, into="weights"),
        "the decay is of θ as it was before the step": lambda *a: adamw_step(*a, into="result"),
        "that is Adam's bias correction; Google's code uses m and v as they are": bias_corrected,
        "m and v are averages: what is new enters with the weights 0.1 and 0.001":
            lambda *a: adamw_step(*a, enters=(1, 1)),
        "ε belongs outside the root: √v + ε, not √(v + ε)":
            lambda *a: adamw_step(*a, root="inside"),
        "the step must use the new m, with this step's gradient in it":
            lambda *a: adamw_step(*a, late=True),
    }),
    function("clip_gradients", clip, gradients, mistakes={
        "every tensor is clipped by itself here; one length for all keeps the direction":
            lambda gs, most: [g * min(1, most / np.linalg.norm(g)) for g in gs],
        "every element is clipped here, which turns the gradient":
            lambda gs, most: [np.clip(g, -most, most) for g in gs],
        "a gradient that is short enough stays as it is; this one makes it longer":
            lambda gs, most: [g * most / np.sqrt(sum((h * h).sum() for h in gs)) for g in gs],
        "that is the square of the length: take the root":
            lambda gs, most: [g * min(1, most / sum((h * h).sum() for h in gs)) for g in gs],
        "the length of all is √(Σ ‖g‖²), not the sum of their lengths":
            lambda gs, most: [g * min(1, most / sum(np.linalg.norm(h) for h in gs)) for g in gs],
    }),
    function("lamb_step", lamb_step, tensors, mistakes={
        "a length may be 0: a θ of zeros would stay so for ever, a u of zeros divides by 0; take 1":
            half_guarded,
        "where θ is all zeros its ratio would be 0, and it would stay so for ever: take 1":
            lambda *a: half_guarded(*a, "u"),
        "where u is all zeros you divide by 0: take 1 there, too":
            lambda *a: half_guarded(*a, "theta"),
        "the ratio is one number for the whole tensor, not one for each element": each_element,
        "the ratio is upside down: ‖θ‖/‖u‖, so that the step becomes as long as lr ‖θ‖": inverted,
    }),
    number("rate_after_warmup", 0.00176 * (1 - 3125 / 125000), tolerance=1e-4, mistakes={
        "the decay counts from step 0 and not from the end of the warmup, so it is below the peak":
            0.00176,
    }),
]
