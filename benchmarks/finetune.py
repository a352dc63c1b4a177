"""Fine-tuning from a model pretrained in minutes: ours, PyTorch + Transformers, and what is simple.

    python benchmarks/finetune.py --data FOLDER [--steps 3000] [--seeds 3] [--out FILE.json]

FOLDER holds three public data sets, each with a fixed split:

    vader-movie/    sentiment of film-review snippets: the sign of the mean rating, those between
                    -0.05 and 0.05 left out; 80/10/10 by a hash of the id
    wnut17/         entities in tweets: train, dev and test as published
    xquad-en/       questions on paragraphs of Wikipedia: 80/10/10 by paragraph

One small ALBERT (the demo preset) is pretrained on presidents' messages and the texts of the three
training parts. From the same weights, features, order of batches, steps and peak rate both sides
train, are judged on dev after each epoch, and keep the best weights for test: each with its own
framework's dropout. Seconds are those of training and evaluation; a run has a process of its own,
and the two sides take turns. Beside them: the trivial baseline, and for sentiment a logistic
regression over words and pairs of words.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import csv
import hashlib
import html
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
import transformers
from peer import rate_at
from race import show, versions
from threadpoolctl import threadpool_limits

from tinyalbert.data.demo_corpora import DEMO_CORPORA
from tinyalbert.finetuning.config import FinetuneConfig
from tinyalbert.finetuning.finetuned import begin, task_class
from tinyalbert.finetuning.trainer import Trainer
from tinyalbert.optim import EXCLUDED
from tinyalbert.pretraining.config import PRESETS
from tinyalbert.pretraining.pretrain import pretrain

SETTINGS = {        # task, settings
    "vader-movie": ("classify", FinetuneConfig(epochs=4)),
    "wnut17": ("ner", FinetuneConfig(epochs=5)),
    "xquad-en": ("qa", FinetuneConfig(epochs=2)),
}


# ---- data


def tenth(key: str) -> str:
    place = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 10
    return {8: "dev", 9: "test"}.get(place, "train")


def write_movies(data: Path, folder: Path) -> None:
    rows: dict[str, list] = {"train": [], "dev": [], "test": []}
    path = data / "movieReviewSnippets_GroundTruth.txt"
    for line in path.read_text("utf-8", errors="replace").splitlines():
        number, rating, text = line.split("\t")
        if abs(float(rating)) > 0.05:
            rows[tenth(number)].append(
                (html.unescape(text), "positive" if float(rating) > 0 else "negative"))
    for part, found in rows.items():
        with open(folder / f"{part}.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *found])


def write_questions(data: Path, folder: Path) -> None:
    articles = json.loads((data / "xquad.en.json").read_text("utf-8"))["data"]
    for part in ("train", "dev", "test"):
        paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]
                      if tenth(paragraph["context"]) == part]
        (folder / f"{part}.json").write_text(json.dumps(
            {"version": "1.1", "data": [{"title": part, "paragraphs": paragraphs}]}))


def prepare(data: Path, folder: Path, name: str) -> dict[str, list]:
    """The examples of the three parts."""
    task = task_class(SETTINGS[name][0])
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "wnut17":
        files = {"train": "wnut17train.conll", "dev": "emerging.dev.conll",
                 "test": "emerging.test.annotated"}
        return {part: task.read(data / name / file) for part, file in files.items()}
    write = write_movies if name == "vader-movie" else write_questions
    write(data / name, folder)
    ending = "csv" if name == "vader-movie" else "json"
    return {part: task.read(folder / f"{part}.{ending}") for part in ("train", "dev", "test")}


def text_of(example: Any) -> str:
    if hasattr(example, "words"):
        return " ".join(example.words)
    return example.context if hasattr(example, "context") else example.text


# ---- the contestants


class Torch:
    """The same weights in Transformers, called as our models are."""

    def __init__(self, ours: Any, dropout_seed: int) -> None:
        torch.manual_seed(dropout_seed)
        config = transformers.AlbertConfig(**{
            key: value for key, value in ours.config.to_dict().items()
            if key not in ("sharing", "dropout_sites", "gradient_checkpointing")})
        peer = getattr(transformers, type(ours).__name__)(config)
        state = {key: torch.from_numpy(value) for key, value in ours.state_dict().items()}
        peer.load_state_dict(state, strict=False)
        self.model, self.backend = peer, ours.backend
        named = dict(peer.named_parameters())
        plain = [p for name, p in named.items() if not re.search(EXCLUDED, name)]
        rest = [p for name, p in named.items() if re.search(EXCLUDED, name)]
        self.optimizer = torch.optim.AdamW([{"params": plain, "weight_decay": 0.01},
                                            {"params": rest, "weight_decay": 0.0}], eps=1e-6)

    def step(self, batch: dict[str, Any], rate: float) -> None:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model(**{key: torch.from_numpy(value) for key, value in batch.items()}).loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def __call__(self, **batch: Any) -> Any:
        self.model.eval()
        with torch.inference_mode():
            out = self.model(**{key: torch.from_numpy(value) for key, value in batch.items()})
        for key in ("logits", "start_logits", "end_logits"):
            if hasattr(out, key):
                setattr(out, key, getattr(out, key).numpy())
        return out

    def weights(self) -> dict[str, Any]:
        return {key: value.clone() for key, value in self.model.state_dict().items()}

    def set_weights(self, weights: dict[str, Any]) -> None:
        self.model.load_state_dict(weights)


class Ours:
    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.model, self.backend = trainer, trainer.model, trainer.model.backend

    def __call__(self, **batch: Any) -> Any:
        return self.model(**batch)

    def weights(self) -> dict[str, Any]:
        return self.model.state_dict(tied=False)

    def set_weights(self, weights: dict[str, Any]) -> None:
        self.model.load_state_dict(weights)


def contest(side: str, name: str, pretrained: Path, data: Path, folder: Path,
            seed: int) -> dict[str, Any]:
    """Train one side; its metrics on test, and the seconds."""
    parts = prepare(data, folder, name)
    kind, config = SETTINGS[name]
    config = config.replace(seed=seed)
    task = task_class(kind).of_examples(parts["train"])
    start = begin(task, pretrained, backend="numpy", seed=seed, max_length=None)
    features = {part: task.features(start.tokenizer, examples, start.max_length)
                for part, examples in parts.items()}
    trainer = Trainer(start.model, task, start.tokenizer, config, features["train"])
    contestant: Any = Ours(trainer) if side == "ours" else Torch(start.model, seed)

    def judge(part: str) -> dict[str, float]:
        predictions, _ = task.predict(contestant, start.tokenizer, parts[part],
                                      features=features[part], batch_size=config.batch_size)
        return task.metrics(parts[part], predictions)

    best, kept, began = -np.inf, contestant.weights(), time.perf_counter()
    for step in range(trainer.total):
        if side == "ours":
            trainer.step()
        else:
            trainer.optimizer.steps = step          # which batch it is
            rate = rate_at(step, trainer.total, round(config.warmup_ratio * trainer.total),
                           config.peak_rate(start.model.config.hidden_size))
            micro, = trainer.micro_batches()
            contestant.step(task.batch(micro, start.tokenizer.pad_token_id), rate)
        if (step + 1) % trainer.steps_per_epoch == 0:
            value = judge("dev")[task.metric]
            if value > best:
                best, kept = value, contestant.weights()
    seconds = time.perf_counter() - began
    contestant.set_weights(kept)
    return {"dev": best, "test": judge("test"), "seconds": seconds, "updates": trainer.total}


# ---- what is simple


def simple(name: str, parts: dict[str, list]) -> dict[str, Any]:
    task = task_class(SETTINGS[name][0]).of_examples(parts["train"])
    what, metrics = task.baseline(parts["train"], parts["test"])
    found = {what: metrics}
    if name == "vader-movie":
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        words = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
                              LogisticRegression(C=10, max_iter=2000))
        words.fit([e.text for e in parts["train"]], [e.label for e in parts["train"]])
        said = words.predict([e.text for e in parts["test"]])
        found["logistic regression over words and pairs"] = task.metrics(
            parts["test"], [{"label": label} for label in said])
    return found


# ---- all of it


def in_its_own_process(*argv: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, *argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def summary(runs: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    values = [run["test"][metric] for run in runs]
    return {metric: round(mean(values), 4), "of_each_seed": [round(value, 4) for value in values],
            "deviation": round(stdev(values), 4) if len(values) > 1 else None,
            "seconds": round(mean(run["seconds"] for run in runs), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000, help="of pretraining")
    parser.add_argument("--model", type=Path, help="a model to begin with, instead of pretraining")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "TASK", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as temporary, threadpool_limits(args.threads, "blas"):
        folder = Path(temporary)
        if args.one:
            side, name, seed = args.one
            print(json.dumps(contest(side, name, args.model, args.data, folder, int(seed))))
            return
        parts = {name: prepare(args.data, folder, name) for name in args.tasks}
        model = args.model or pretrained(folder, parts, args.steps)
        results = {}
        for name in args.tasks:
            runs: dict[str, list] = {"ours": [], "pytorch": []}
            for seed in range(args.seeds):
                for side in runs:
                    runs[side].append(in_its_own_process(
                        "--data", str(args.data), "--model", str(model), "--threads",
                        str(args.threads), "--one", side, name, str(seed)))
            metric = task_class(SETTINGS[name][0]).of_examples(parts[name]["train"]).metric
            results[name] = {
                "tinyalbert": summary(runs["ours"], metric),
                "pytorch": summary(runs["pytorch"], metric),
                "times_as_fast": round(mean(run["seconds"] for run in runs["pytorch"])
                                       / mean(run["seconds"] for run in runs["ours"]), 2),
                "simple": {what: round(values[metric], 4) for what, values in
                           simple(name, parts[name]).items()}}
            print(name, json.dumps(results[name]), flush=True)
    show({"steps_of_pretraining": args.steps, "seeds": args.seeds, "threads": args.threads,
          "versions": versions(), "results": results}, args.out)


def pretrained(folder: Path, parts: dict[str, dict[str, list]], steps: int) -> Path:
    """The demo preset on presidents' messages and on the texts that are learned from."""
    texts = [path.read_text("utf-8") for path in DEMO_CORPORA["sotu"].files()]
    for examples in parts.values():
        own = list(dict.fromkeys(map(text_of, examples["train"])))
        texts += [" ".join(own[i:i + 20]) for i in range(0, len(own), 20)]
    corpus, run = folder / "corpus.jsonl", folder / "pretrained"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    model, config = PRESETS["demo"]
    pretrain(run, model, config.replace(corpus=str(corpus), max_steps=steps))
    return run


if __name__ == "__main__":
    main()
