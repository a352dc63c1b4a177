"""A gradient is wrong: where, and probably why?

A hypothesis is a small function that looks at one wrong gradient and returns a sentence, or "" if
it does not recognise it. There are two kinds of evidence:

    numbers         ours is a third of what was measured, its transpose, a constant short, ...
    interventions   change one thing (no dropout, gains of 1, one sequence) and check again: if the
                    error is gone, the mistake has to do with what was changed

To teach it another mistake, write the function and add it to HYPOTHESES. A sentence is a suspicion,
not a proof. Sizes that happen to be equal (two sequences, two heads) explain the same factor, so
check a layer with B, T, H and D all different.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..functional import IGNORED
from ..layer import Layer
from .case import CLOSE, Case, close, is_additive_mask, where
from .experiment import Experiment, to_host
from .laws import not_doubled
from .report import Row


def diagnose(e: Experiment, row: Row) -> Row:
    """The row of a wrong gradient, with its whole error, its place and the first guess."""
    ours = e.gradients()[row.name]
    if ours.shape != row.shape:
        return replace(row, cause=f"The shape is wrong: {list(ours.shape)}")
    if not np.isfinite(ours).all():
        return replace(row, cause="Not a number, or infinite")
    case = Case.of(e, row.name, ours)
    return replace(row, error=case.error, where=where(case),
                   cause=next(filter(None, (tried(guess, case) for guess in HYPOTHESES)), ""))


def tried(guess: Callable[[Case], str], case: Case) -> str:
    """A guess may change what goes in to something that the layer cannot take: not that, then."""
    try:
        return guess(case)
    except (IndexError, ValueError):
        return ""


# --- numbers


def overwritten(case: Case) -> str:
    if case.name not in not_doubled(case.experiment):
        return ""
    return ("Overwritten instead of added (`=` for `+=`): of several uses, a shared layer or a "
            "tied table, only one use's gradient is left")


def transposed(case: Case) -> str:
    square = case.ours.ndim == 2 and case.ours.shape[0] == case.ours.shape[1]
    return "Transposed" if square and close(case.ours.T, case.measured) else ""


def constant_factor(case: Case) -> str:
    """Wherever ours is wrong, it is the same multiple of what was measured."""
    ours, measured = case.ours[case.wrong], case.measured[case.wrong]
    ratio = float(ours @ measured / (measured @ measured)) if measured.any() else math.inf
    largest = np.abs(measured).max()
    if not np.isfinite(ratio) or np.abs(ours - ratio * measured).max() > CLOSE * largest:
        return ""
    if abs(ratio) < CLOSE:
        return "Nothing arrives: a path, or a `+=`, is missing"
    flipped, size = ratio < 0, max(abs(ratio), 1 / abs(ratio))
    if math.isclose(size, 1, rel_tol=CLOSE):
        return "The sign is flipped"
    direction, meaning = ("large", 2) if abs(ratio) > 1 else ("small", 3)
    guesses = [f"{factor[0]} ({factor[meaning]})" for factor in factors(case)
               if math.isclose(size, factor[1], rel_tol=CLOSE)]
    return ("The sign is flipped, and it is t" if flipped else "T") + (
        f"oo {direction} by the factor {size:.4g}") + (
        f", perhaps {' or '.join(dict.fromkeys(guesses))}" if guesses else "")


def factors(case: Case) -> Iterator[tuple[str, float, str, str]]:
    """Numbers that get lost: name, value, what it means to be too large or too small by it."""
    summed, averaged = "summed instead of averaged", "averaged instead of summed, or averaged twice"
    shape = case.batch
    if len(shape) >= 2:
        tokens = shape[1] if len(shape) == 2 else shape[-2]
        yield "B, the batch size", shape[0], summed, averaged
        yield "T, the number of tokens", tokens, summed, averaged
        yield "(B·T), the number of all tokens", shape[0] * tokens, summed, averaged
        yield "the width of a row", shape[-1], summed, averaged
    for name, value in case.experiment.arguments.items():
        if "label" in name:
            count = int((to_host(value) != IGNORED).sum())
            yield f"M, the number of {name}", count, summed, averaged
    for size in head_sizes(case.experiment):
        yield ("√D, D the head size", math.sqrt(size), "the scale 1/√D of the scores is left out",
               "the scale 1/√D of the scores is applied twice")
    for p in dropout_probabilities(case.experiment):
        yield ("1/(1-p), p of dropout", 1 / (1 - p), "this scale is applied twice",
               "this scale is left out")
    yield "a plain 2", 2, "added twice", "half of it is missing"


def missing_term(case: Case) -> str:
    """In every row of an input, ours lacks a multiple of something well known."""
    if not case.is_input or np.isnan(case.measured).any() or case.ours.ndim < 2:
        return ""
    x, y, dy = case.tensor, to_host(case.experiment.forward()[0]), to_host(case.experiment.dy)
    one, centred = np.ones_like(x), x - x.mean(-1, keepdims=True)
    known = [
        ([one], "Every row lacks a constant: in a layer norm, the term - mean(g)"),
        ([centred], "Every row lacks a multiple of x̂: in a layer norm, the term - x̂ mean(g x̂)"),
        ([one, centred], "A layer norm's mean and deviation are taken for constants, but every x "
                         "of the row moves them: - mean(g) - x̂ mean(g x̂)"),
        ([y], "Every row lacks a multiple of the output: in a softmax, the term - p Σ p dp"),
        ([case.ours], "Every row is off by a factor of its own: in a layer norm, 1/σ"),
    ]
    if dy.shape == x.shape and close(case.missing, dy):
        return "dy itself is missing: the residual path around the layer"
    return next((sentence for basis, sentence in known
                 if all(b.shape == x.shape for b in basis) and spans(basis, case.missing)), "")


def spans(basis: list[np.ndarray], rows: np.ndarray) -> bool:
    """Whether every row is a combination of the basis' rows; too short a row does not tell."""
    width = rows.shape[-1]
    columns = np.stack([b.reshape(-1, width) for b in basis], -1)           # [rows, H, k]
    rest = [row - c @ np.linalg.lstsq(c, row, rcond=None)[0]
            for row, c in zip(rows.reshape(-1, width), columns, strict=True)]
    return width >= len(basis) + 2 and bool(np.abs(rest).max() <= CLOSE * np.abs(rows).max())


# --- interventions


def dropout_mask(case: Case) -> str:
    def no_dropout(e: Experiment) -> None:
        e.dropout = False
    return ("Right without dropout: backward applies no mask, or the mask of another call"
            ) if case.vanishes(no_dropout) else ""


def gain_outside(case: Case) -> str:
    def unit_gains(e: Experiment) -> None:
        for name, tensor in e.tensors().items():
            if tensor.ndim == 1 and name.endswith("weight"):
                tensor[...] = 1
    return ("Right when every gain γ is 1: γ is left out, or outside the sums. It belongs inside "
            "the two means of a layer norm: g = γ dy") if case.vanishes(unit_gains) else ""


def attention_mask(case: Case) -> str:
    def nothing_masked(e: Experiment) -> None:
        for name, value in e.arguments.items():
            if name == "attention_mask" and value is not None:
                e.arguments[name] = value * 0 + 1
            elif is_additive_mask(value):
                value[...] = 0
    return ("Right when nothing is masked: backward misses the attention mask"
            ) if case.vanishes(nothing_masked) else ""


def batch_size(case: Case) -> str:
    def one_sequence(e: Experiment) -> None:
        for name, value in e.arguments.items():
            weight = not e.layer and name in ("weight", "bias") and not is_additive_mask(value)
            if getattr(value, "shape", ())[:1] == case.batch[:1] and not weight:
                e.arguments[name] = value[:1]
    return ("Right for a batch of one: something is divided by the batch size B, or sequences are "
            "mixed") if case.batch and case.vanishes(one_sequence) else ""


def missing_residual(case: Case) -> str:
    def zero_matrices(e: Experiment) -> None:
        for parameter in e.parameters.values():
            if parameter.data.ndim == 2:
                parameter.data[...] = 0
    if not case.is_input:
        return ""
    row, gradient = case.after(zero_matrices)
    return ("With every matrix 0 nothing comes back: the residual path, around them, is missing"
            ) if not row.ok and not gradient.any() else ""


def bias_sum(case: Case) -> str:
    e, weight = case.experiment, case.name.removesuffix("bias") + "weight"
    if not case.name.endswith("bias") or weight not in e.parameters:
        return ""
    return ("The weight beside it is right, so the right dy arrives: sum it over every axis but "
            "the last") if e.check(weight, e.gradients()[weight]).ok else ""


HYPOTHESES: list[Callable[[Case], str]] = [
    overwritten, transposed, constant_factor, missing_term, dropout_mask, gain_outside,
    attention_mask, batch_size, missing_residual, bias_sum]


# --- what a layer consists of


def sublayers(layer: Layer | None) -> Iterator[Layer]:
    """The layer itself and every one below it."""
    if layer is not None:
        yield layer
        for value in vars(layer).values():
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, Layer):
                    yield from sublayers(child)


def head_sizes(e: Experiment) -> set[int]:
    """D = H / N of every attention, or of a query [B, N, T, D]."""
    sizes = {part.query.weight.data.shape[1] // part.num_heads for part in sublayers(e.layer)
             if hasattr(part, "query") and hasattr(part, "num_heads")}
    return sizes | {value.shape[-1] for name, value in e.arguments.items() if name == "query"}


def dropout_probabilities(e: Experiment) -> set[float]:
    """Every number between 0 and 1 that is called p, or something with `prob`."""
    values = [item for part in sublayers(e.layer) for item in vars(part).items()]
    return {value for name, value in [*values, *e.arguments.items()]
            if (name == "p" or "prob" in name) and isinstance(value, float) and 0 < value < 1}
