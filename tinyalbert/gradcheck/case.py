"""One wrong gradient, measured element by element, and the part of it that is wrong, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .experiment import Experiment, one_hot, sample, to_host
from .report import Row

MEASURED = 400      # elements of a wrong gradient that are measured
STEP = 1e-6         # below the best: a kink near by matters more here than the last digits
CLOSE = 1e-4        # relative to the largest value: far above a slope's error, far below a mistake
AXES = {1: ("element",), 2: ("row", "column"), 3: ("sequence", "token", "feature"),
        4: ("sequence", "head", "token", "feature")}


@dataclass
class Case:
    """What we say, what was measured (NaN where it was not), and the experiment, to ask further."""

    experiment: Experiment
    name: str
    tensor: np.ndarray
    ours: np.ndarray
    measured: np.ndarray

    @classmethod
    def of(cls, e: Experiment, name: str, ours: np.ndarray) -> Case:
        tensor = e.tensors()[name]
        measured = np.full(ours.shape, np.nan)
        for i in sample(ours.size, MEASURED, np.random.default_rng(e.seed)):
            measured.flat[i] = e.slope(tensor, one_hot(ours.shape, i), STEP)
        return cls(e, name, np.array(to_host(tensor)), ours, measured)

    @property
    def missing(self) -> np.ndarray:
        """What would have to be added to ours."""
        return self.measured - self.ours

    @property
    def error(self) -> float:
        """The length of what is missing, relative to the longer of the two gradients."""
        measured = ~np.isnan(self.measured)
        missing, ours, true = (np.linalg.norm(a[measured])
                               for a in (self.missing, self.ours, self.measured))
        return float(missing / max(ours, true))

    @property
    def wrong(self) -> np.ndarray:
        """True where something is missing, beyond a trifle of the largest that is missing."""
        return np.abs(self.missing) > CLOSE * np.nanmax(np.abs(self.missing))

    @property
    def known(self) -> np.ndarray:
        """True where there is a gradient at all, measured or claimed."""
        size = np.maximum(np.abs(self.measured), np.abs(self.ours))
        return size > CLOSE * np.nanmax(size)

    @property
    def is_input(self) -> bool:
        return self.name.startswith("input ")

    @property
    def batch(self) -> tuple[int, ...]:
        """The shape of the first input: [B, T], [B, T, H], [B, N, T, D] or [rows, H]."""
        return getattr(next(iter(self.experiment.arguments.values())), "shape", ())

    def after(self, change: Callable[[Experiment], None]) -> tuple[Row, np.ndarray]:
        """Check this gradient again after a change, which is then undone. Also the new gradient."""
        e = dataclasses.replace(self.experiment, arguments={
            name: value.copy() if hasattr(value, "dtype") else value
            for name, value in self.experiment.arguments.items()})
        kept = {name: parameter.data.copy() for name, parameter in e.parameters.items()}
        try:
            change(e)
            gradient = e.gradients()[self.name]
            return e.check(self.name, gradient), gradient
        finally:
            for name, parameter in e.parameters.items():
                parameter.data[...] = kept[name]

    def vanishes(self, change: Callable[[Experiment], None]) -> bool:
        """Whether the gradient is right, and not merely zero, after a change."""
        row, _ = self.after(change)
        return row.ok and row.where != "zero"


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to a trifle, wherever both are known."""
    return bool(np.nanmax(np.abs(a - b), initial=0) <= CLOSE * np.nanmax(np.abs(b), initial=0))


# --- where


def where(case: Case) -> str:
    """The part of the tensor that is wrong, in words; nothing if all of it is."""
    wrong, known = case.wrong, case.known
    if (known <= wrong).all():
        return ""
    for words, part in parts(case):
        if (wrong <= part).all() and not (known <= part).all():
            return f"only {words}"
    box, axes = known, []
    for axis, word in enumerate(AXES.get(wrong.ndim, ())):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        bad, seen = wrong.any(others), known.any(others)
        box = box & np.expand_dims(bad, others)
        if (bad < seen).any():
            axes.append(f"{word}{'s' if bad.sum() > 1 else ''} {ranges(np.flatnonzero(bad))}")
    if (box <= wrong).all():
        return "only " + ", ".join(axes)
    return f"{wrong.sum()} of {known.sum()} elements"


def parts(case: Case) -> Iterator[tuple[str, np.ndarray]]:
    """Parts of a tensor that have a name, as masks of its shape."""
    arguments, shape = case.experiment.arguments, case.ours.shape
    padding = padded(arguments)
    if padding is not None and len(shape) >= 3 and (shape[0], shape[-2]) == padding.shape:
        tokens = padding.reshape(shape[0], *[1] * (len(shape) - 3), shape[-2], 1)
        yield "padded tokens", np.broadcast_to(tokens, shape)
        yield "tokens that are not padded", np.broadcast_to(~tokens, shape)
    ids = arguments.get("input_ids", arguments.get("ids"))
    if ids is not None and not case.is_input and len(shape) == 2:
        row = np.arange(shape[0])[:, None]
        pad = getattr(getattr(case.experiment.layer, "config", None), "pad_token_id", None)
        yield f"row {pad} (pad_token_id)", np.broadcast_to(row == pad, shape)
        occurs = np.isin(row, to_host(ids))
        yield "rows of ids that occur in the input", np.broadcast_to(occurs, shape)
        yield "rows of ids that do not occur in the input", np.broadcast_to(~occurs, shape)
    if case.is_input and len(arguments) == 1:
        yield "where it is negative", case.tensor < 0
        yield "where it is positive", case.tensor > 0


def padded(arguments: dict[str, Any]) -> np.ndarray | None:
    """[B, T], True where a token is padding, from an attention_mask or an additive mask."""
    for name, value in arguments.items():
        if name == "attention_mask":
            return np.asarray(value) == 0
        if is_additive_mask(value):
            return to_host(value).reshape(len(value), -1) < 0
    return None


def is_additive_mask(value: Any) -> bool:
    """[B, 1, 1, T]: 0 for a token, large and negative for padding."""
    return getattr(value, "ndim", 0) == 4 and value.shape[1:3] == (1, 1)


def ranges(indices: np.ndarray) -> str:
    """[0, 3, 4, 5] as "0, 3..5"."""
    runs = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
    return ", ".join(f"{run[0]}..{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))
                     for run in runs)
