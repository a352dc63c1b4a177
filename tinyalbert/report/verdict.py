"""What the numbers of a training mean, in words and as a table: for a report's first lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..pretraining.convergence import MARGIN

Metrics = Sequence[Mapping[str, Any]]       # the lines of metrics.jsonl
TASKS = {"sop": "sentence order", "nsp": "next sentence", "none": ""}


def last(metrics: Metrics, kind: str) -> Mapping[str, Any]:
    """The last line of a kind; empty if there is none."""
    return next((line for line in reversed(metrics) if line["kind"] == kind), {})


def verdict(metrics: Metrics, objective: str) -> tuple[str, list[str]]:
    """A heading that answers "did it learn?", and the sentences that explain it.

    The yardstick is the unigram entropy: the loss of a model that ignores context."""
    start, trained, held_out = (last(metrics, kind) for kind in ("start", "train", "eval"))
    line = held_out or trained
    loss, level = line.get("masked_lm_loss"), start.get("unigram_entropy")
    if loss is None or level is None:
        return "Nothing has been measured yet", []
    text = "held-out text" if held_out else "its training text (held-out text comes later)"
    if not math.isfinite(loss):
        return "The training diverged", [
            f"At step {line['step']:,} the loss on {text} is no longer a number."]
    heading = ("It learned to use context" if loss < level - MARGIN
               else "It has not learned to use context")
    heading += "" if line.get("final") or loss < level - MARGIN else " yet"
    sentences = [progress(start, line), (
        f"On {text} the masked-LM loss is {loss:.2f} nats, as uncertain as a choice among "
        f"{choices(loss)} equally likely pieces; knowing only how frequent each piece is gives "
        f"{level:.2f} nats, a choice among {choices(level)}. "
        f"{line['masked_lm_accuracy']:.1%} of the hidden pieces are guessed right.")]
    if TASKS[objective] and "sentence_order_accuracy" in line:
        sentences.append(order(line, TASKS[objective]))
    return heading, sentences


def choices(nats: float) -> str:
    """exp(nats): how many equally likely things are as uncertain."""
    return f"{math.exp(nats):,.0f}" if nats < 20 else "countless"


def progress(start: Mapping[str, Any], line: Mapping[str, Any]) -> str:
    total, seconds = start["total_steps"], line.get("seconds", 0)
    time = f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
    done = (f"trained for {total:,} steps in {time}" if line["step"] >= total
            else f"at step {line['step']:,} of {total:,}, after {time} of training")
    return (f"A model of {start['parameters']:,} parameters, {done} on a text of "
            f"{start['train_tokens']:,} tokens.")


def order(line: Mapping[str, Any], task: str) -> str:
    """The accuracy of the sentence task against a coin, with the coin's noise."""
    right, pairs = line["sentence_order_accuracy"], line.get("pairs", 0)
    noise = 1 / math.sqrt(pairs) if pairs else 0        # two standard errors
    found = "above" if right > 0.5 + noise else "not above"
    among = f" for {pairs:,} pairs" if pairs else ""
    return f"The {task} is guessed right {right:.1%} of the time{among}, {found} chance (50%)."


def measurements(metrics: Metrics, objective: str) -> list[list[str]]:
    """A table of the last values: what, held-out, training, and what to compare with."""
    start, trained, held_out = (last(metrics, kind) for kind in ("start", "train", "eval"))
    level = f"{start['unigram_entropy']:.3f} ignores context" if start else ""
    chance = "50% is chance" if TASKS[objective] else ""
    wanted = [("masked-LM loss, nats", "masked_lm_loss", "{:.3f}", level),
              ("same, 15% single tokens hidden", "reference_loss", "{:.3f}", level),
              ("hidden pieces right", "masked_lm_accuracy", "{:.1%}", ""),
              ("same, 15% single tokens hidden", "reference_accuracy", "{:.1%}", ""),
              (f"{TASKS[objective]} right", "sentence_order_accuracy", "{:.1%}", chance),
              ("gradient norm", "grad_norm", "{:.2f}", ""),
              ("tokens per second", "tokens_per_second", "{:,.0f}", "")]
    rows = [[what, *(form.format(line[key]) if key in line else "" for line in (held_out, trained)),
             compare] for what, key, form, compare in wanted if key in held_out or key in trained]
    return [["last value", "held-out text", "training text", "compare with"], *rows]
