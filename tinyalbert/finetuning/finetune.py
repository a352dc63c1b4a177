"""Fine-tuning, from a pretrained model and examples to a model that answers: a straight line.

    examples -> labels -> model with a new head -> features -> steps -> the best weights -> report
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import write_atomically
from ..training.checkpoint import load_checkpoint
from ..training.interrupt import stop_requests
from ..training.metrics_log import MetricsLog
from .config import FinetuneConfig
from .finetuned import FineTuned, begin, task_class
from .task import Example, Features, Prediction, Task
from .trainer import Trainer

Log = Callable[[str], Any]
ADVICE = ("its head has learned nothing from the texts. Try a lower learning rate (--recipe "
          "careful), more epochs, another --seed, larger batches, and see that the examples' "
          "labels are right")


class Dev(NamedTuple):
    """The examples that decide which weights are kept."""

    examples: Sequence[Example]
    features: list[Features]

    def evaluate(self, trainer: Trainer) -> dict[str, float]:
        task: Task = trainer.task
        predictions, loss = task.predict(
            trainer.model, trainer.tokenizer, self.examples, features=self.features,
            batch_size=trainer.config.batch_size)
        values = task.metrics(self.examples, task.tune(self.examples, predictions))
        return values if loss is None else {**values, "loss": loss}


class Result(NamedTuple):
    """What a fine-tuning comes to."""

    finetuned: FineTuned                # with the best weights
    metrics: dict[str, float]           # on dev
    predictions: list[Prediction]       # of dev
    test: dict[str, float] | None       # on test, if it was given


def finetune(task_name: str, model: str | Path, train: Sequence[Example],
             dev: Sequence[Example] | None, run: str | Path,
             config: FinetuneConfig = FinetuneConfig(), *,  # noqa: B008  it is frozen
             test: Sequence[Example] | None = None, resume: bool = False,
             log: Log = tqdm.write, progress: bool = True) -> Result:
    """Train, and leave everything in the folder `run` (described in finetuned.py).

    task_name: classify, ner, qa, choice or summarize. model: a folder or a hub name. train, dev:
    as `task_class(task_name).read` gives them; without dev a share of train is held out. test:
    looked at once, by the best weights.
    resume: go on from the last checkpoint in `run`, if there is one.

    Raises InputError for unusable data, models or folders, TrainingError when the loss is no
    longer a number, KeyboardInterrupt after Ctrl-C, when everything has been saved.
    """
    run = Path(run)
    train, dev = split(train, dev, config)
    task = task_class(task_name).of_examples(train)
    log(f"train: {task.summary(train)}")
    log(f"dev: {task.summary(dev)}")
    finetuned = begin(task, model, backend=config.backend, seed=config.seed,
                      max_length=config.max_seq_length, hidden_dropout=config.hidden_dropout,
                      classifier_dropout=config.classifier_dropout)
    features, dev_features = (task.features(finetuned.tokenizer, examples, finetuned.max_length)
                              for examples in (train, dev))
    trainer = Trainer(finetuned.model, task, finetuned.tokenizer, config, features)
    checkpoint = load_checkpoint(run / "checkpoints", log) if resume else None
    if checkpoint:
        trainer.restore(checkpoint)
    metrics = MetricsLog(run, resume_at=trainer.steps)
    name, values = task.baseline(train, dev)
    log(f"baseline, {name}: {shown(values)}")
    if not metrics.kept:
        metrics.write("start", 0, task=task.name, metric=task.metric, total_steps=trainer.total,
                      examples=len(train), dev_examples=len(dev), parameters=
                      finetuned.model.num_parameters(), baseline=name, baseline_metrics=values)
    held = Dev(dev, dev_features)
    train_and_keep_the_best(
        trainer, held, run, metrics,
        lambda: finetuned.save(run, model=str(model), settings=config.to_dict()), log, progress)
    best = FineTuned.load(run, task_name, backend=config.backend)
    return judge(best, held, test, run, config.batch_size, metrics, log)


def split(train: Sequence[Example], dev: Sequence[Example] | None, config: FinetuneConfig,
          ) -> tuple[Sequence[Example], Sequence[Example]]:
    """With a part of the training examples as dev, where none is given."""
    if dev is not None:
        return train, dev
    order = np.random.default_rng(config.seed).permutation(len(train))
    kept = round(config.held_out * len(train))
    if not kept:
        raise InputError(f"{len(train)} training examples are too few to hold some out for "
                         "evaluation: give --dev")
    return [train[i] for i in sorted(order[kept:])], [train[i] for i in sorted(order[:kept])]


def train_and_keep_the_best(trainer: Trainer, dev: Dev, run: Path, metrics: MetricsLog,
                            save_best: Callable[[], None], log: Log, progress: bool) -> None:
    """Take the steps that are left; after each evaluation save the weights if they are the best
    so far, and end early if they have not been for long."""
    config, total = trainer.config, trainer.total
    every = config.eval_every or trainer.steps_per_epoch
    last = time.perf_counter()
    with stop_requests() as stopped, tqdm(total=total, initial=trainer.steps, unit="step",
                                          dynamic_ncols=True, disable=not progress) as bar:
        while trainer.steps < total and not trainer.gives_up:
            rate = trainer.rate
            trainer.step()
            bar.update()
            done = trainer.steps
            if done % config.log_every == 0 or done == total:
                line = metrics.write("train", done, **trainer.means(time.perf_counter() - last),
                                     learning_rate=rate)
                bar.set_postfix_str(f"loss {line['loss']:.3f}")
                last = time.perf_counter()
            if done % every == 0 or done == total:
                values = dev.evaluate(trainer)
                metrics.write("eval", done, **values)
                better = trainer.note(values[trainer.task.metric])
                log(f"update {done}: {shown(values)}{', the best so far' if better else ''}")
                if better:
                    save_best()
                trainer.save(run / "checkpoints")
                last = time.perf_counter()
            if stopped and trainer.steps < total:
                trainer.save(run / "checkpoints")
                log(f"stopped after update {done}, everything saved; go on with --resume")
                raise KeyboardInterrupt
    if trainer.gives_up:
        log(f"no better for {trainer.worse} evaluations: stopped early")


def judge(best: FineTuned, dev: Dev, test: Sequence[Example] | None, run: Path, batch_size: int,
          metrics: MetricsLog, log: Log) -> Result:
    """The best weights' last word on dev, and their only one on test. RUN/predictions.jsonl keeps
    what they said of dev, for the report."""
    values, predictions = best.evaluate(dev.examples, batch_size=batch_size)
    log(f"best: {shown(values)}")
    step = metrics.last_step
    metrics.write("final", step, **values, final=True)
    write_atomically(run / "predictions.jsonl", *(
        (json.dumps({"example": example._asdict(), "prediction": prediction}, ensure_ascii=False)
         + "\n").encode() for example, prediction in zip(dev.examples, predictions, strict=True)))
    if said := best.task.stuck(predictions):
        log(f"warning: the model answers {said} to everything: {ADVICE}")
        metrics.write("warning", step, message=f"the model answers {said} to everything: {ADVICE}",
                      final=True)
    on_test = None
    if test is not None:
        on_test, _ = best.evaluate(test, batch_size=batch_size)
        log(f"test: {shown(on_test)}")
        metrics.write("test", step, **on_test, examples=len(test), final=True)
    return Result(best, values, predictions, on_test)


def shown(metrics: dict[str, float]) -> str:
    """accuracy 0.812, loss 0.412"""
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
