"""Pretraining, from text to a trained ALBERT: a straight line.

    corpus -> tokenizer -> shards -> batches -> forward, backward, clip, step -> model

The steps themselves are in trainer.py; here is what comes before, between and after them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..config import AlbertConfig
from ..data.batches import PretrainingBatches, held_out_batches
from ..data.corpus import read_documents
from ..data.shards import Shards, build_shards
from ..errors import InputError
from ..files import read_json_object, write_json
from ..tasks import AlbertForPreTraining
from ..tokenization.albert import AlbertTokenizer
from ..tokenization.training import train_tokenizer
from ..training.checkpoint import list_checkpoints, load_checkpoint
from ..training.interrupt import stop_requests
from ..training.metrics_log import MetricsLog
from .config import PretrainConfig
from .convergence import ConvergenceDoctor, unigram_entropy
from .run import save_config
from .trainer import Trainer

Log = Callable[[str], Any]
OF_CLASSIFIERS = ("id2label", "label2id", "problem_type")       # settings without use here
TIMED_STEPS = 12        # how many steps the budget in minutes is estimated from


def pretrain(run: str | Path, model_config: AlbertConfig, config: PretrainConfig, *,
             resume: bool = False, log: Log = tqdm.write) -> AlbertForPreTraining:
    """Train, and leave everything in the folder `run` (described in run.py).

    resume: go on from the newest intact checkpoint in `run`, if there is one. The settings are
    those given here, which may differ from before (a lower rate, more steps), except that without
    max_steps the number of steps stays as it was.

    Raises InputError for unusable settings, text or folders, TrainingError when the loss is no
    longer a number, KeyboardInterrupt after Ctrl-C, when everything has been saved.
    """
    run = Path(run)
    check(run, model_config, config, resume)
    checkpoint = load_checkpoint(run / "checkpoints", log) if resume else None
    if checkpoint and config.max_steps is None:
        config = config.replace(max_steps=read_json_object(run / "pretrain.json").get("max_steps"))
    if not checkpoint:
        save_settings(run, model_config, config)

    tokenizer = get_tokenizer(run, model_config, config, log)
    shards = build_shards(config.corpus, tokenizer, run / "shards",
                          one_sentence_per_line=config.one_sentence_per_line, progress=True)
    train, held_out = shards.split(config.held_out)
    held_out_batches(held_out, config.segments(), batch_size=1, max_batches=1)  # long enough?
    if config.max_steps is None:
        config = config.replace(max_steps=steps_in_time(run, model_config, config, train))

    trainer = Trainer(run, model_config, config, train)
    if checkpoint:
        trainer.restore(checkpoint)
    save_settings(run, model_config, config)
    train_and_evaluate(trainer, held_out, log)
    return trainer.model


def check(run: Path, model_config: AlbertConfig, config: PretrainConfig, resume: bool) -> None:
    """What would otherwise fail only after the text has been tokenized."""
    if config.max_seq_length > model_config.max_position_embeddings:
        raise InputError(
            f"max_seq_length {config.max_seq_length} exceeds the model's max_position_embeddings "
            f"{model_config.max_position_embeddings}: lower the one or raise the other")
    if config.objective != "none" and model_config.type_vocab_size < 2:
        raise InputError(f"objective {config.objective} needs type_vocab_size 2, one for each "
                         f"segment, not {model_config.type_vocab_size}")
    if config.tensorboard and not find_spec("tensorboardX"):
        raise InputError("tensorboard needs a package: pip install 'tinyalbert[tensorboard]'")
    if not resume and list_checkpoints(run / "checkpoints"):
        raise InputError(f"{run} holds a training already: resume it, or begin in another folder")


def save_settings(run: Path, model_config: AlbertConfig, config: PretrainConfig) -> None:
    save_config(run, model_config)
    write_json(run / "pretrain.json", config.to_dict())


def get_tokenizer(run: Path, model_config: AlbertConfig, config: PretrainConfig,
                  log: Log) -> AlbertTokenizer:
    """The run's own tokenizer, trained on the corpus now if there is none."""
    if not (run / "spiece.model").exists():
        log(f"training a tokenizer of {model_config.vocab_size:,} pieces on {config.corpus}")
        documents = read_documents(config.corpus,
                                   one_sentence_per_line=config.one_sentence_per_line)
        train_tokenizer((sentence for document in documents for sentence in document), run,
                        vocab_size=model_config.vocab_size)
    tokenizer = AlbertTokenizer.from_pretrained(run)
    if tokenizer.vocab_size != model_config.vocab_size:
        raise InputError(
            f"the tokenizer in {run} has {tokenizer.vocab_size} pieces, the model's vocab_size is "
            f"{model_config.vocab_size}: set that to {tokenizer.vocab_size}, or delete "
            f"{run / 'spiece.model'}")
    return tokenizer


def steps_in_time(run: Path, model_config: AlbertConfig, config: PretrainConfig,
                  shards: Shards) -> int:
    """How many steps fit into config.minutes: a few are timed, of each kind, with a model that is
    thrown away."""
    trainer = Trainer(run, model_config, config, shards)

    def seconds_per_step(stream: PretrainingBatches) -> float:
        trainer.streams[-1], seconds = stream, []
        for _ in range(TIMED_STEPS):
            start = time.perf_counter()
            trainer.step(0.0)
            trainer.model.backend.synchronize()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds[2:])

    *shorter, full = map(seconds_per_step, list(trainer.streams))
    seconds = full
    if shorter:
        seconds += config.growing_ratio * (statistics.mean(shorter) - full)
    return max(int(60 * config.minutes / seconds), 1)


def train_and_evaluate(trainer: Trainer, held_out: Shards, log: Log) -> None:
    """Take the steps that are left; write metrics.jsonl and save as often as the settings say."""
    config, total = trainer.config, trainer.config.max_steps
    assert total is not None
    metrics = MetricsLog(trainer.run, resume_at=trainer.steps, tensorboard=config.tensorboard)
    doctor = introduce(trainer, held_out, metrics, total, log)

    def tell(line: dict[str, Any]) -> None:
        for message in doctor.examine(line):
            metrics.write("doctor", line["step"], message=message)
            log(f"step {line['step']}: {message}")

    with stop_requests() as stopped, tqdm(total=total, initial=trainer.steps, unit="step",
                                          dynamic_ncols=True) as bar:
        while (done := trainer.steps + 1) <= total:
            rate, length = trainer.rate(total), trainer.batches.segments.max_seq_length
            with trainer.means.timed():
                trainer.step(rate)
            bar.update()
            if done % config.log_every == 0 or done == total:
                line = metrics.write("train", done, **trainer.means.take(), learning_rate=rate,
                                     max_seq_length=length)
                bar.set_postfix_str(summary(line))
                tell(line)
            if done % config.eval_every == 0 and done != total:
                tell(metrics.write("eval", done, **trainer.evaluate(held_out)))
            if done % config.save_every == 0 or done == total or stopped:
                trainer.save()
            if stopped and done != total:
                log(f"stopped after step {done}, everything saved; go on with --resume")
                raise KeyboardInterrupt
    line = metrics.write("eval", trainer.steps, **trainer.evaluate(held_out, whole=True),
                         final=True)
    tell(line)
    log(f"held-out: {summary(line)}; 15 % single-token masking {line['reference_loss']:.3f} nats "
        f"against the unigram level {doctor.entropy:.2f}")


def introduce(trainer: Trainer, held_out: Shards, metrics: MetricsLog, total: int,
              log: Log) -> ConvergenceDoctor:
    """Say what will be trained, and in metrics.jsonl unless it stands there already. The doctor
    has read the lines that a resumed run keeps."""
    config, counts = trainer.config, trainer.shards.unigram_counts()
    doctor = ConvergenceDoctor(unigram_entropy(counts), total)
    start = {"unigram_entropy": doctor.entropy, "total_steps": total,
             "parameters": trainer.model.num_parameters(), "train_tokens": int(counts.sum()),
             "held_out_tokens": int(held_out.unigram_counts().sum())}
    if not any(start.items() <= line.items() for line in metrics.kept):
        metrics.write("start", trainer.steps, **start)
    for line in metrics.kept:
        doctor.examine(line)
    for title, settings in (("model", trainer.model.config), ("training", config)):
        log(f"{title}: " + ", ".join(f"{name}={value}" for name, value in settings.to_dict().items()
                                     if name not in OF_CLASSIFIERS))
    log(f"{start['parameters']:,} parameters, {start['train_tokens']:,} training tokens, "
        f"{total:,} steps of {config.batch_size * config.gradient_accumulation_steps} x "
        f"{config.max_seq_length} tokens; unigram level {doctor.entropy:.2f} nats")
    return doctor


def summary(line: dict[str, Any]) -> str:
    """loss 5.43 nats, words 21.0 %, order 63.1 %, 14.2k tokens/s"""
    parts = [f"loss {line['masked_lm_loss']:.2f} nats", f"words {line['masked_lm_accuracy']:.1%}"]
    if "sentence_order_accuracy" in line:
        parts.append(f"order {line['sentence_order_accuracy']:.1%}")
    parts.append(f"{line['tokens_per_second'] / 1000:.1f}k tokens/s")
    return ", ".join(parts)
