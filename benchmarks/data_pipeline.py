"""Does the data keep up? Tokens per second of the pipeline that feeds pretraining (segments, masks,
batches; one thread) against those of the training step that it feeds.

    python benchmarks/data_pipeline.py [--presets demo small] [--corpus sotu] [--steps 15]
                                       [--threads 2] [--out FILE.json]

For each preset and each length of its sequences: milliseconds of a batch and of a step without it,
medians of taking turns, and how many times as fast the one is. A pass over the corpus is planned
before its first batch; every batch is charged its part of that. And the seconds of what is done
once: training the tokenizer, and tokenizing.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tinyalbert.data.batches import PretrainingBatches
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.segments import plan_instances
from tinyalbert.data.shards import Shards
from tinyalbert.pretraining.config import PRESETS
from tinyalbert.pretraining.pretrain import build_shards
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.tokenization.training import train_tokenizer

WARMUP = 3


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def prepare(corpus: str, vocab_size: int, folder: Path) -> tuple[Shards, dict[str, float]]:
    """The tokenized corpus, and how long it took."""
    def sentences() -> Any:
        return (sentence for document in read_documents(corpus) for sentence in document)

    training, tokenizer = seconds_of(
        lambda: train_tokenizer(sentences(), folder, vocab_size=vocab_size))
    tokenizing, shards = seconds_of(lambda: build_shards(corpus, tokenizer, folder / "shards"))
    tokens = int(shards.unigram_counts().sum())
    return shards, {"train_tokenizer_seconds": round(training, 2),
                    "tokenize_seconds": round(tokenizing, 2), "tokens": tokens,
                    "tokenize_tokens_per_second": round(tokens / tokenizing)}


def race(trainer: Trainer, stream: PretrainingBatches, steps: int) -> dict[str, float]:
    """One length of sequences: the trainer is fed from memory with what the stream has made."""
    making, stepping, batches = [], [], trainer.streams
    shard = stream.shards[0]
    planning, instances = seconds_of(lambda: plan_instances(
        shard, stream.shards.word_starts, np.random.default_rng(0), stream.segments))
    for _ in range(steps + WARMUP):
        seconds, batch = seconds_of(lambda: next(stream))
        making.append(seconds)
        trainer.streams = [iter([batch])] * len(batches)    # type: ignore[list-item]
        stepping.append(seconds_of(lambda: trainer.step(0.0))[0])
    trainer.streams = batches
    batch_ms, step_ms = (1000 * median(seconds[WARMUP:]) for seconds in (making, stepping))
    plan_ms = 1000 * planning * stream.batch_size / len(instances)
    batch_ms += plan_ms
    tokens = stream.batch_size * stream.segments.max_seq_length
    return {"max_seq_length": stream.segments.max_seq_length, "batch_size": stream.batch_size,
            "batch_ms": round(batch_ms, 2), "of_it_plan_ms": round(plan_ms, 2),
            "step_ms": round(step_ms, 1),
            "batch_tokens_per_second": round(1000 * tokens / batch_ms),
            "step_tokens_per_second": round(1000 * tokens / step_ms),
            "times_as_fast": round(step_ms / batch_ms, 1),
            "share_of_a_step": round(batch_ms / (step_ms + batch_ms), 4)}


def measure(preset: str, corpus: str, steps: int, folder: Path) -> dict[str, Any]:
    model, config = PRESETS[preset]
    shards, once = prepare(corpus, model.vocab_size, folder)
    train, _ = shards.split()
    trainer = Trainer(folder, model, config.replace(max_steps=10**9), train)
    return {**once, "lengths": [race(trainer, stream, steps) for stream in list(trainer.streams)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["demo", "small"])
    parser.add_argument("--corpus", default="sotu")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    results = {}
    for preset in args.presets:
        with threadpool_limits(args.threads), tempfile.TemporaryDirectory() as folder:
            results[preset] = measure(preset, args.corpus, args.steps, Path(folder))
    text = json.dumps({"cores": os.cpu_count(), "python": platform.python_version(),
                       "numpy": np.__version__, "corpus": args.corpus, "threads": args.threads,
                       "steps": args.steps, "presets": results}, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
