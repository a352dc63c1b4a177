"""Fine-tuning, from a pretrained model and examples to a model that answers: a straight line.

    examples -> labels -> model with a new head -> features -> steps -> the best weights -> report
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..files import delete, write_atomically
from ..training.checkpoint import list_checkpoints, load_checkpoint
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


def finetune(task_name: str, model: str | Path, train: Iterable[Example],
             dev: Iterable[Example] | None, run: str | Path,
             config: FinetuneConfig = FinetuneConfig(), *,  # noqa: B008  it is frozen
             test: Iterable[Example] | None = None, resume: bool = False,
             replaces: Sequence[Path] = (), log: Log = tqdm.write, progress: bool = True) -> Result:
    """Train, and leave everything in the folder `run` (described in finetuned.py).

    task_name: classify, ner, qa, choice or summarize. model: a folder or a hub name. train, dev:
    as `task_class(task_name).read` gives them; without dev a share of train is held out. test:
    looked at once, by the best weights.
    resume: go on from the last checkpoint in `run`, if there is one, with the same examples and
    settings. replaces: files of an older training there, which are deleted when nothing speaks
    against the new one.

    Raises InputError for unusable data, models or folders, TrainingError when the loss is no
    longer a number, KeyboardInterrupt after Ctrl-C, when everything has been saved.
    """
    run = Path(run)
    check_run(run, model, resume, replaces)
    chosen = task_class(task_name)
    train = chosen.checked(train, "train")
    dev = None if dev is None else chosen.checked(dev, "dev")
    test = None if test is None else chosen.checked(test, "test")
    task = chosen.of_examples(train)        # before the split: a label may be there but once
    train, dev = split(train, dev, config)
    log(f"train: {task.summary(train)}")
    log(f"dev: {task.summary(dev)}")
    finetuned = begin(task, model, backend=config.backend, seed=config.seed,
                      max_length=config.max_seq_length, hidden_dropout=config.hidden_dropout,
                      classifier_dropout=config.classifier_dropout)
    looked_at = task.looked_at(dev)
    features, dev_features, *_ = (      # of test to find an unknown label before the training
        task.features(finetuned.tokenizer, examples, finetuned.max_length)
        for examples in (train, looked_at, test) if examples)
    trainer = Trainer(finetuned.model, task, finetuned.tokenizer, config, features)
    checkpoint = load_checkpoint(run / "checkpoints", log) if resume else None
    if checkpoint:
        trainer.restore(checkpoint)
    for path in replaces:
        delete(path)
    settings = {"model": str(model), "settings": config.to_dict()}
    if not checkpoint:
        finetuned.save_settings(run, **settings)
    metrics = MetricsLog(run, resume_at=trainer.steps)
    compare_with_baseline(trainer, train, dev, metrics, log)
    train_and_keep_the_best(
        trainer, Dev(looked_at, dev_features), run, metrics,
        lambda: finetuned.save(run, **settings), log, progress)
    best = FineTuned.load(run, task_name, backend=config.backend)
    return judge(best, dev, test, run, config.batch_size, metrics, log)


def check_run(run: Path, model: str | Path, resume: bool, replaces: Sequence[Path]) -> None:
    """InputError if something in the folder would be lost."""
    if run.exists() and Path(model).exists() and run.samefile(model):
        raise InputError(f"{run} holds the model to begin with: choose another folder")
    if not resume and not replaces and list_checkpoints(run / "checkpoints"):
        raise InputError(f"{run} holds a training already: resume it, or begin in another folder")


def compare_with_baseline(trainer: Trainer, train: Sequence[Example], dev: Sequence[Example],
                          metrics: MetricsLog, log: Log) -> None:
    """Say what the model has to be better than; with it begins metrics.jsonl."""
    name, values = trainer.task.baseline(train, dev)
    log(f"baseline, {name}: {shown(values)}")
    if not metrics.kept:
        metrics.write("start", 0, task=trainer.task.name, metric=trainer.task.metric,
                      total_steps=trainer.total, examples=len(train), dev_examples=len(dev),
                      parameters=trainer.model.num_parameters(), baseline=name,
                      baseline_metrics=values)


def split(train: Sequence[Example], dev: Sequence[Example] | None, config: FinetuneConfig,
          ) -> tuple[Sequence[Example], Sequence[Example]]:
    """With a part of the training examples as dev, where none is given."""
    if dev is not None:
        return train, dev
    order = np.random.default_rng(config.seed).permutation(len(train))
    kept = round(config.held_out * len(train))
    if not 0 < kept < len(train):
        raise InputError(f"to hold out {config.held_out:g} of {len(train):,} training examples "
                         f"leaves none {'to learn from' if kept else 'for evaluation'}: give "
                         "--dev, or another --held-out")
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


def judge(best: FineTuned, dev: Sequence[Example], test: Sequence[Example] | None, run: Path,
          batch_size: int, metrics: MetricsLog, log: Log) -> Result:
    """The best weights' last word on dev, and their only one on test. RUN/predictions.jsonl keeps
    what they said of dev, for the report."""
    values, predictions = best.evaluate(dev, batch_size=batch_size)
    log(f"best: {shown(values)}")
    step = metrics.last_step
    metrics.write("final", step, **values, final=True)
    write_atomically(run / "predictions.jsonl", *(
        (json.dumps({"example": example._asdict(), "prediction": prediction}, ensure_ascii=False)
         + "\n").encode(errors="replace")
        for example, prediction in zip(dev, predictions, strict=True)))
    if len(predictions) > 1 and (said := best.task.stuck(predictions)):
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
