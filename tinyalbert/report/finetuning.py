"""The page of a fine-tuning: is it better than knowing nothing, where is it wrong, and why.

One file, RUN/report.html, that needs no other and no network. What every task has stands here, what
only one has in finetuning_sections.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json_object
from ..finetuning.finetuned import SETTINGS, FineTuned
from ..training.metrics_log import read_metrics
from . import finetuning_figures as figures
from .elements import picture, table, write_page
from .finetuning_sections import SECTIONS


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
    body += SECTIONS[kept["task"]](run, FineTuned.load(run), examples, predictions)
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
