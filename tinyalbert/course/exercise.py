"""What an exercise is, and how an answer to one is looked at.

An answer is a function that the reader wrote, or a number. It is tried on inputs that the notebook
does not show, and compared with the package's own version or with measured slopes. Then it is
compared with the usual wrong answers: to be told "the mean is missing a path" teaches more than to
be told "0.31 instead of 0.27".
"""

from __future__ import annotations

import copy
import html
import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np

from ..errors import InputError
from ..gradcheck import check_gradients

Inputs = Callable[[np.random.Generator], Iterator[tuple]]       # the arguments of each trial
Test = Callable[[Any], str]                     # an answer -> what is wrong with it, "" if nothing


class Unsolved(Exception):
    """There is no answer yet."""


@dataclass(frozen=True)
class Verdict:
    """What `check` says. It prints itself, and is true for a right answer."""

    name: str
    ok: bool
    message: str

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return f"{'✓' if self.ok else '✗'} {self.name}: {self.message}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        colour = "#009e73" if self.ok else "#d55e00"
        return (f'<pre style="border-left: 4px solid {colour}; padding-left: 0.8em; '
                f'white-space: pre-wrap">{html.escape(str(self))}</pre>')


@dataclass(frozen=True)
class Exercise:
    """name: what `check` is given. test: see above. praise: what a right answer hears.
    mistakes: the usual wrong answers, each under the sentence that its author should hear."""

    name: str
    test: Test
    praise: str = "right"
    mistakes: dict[str, Any] = field(default_factory=dict)
    same: Callable[[Any, Any], bool] = lambda answer, mistake: False

    def check(self, answer: Any) -> Verdict:
        try:
            problem = self.test(answer)
            if problem:
                problem = next((why for why, mistake in self.mistakes.items()
                                if self.same(answer, mistake)), problem)
        except Unsolved:
            return Verdict(self.name, False, "not solved yet")
        except Exception as error:
            problem = whose_fault(error, answer)
        return Verdict(self.name, not problem, problem or self.praise)


def whose_fault(error: Exception, answer: Any) -> str:
    """The error in one sentence, with the line of the answer that it came from."""
    code = getattr(answer, "__code__", None)
    lines = [frame.lineno - code.co_firstlineno + 1 for frame in
             traceback.extract_tb(error.__traceback__)
             if code and frame.filename == code.co_filename and frame.name == code.co_name
             and frame.lineno]
    line = f" in line {lines[-1]}" if lines else ""
    return f"it stops{line} with {type(error).__name__}: {error}"


# --- kinds of exercises


def function(name: str, reference: Callable[..., Any], inputs: Inputs, *, praise: str = "right",
             mistakes: dict[str, Any] | None = None, tolerance: float = 1e-9) -> Exercise:
    """Write a function that computes what `reference` does."""

    def test(answer: Any) -> str:
        for given in trials(inputs):
            expected, got = reference(*copied(given)), call(answer, given)
            problem = difference(got, expected, tolerance)
            if problem:
                return f"{problem}, for {shapes(reference, given)}"
        return ""

    def same(answer: Any, mistake: Any) -> bool:
        return all(not difference(answer(*copied(given)), mistake(*copied(given)), tolerance)
                   for given in trials(inputs))

    return Exercise(name, test, praise, mistakes or {}, same)


def backward(name: str, forward: Callable[..., Any], inputs: Inputs, *, praise: str = "right: it "
             "agrees with the measured slopes", mistakes: dict[str, Any] | None = None,
             constants: int = 0) -> Exercise:
    """Write the backward pass of y = forward(x, ...): a function of dy and of the same arguments
    that returns the gradient of each, or of all but the last `constants`."""

    def pair(answer: Any) -> tuple[Any, Any]:
        def remember(*args: Any) -> tuple[Any, Any]:
            return forward(*args), args
        remember.__signature__ = inspect.signature(forward)     # type: ignore[attr-defined]
        return remember, lambda dy, args: answer(dy, *args)

    def test(answer: Any) -> str:
        for given in trials(inputs):
            y = np.asarray(forward(*copied(given)))
            gradients = call(answer, (np.ones_like(y), *given))
            problem = wrong_shapes(forward, given, gradients, constants)
            if problem:
                return problem
            report = check_gradients(pair(answer), *given)
            if not report.ok:
                return explain(report)
        return ""

    def same(answer: Any, mistake: Any) -> bool:
        for given in trials(inputs):
            dy = np.random.default_rng(1).standard_normal(np.shape(forward(*copied(given))))
            ours, theirs = (f(dy.copy(), *copied(given)) for f in (answer, mistake))
            if difference(ours, theirs, 1e-9):
                return False
        return True

    return Exercise(name, test, praise, mistakes or {}, same)


def number(name: str, value: float | Callable[[], float], *, praise: str = "right",
           mistakes: dict[str, float] | None = None, tolerance: float = 1e-6) -> Exercise:
    """Give a number."""

    def close(a: Any, b: Any) -> bool:
        return bool(np.isclose(float(a), float(b), rtol=tolerance, atol=0))

    def test(answer: Any) -> str:
        if answer is None or answer is ...:
            raise Unsolved
        expected = value() if callable(value) else value
        return "" if close(answer, expected) else f"{answer:,} is not the number"

    return Exercise(name, test, praise, mistakes or {}, close)


# --- looking at answers


def call(answer: Any, given: tuple) -> Any:
    """The answer's result. Unsolved if there is none; an argument that it changed is an error."""
    if not callable(answer):
        raise TypeError(f"give check a function, not {type(answer).__name__}")
    arguments = copied(given)
    try:
        result = answer(*arguments)
    except NotImplementedError:
        raise Unsolved from None
    if result is None or result is ...:
        raise Unsolved
    if not all(map(equal, given, arguments)):
        raise ValueError("it changes one of its arguments in place: work on a copy")
    return result


def trials(inputs: Inputs) -> Iterator[tuple]:
    return inputs(np.random.default_rng(0))


def copied(given: tuple) -> tuple:
    return tuple(copy.deepcopy(x) if isinstance(x, np.ndarray | list) else x for x in given)


def equal(before: Any, after: Any) -> bool:
    if isinstance(before, list):
        return len(before) == len(after) and all(map(equal, before, after))
    return not isinstance(before, np.ndarray) or np.array_equal(before, after, equal_nan=True)


def difference(got: Any, expected: Any, tolerance: float) -> str:
    """In words; "" if there is none. Of several results, of the first that differs."""
    if isinstance(expected, tuple | list):
        if not isinstance(got, tuple | list | np.ndarray) or len(got) != len(expected):
            return f"it should return {len(expected)} results"
        names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
        return next((f"of its results, the {name}: {problem}" for name, ours, theirs in
                     zip(names, got, expected, strict=False)
                     if (problem := difference(ours, theirs, tolerance))), "")
    if isinstance(expected, str) or not hasattr(expected, "__len__") and not np.isscalar(expected):
        return "" if got == expected else f"{got!r} instead of {expected!r}"
    if isinstance(got, tuple):
        return f"it returns {len(got)} results and should return one"
    ours, theirs = np.asarray(got), np.asarray(expected)
    if ours.shape != theirs.shape:
        return f"the shape is {list(ours.shape)} instead of {list(theirs.shape)}"
    if theirs.dtype.kind not in "fiub":
        return "" if (ours == theirs).all() else f"{got!r} instead of {expected!r}"
    scale = max(float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0)), 1e-300)
    wrong = ~np.isclose(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)
    if not wrong.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    share = f"{int(wrong.sum())} of {wrong.size} numbers differ, "if wrong.size > 1 else ""
    at = f" at {list(place)}" if place else ""
    digits = 4 if f"{ours[place]:.4g}" != f"{theirs[place]:.4g}" else 15
    return f"{share}{ours[place]:.{digits}g} instead of {theirs[place]:.{digits}g}{at}"


def shapes(function: Callable[..., Any], given: tuple) -> str:
    names = inspect.signature(function).parameters
    return ", ".join(f"{name} {list(x.shape)}" if isinstance(x, np.ndarray) else f"{name}={x!r}"
                     for name, x in zip(names, given, strict=False))


def wrong_shapes(forward: Any, given: tuple, gradients: Any, constants: int) -> str:
    names = list(inspect.signature(forward).parameters)[:len(given) - constants]
    results = gradients if isinstance(gradients, tuple | list) else (gradients,)
    if len(results) != len(names):
        return f"it should return {len(names)} gradients, those of {', '.join(names)}"
    for name, x, gradient in zip(names, given, results, strict=False):
        if np.shape(gradient) != np.shape(x):
            return (f"the gradient of {name} has shape {list(np.shape(gradient))}, and {name} has "
                    f"{list(np.shape(x))}: a gradient has the shape of its tensor")
    return ""


def explain(report: Any) -> str:
    """What the gradient check found, without its table."""
    wrong = [row for row in report.rows if not row.ok]
    lines = [f"the gradient of {row.name} is off by {row.error:.1e} of its length"
             + (f", {row.where}" if row.where else "")
             + (f". {row.cause}" if row.cause else "") for row in wrong]
    return "; ".join(lines + [str(law) for law in report.broken_laws])


# --- finding them


@cache
def exercises() -> dict[str, Exercise]:
    """All of them by name, chapter by chapter: every list called EXERCISES in this folder."""
    package = import_module(__package__)
    names = sorted(module.name for module in iter_modules(package.__path__)
                   if module.name.startswith("chapter"))
    return {exercise.name: exercise for name in names
            for exercise in import_module(f".{name}", __package__).EXERCISES}


def check(name: str, answer: Any) -> Verdict:
    """Whether `answer` solves the exercise: a function, or a number. InputError for a name that no
    exercise has."""
    try:
        exercise = exercises()[name]
    except KeyError:
        raise InputError(f"there is no exercise {name!r}; there are "
                         f"{', '.join(exercises())}") from None
    return exercise.check(answer)
