"""A fine-tuning in progress: one step, the evaluation, and what must be saved to go on.

The order of the examples and the dropout are drawn from the seed and the number of the step, so
going on from a checkpoint gives the weights of a training that was never interrupted.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..optim import AdamW, clip_by_global_norm, learning_rate
from ..tokenization.base import PreTrainedTokenizer
from ..training.checkpoint import Checkpoint, save_checkpoint
from ..training.numbers import TrainingError, not_finite
from .config import FinetuneConfig
from .task import Features, Task

ORDER, DROPOUT = 0, 1       # what a random stream is for


class Trainer:
    """The weights, the optimizer, the place in the examples, and the means since the last line.

    features: of the training examples.
    """

    def __init__(self, model: Any, task: Task, tokenizer: PreTrainedTokenizer,
                 config: FinetuneConfig, features: Sequence[Features]) -> None:
        self.model, self.task, self.tokenizer = model, task, tokenizer
        self.config, self.features = config, features
        parameters = model.named_parameters()
        if config.freeze_encoder:
            model.albert.freeze()
            parameters = {name: p for name, p in parameters.items() if not is_of_encoder(name)}
        self.optimizer = AdamW(
            parameters, eps=config.adam_epsilon, weight_decay=config.weight_decay,
            bias_correction=config.bias_correction,
            rates=layer_rates(parameters, model.config.num_hidden_groups, config.layer_decay))
        self.batches_per_epoch = -(-len(features) // config.batch_size)
        self.steps_per_epoch = -(-self.batches_per_epoch // config.gradient_accumulation_steps)
        self.total = config.max_steps or max(1, round(config.epochs * self.steps_per_epoch))
        self.loss_options = task.loss_options(features, config.class_weights)
        self.best: float | None = None      # value of the task's metric, and when
        self.best_step = 0
        self.worse = 0                      # evaluations since then
        self.sums: dict[str, float] = defaultdict(float)

    @property
    def steps(self) -> int:
        """How many have been taken."""
        return self.optimizer.steps

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.steps, self.total, round(self.config.warmup_ratio * self.total),
                             self.config.peak_rate(self.model.config.hidden_size),
                             self.config.schedule)

    @property
    def gives_up(self) -> bool:
        """Whether the last evaluations have brought nothing."""
        return 0 < self.config.patience <= self.worse

    def micro_batches(self) -> list[list[Features]]:
        """The features of the next step, in the parts that go through the model."""
        epoch, step = divmod(self.steps, self.steps_per_epoch)
        order = np.random.default_rng([self.config.seed, ORDER, epoch]).permutation(
            len(self.features))
        first, size = step * self.config.gradient_accumulation_steps, self.config.batch_size
        parts = range(first, min(first + self.config.gradient_accumulation_steps,
                                 self.batches_per_epoch))
        return [[self.features[i] for i in order[part * size:(part + 1) * size]] for part in parts]

    def step(self) -> None:
        """Forward and backward for each part, clip, and move the weights. TrainingError, before
        the weights are touched, if the loss or a gradient is no finite number."""
        parts, numbers = self.micro_batches(), []       # of which the last is the gradients' norm
        examples = sum(map(len, parts))
        for micro, features in enumerate(parts):
            rng = np.random.default_rng([self.config.seed, DROPOUT, self.steps, micro])
            batch = self.task.batch(features, self.tokenizer.pad_token_id)
            share = len(features) / examples            # the last part may be smaller
            out, cache = self.model.forward(**batch, **self.loss_options, rng=rng)
            self.model.backward(cache, share)
            numbers.append(share * out.loss)
        numbers.append(clip_by_global_norm(self.optimizer.parameters, self.config.max_grad_norm))
        backend = self.model.backend                    # a GPU is waited for only here
        *losses, norm = backend.to_numpy(backend.xp.stack(numbers)).tolist()
        loss = sum(losses)
        if not np.isfinite([norm, loss]).all():
            where = not_finite(self.optimizer.parameters) or "the loss"
            raise TrainingError(f"step {self.steps + 1}: {where} is no longer a finite number; "
                                "begin again with a lower --learning-rate")
        self.optimizer.step(self.rate)
        self.model.zero_grad()
        for name, value in (("loss", loss), ("grad_norm", norm), ("steps", 1),
                            ("examples", examples)):
            self.sums[name] += value

    def means(self, seconds: float) -> dict[str, float]:
        """Since the last call, which was so long ago."""
        steps = self.sums["steps"] or 1
        means = {"loss": self.sums["loss"] / steps, "grad_norm": self.sums["grad_norm"] / steps,
                 "examples_per_second": round(self.sums["examples"] / max(seconds, 1e-9), 1)}
        self.sums.clear()
        return means

    def note(self, value: float) -> bool:
        """Whether this is the best value of the metric so far."""
        better = self.best is None or value > self.best
        if better:
            self.best, self.best_step = value, self.steps
        self.worse = 0 if better else self.worse + 1
        return better

    @cached_property
    def checksum(self) -> int:
        """Of all ids and labels that are learned from."""
        crc = 0
        for feature in self.features:
            numbers = [value for value in feature.values() if not isinstance(value, np.ndarray)]
            crc = zlib.crc32(repr(numbers).encode(), crc)
        return crc

    def save(self, directory: Path) -> None:
        """A checkpoint in directory."""
        state = {"best": self.best, "best_step": self.best_step, "worse": self.worse,
                 "sums": dict(self.sums), "examples": self.checksum}
        save_checkpoint(directory, Checkpoint(self.steps, self.model.state_dict(tied=False),
                                              self.optimizer.state_dict(), state), keep=1)

    def restore(self, checkpoint: Checkpoint) -> None:
        """InputError if it is of a training that had something else to learn."""
        if checkpoint.state.get("examples") != self.checksum:
            raise InputError("the training that is to be resumed was begun with other examples, or "
                             "another task, seed or max_seq_length: give the same, or another "
                             "folder")
        self.model.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer, steps=checkpoint.step)
        self.best, self.best_step, self.worse, sums, _ = checkpoint.state.values()
        self.sums.update(sums)


def is_of_encoder(name: str) -> bool:
    """The pooler is of the head: pretraining may not have trained it for this."""
    return name.startswith(("albert.embeddings.", "albert.encoder."))


def layer_rates(names: Any, groups: int, decay: float) -> dict[str, float]:
    """Each parameter's rate relative to the head's: decay for the top layer, decay² for the one
    below, ... (Howard & Ruder 2018). What layers share is one parameter and counts as one layer,
    so ALBERT has three heights: head, layer, embeddings."""
    rates = {}
    for name in names:
        group = re.search(r"albert_layer_groups\.(\d+)\.", name)
        height = 0
        if is_of_encoder(name):
            height = groups - int(group[1]) if group else groups + 1
        rates[name] = decay**height
    return rates
