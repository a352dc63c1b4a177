"""The page of a training: did it learn, what does it say, where does it look, how was it made.

One file, RUN/report.html, that needs no other and no network; its pictures are also in RUN/figures.
A training that has only begun has a page too, with less on it. The words about the numbers are in
verdict.py, the look of the page in page.html, the drawing in figures.py.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..config import AlbertConfig
from ..errors import InputError
from ..fill_mask import Candidate, fill_mask
from ..params import parameter_table, parameter_totals
from ..pretraining.config import PRESETS, PretrainConfig
from ..pretraining.run import load_run
from ..tasks import AlbertForPreTraining
from ..tokenization.albert import AlbertTokenizer
from ..training.metrics_log import read_metrics
from . import figures, introspection
from .elements import picture, table, write_page
from .samples import PROMPTS, held_out_samples
from .verdict import TASKS, measurements, verdict

NEUTRAL = "This is one of the sentences that we have to look at."


def write_report(run: str | Path, sentence: str | None = None) -> Path:
    """Write RUN/report.html and RUN/figures/*.png, each in one step; returns the page's path.

    sentence: one to look into, instead of one from held-out text; with [MASK], to complete as well.
    Raises InputError if the folder is not a run, a file in it is damaged, or Matplotlib is missing.
    """
    run = Path(run)
    config, training = read_settings(run)
    metrics = read_metrics(run)
    heading, sentences = verdict(metrics, training.objective)
    body = [f"<header><p class=muted>tinyalbert: {escape(run.resolve().name)}</p>"
            f"<h1>{escape(heading)}</h1>", *(f"<p>{escape(text)}</p>" for text in sentences),
            "</header>", table(measurements(metrics, training.objective)),
            findings([line for line in metrics if line["kind"] == "doctor"])]
    if any(line["kind"] == "train" for line in metrics):
        curves = figures.training_curves(metrics, TASKS[training.objective])
        body += ["<h2>Training</h2>", picture(
            run, "training", curves, "Below the orange line a model uses the words around a gap; "
            "on it, it knows only how frequent words are. Training values are means over the steps "
            "since the one before.")]
    if (run / "model.safetensors").exists():
        model, tokenizer = load_run(run)
        body += looks(run, model, tokenizer, training, sentence)
    else:
        body.append("<p class=muted>No model has been saved yet; its pictures come later.</p>")
    body += parameters(config) + settings(run, config, training)
    return write_page(run, f"{run.resolve().name}: {heading}", body)


def read_settings(run: Path) -> tuple[AlbertConfig, PretrainConfig]:
    """config.json and pretrain.json; InputError if the folder lacks one of them."""
    for name in ("config.json", "pretrain.json"):
        if not (run / name).exists():
            raise InputError(f"{run} is not a training's folder, it holds no {name}: give the "
                             "folder that tinyalbert pretrain or finetune made")
    try:
        training = json.loads((run / "pretrain.json").read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{run / 'pretrain.json'} is not valid JSON: {error}") from error
    return AlbertConfig.from_json_file(run / "config.json"), PretrainConfig.from_dict(training)


# ---- the model, looked into


def looks(run: Path, model: AlbertForPreTraining, tokenizer: AlbertTokenizer,
          training: PretrainConfig, sentence: str | None) -> list[str]:
    """What the model says and what can be seen in it."""
    samples = held_out_samples(run, tokenizer, training.held_out)
    known = min((sample.whole for sample in samples), key=len, default=NEUTRAL)
    shown = sentence or known
    asked = [(text, "") for text in PROMPTS.get(training.corpus, ())]
    asked += [(sample.masked, sample.word) for sample in samples]
    longest = model.config.max_position_embeddings
    asked = [(text, word) for text, word in asked if len(tokenizer.encode(text)) <= longest]
    if "[MASK]" in shown:
        asked.insert(0, (shown, ""))
    body = ["<h2>Hidden words</h2>", "<p>What the model puts in the place of [MASK], with the "
            "probability that it gives each. The later sentences are from held-out text, which it "
            "never saw; there the hidden word is known.</p>"] if asked else []
    body += [completed(text, word, fill_mask(model, tokenizer, text)) for text, word in asked]
    body += ["<h2>Attention</h2>",
             picture(run, "attention", figures.attention_maps(
                 *introspection.attention_of(model, tokenizer, shown)),
                 "Each small map is one head in one layer: a row for every token, as dark as it "
                 "looks at the token of the column. Layers that share their weights differ here "
                 f"only because their input does. Shown: at most {introspection.LONGEST} tokens.")]
    whole = known if "[MASK]" in shown else shown
    return body + shared_gradient(run, model, tokenizer, whole) + neighbours(run, model, tokenizer)


def completed(text: str, word: str, predictions: Sequence[Sequence[Candidate]]) -> str:
    """A sentence, and under it the guesses for each of its masks."""
    shown = escape(text).replace("[MASK]", "<mark>[MASK]</mark>")
    known = f" <span class=muted>hidden: {escape(word)}</span>" if word else ""
    rows = []
    for row in predictions:
        guesses = (f'<span class="guess{" right" * (c.token == f"▁{word}")}" '
                   f'style="--p:{c.probability:.1%}">{escape(readable(c.token))} '
                   f"<small>{c.probability:.0%}</small></span>" for c in row)
        rows.append(f'<div class=guesses>{" ".join(guesses)}</div>')
    if len(rows) > 1:
        known = " <span class=muted>each predicted with the others hidden</span>"
    return f"<h3>{shown}{known}</h3>{''.join(rows)}"


def readable(token: str) -> str:
    """▁states -> states, ment -> …ment, "," -> ","."""
    return f"…{token}" if token[0].isalpha() else token.removeprefix("▁") or token


def shared_gradient(run: Path, model: AlbertForPreTraining, tokenizer: AlbertTokenizer,
                    sentence: str) -> list[str]:
    """The contributions of the layer applications, where all of them share one parameter set."""
    config = model.config
    if config.sharing != "all" or config.num_hidden_groups > 1 or config.num_hidden_layers == 1:
        return []
    batch = introspection.masked_sentence(model, tokenizer, sentence)
    parts = introspection.gradient_of_each_application(model, batch)
    return ["<h2>One gradient from many layers</h2>",
            picture(run, "shared_gradient", figures.shared_gradient(parts),
                    f"The {config.num_hidden_layers} layers are one set of parameters, applied "
                    "again and again. In the backward pass each application adds its part to the "
                    "same gradient (here for one sentence with every sixth token hidden). Parts "
                    "with a positive cosine pull the weights the same way, with a negative one "
                    "against each other; the optimizer sees only the sum.")]


def neighbours(run: Path, model: AlbertForPreTraining, tokenizer: AlbertTokenizer) -> list[str]:
    """Nearest words of frequent ones, and a map of the most frequent."""
    def name(i: int) -> str:
        return readable(str(tokenizer.convert_ids_to_tokens(i)))

    words = introspection.frequent_words(tokenizer, 1000)
    if len(words) < 60:
        return []
    queries = [word for word in words[:400] if len(name(word)) > 4][::8][:16]
    nearest = introspection.nearest_words(model, queries, words)
    rows = [[name(query), ", ".join(f"{name(i)} {cosine:.2f}" for i, cosine in row)]
            for query, row in zip(queries, nearest, strict=True)]
    drawn = words[:150]
    return ["<h2>Neighbours in the embedding table</h2>",
            f"<p>Every word is {model.config.embedding_size} numbers before it meets its context. "
            "Nearest among the thousand most frequent words, by cosine.</p>",
            table([["word", "nearest, with the cosine"], *rows]),
            picture(run, "words", figures.word_map([name(i) for i in drawn],
                                                   introspection.word_vectors(model)[drawn]),
                    "Frequent words. Two axes show little of so many dimensions: trust the table "
                    "first.")]


# ---- parameters and settings


def parameters(config: AlbertConfig) -> list[str]:
    components, totals = parameter_table(config), parameter_totals(config)
    _, _, whole, unshared, factorized, full = totals.values()
    rows = [[name, f"{count:,}", f"{count / whole:.1%}"]
            for name, count in [*components.items(), *list(totals.items())[:3]]]
    return ["<h2>Parameters</h2>",
            f"<p>If every layer had its own parameters there would be {unshared:,}, "
            f"{unshared / whole:.1f} times as many. The word table with the map to the hidden "
            f"width, V x E + E x H, is {factorized:,}; V x H would be {full:,}.</p>",
            table([["component", "parameters", "of all"], *rows], total_from=1 + len(components))]


def settings(run: Path, config: AlbertConfig, training: PretrainConfig) -> list[str]:
    both = {"Model": config.to_dict(), "Training": training.to_dict()}
    tables = (f"<h3>{title}</h3>" + table([["setting", "value"], *(
        [name, json.dumps(value)] for name, value in values.items())])
        for title, values in both.items())
    start, *flags = escape(command(run, config, training)).split(" --")
    flags = [f"<span>--{flag}</span>" for flag in flags]        # never broken between two lines
    return ["<h2>Make it again</h2>", f"<pre>{' '.join([start, *flags])}</pre>",
            f"<details><summary>All settings</summary>{''.join(tables)}</details>"]


def command(run: Path, config: AlbertConfig, training: PretrainConfig) -> str:
    """The command line of a run: the preset that is nearest, and what differs from it."""
    ours = config.to_dict() | training.to_dict()
    theirs = {name: model.to_dict() | rest.to_dict() for name, (model, rest) in PRESETS.items()}
    changes = {name: {key: ours[key] for key in ours if ours[key] != preset[key]}
               for name, preset in theirs.items()}
    preset = min(changes, key=lambda name: len(changes[name]))
    words = ["tinyalbert", "pretrain", "--preset", preset]
    for key, value in changes[preset].items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", "none" if value is None else str(value)]
    return shlex.join([*words, "--out", f"{run.resolve().name}-again"])


def findings(lines: Sequence[dict[str, Any]]) -> str:
    """The convergence doctor's messages."""
    items = "".join(f"<li>Step {line['step']:,}: {escape(line['message'])}.</li>" for line in lines)
    return f"<h2>Findings during training</h2><ul class=notes>{items}</ul>" if items else ""
