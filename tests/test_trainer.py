"""One step of the training, its memory, and the curriculum of short sequences."""

from __future__ import annotations

import shutil
import signal
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from tiny import assert_close, make_batch, randomize, tiny_config
from toy_run import MODEL, at_step, lines_without_times, quiet, settings, stop_after

from tinyalbert.data.batches import Batch
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.layer import flat_gradients
from tinyalbert.pretraining.config import PretrainConfig
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.tokenization.albert import AlbertTokenizer


def trainer_with(batches: list[Batch], config: PretrainConfig, run: Path) -> Trainer:
    """A trainer in float64 that is given these batches."""
    shards = build_shards(config.corpus, AlbertTokenizer.from_pretrained(run), run / "shards")
    trainer = Trainer(run, tiny_config(), config, shards)
    trainer.streams = [iter(batches)]
    for parameter in randomize(trainer.model).named_parameters().values():
        parameter.data = parameter.data.astype(float)
    trainer.gradients = flat_gradients(trainer.model.named_parameters())
    trainer.model.dtype = trainer.model.albert.dtype = np.dtype(float)
    return trainer


def gradients_of(batches: list[Batch], corpus: Path, run: Path) -> dict[str, np.ndarray]:
    trainer = trainer_with(batches, settings(corpus), run)
    trainer.config = settings(corpus, gradient_accumulation_steps=len(batches))
    for batch in batches:
        trainer.accumulate(batch, np.random.default_rng(0))
    return trainer.model.state_dict(gradients=True, tied=False)


def halves(batch: dict[str, np.ndarray]) -> list[Batch]:
    return [Batch(**{key: array[part] for key, array in batch.items()})
            for part in (slice(None, 2), slice(2, None))]


def test_accumulated_gradients_are_those_of_the_large_batch(run: Path, corpus: Path) -> None:
    """Exact, up to rounding, when all parts have equally many labels, as here."""
    batch = make_batch(tiny_config(), (7, 5, 5, 7), labels="all")
    whole = gradients_of([Batch(**batch)], corpus, run)
    parts = gradients_of(halves(batch), corpus, run)
    for name, expected in whole.items():
        assert_close(parts[name], expected, 1e-12, name, scale=1.0)


def test_otherwise_they_are_the_mean_of_the_parts(run: Path, corpus: Path) -> None:
    """A part with few predictions then counts as much as one with many."""
    batch = make_batch(tiny_config(), (7, 5, 5, 2), labels="all")
    first, second = halves(batch)
    both = gradients_of([first, second], corpus, run)
    whole = gradients_of([Batch(**batch)], corpus, run)
    one, other = gradients_of([first], corpus, run), gradients_of([second], corpus, run)
    for name, got in both.items():
        assert_close(got, (one[name] + other[name]) / 2, 1e-12, name, scale=1.0)
    assert max(np.abs(both[name] - whole[name]).max() for name in whole) > 1e-3


def test_a_step_is_forward_backward_clip_and_update(run: Path, corpus: Path) -> None:
    """Google's first AdamW step, from the gradients of a model of the same weights."""
    batch = Batch(**make_batch(tiny_config(), (7, 5, 5, 7), labels="all"))
    config = settings(corpus, max_grad_norm=0.01, weight_decay=0.0)
    gradients = gradients_of([batch], corpus, run)
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    trainer = trainer_with([batch], config, run)
    before = {name: array.copy() for name, array in trainer.model.state_dict(tied=False).items()}
    trainer.step(0.1)
    assert trainer.steps == 1
    assert trainer.means.take()["grad_norm"] == pytest.approx(norm, rel=1e-12)
    for name, array in trainer.model.state_dict(tied=False).items():
        g = gradients[name] * 0.01 / norm
        u = 0.1 * g / (np.sqrt(0.001) * np.abs(g) + 1e-6)
        np.testing.assert_allclose(array, before[name] - 0.1 * u, atol=1e-6)    # float32 moments
    assert not any(g.any() for g in trainer.model.state_dict(gradients=True).values())


def test_dropout_is_drawn_anew_for_every_batch(run: Path, corpus: Path, monkeypatch) -> None:
    drawn: list[float] = []
    monkeypatch.setattr(Trainer, "accumulate", lambda trainer, batch, rng, rows: (
        drawn.append(rng.random()), trainer.means.add(loss=0.0)))
    shards = build_shards(corpus, AlbertTokenizer.from_pretrained(run), run / "shards")
    for seed in (1, 2):
        trainer = Trainer(run, MODEL, settings(corpus, gradient_accumulation_steps=3, seed=seed),
                          shards)
        for _ in range(4):
            trainer.step(0.0)
    assert len(set(drawn)) == 2 * 4 * 3


@pytest.mark.parametrize("accumulation", [1, 3])
def test_memory_stays_flat(accumulation: int, run: Path, corpus: Path) -> None:
    """A hundred steps leave nothing behind, and no step holds two activation caches."""
    config = settings(corpus, gradient_accumulation_steps=accumulation, batch_size=16)
    shards = build_shards(corpus, AlbertTokenizer.from_pretrained(run), run / "shards")
    trainer = Trainer(run, MODEL, config, shards)
    trainer.step(1e-3)
    tracemalloc.start()
    try:
        out, cache = trainer.model.forward(**next(trainer.batches)._asdict(),
                                           rng=np.random.default_rng(0))
        activations, _ = tracemalloc.get_traced_memory()
        del out, cache
        for _ in range(5):
            trainer.step(1e-3)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100 // accumulation):
            trainer.step(1e-3)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert activations > 500_000
    assert after - before < activations / 4
    assert peak - before < 1.6 * activations


def test_short_sequences_first(run: Path, corpus: Path, monkeypatch) -> None:
    """Half of the 14 steps: as many tokens in each, and a resumed run is the same."""
    config = settings(corpus, first_seq_length=8, growing_ratio=0.5, log_every=1, eval_every=6)
    shapes, accumulate = [], Trainer.accumulate
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "accumulate", lambda trainer, batch, rng, rows: (
            shapes.append(batch.input_ids.shape), accumulate(trainer, batch, rng, rows)))
        pretrain(run, MODEL, config, log=quiet)
    assert shapes == [(8, 8)] * 7 + [(4, 16)] * 7
    lines, weights = lines_without_times(run), (run / "model.safetensors").read_bytes()
    assert [line["max_seq_length"] for line in lines if line["kind"] == "eval"] == [8, 16, 16]

    shutil.rmtree(run / "checkpoints")
    stop_after(5, run, config)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(9, lambda _: signal.raise_signal(signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            pretrain(run, MODEL, config, resume=True, log=quiet)
    pretrain(run, MODEL, config, resume=True, log=quiet)
    assert lines_without_times(run) == lines
    assert (run / "model.safetensors").read_bytes() == weights
