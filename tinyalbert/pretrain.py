"""Pretraining, from text to a trained ALBERT: a straight line.

    corpus -> tokenizer -> shards -> batches -> forward, backward, clip, step -> model

A step depends only on the settings, the weights before it, and its number: batches, masks and
dropout are drawn from (seed, step). A run that is killed and resumed from its last checkpoint
therefore ends with the weights of one that was never interrupted, bit for bit.
"""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tqdm import tqdm

from .batches import Batch, PretrainingBatches, held_out_batches
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .config import AlbertConfig
from .convergence import ConvergenceDoctor, unigram_entropy
from .corpus import read_documents
from .errors import InputError
from .masking import REFERENCE_MASKING
from .metrics import Means, MetricsLog
from .model import AlbertForPreTraining
from .optim import OPTIMIZERS, AdamW, clip_by_global_norm, learning_rate
from .pretrain_config import PretrainConfig
from .run import save_model, write_json
from .shards import Shards, build_shards
from .tokenizer import AlbertTokenizer
from .tokenizer_training import train_tokenizer

TIMED_STEPS = 12        # how many steps the budget in minutes is estimated from


class TrainingError(RuntimeError):
    """The numbers went wrong. The message names the step, the tensor and the last checkpoint."""


def pretrain(run: str | Path, model_config: AlbertConfig, config: PretrainConfig, *,
             resume: bool = False, log: Any = tqdm.write) -> AlbertForPreTraining:
    """Train, and leave everything in the folder `run` (described in run.py).

    resume: go on from the newest intact checkpoint in `run`, if there is one.
    Raises InputError for unusable settings, text or folders, TrainingError when the loss is no
    longer a number, KeyboardInterrupt after Ctrl-C, when everything has been saved.
    """
    run = Path(run)
    tokenizer = get_tokenizer(run, model_config, config, log)
    shards = build_shards(config.corpus, tokenizer, run / "shards",
                          one_sentence_per_line=config.one_sentence_per_line, progress=True)
    train, held_out = shards.split(config.held_out)
    counts = train.unigram_counts()
    entropy = unigram_entropy(counts)

    model = AlbertForPreTraining(model_config, backend=config.backend, seed=config.seed)
    if config.unigram_bias:
        model.predictions.bias.data[...] = model.backend.asarray(np.log((counts + 1) / counts.sum()))
    parameters = model.named_parameters()
    optimizer = make_optimizer(model, config)
    batches = make_batches(train, config)
    checkpoint = load_checkpoint(run / "checkpoints", log) if resume else None
    if checkpoint:
        config = PretrainConfig.from_dict(checkpoint.state["config"])
        model.load_state_dict(checkpoint.model)
        optimizer.load_state_dict(checkpoint.optimizer, steps=checkpoint.step)
        batches = make_batches(train, config, checkpoint.state["cursor"])
    if config.max_steps is None:
        config = config.replace(max_steps=steps_in(config.minutes, model_config, config, train))
    total = config.max_steps
    assert total is not None
    start = checkpoint.step if checkpoint else 0
    write_json(run / "config.json", model_config.to_dict())
    write_json(run / "pretrain.json", config.to_dict())

    doctor = ConvergenceDoctor(entropy, total)
    metrics = MetricsLog(run, resume_at=start, tensorboard=config.tensorboard)
    if start == 0:
        metrics.write("start", 0, unigram_entropy=entropy, total_steps=total,
                      parameters=model.num_parameters(), train_tokens=int(counts.sum()),
                      held_out_tokens=int(held_out.unigram_counts().sum()))
    log(f"{model.num_parameters():,} parameters, {counts.sum():,} training tokens, {total:,} steps "
        f"of {config.batch_size * config.gradient_accumulation_steps} x {config.max_seq_length} "
        f"tokens; unigram level {entropy:.2f} nats")

    def tell(line: dict[str, Any]) -> None:
        for message in doctor.examine(line):
            metrics.write("doctor", line["step"], message=message)
            log(f"step {line['step']}: {message}")

    def save(step: int) -> None:
        state = {"config": config.to_dict(), "cursor": list(batches.cursor)}
        save_checkpoint(run / "checkpoints", Checkpoint(step, model.state_dict(tied=False),
                                                        optimizer.state_dict(), state),
                        keep=config.keep_checkpoints)
        save_model(run, model)

    means = Means()
    with stop_requests() as stopped, tqdm(total=total, initial=start, unit="step",
                                          dynamic_ncols=True) as bar:
        for step in range(start, total):
            rate = learning_rate(step, total, round(config.warmup_ratio * total),
                                 config.learning_rate, config.schedule)
            for micro in range(config.gradient_accumulation_steps):
                batch = next(batches)
                rng = np.random.default_rng([config.seed, step, micro])
                out, cache = model.forward(**inputs_of(batch), rng=rng)
                model.backward(cache, 1 / config.gradient_accumulation_steps)
                means.add_output(out, batch)
            grad_norm = float(clip_by_global_norm(parameters, config.max_grad_norm))
            if not np.isfinite(grad_norm) or not np.isfinite(means.last_loss):
                raise TrainingError(what_broke(model, step, means.last_loss, run))
            optimizer.step(rate)
            model.zero_grad()
            means.add(grad_norm=grad_norm)

            done = step + 1
            bar.update()
            if done % config.log_every == 0 or done == total:
                line = metrics.write("train", done, **means.take(), learning_rate=rate)
                bar.set_postfix_str(summary(line))
                tell(line)
            if done % config.eval_every == 0 and done != total:
                tell(metrics.write("eval", done, **evaluate(model, held_out, config)))
            if done % config.save_every == 0 or done == total or stopped:
                save(done)
            if stopped and done != total:
                log(f"stopped after step {done}, everything saved; go on with --resume")
                raise KeyboardInterrupt
    line = metrics.write("eval", total, **evaluate(model, held_out, config, whole=True), final=True)
    tell(line)
    log(f"held-out: {summary(line)}; 15 % single-token masking {line['reference_loss']:.3f} nats "
        f"against the unigram level {entropy:.2f}")
    return model


def get_tokenizer(run: Path, model_config: AlbertConfig, config: PretrainConfig,
                  log: Any) -> AlbertTokenizer:
    """The run's own tokenizer, trained on the corpus now if there is none."""
    if not (run / "spiece.model").exists():
        log(f"training a tokenizer of {model_config.vocab_size:,} pieces on {config.corpus}")
        documents = read_documents(config.corpus,
                                   one_sentence_per_line=config.one_sentence_per_line)
        train_tokenizer((sentence for document in documents for sentence in document), run,
                        vocab_size=model_config.vocab_size)
    tokenizer = AlbertTokenizer.from_pretrained(run)
    if tokenizer.vocab_size != model_config.vocab_size:
        raise InputError(f"the tokenizer in {run} has {tokenizer.vocab_size} pieces, the model's "
                         f"vocab_size is {model_config.vocab_size}: they must agree")
    return tokenizer


def make_optimizer(model: AlbertForPreTraining, config: PretrainConfig) -> AdamW:
    return OPTIMIZERS[config.optimizer](
        model.named_parameters(), betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon, weight_decay=config.weight_decay,
        bias_correction=config.bias_correction)


def make_batches(shards: Shards, config: PretrainConfig,
                 cursor: tuple[int, int, int] = (0, 0, 0)) -> PretrainingBatches:
    return PretrainingBatches(shards, config.segments(), config.masked_lm(),
                              batch_size=config.batch_size, seed=config.seed, cursor=cursor)


def inputs_of(batch: Batch) -> dict[str, Any]:
    """The batch as arguments of the model; without a sentence task that label is left out."""
    inputs = batch._asdict()
    if (batch.sentence_order_label == -100).all():
        inputs["sentence_order_label"] = None
    return inputs


def evaluate(model: AlbertForPreTraining, held_out: Shards, config: PretrainConfig, *,
             whole: bool = False) -> dict[str, Any]:
    """Means over held-out text: under the training's own masking, and as reference_* under 15 %
    single-token masking, with which other models can be compared. `pairs` is the number of
    sentence pairs, of which the accuracy's noise depends."""
    def means_under(masking: Any) -> dict[str, Any]:
        means = Means()
        for batch in held_out_batches(held_out, config.segments(), masking,
                                      batch_size=config.batch_size,
                                      max_batches=None if whole else config.eval_batches):
            out, _ = model.forward(**inputs_of(batch))
            means.add_output(out, batch)
        return means.take()

    own, reference = means_under(config.masked_lm()), means_under(REFERENCE_MASKING)
    return {**own, "reference_loss": reference["masked_lm_loss"],
            "reference_accuracy": reference["masked_lm_accuracy"]}


def steps_in(minutes: float, model_config: AlbertConfig, config: PretrainConfig,
             shards: Shards) -> int:
    """How many steps fit into `minutes` here: a throwaway model takes a few, the median counts."""
    model = AlbertForPreTraining(model_config, backend=config.backend, seed=config.seed)
    optimizer, batches, seconds = make_optimizer(model, config), make_batches(shards, config), []
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        for _ in range(config.gradient_accumulation_steps):
            batch = next(batches)
            out, cache = model.forward(**inputs_of(batch), rng=np.random.default_rng(0))
            model.backward(cache)
            Means().add_output(out, batch)
        clip_by_global_norm(optimizer.parameters, config.max_grad_norm)
        optimizer.step(0.0)
        model.zero_grad()
        model.backend.synchronize()
        seconds.append(time.perf_counter() - start)
    return max(int(60 * minutes / statistics.median(seconds[2:])), 1)


def what_broke(model: AlbertForPreTraining, step: int, loss: float, run: Path) -> str:
    """One sentence about a loss or gradient that is not a number, before it reaches the weights."""
    xp, where = model.backend.xp, "the loss"
    for kind in ("grad", "data"):
        for name, parameter in model.named_parameters().items():
            if not bool(xp.isfinite(getattr(parameter, kind)).all()):
                where = f"{'the gradient of ' if kind == 'grad' else ''}{name}"
    kept = sorted((run / "checkpoints").glob("step-*"))
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    return (f"step {step + 1}: {where} is no longer a finite number (loss {loss}); {last}. Go on "
            "from it with --resume and a lower --learning-rate, or a longer --warmup-ratio")


def summary(line: dict[str, Any]) -> str:
    """loss 5.43 nats, words 21.0 %, order 63.1 %, 14.2k tokens/s"""
    parts = [f"loss {line['masked_lm_loss']:.2f} nats", f"words {line['masked_lm_accuracy']:.1%}"]
    if "sentence_order_accuracy" in line:
        parts.append(f"order {line['sentence_order_accuracy']:.1%}")
    if "tokens_per_second" in line:
        parts.append(f"{line['tokens_per_second'] / 1000:.1f}k tokens/s")
    return ", ".join(parts)


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """A list that becomes non-empty when Ctrl-C or SIGTERM arrives, so that the step in progress
    can end and be saved. A second one interrupts at once."""
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        tqdm.write("stopping after this step; once more to stop at once, without saving")

    before = {number: signal.signal(number, on_signal)
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
