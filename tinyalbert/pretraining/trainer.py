"""A training in progress: one step, the evaluation, and what must be saved to go on.

A step depends only on the settings, the weights before it, and its number: batches, masks and
dropout are drawn from the seed and the place. Going on from a checkpoint therefore gives the
weights of a training that was never interrupted, bit for bit.

Several ranks take a step together. The sequences of its batches stand in a row, of which each rank
takes an equal part; the gradients are added up; then all ranks move the same weights alike. So the
number of ranks does not matter, up to the rounding of sums in another order. The one exception is
dropout in a batch that is divided: each part draws its own.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import on_host, scalar
from ..config import AlbertConfig
from ..data.batches import Batch, Cursor, PretrainingBatches, held_out_batches
from ..data.masking import REFERENCE_MASKING, Masking
from ..data.shards import Shards
from ..errors import InputError
from ..functional import IGNORED
from ..layer import flat_gradients
from ..optim import OPTIMIZERS, clip_by_global_norm, learning_rate
from ..tasks import AlbertForPreTraining
from ..training.checkpoint import Checkpoint, list_checkpoints, save_checkpoint
from ..training.numbers import TrainingError, not_finite
from ..training.ranks import ALONE, Ranks
from .config import PretrainConfig
from .metrics import Means
from .run import save_model

EVAL_PASSES = 3         # over the held-out text: one draws too few of its documents short
DROPOUT = 3             # what a random stream is for: 0, 1 and 2 are taken by the batches
WHOLE = slice(None)     # all sequences of a batch


class Trainer:
    """The weights, the optimizer, the place in the text, and the means since the last line."""

    def __init__(self, run: Path, model_config: AlbertConfig, config: PretrainConfig,
                 shards: Shards, ranks: Ranks = ALONE) -> None:
        self.run, self.config, self.shards, self.ranks = run, config, shards, ranks
        self.model = AlbertForPreTraining(model_config, backend=config.backend, seed=config.seed)
        if config.unigram_bias:
            counts = shards.unigram_counts()
            bias = np.log((counts + 1) / counts.sum())
            self.model.predictions.bias.data[...] = self.model.backend.asarray(bias)
        self.optimizer = OPTIMIZERS[config.optimizer](
            self.model.named_parameters(), betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon, weight_decay=config.weight_decay,
            bias_correction=config.bias_correction)
        self.gradients = flat_gradients(self.optimizer.parameters)         # [P]
        batches = config.gradient_accumulation_steps
        if ranks.size > batches * config.batch_size:
            raise InputError(f"{ranks.size} ranks cannot share the {batches * config.batch_size} "
                             "sequences of a step (batch_size x gradient_accumulation_steps): start"
                             " fewer, or give a larger batch")
        # The batches of a step that we have a part of; in whole numbers, the last one rounded up.
        self.own = range(batches * ranks.rank // ranks.size,
                         -(-batches * (ranks.rank + 1) // ranks.size))
        self.streams = [        # one for each length of sequences, with as many tokens in a batch
            PretrainingBatches(shards, config.segments(length), config.masked_lm(),
                               batch_size=config.batch_size * config.max_seq_length // length,
                               seed=config.seed, every=batches, own=self.own)
            for length in config.seq_lengths()]
        self.means = Means()

    @property
    def steps(self) -> int:
        """How many have been taken."""
        return self.optimizer.steps

    @property
    def batches(self) -> PretrainingBatches:
        """Where the next step's batch comes from."""
        return self.streams[self.config.stage(self.steps)]

    def rate(self, total: int) -> float:
        """The learning rate of the next step, of so many in all."""
        return learning_rate(self.steps, total, round(self.config.warmup_ratio * total),
                             self.config.learning_rate, self.config.schedule)

    def step(self, rate: float) -> None:
        """Forward and backward for each of the accumulated batches, clip, and move the weights.

        The loss is the mean of the batches' losses; a batch with few predictions counts as much as
        one with many. TrainingError, before the weights are touched, if it is no finite number; on
        a GPU, which is not waited for, when the next line is logged or the next checkpoint saved.
        """
        for number in self.own:
            batch = next(self.batches)
            rows = self.own_rows(number, len(batch.input_ids))
            rng = np.random.default_rng([self.config.seed, DROPOUT, self.steps, number, rows.start])
            if rows.start < rows.stop:
                self.accumulate(batch, rng, rows)
        self.ranks.sum(self.gradients)
        norm = clip_by_global_norm(self.optimizer.parameters, self.config.max_grad_norm)
        if not self.model.backend.has_kernels:      # else it would wait for the device: see check
            self.check(loss=self.means.sums["loss"], norm=norm)
        if self.ranks.rank == 0:
            self.means.add(grad_norm=scalar(norm))
        self.optimizer.step(rate)
        self.gradients[...] = 0

    def own_rows(self, number: int, size: int) -> slice:
        """Which of the `size` sequences in this batch of a step are our own."""
        total, rank = size * self.config.gradient_accumulation_steps, self.ranks.rank
        edges = (total * i // self.ranks.size - number * size for i in (rank, rank + 1))
        return slice(*(min(max(edge, 0), size) for edge in edges))

    def accumulate(self, batch: Batch, rng: np.random.Generator, rows: slice = WHOLE) -> None:
        """Add the gradients of some sequences of a batch.

        The batch's loss is a mean over its M words plus a mean over its S pairs. Of the m words and
        s pairs in our rows we get our own means; ours times m/M, and s/S, added up over all parts,
        are the batch's. So these are the gradients that the two losses hand back.
        """
        part = Batch(*(array[rows] for array in batch))
        out, cache = self.model.forward(**inputs_of(part), rng=rng)
        words = share(part.labels, batch.labels)
        orders = share(part.sentence_order_label, batch.sentence_order_label)
        batches = self.config.gradient_accumulation_steps
        self.model.backward(cache, (words / batches, orders / batches))
        self.means.add_output(out, part, len(part.labels) / len(batch.labels), (words, orders))

    def check(self, **numbers: Any) -> None:
        """TrainingError unless all are finite."""
        if not np.isfinite([on_host(value) for value in numbers.values()]).all():
            raise TrainingError(self.what_broke())

    def what_broke(self) -> str:
        """One sentence about a loss or a gradient that is not a number: which tensor, what now."""
        where = not_finite(self.optimizer.parameters) or (
            "the gradient" if np.isfinite(on_host(self.means.sums["loss"])) else "the loss")
        kept = list_checkpoints(self.run / "checkpoints")
        again = f"go on from {kept[-1]} with --resume and" if kept else "begin again with"
        return (f"step {self.steps + 1}: {where} is no longer a finite number; {again} a lower "
                "--learning-rate or a larger --warmup-ratio")

    def evaluate(self, held_out: Shards, *, whole: bool = False) -> dict[str, Any]:
        """Means over held-out text: under the training's own masking, and as reference_* under
        15 % single-token masking, with which other models can be compared. `pairs` is the number
        of sentence pairs: it tells how noisy their accuracy is. While the training is on short
        sequences, so is this. The ranks share the batches, and all get the result."""
        stream = self.batches

        def means_under(masking: Masking) -> dict[str, Any]:
            means = Means()
            batches = held_out_batches(held_out, stream.segments, masking,
                                       batch_size=stream.batch_size,
                                       max_batches=None if whole else self.config.eval_batches,
                                       passes=EVAL_PASSES)
            for batch in batches[self.ranks.rank::self.ranks.size]:
                with means.timed():
                    means.add_output(self.model.forward(**inputs_of(batch))[0], batch)
            return means.over(self.ranks).take()

        own, reference = means_under(self.config.masked_lm()), means_under(REFERENCE_MASKING)
        return {**own, "max_seq_length": stream.segments.max_seq_length,
                "reference_loss": reference["masked_lm_loss"],
                "reference_accuracy": reference["masked_lm_accuracy"]}

    def take_means(self) -> dict[str, Any]:
        """Those since the last time, over all ranks."""
        means = self.means.over(self.ranks).take()
        self.check(loss=means["loss"], norm=means["grad_norm"])
        self.means = Means()
        return means

    def save(self) -> None:
        """The model for use, then a checkpoint: where that is, the model is too."""
        self.check_agreement()
        together = self.means.over(self.ranks)
        self.check(**together.sums)
        self.means = together if self.ranks.rank == 0 else Means()      # as after a resumption
        state = {"shards": self.shards.folder.name,
                 "cursors": [stream.cursor for stream in self.streams],
                 "means": together.state()}

        def write() -> None:
            save_model(self.run, self.model)
            save_checkpoint(self.run / "checkpoints",
                            Checkpoint(self.steps, self.model.state_dict(tied=False),
                                       self.optimizer.state_dict(), state),
                            keep=self.config.keep_checkpoints)

        self.ranks.first(write)

    def check_agreement(self) -> None:
        """TrainingError unless all ranks have the same weights, to the last bit."""
        weights = (parameter.data for parameter in self.optimizer.parameters.values())
        checksum = 0
        for array in weights if self.ranks.size > 1 else ():
            checksum = zlib.crc32(self.model.backend.to_numpy(array).tobytes(), checksum)
        checksums = self.ranks.gather(checksum)
        if odd := [rank for rank, value in enumerate(checksums) if value != checksums[0]]:
            raise TrainingError(
                f"after step {self.steps} the weights of rank {odd[0]} are not those of rank 0: "
                "all ranks need the same version of everything and the same kind of processor; if "
                "they have, a machine is faulty. Go on from the last checkpoint with --resume")

    def restore(self, checkpoint: Checkpoint) -> None:
        """InputError if the checkpoint is of another text or of a model of another shape."""
        if checkpoint.state["shards"] != self.shards.folder.name:
            raise InputError(f"the corpus {self.config.corpus} or the tokenizer has changed since "
                             f"the training in {self.run} began: put the old text back, or begin "
                             "anew in another folder")
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer, steps=checkpoint.step)
        for stream, cursor in zip(self.streams, checkpoint.state["cursors"], strict=True):
            stream.cursor = Cursor(*cursor)
        if self.ranks.rank == 0:
            self.means.restore(checkpoint.state["means"])


def share(labels: np.ndarray, of: np.ndarray) -> float:
    """Which part of the labels that ask for something are among these."""
    return float((labels != IGNORED).sum() / max((of != IGNORED).sum(), 1))


def inputs_of(batch: Batch) -> dict[str, Any]:
    """The batch as arguments of the model; without a sentence task that label is left out."""
    inputs = batch._asdict()
    if (batch.sentence_order_label == IGNORED).all():
        inputs["sentence_order_label"] = None
    return inputs
