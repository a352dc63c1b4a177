"""The page of a fine-tuning: is it better than knowing nothing, where is it wrong, and why.

One file, RUN/report.html, that needs no other and no network. What every task has stands here, with
the sections of classification; the other tasks' examples are shown as they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import read_json_object
from ..finetuning.classification import TextExample
from ..finetuning.finetuned import SETTINGS, FineTuned
from ..training.metrics_log import read_metrics
from . import finetuning_figures as figures
from .elements import picture, table, write_page
from .saliency import explained

SHOWN = 12      # examples of each kind


def write_finetuning_report(run: str | Path) -> Path:
    """Write RUN/report.html; returns its path. InputError if the folder holds no finished
    fine-tuning, or Matplotlib is missing."""
    run = Path(run)
    metrics = read_metrics(run)
    found = {line["kind"]: line for line in metrics}
    if "final" not in found:
        raise InputError(f"the fine-tuning in {run} is not finished: go on with --resume")
    start, final = found["start"], found["final"]
    kept = read_json_object(run / SETTINGS)
    examples, predictions = read_predictions(run)
    metric = start["metric"]
    gain = f"{metric} {final[metric]:.3f} on dev; {start['baseline']} has " \
           f"{start['baseline_metrics'].get(metric, 0):.3f}"
    body = [f"<header><p class=muted>tinyalbert: {escape(run.resolve().name)}, "
            f"{escape(kept['task'])} from {escape(str(kept.get('model', '')))}</p>"
            f"<h1>{escape(gain)}</h1></header>",
            *warnings(metrics), scores(start, final, found.get("test")),
            "<h2>Training</h2>",
            picture(run, "finetuning", figures.curves(
                metrics, metric, start["baseline_metrics"].get(metric)),
                "The weights of the best evaluation are the ones that were kept.")]
    body += SECTIONS.get(kept["task"], as_they_are)(run, examples, predictions)
    body += settings(kept)
    return write_page(run, f"{run.resolve().name}: {gain}", body)


def warnings(metrics: Sequence[dict[str, Any]]) -> list[str]:
    found = [line["message"] for line in metrics if line["kind"] == "warning"]
    items = "".join(f"<li>{escape(message)}</li>" for message in found)
    return [f"<ul class=notes>{items}</ul>"] if found else []


def scores(start: dict[str, Any], final: dict[str, Any], test: dict[str, Any] | None) -> str:
    """A row for each metric: the model's on dev, the baseline's, the model's on test."""
    rows = [["metric", "dev", f"baseline ({start['baseline']})", *(["test"] if test else [])]]
    for name, value in final.items():
        if name in ("kind", "step", "seconds", "final") or not isinstance(value, int | float):
            continue
        base = start["baseline_metrics"].get(name)
        rows.append([name, f"{value:.3f}", "" if base is None else f"{base:.3f}",
                     *([f"{test[name]:.3f}"] if test else [])])
    counted = f"{start['examples']:,} training examples, {start['dev_examples']:,} of dev"
    return table(rows) + f"<p class=muted>{counted}, {start['parameters']:,} parameters.</p>"


def classification(run: Path, examples: list[dict], predictions: list[dict]) -> list[str]:
    finetuned = FineTuned.load(run)
    task: Any = finetuned.task
    texts = [TextExample(**example) for example in examples]
    if not task.labels:
        return regression(run, texts, predictions)
    counts = np.zeros((len(task.labels), len(task.labels)), np.int64)
    for text, prediction in zip(texts, predictions, strict=True):
        counts[task.ids[text.label], task.ids[prediction["label"]]] += 1
    wrong = [i for i, text in enumerate(texts) if text.label != predictions[i]["label"]]
    worst = sorted(wrong, key=lambda i: -predictions[i]["score"])[:SHOWN]
    right = [i for i in range(len(texts)) if i not in set(wrong)]
    middle = right[::max(1, len(right) // SHOWN)][:SHOWN]
    body = ["<h2>What is taken for what</h2>",
            picture(run, "confusion", figures.confusion_matrix(task.labels, counts),
                    "Rows are the labels of dev, columns what the model says.")]
    for title, rows in (("Worst mistakes", worst), ("Right answers", middle)):
        if rows:
            body.append(f"<h2>{title}</h2><p>Blue words speak for the model's answer, orange "
                        "words against it (gradient times input).</p>")
        for i in rows:
            said, text = predictions[i], texts[i]
            body.append(
                f"<h3>{escape(said['label'])} {said['score']:.0%}"
                + (f", but labelled {escape(text.label or '')}" if i in set(wrong) else "")
                + f" <span class=muted>{escape(text.where)}</span></h3>"
                f"<p class=text>{explained(finetuned, text, said['label'])}</p>")
    return body


def regression(run: Path, texts: list[TextExample], predictions: list[dict]) -> list[str]:
    targets = [float(text.label or 0) for text in texts]
    said = [prediction["score"] for prediction in predictions]
    order = np.argsort(-np.abs(np.subtract(targets, said)))[:SHOWN]
    rows = [["number", "predicted", "text"]] + [
        [f"{targets[i]:.3g}", f"{said[i]:.3g}", " | ".join(filter(None, texts[i][:2]))[:300]]
        for i in order]
    return ["<h2>Predictions</h2>",
            picture(run, "scatter", figures.scatter(targets, said), "Each dot is a text of dev."),
            "<h2>Worst mistakes</h2>", table(rows)]


def as_they_are(run: Path, examples: list[dict], predictions: list[dict]) -> list[str]:
    rows = [["example", "prediction"]] + [
        [json.dumps(example, ensure_ascii=False)[:400],
         json.dumps(prediction, ensure_ascii=False)[:400]]
        for example, prediction in list(zip(examples, predictions, strict=True))[:SHOWN]]
    return ["<h2>Some of dev</h2>", table(rows)]


def settings(kept: dict[str, Any]) -> list[str]:
    rows = [["setting", "value"], *([name, json.dumps(value)]
                                    for name, value in kept.get("settings", {}).items())]
    return [f"<details><summary>All settings</summary>{table(rows)}</details>"]


def read_predictions(run: Path) -> tuple[list[dict], list[dict]]:
    try:
        lines = (run / "predictions.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [row["example"] for row in rows], [row["prediction"] for row in rows]
    except OSError as error:
        raise InputError(f"cannot read {run / 'predictions.jsonl'}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run / 'predictions.jsonl'} is damaged: {error}") from error


SECTIONS = {"classify": classification}
