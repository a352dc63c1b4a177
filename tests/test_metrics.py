"""Means weighted as they should be, and a log that a resumed run continues."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinyalbert.data.batches import Batch
from tinyalbert.errors import InputError
from tinyalbert.pretraining.metrics import Means, accuracy
from tinyalbert.training.metrics_log import MetricsLog, read_metrics


def batch(labels: list[list[int]], orders: list[int], tokens: int) -> Batch:
    ids = np.zeros((len(labels), len(labels[0])), int)
    mask = (np.arange(ids.size) < tokens).astype(int).reshape(ids.shape)
    return Batch(ids, mask, ids, np.array(labels), np.array(orders))


def output(loss: float, masked: float, words: list[int], sop: float | None,
           orders: list[int]) -> Any:
    """A model's output that answers with the given words and orders."""
    return SimpleNamespace(loss=loss, masked_lm_loss=masked, sop_loss=sop,
                           prediction_logits=np.eye(5)[words], sop_logits=np.eye(2)[orders])


def test_losses_are_means_over_steps_and_accuracies_over_predictions() -> None:
    means = Means()
    # Three words, two of them right, two pairs, both right; then one word, wrong, no pairs.
    means.add_output(output(5.0, 4.0, [1, 2, 0], 1.0, [0, 1]),
                     batch([[1, 2, -100], [-100, 3, -100]], [0, 1], tokens=5))
    means.add_output(output(2.0, 2.0, [4], None, [0, 0]),
                     batch([[-100, 1, -100], [-100, -100, -100]], [-100, -100], tokens=6))
    means.add(grad_norm=2.0)
    means.add(grad_norm=4.0)
    line = means.take()
    assert line.pop("tokens_per_second") > 0
    assert line == {"loss": 3.5, "masked_lm_loss": (3 * 4 + 2) / 4, "masked_lm_accuracy": 2 / 4,
                    "sop_loss": 1.0, "sentence_order_accuracy": 1.0, "pairs": 2, "grad_norm": 3.0}


def test_taking_starts_over() -> None:
    means = Means()
    means.add(loss=1.0)
    means.take()
    means.add(loss=3.0)
    assert means.take()["loss"] == 3.0


def test_a_line_that_is_interrupted_is_the_same() -> None:
    rng = np.random.default_rng(0)
    values, through, straight = rng.standard_normal((9, 2)), Means(), Means()
    for i, (loss, weight) in enumerate(values):
        straight.add(weight, loss=loss)
        through.add(weight, loss=loss)
        if i == 4:
            state = json.loads(json.dumps(through.state()))
            through = Means()
            through.restore(state)
    assert through.take()["loss"] == straight.take()["loss"]


@pytest.mark.parametrize("labels, expected", [([0, 1, 2], 2 / 3), ([0, -100, -100], 1),
                                              ([-100, 1, 2], 0.5), ([-100] * 3, 0)])
def test_accuracy_counts_only_what_is_asked_for(labels: list[int], expected: float) -> None:
    assert accuracy(np.array([[3, 1, 2], [0, 1, 0], [5, 4, 4.9]]), np.array(labels)) == expected


# --- metrics.jsonl ------------------------------------------------------------------------------


def write(run: Path, *steps: int) -> None:
    log = MetricsLog(run)
    for step in steps:
        log.write("train", step, loss=step / 10)


def test_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    first = log.write("start", 0, total_steps=3)
    second = log.write("train", 3, loss=0.5)
    assert read_metrics(tmp_path) == [first, second]
    assert 0 <= second.pop("seconds") < 10
    assert second == {"kind": "train", "step": 3, "loss": 0.5}


def test_a_new_run_empties_the_file(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    write(tmp_path, 5)
    assert [line["step"] for line in read_metrics(tmp_path)] == [5]


def test_resuming_drops_later_lines_and_goes_on_with_the_clock(tmp_path: Path) -> None:
    lines = [{"kind": "train", "step": step, "seconds": 100.0 * step} for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = MetricsLog(tmp_path, resume_at=2)
    assert log.kept == lines[:2]
    line = log.write("train", 3)
    assert read_metrics(tmp_path) == [*lines[:2], line]
    assert 200 <= line["seconds"] < 210


def test_resuming_a_finished_run_drops_its_final_evaluation(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", 4)
    log.write("eval", 4, final=True)
    log.write("doctor", 4, message="about the final evaluation")
    assert [line["kind"] for line in MetricsLog(tmp_path, resume_at=4).kept] == ["train"]


def test_a_last_line_cut_short_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    log = MetricsLog(tmp_path, resume_at=2)
    log.write("train", 2)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]


def test_a_line_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(InputError, match="metrics.jsonl, line 2 is not JSON"):
        read_metrics(tmp_path)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.path = tmp_path / "metrics.jsonl" / "inside a file"
    with pytest.raises(InputError, match="^cannot write .*: Not a directory$"):
        log.write("train", 1)


def test_nothing_there_is_no_lines(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
