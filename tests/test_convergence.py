"""What the convergence doctor says, when, and that it says it once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tinyalbert.pretraining.convergence import ConvergenceDoctor, unigram_entropy

ENTROPY = 6.0


@pytest.mark.parametrize("counts, expected", [
    ([5, 5, 5, 5], math.log(4)),
    ([0, 7, 0], 0),
    ([3, 1], -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))),
    ([0, 0], 0),
])
def test_unigram_entropy(counts: list[int], expected: float) -> None:
    assert unigram_entropy(np.array(counts)) == pytest.approx(expected, abs=1e-15)


def train(step: int, loss: float = 6.0, norm: float = 1.0) -> dict[str, Any]:
    return {"kind": "train", "step": step, "masked_lm_loss": loss, "grad_norm": norm}


def held_out(step: int, loss: float = 6.0, **order: float) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "masked_lm_loss": loss, **order}


def order(step: int, accuracy: float, pairs: int) -> dict[str, Any]:
    return held_out(step, sentence_order_accuracy=accuracy, pairs=pairs)


def diagnose(*lines: dict[str, Any]) -> list[tuple[int, str]]:
    """The step and the first words of everything that is said in a training of 100 steps."""
    doctor = ConvergenceDoctor(ENTROPY, 100)
    return [(line["step"], message) for line in lines for message in doctor.examine(line)]


def assert_says(findings: list[tuple[int, str]], *expected: tuple[int, str]) -> None:
    assert [step for step, _ in findings] == [step for step, _ in expected], findings
    for (_, message), (_, part) in zip(findings, expected, strict=True):
        assert part in message


def test_a_plateau_is_worth_a_word_after_a_quarter() -> None:
    assert_says(diagnose(*(train(step, 5.95) for step in range(5, 101, 5))),
                (25, "loss 5.95 is still at the unigram level 6.00"))


def test_leaving_the_plateau() -> None:
    assert_says(diagnose(train(10, 5.9), train(20, 5.8), train(30, 5.7)),
                (20, "loss 5.80 is below the unigram level 6.00"))


def test_leaving_the_plateau_late() -> None:
    assert_says(diagnose(train(30, 6.1), train(60, 5.5), train(90, 5.4)),
                (30, "still at the unigram level"), (60, "begun to use context"))


def test_once_left_it_is_not_a_plateau_again() -> None:
    assert_says(diagnose(train(10, 5.5), train(50, 5.95)), (10, "begun to use context"))


def test_a_jump() -> None:
    assert_says(diagnose(train(5, 8.0), train(10, 6.5), train(15, 7.6), train(20, 9.0)),
                (15, "jumped from 6.50 to 7.60"))


def test_a_rise_below_the_unigram_level_is_no_jump() -> None:
    assert_says(diagnose(train(5, 4.0), train(10, 5.5)), (5, "begun to use context"))


def test_an_explosion() -> None:
    usual = [train(step, norm=norm) for step, norm in enumerate([1, 3, 2, 2, 1])]
    assert_says(diagnose(*usual, train(10, norm=40.0), train(11, norm=40.1), train(12, norm=99.0)),
                (11, "gradient norm rose to 40.1, usually it is 2.00"))


def test_the_first_gradients_are_no_measure() -> None:
    assert diagnose(*(train(step, norm=norm) for step, norm in enumerate([1, 50, 1, 1]))) == []


def test_sentence_order_above_chance() -> None:
    """Two standard errors of 400 tosses of a coin: 5 %."""
    assert_says(diagnose(order(10, 0.55, 400), order(20, 0.551, 400), order(30, 0.6, 400)),
                (20, "right 55% of the time (chance: 50 %, 400 pairs): above chance"))


def test_sentence_order_at_chance_after_half() -> None:
    assert_says(diagnose(order(49, 0.51, 400), order(50, 0.51, 400), order(60, 0.51, 400)),
                (50, "right 51% of the time, which is chance (400 pairs)"))


def test_sentence_order_that_was_learned_is_not_at_chance_later() -> None:
    assert_says(diagnose(order(10, 0.8, 400), order(60, 0.51, 400)), (10, "above chance"))


def test_few_pairs_prove_little() -> None:
    assert diagnose(order(10, 0.9, 4)) == []


def test_no_sentence_task() -> None:
    assert diagnose(held_out(90)) == []


def test_learning_by_heart() -> None:
    assert_says(diagnose(train(5, 4.0), held_out(10, 5.0), held_out(15, 5.1), held_out(20, 5.2)),
                (5, "begun to use context"),
                (15, "held-out loss 5.10 is more than 1 nat above the training loss 4.00"))


def test_a_healthy_training_is_left_in_peace() -> None:
    losses = np.linspace(9, 5.5, 20)
    assert_says(diagnose(*(train(step, loss) for step, loss in enumerate(losses))),
                (18, "begun to use context"))


def test_lines_of_other_kinds() -> None:
    assert diagnose({"kind": "start", "step": 0, "unigram_entropy": 6.0},
                    {"kind": "doctor", "step": 9, "message": "..."}) == []
