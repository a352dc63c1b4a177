"""Pretraining, from text to a trained ALBERT: a straight line.

    corpus -> tokenizer -> shards -> batches -> forward, backward, clip, step -> model

The steps themselves are in trainer.py; here is what comes before, between and after them. Several
ranks (training/ranks.py) all go this way together; rank 0 alone writes and speaks.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..backend import get_backend
from ..config import AlbertConfig
from ..data.batches import PretrainingBatches, held_out_batches
from ..data.corpus import read_documents
from ..data.shards import Shards
from ..data.tokenizing import build_shards
from ..errors import InputError
from ..files import read_json_object, write_json
from ..tasks import AlbertForPreTraining
from ..tokenization.albert import AlbertTokenizer
from ..tokenization.training import train_tokenizer
from ..training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, read_checkpoint
from ..training.interrupt import stop_requests
from ..training.metrics_log import MetricsLog
from ..training.ranks import ALONE, Ranks
from .config import PretrainConfig
from .convergence import ConvergenceDoctor, unigram_entropy
from .run import save_config
from .trainer import Trainer

Log = Callable[[str], Any]
OF_CLASSIFIERS = ("id2label", "label2id", "problem_type")       # settings without use here
TIMED_STEPS = 12        # how many steps the budget in minutes is estimated from


def pretrain(run: str | Path, model_config: AlbertConfig, config: PretrainConfig, *,
             resume: bool = False, log: Log = tqdm.write,
             ranks: Ranks = ALONE) -> AlbertForPreTraining:
    """Train, and leave everything in the folder `run` (described in run.py).

    resume: go on from the newest intact checkpoint in `run`, if there is one. The settings are
    those given here, which may differ from before (a lower rate, more steps), except that without
    max_steps the number of steps stays as it was.
    ranks: those that train together, all of which call this; every one returns the model. Their
    number may differ from before.

    Raises InputError for unusable settings, text or folders, TrainingError when the loss is no
    longer a number, KeyboardInterrupt after Ctrl-C, when everything has been saved.
    """
    run = Path(run)
    log = log if ranks.rank == 0 else unheard
    check(run, model_config, config, resume)
    backend = get_backend(config.backend)
    ranks.use_device(backend)
    backend.set_precision(config.precision)
    checkpoint = newest_checkpoint(run, log, ranks) if resume else None
    if checkpoint and config.max_steps is None:
        config = config.replace(max_steps=read_json_object(run / "pretrain.json").get("max_steps"))
    if not checkpoint:
        ranks.first(lambda: save_settings(run, model_config, config))

    ranks.first(lambda: make_tokenizer(run, model_config, config, log))
    tokenizer = get_tokenizer(run, model_config)
    shards = build_shards(config.corpus, tokenizer, run / "shards", ranks=ranks,
                          one_sentence_per_line=config.one_sentence_per_line, progress=True)
    train, held_out = shards.split(config.held_out)
    held_out_batches(held_out, config.segments(), batch_size=1, max_batches=1)  # long enough?
    if config.max_steps is None:
        config = config.replace(max_steps=steps_in_time(run, model_config, config, train, ranks))

    trainer = Trainer(run, model_config, config, train, ranks)
    if checkpoint:
        trainer.restore(checkpoint)
    ranks.first(lambda: save_settings(run, model_config, config))
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


def newest_checkpoint(run: Path, log: Log, ranks: Ranks) -> Checkpoint | None:
    """Rank 0 chooses, and all read the same."""
    checkpoint = None

    def choose() -> Path | None:
        nonlocal checkpoint
        checkpoint = load_checkpoint(run / "checkpoints", log)
        return checkpoint and run / "checkpoints" / f"step-{checkpoint.step:08}"

    chosen = ranks.first(choose)
    return read_checkpoint(chosen) if chosen and not checkpoint else checkpoint


def unheard(message: str) -> None:
    """Where the other ranks say what rank 0 says, too."""


class NoLog:
    """Where the other ranks write the lines that rank 0 writes to metrics.jsonl."""

    kept: tuple[dict[str, Any], ...] = ()

    def write(self, kind: str, step: int, **values: Any) -> dict[str, Any]:
        return {"kind": kind, "step": step, **values}


def save_settings(run: Path, model_config: AlbertConfig, config: PretrainConfig) -> None:
    save_config(run, model_config)
    write_json(run / "pretrain.json", config.to_dict())


def make_tokenizer(run: Path, model_config: AlbertConfig, config: PretrainConfig,
                   log: Log) -> None:
    """Train the run's own tokenizer on the corpus, if there is none."""
    if not (run / "spiece.model").exists():
        log(f"training a tokenizer of {model_config.vocab_size:,} pieces on {config.corpus}")
        documents = read_documents(config.corpus,
                                   one_sentence_per_line=config.one_sentence_per_line)
        train_tokenizer((sentence for document in documents for sentence in document), run,
                        vocab_size=model_config.vocab_size)


def get_tokenizer(run: Path, model_config: AlbertConfig) -> AlbertTokenizer:
    """The run's own; InputError if the model is of another size."""
    tokenizer = AlbertTokenizer.from_pretrained(run)
    if tokenizer.vocab_size != model_config.vocab_size:
        raise InputError(
            f"the tokenizer in {run} has {tokenizer.vocab_size} pieces, the model's vocab_size is "
            f"{model_config.vocab_size}: set that to {tokenizer.vocab_size}, or delete "
            f"{run / 'spiece.model'}")
    return tokenizer


def steps_in_time(run: Path, model_config: AlbertConfig, config: PretrainConfig,
                  shards: Shards, ranks: Ranks) -> int:
    """How many steps fit into config.minutes: a few are timed, of each kind, with a model that is
    thrown away. By rank 0's clock."""
    trainer = Trainer(run, model_config, config, shards, ranks)

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
    return ranks.gather(max(int(60 * config.minutes / seconds), 1))[0]


def train_and_evaluate(trainer: Trainer, held_out: Shards, log: Log) -> None:
    """Take the steps that are left; write metrics.jsonl and save as often as the settings say."""
    config, total, ranks = trainer.config, trainer.config.max_steps, trainer.ranks
    assert total is not None
    metrics = NoLog() if ranks.rank else MetricsLog(trainer.run, resume_at=trainer.steps,
                                                    tensorboard=config.tensorboard)
    doctor = introduce(trainer, held_out, metrics, total, log)
    trainer.check_agreement()

    def tell(line: dict[str, Any]) -> None:
        for message in doctor.examine(line):
            metrics.write("doctor", line["step"], message=message)
            log(f"step {line['step']}: {message}")

    with stop_requests(quiet=ranks.rank > 0) as received, \
            tqdm(total=total, initial=trainer.steps, unit="step", dynamic_ncols=True,
                 disable=ranks.rank > 0) as bar:
        while (done := trainer.steps + 1) <= total:
            rate, length = trainer.rate(total), trainer.batches.segments.max_seq_length
            with trainer.means.timed():
                trainer.step(rate)
            bar.update()
            if done % config.log_every == 0 or done == total:
                line = metrics.write("train", done, **trainer.take_means(), learning_rate=rate,
                                     max_seq_length=length)
                bar.set_postfix_str(summary(line))
                tell(line)
            if done % config.eval_every == 0 and done != total:
                tell(metrics.write("eval", done, **trainer.evaluate(held_out)))
            stopped = ranks.any(bool(received))     # a signal reaches some ranks a step earlier
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


def introduce(trainer: Trainer, held_out: Shards, metrics: MetricsLog | NoLog, total: int,
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
    together = f" on {trainer.ranks.size} ranks" if trainer.ranks.size > 1 else ""
    log(f"{start['parameters']:,} parameters, {start['train_tokens']:,} training tokens, "
        f"{total:,} steps of {config.batch_size * config.gradient_accumulation_steps} x "
        f"{config.max_seq_length} tokens{together}; unigram level {doctor.entropy:.2f} nats")
    return doctor


def summary(line: dict[str, Any]) -> str:
    """loss 5.43 nats, words 21.0 %, order 63.1 %, 14.2k tokens/s"""
    parts = [f"loss {line['masked_lm_loss']:.2f} nats", f"words {line['masked_lm_accuracy']:.1%}"]
    if "sentence_order_accuracy" in line:
        parts.append(f"order {line['sentence_order_accuracy']:.1%}")
    parts.append(f"{line['tokens_per_second'] / 1000:.1f}k tokens/s")
    return ", ".join(parts)
