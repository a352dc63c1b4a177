"""A training that takes a second: a toy language, a small model, and ways to interrupt it.

The fixtures that train it are in conftest.py.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nonsense import SYLLABLES

from tinyalbert.config import AlbertConfig
from tinyalbert.pretraining.config import PretrainConfig
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.training.metrics_log import read_metrics

MODEL = AlbertConfig(
    vocab_size=36, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=32, initializer_range=0.1,
    hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
STEPS = 14
TIMES = ("seconds", "tokens_per_second")


def write_corpus(path: Path) -> Path:
    """Documents that say one word all the time: a hidden word is known from its surroundings."""
    rng = random.Random(0)
    words = [a + b for a, b in itertools.product(SYLLABLES, SYLLABLES)][::8]
    documents = []
    for _ in range(60):
        word = rng.choice(words)
        documents.append("\n".join(" ".join([word] * 6) + "." for _ in range(8)))
    path.write_text("\n\n".join(documents) + "\n")
    return path


def settings(corpus: Path, **changes: Any) -> PretrainConfig:
    return PretrainConfig(
        corpus=str(corpus), max_seq_length=16, batch_size=4, max_steps=STEPS, learning_rate=1e-2,
        masking="token", log_every=3, eval_every=5, eval_batches=2, save_every=4,
        seed=1).replace(**changes)


def quiet(message: str) -> None:
    pass


def lines_without_times(run: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES}
            for line in read_metrics(run)]


def assert_same_run(run: Path, finished: Path) -> None:
    """The model byte for byte, the configuration, and every number that was written down."""
    for name in ("model.safetensors", "config.json", "pretrain.json"):
        assert (run / name).read_bytes() == (finished / name).read_bytes(), name
    assert lines_without_times(run) == lines_without_times(finished)
    assert checkpoints(run) == checkpoints(finished)


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-????????"))


def at_step(step: int, action: Callable[[Trainer], Any]) -> Callable[[Trainer, float], None]:
    """Trainer.step, with something happening during the given step (the first is 1)."""
    def patched(trainer: Trainer, rate: float, original: Any = Trainer.step) -> None:
        if trainer.steps == step - 1:
            action(trainer)
        original(trainer, rate)
    return patched


def settings_of(run: Path) -> PretrainConfig:
    return PretrainConfig.from_dict(json.loads((run / "pretrain.json").read_text()))


def stop_after(step: int, run: Path, config: PretrainConfig) -> None:
    """Train up to a step, as with Ctrl-C."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(step, lambda _: signal.raise_signal(signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            pretrain(run, MODEL, config, log=quiet)
