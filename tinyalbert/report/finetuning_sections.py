"""What the page of a fine-tuning shows of each task: where it is wrong, and why."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..finetuning.classification import TextExample
from ..finetuning.conll import Sentence
from ..finetuning.entity_view import to_html
from ..finetuning.finetuned import FineTuned
from ..finetuning.squad import exact_match
from . import finetuning_figures as figures
from .elements import picture, table
from .saliency import explained

SHOWN = 12      # examples of each kind
Section = Callable[[Path, FineTuned, list[dict], list[dict]], list[str]]


def classification(run: Path, finetuned: FineTuned, examples: list[dict],
                   predictions: list[dict]) -> list[str]:
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


def entities(run: Path, finetuned: FineTuned, examples: list[dict],
             predictions: list[dict]) -> list[str]:
    task: Any = finetuned.task
    sentences = [Sentence(**example) for example in examples]
    rows = [["type", "precision", "recall", "F1", "found right", "found", "there are"]]
    for kind, found in task.by_type(sentences, predictions).items():
        rows.append([kind, f"{found.precision:.3f}", f"{found.recall:.3f}", f"{found.f1:.3f}",
                     f"{found.right:,}", f"{found.predicted:,}", f"{found.true:,}"])
    body = ["<h2>Types</h2>", table(rows)]
    wrong = [i for i, (sentence, said) in enumerate(zip(sentences, predictions, strict=True))
             if sentence.tags != said["tags"]]
    right = [i for i in range(len(sentences)) if i not in set(wrong)
             and predictions[i]["entities"]]
    for title, chosen in (("Mistakes", wrong), ("Right answers", right)):
        body.append(f"<h2>{title}</h2><p class=muted>{len(chosen):,} sentences; some of them.</p>")
        for i in chosen[::max(1, len(chosen) // SHOWN)][:SHOWN]:
            said = to_html(sentences[i].text, predictions[i]["entities"], task.types,
                           legend=False)
            truth = task.prediction(sentences[i], one_hot(task, sentences[i].tags))
            body.append(f"<h3><span class=muted>{escape(sentences[i].where)}</span></h3>{said}")
            if title == "Mistakes":
                body.append("<p class=muted>should be</p>"
                            + to_html(sentences[i].text, truth["entities"], task.types,
                                      legend=False))
    return body


def one_hot(task: Any, tags: list[str] | None) -> np.ndarray:
    """[W, K]: what a model that is right and sure would say."""
    return np.eye(len(task.labels))[[task.ids[tag] for tag in tags or []]]


def questions(run: Path, finetuned: FineTuned, examples: list[dict],
              predictions: list[dict]) -> list[str]:
    golds = [[text for text, _ in example["answers"]] for example in examples]
    exact = [max(exact_match(said["answer"], gold) for gold in of_one or [""])
             for said, of_one in zip(predictions, golds, strict=True)]
    surest = sorted(range(len(examples)), key=lambda i: -predictions[i]["score"])
    body = []
    for title, chosen in (("Worst mistakes", [i for i in surest if not exact[i]]),
                          ("Right answers", [i for i in surest if exact[i]])):
        body.append(f"<h2>{title}</h2><p class=muted>{len(chosen):,} questions; those of which the "
                    "model is surest.</p>")
        for i in chosen[:SHOWN]:
            said = predictions[i]
            kind = f"{said['score']:.0%}"
            found = [{**said, "entity_group": kind}] if said["answer"] else []
            body += [f"<h3>{escape(examples[i]['question'])}</h3><p class=muted>should be "
                     f"{escape(' or '.join(dict.fromkeys(golds[i])) or 'no answer')}"
                     + ("" if found else f"; the model says there is none, {kind}") + "</p>",
                     to_html(examples[i]["context"], found, legend=False)]
    return body


def choices(run: Path, finetuned: FineTuned, examples: list[dict],
            predictions: list[dict]) -> list[str]:
    surest = sorted(range(len(examples)), key=lambda i: -predictions[i]["score"])
    right = {i for i in surest if predictions[i]["choice"] == examples[i]["label"]}
    body = []
    for title, chosen in (("Worst mistakes", [i for i in surest if i not in right]),
                          ("Right answers", [i for i in surest if i in right])):
        body.append(f"<h2>{title}</h2><p class=muted>{len(chosen):,} questions; those of which the "
                    "model is surest.</p>")
        for i in chosen[:SHOWN]:
            example = examples[i]
            options = []
            for k, p in enumerate(predictions[i]["scores"]):
                kind = "guess right" if k == example["label"] else "guess"
                options.append(f'<div class=guesses><span class="{kind}" style="--p:{p:.1%}">'
                               f'{escape(example["options"][k])} <small>{p:.0%}</small></span>'
                               "</div>")
            asked = f"<h3>{escape(example['question'])}</h3>" if example["question"] else ""
            body += [asked, f"<p>{escape(example['text'][:600])}</p>", *options]
    return body


def summaries(run: Path, finetuned: FineTuned, examples: list[dict],
              predictions: list[dict]) -> list[str]:
    body = ["<h2>Some of dev</h2>"]
    for i in range(0, len(examples), max(1, len(examples) // SHOWN))[:SHOWN]:
        body += [f"<h3>{escape(predictions[i]['summary_text']) or '(nothing)'}</h3>",
                 f"<p class=muted>should be: {escape(examples[i]['summary'])}</p>",
                 f"<details><summary>the text</summary><p>{escape(examples[i]['text'][:3000])}</p>"
                 "</details>"]
    return body


SECTIONS: dict[str, Section] = {"classify": classification, "ner": entities, "qa": questions,
                                "choice": choices, "summarize": summaries,
                                "extract": summaries}
