"""Thousands of steps, with all that a training does between them, in memory that does not grow.

TINYALBERT_SOAK_STEPS=1000000 makes it a few hours' worth.
"""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toy_run import MODEL, quiet, settings

from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.trainer import Trainer

STEPS = int(os.environ.get("TINYALBERT_SOAK_STEPS", 2000))
STATM = Path("/proc/self/statm")
KIB, MIB = 2**10, 2**20


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux, which tells the memory of a process")
def test_memory_is_flat(run: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process has, and of that what Python and NumPy hold, from the second to fourth
    twentieth of the steps to the last three. Logging, evaluating and saving are frequent; a
    kilobyte kept in one step out of thirty would be seen."""
    step, samples = Trainer.step, []

    def sampled(trainer: Trainer, rate: float) -> None:
        step(trainer, rate)
        if trainer.steps % (STEPS // 20) == 0:
            gc.collect()
            resident = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            samples.append((resident, tracemalloc.get_traced_memory()[0]))

    monkeypatch.setattr(Trainer, "step", sampled)
    tracemalloc.start()
    try:
        pretrain(run, MODEL, settings(corpus, max_steps=STEPS, log_every=10, eval_every=50,
                                      save_every=100, learning_rate=1e-3), log=quiet)
    finally:
        tracemalloc.stop()
    early, late = np.median(samples[1:4], axis=0), np.median(samples[-3:], axis=0)
    resident, held = late - early
    print(f"{STEPS} steps: {late[0] / MIB:.1f} MiB resident, {resident / KIB:+.0f} KiB; "
          f"{late[1] / MIB:.2f} MiB held, {held / KIB:+.0f} KiB")
    assert resident < 2 * MIB and held < 64 * KIB
