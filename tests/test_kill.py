"""Killed (SIGKILL) at random moments and resumed, again and again: in the end every file is the
same as after a training that nothing disturbed, byte for byte."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

disturbed = pytest.importorskip("disturbed", reason="needs the signals and limits of POSIX")
ONCE = {"tokenizer", "shards"}          # what is done before the first step


@pytest.mark.parametrize(("kind", "kills", "seed"), [("pretrain", 4, 0), ("finetune", 1, 1)])
def test_killed_at_random_moments(kind: str, kills: int, seed: int, tmp_path: Path) -> None:
    """So many kills in each phase: 36 in the nine of pretraining, 8 in the eight of fine-tuning, at
    least. One training after the other is killed, and resumed and killed, until it gets through."""
    source = disturbed.begin_with(kind, tmp_path / "source")
    whole = disturbed.run_disturbed(kind, source, tmp_path / "undisturbed")
    assert whole.returncode == 0, whole.stderr
    expected = disturbed.contents(tmp_path / "undisturbed")
    events, rng = json.loads(whole.stdout), random.Random(seed)
    killed: Counter[str] = Counter()
    trainings = 0
    while min(killed[phase] for phase in events) < kills:
        run, trainings = tmp_path / f"run {trainings}", trainings + 1
        while True:
            begun = (run / "checkpoints").exists()
            *_, phase = min((killed[phase], rng.random(), phase) for phase in events
                            if not (begun and phase in ONCE))
            number = rng.randint(1, events[phase])
            result = disturbed.run_disturbed(kind, source, run, "kill", phase, number)
            if result.returncode == 0:          # it had begun so late that there were fewer events
                break
            assert result.returncode == -signal.SIGKILL, result.stderr
            killed[phase] += 1
            print(f"{run.name} killed at event {number} of {phase}")
        got = disturbed.contents(run)
        assert [name for name in got.keys() | expected.keys()
                if got.get(name) != expected.get(name)] == []
    print(f"{trainings} trainings, killed in all: {dict(killed)}")
