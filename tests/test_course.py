"""The course's exercises: right answers pass, and the usual wrong ones hear what they are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import numpy as np
import pytest

from tinyalbert import InputError
from tinyalbert.course import check, exercises
from tinyalbert.course.exercise import backward, function, number

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
MISTAKES = [(name, why) for name, exercise in exercises().items() for why in exercise.mistakes]


def cells_of(source: Path) -> dict[str, str]:
    """The code of the titled cells."""
    return {cell.metadata["title"]: cell.source for cell in jupytext.read(source).cells
            if cell.cell_type == "code" and "title" in cell.metadata}


@pytest.mark.parametrize(("name", "why"), MISTAKES)
def test_a_usual_mistake_hears_its_own_sentence(name: str, why: str) -> None:
    exercise = exercises()[name]
    verdict = exercise.check(exercise.mistakes[why])
    assert not verdict.ok
    assert verdict.message == why


def test_every_exercise_stands_in_a_notebook_and_has_a_solution() -> None:
    asked = [name for source in SOURCES for name in cells_of(source)]
    assert sorted(asked) == sorted(exercises())
    for source in SOURCES:
        assert set(cells_of(source)) == set(cells_of(NOTEBOOKS / "solutions" / source.name))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_notebook_is_what_its_source_says(source: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(NOTEBOOKS)
    import build
    build.check(source)


# --- the kinds of exercises, with one made for the purpose


def square(x: np.ndarray) -> np.ndarray:
    return x * x


def numbers(rng: np.random.Generator) -> Any:
    yield (rng.standard_normal((2, 3)),)
    yield (rng.standard_normal(4),)


FUNCTION = function("square", square, numbers, mistakes={"it is doubled": lambda x: 2 * x})
BACKWARD = backward("square_backward", square, numbers, mistakes={"dy": lambda dy, x: dy})
NUMBER = number("seven", 7, mistakes={"one too few": 6})


def in_place(x: np.ndarray) -> np.ndarray:
    x *= x
    return x


def stops(x: np.ndarray) -> np.ndarray:
    y = x + 1
    return y @ np.ones(99)


def todo(*args: Any) -> Any:
    raise NotImplementedError


@pytest.mark.parametrize(("exercise", "answer", "message"), [
    (FUNCTION, lambda x: x**2, "right"),
    (FUNCTION, lambda x: 2 * x, "it is doubled"),
    (FUNCTION, lambda x: x**2 + (x > 1) * 0.1, "numbers differ"),
    (FUNCTION, lambda x: (x**2).ravel(), "the shape is [6] instead of [2, 3], for x [2, 3]"),
    (FUNCTION, lambda x: x * np.nan, "6 of 6 numbers differ, nan instead of"),
    (FUNCTION, lambda x: (x**2, x), "it returns 2 results and should return one"),
    (FUNCTION, lambda x: ..., "not solved yet"),
    (FUNCTION, todo, "not solved yet"),
    (FUNCTION, in_place, "it changes one of its arguments in place"),
    (FUNCTION, stops, "it stops in line 3 with ValueError"),
    (FUNCTION, 3, "give check a function, not int"),
    (BACKWARD, lambda dy, x: 2 * x * dy, "right: it agrees with the measured slopes"),
    (BACKWARD, lambda dy, x: dy, "dy"),
    (BACKWARD, lambda dy, x: 6 * x * dy, "the gradient of input x is off by 6.7e-01 of its length"),
    (BACKWARD, lambda dy, x: (dy, x), "it should return 1 gradients, those of x"),
    (BACKWARD, lambda dy, x: dy.sum(), "a gradient has the shape of its tensor"),
    (BACKWARD, lambda dy, x: None, "not solved yet"),
    (NUMBER, 7.0, "right"),
    (NUMBER, 6, "one too few"),
    (NUMBER, 8, "8 is not the number"),
    (NUMBER, ..., "not solved yet"),
    (NUMBER, "x", "ValueError"),
])
def test_what_an_answer_hears(exercise: Any, answer: Any, message: str) -> None:
    verdict = exercise.check(answer)
    assert message in verdict.message
    assert verdict.ok == bool(verdict) == message.startswith("right")
    assert verdict.name in str(verdict) and message.split()[0] in verdict._repr_html_()


def test_a_small_difference_can_be_seen() -> None:
    message = FUNCTION.check(lambda x: x**2 * (1 + 1e-6)).message
    got, expected = re.search(r"([\d.]+) instead of ([\d.]+)", message).groups()
    assert float(got) == pytest.approx(float(expected) * (1 + 1e-6), rel=1e-12) and got != expected


def test_an_unknown_exercise_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match="no exercise 'cube'; there are .*linear_backward"):
        check("cube", square)
