"""Training batches: instances shuffled, padded, masked; resumable from three integers.

Everything that is drawn depends only on the seed and the place in the stream: the order of shards
on (seed, epoch), the instances of a shard and their order on (seed, epoch, shard), the masks of a
batch on where it begins. So the cursor (epoch, shard, instance) of the next instance restores the
stream bit for bit under the same version of NumPy. Instances are shuffled within a shard, shards
within an epoch.

Batches are NumPy arrays on the host; moving them to a GPU is the caller's part.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .masking import CLS, PAD, REFERENCE_MASKING, SEP, Masking, mask_tokens
from .segments import A_START, A_STOP, B_START, B_STOP, LABEL, Segments, plan_instances
from .shards import Shards

_SHARD_ORDER, _INSTANCES, _MASKS = range(3)  # what a random stream is for


class Batch(NamedTuple):
    """What `AlbertForPreTraining` is called with, int64. Ignored labels are -100."""

    input_ids: np.ndarray  # [B, T]
    attention_mask: np.ndarray  # [B, T], 1 for a token, 0 for padding
    token_type_ids: np.ndarray  # [B, T], 1 for B and its [SEP]
    labels: np.ndarray  # [B, T], the original id where a token is to be predicted
    sentence_order_label: np.ndarray  # [B]


class Cursor(NamedTuple):
    """The instance that comes next. `shard` counts in the shuffled order of the epoch."""

    epoch: int = 0
    shard: int = 0
    instance: int = 0


class PretrainingBatches:
    """An endless iterator of batches; `cursor` may be saved between any two of them.

    every, own: of every so many batches, only those in this range of them are made, and the cursor
        passes over the others. Whoever makes the others makes the same ones.
    pad_to_max_length: pad to max_seq_length, so that all batches have the same shape; otherwise to
        the longest sequence of the batch.
    epochs: stop after so many passes, with a last batch that may be smaller; None never stops.

    Raises InputError when the documents are too short for a single instance.
    """

    def __init__(
        self,
        shards: Shards,
        segments: Segments,
        masking: Masking,
        *,
        batch_size: int,
        seed: int = 0,
        cursor: tuple[int, int, int] = Cursor(),
        pad_to_max_length: bool = True,
        epochs: int | None = None,
        every: int = 1,
        own: range = range(1),
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size {batch_size} is not at least 1")
        if seed < 0:
            raise InputError(f"seed {seed} is negative")
        self.shards, self.segments, self.masking = shards, segments, masking
        self.batch_size, self.seed, self.epochs = batch_size, seed, epochs
        self.pad_to_max_length = pad_to_max_length
        self.every, self.own, self._turn = every, own, 0
        self.cursor = Cursor(*cursor)
        self._planned_for: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        while self._turn < self.own.start:
            self._sequences()
        rng = self._rng(_MASKS, *self.cursor)
        sequences = self._sequences()
        while self._turn >= self.own.stop:  # where nothing more is made, the cursor goes ahead
            self._sequences()
        if not sequences:
            raise StopIteration
        return self._batch(sequences, rng)

    def _sequences(self) -> list[tuple[np.ndarray, np.ndarray, int]]:
        """A, B and label of every sequence in the next batch; the cursor and the turn move on."""
        epoch, shard, instance = self.cursor
        sequences: list[tuple[np.ndarray, np.ndarray, int]] = []
        first_epoch = epoch
        while len(sequences) < self.batch_size and epoch != self.epochs:
            self._plan(epoch, shard)
            wanted = self._instances[instance : instance + self.batch_size - len(sequences)]
            for row in wanted.tolist():
                a = self._tokens[row[A_START] : row[A_STOP]]
                b = self._tokens[row[B_START] : row[B_STOP]]
                sequences.append((a, b, row[LABEL]))
            instance += len(wanted)
            if instance >= len(self._instances):
                shard, instance = shard + 1, 0
                if shard == len(self.shards):
                    epoch, shard = epoch + 1, 0
            if not sequences and epoch > first_epoch + 1:
                raise InputError("the documents are too short to make a single training instance")
        self.cursor = Cursor(epoch, shard, instance)
        self._turn = (self._turn + 1) % self.every
        return sequences

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def _plan(self, epoch: int, position: int) -> None:
        """Map the shard at a place in the epoch and plan its instances, if not done already."""
        if self._planned_for == (epoch, position):
            return
        shard_index = int(self._rng(_SHARD_ORDER, epoch).permutation(len(self.shards))[position])
        rng = self._rng(_INSTANCES, epoch, shard_index)
        shard = self.shards[shard_index]
        self._tokens = shard.tokens
        self._instances = plan_instances(shard, self.shards.word_starts, rng, self.segments)
        rng.shuffle(self._instances)
        self._planned_for = (epoch, position)

    def _batch(
        self, sequences: list[tuple[np.ndarray, np.ndarray, int]], rng: np.random.Generator
    ) -> Batch:
        pair = self.segments.objective != "none"
        length = self.segments.max_seq_length
        if not self.pad_to_max_length:
            length = max(len(a) + len(b) for a, b, _ in sequences) + (3 if pair else 2)
        input_ids = np.full((len(sequences), length), PAD, dtype=np.int64)  # [B, T]
        token_type_ids = np.zeros_like(input_ids)  # [B, T]
        for ids, types, (a, b, _) in zip(input_ids, token_type_ids, sequences, strict=True):
            ids[0] = CLS
            end_a = 1 + len(a)
            ids[1:end_a] = a
            ids[end_a] = SEP
            if pair:
                end_b = end_a + 1 + len(b)
                ids[end_a + 1 : end_b] = b
                ids[end_b] = SEP
                types[end_a + 1 : end_b + 1] = 1
        masked_ids, labels = mask_tokens(input_ids, self.shards.word_starts, rng, self.masking)
        return Batch(
            input_ids=masked_ids,
            attention_mask=(input_ids != PAD).astype(np.int64),
            token_type_ids=token_type_ids,
            labels=labels,
            sentence_order_label=np.array([label for *_, label in sequences], dtype=np.int64),
        )


def held_out_batches(
    shards: Shards,
    segments: Segments,
    masking: Masking = REFERENCE_MASKING,
    *,
    batch_size: int,
    max_batches: int | None = None,
    passes: int = 1,
    seed: int = 0,
) -> list[Batch]:
    """Passes over held-out documents, the same every time: a list of evaluation batches.

    The default masking is the usual yardstick: 15 % of the tokens, singly, whatever their words.
    The segments do not depend on the masking, so two maskings are compared on the same text.
    """
    stream = PretrainingBatches(
        shards, segments, masking, batch_size=batch_size, seed=seed, epochs=passes
    )
    batches = list(islice(stream, max_batches))
    if not batches:
        raise InputError("the held-out documents are too short to make a single instance")
    return batches
