"""Stopped, killed, damaged, poisoned, out of space: a resumed training ends as one that nothing
interrupted, bit for bit, and what cannot be resumed says so and loses nothing."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_run import (
    MODEL,
    assert_same_run,
    at_step,
    checkpoints,
    lines_without_times,
    quiet,
    settings,
    settings_of,
    stop_after,
    write_corpus,
)

from tinyalbert.config import AlbertConfig
from tinyalbert.errors import InputError
from tinyalbert.optim import learning_rate
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.run import load_run
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.training.metrics_log import read_metrics
from tinyalbert.training.numbers import TrainingError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stops", [(1,), (4,), (13,), (2, 3, 11)])
def test_stopped_and_resumed_is_the_same_run(stops, number, run, finished, corpus, monkeypatch):
    """Ctrl-C in the middle of a step, once or several times; dropout is on."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for step in stops:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", at_step(step, lambda _: signal.raise_signal(number)))
            messages: list[str] = []
            with pytest.raises(KeyboardInterrupt):
                pretrain(run, MODEL, settings(corpus), resume=step > stops[0], log=messages.append)
        assert checkpoints(run)[-1] == f"step-{step:08}"
        assert messages[-1].startswith(f"stopped after step {step}, everything saved")
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    for name in ("model.safetensors", "pretrain.json"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()
    assert lines_without_times(run) == lines_without_times(finished)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_the_second_ctrl_c_stops_at_once(run: Path, corpus: Path, monkeypatch) -> None:
    def twice(_: Trainer) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "step", at_step(7, twice))
    with pytest.raises(KeyboardInterrupt):
        pretrain(run, MODEL, settings(corpus), log=quiet)
    assert checkpoints(run) == ["step-00000004"]


def test_the_newest_checkpoint_is_damaged(run: Path, finished: Path, corpus: Path) -> None:
    stop_after(10, run, settings(corpus))
    assert checkpoints(run) == ["step-00000008", "step-00000010"]
    path = run / "checkpoints" / "step-00000010" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    messages: list[str] = []
    pretrain(run, MODEL, settings(corpus), resume=True, log=messages.append)
    assert "step-00000010 is damaged" in messages[0]
    assert_same_run(run, finished)


def test_every_checkpoint_is_damaged(run: Path, corpus: Path) -> None:
    stop_after(5, run, settings(corpus))
    before = (run / "model.safetensors").read_bytes()
    for folder in (run / "checkpoints").iterdir():
        (folder / "state.json").unlink()
    with pytest.raises(InputError, match="every checkpoint in .* is damaged"):
        pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert (run / "model.safetensors").read_bytes() == before


def test_resuming_a_finished_run_changes_nothing(run, finished, corpus) -> None:
    shutil.rmtree(run)
    shutil.copytree(finished, run)
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)


def test_resuming_where_nothing_was_begun_begins(run, finished, corpus) -> None:
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)


def test_a_resumed_run_may_go_on_for_longer(run: Path, finished: Path, corpus: Path) -> None:
    shutil.rmtree(run)
    shutil.copytree(finished, run)
    longer = settings(corpus, max_steps=20, learning_rate=1e-3)
    pretrain(run, MODEL, longer, resume=True, log=quiet)
    assert settings_of(run) == longer
    lines = read_metrics(run)
    assert [line["step"] for line in lines if line["kind"] == "train"][-2:] == [18, 20]
    assert [line["total_steps"] for line in lines if line["kind"] == "start"] == [14, 20]
    assert [line["step"] for line in lines if line.get("final")] == [20]
    last = next(line for line in reversed(lines) if line["kind"] == "train")
    assert last["learning_rate"] == learning_rate(19, 20, 2, 1e-3)


def test_a_training_is_not_begun_over_another(run: Path, corpus: Path) -> None:
    stop_after(5, run, settings(corpus))
    with pytest.raises(InputError, match="holds a training already"):
        pretrain(run, MODEL, settings(corpus), log=quiet)


def test_the_corpus_has_changed(run: Path, tmp_path: Path) -> None:
    text = write_corpus(tmp_path / "mine.txt")
    stop_after(5, run, settings(text))
    text.write_text(text.read_text() + "\n\nba ba ba ba.\nba ba.\n")
    saved = (run / "config.json").read_bytes(), (run / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"the corpus .*mine.txt or the tokenizer has changed"):
        pretrain(run, MODEL, settings(text), resume=True, log=quiet)
    assert ((run / "config.json").read_bytes(), (run / "metrics.jsonl").read_bytes()) == saved


def test_another_model_than_the_checkpoint(run: Path, corpus: Path) -> None:
    """Refused, and what is in the folder still fits together."""
    stop_after(5, run, settings(corpus))
    with pytest.raises(InputError, match="has shape"):
        pretrain(run, MODEL.replace(intermediate_size=32), settings(corpus), resume=True, log=quiet)
    load_run(run)
    assert AlbertConfig.from_json_file(run / "config.json") == MODEL


def test_minutes_become_steps_and_stay_so(run: Path, corpus: Path, monkeypatch) -> None:
    """A budget of time gives the number of steps, once: the schedule depends on it."""
    clock = itertools.count()                                   # every look at it takes a second
    with monkeypatch.context() as patch:
        patch.setattr("tinyalbert.pretraining.pretrain.time.perf_counter", lambda: next(clock))
        patch.setattr(Trainer, "step", at_step(6, interrupt_the_real_one))
        with pytest.raises(KeyboardInterrupt):
            pretrain(run, MODEL, settings(corpus, max_steps=None, minutes=0.25), log=quiet)
    total = settings_of(run).max_steps
    assert total == 15                                          # a quarter of a minute
    pretrain(run, MODEL, settings(corpus, max_steps=None, minutes=0.25), resume=True, log=quiet)
    assert settings_of(run).max_steps == total
    start, *rest = read_metrics(run)
    assert start["total_steps"] == rest[-1]["step"] == total


def interrupt_the_real_one(trainer: Trainer) -> None:
    """Not the throwaway model on which the steps are timed."""
    if (trainer.run / "metrics.jsonl").exists():
        signal.raise_signal(signal.SIGINT)


def test_in_another_thread(run: Path, finished: Path, corpus: Path) -> None:
    """Only the main thread can listen to signals; the others train without."""
    thread = threading.Thread(target=pretrain, args=(run, MODEL, settings(corpus)),
                              kwargs={"log": quiet})
    thread.start()
    thread.join()
    assert_same_run(run, finished)


# --- numbers that are none ----------------------------------------------------------------------


def test_a_weight_that_is_no_number(run: Path, finished: Path, corpus: Path, monkeypatch) -> None:
    """The step, the tensor and the checkpoint are named; going on from that is unharmed."""
    def poison(trainer: Trainer) -> None:
        trainer.model.named_parameters()["albert.pooler.dense.bias"].data[3] = np.nan

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(10, poison))
        with pytest.raises(TrainingError) as caught:
            pretrain(run, MODEL, settings(corpus), log=quiet)
    assert str(caught.value) == (
        "step 10: albert.pooler.dense.bias is no longer a finite number; go on from "
        f"{run / 'checkpoints' / 'step-00000008'} with --resume and a lower --learning-rate or a "
        "larger --warmup-ratio")
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)


def test_a_gradient_that_is_no_number(run: Path, corpus: Path, monkeypatch) -> None:
    def poison(trainer: Trainer) -> None:
        trainer.model.named_parameters()["predictions.bias"].grad[2] = np.inf

    monkeypatch.setattr(Trainer, "step", at_step(2, poison))
    with pytest.raises(TrainingError, match="^step 2: the gradient of predictions.bias is no "
                       "longer a finite number; begin again with a lower --learning-rate"):
        pretrain(run, MODEL, settings(corpus), log=quiet)


# --- a full disk --------------------------------------------------------------------------------


def test_a_full_disk_costs_nothing_that_was_saved(run, finished, corpus, monkeypatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(8, lambda _: patch.setattr("os.fsync", full)))
        with pytest.raises(InputError, match="^cannot write .*: No space left on device$"):
            pretrain(run, MODEL, settings(corpus), log=quiet)
    assert checkpoints(run) == ["step-00000004"]
    load_run(run)
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)
