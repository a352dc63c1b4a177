"""The page in the browser: a folder of files that any web server can show, and no network after it.

    SITE/index.html, style.css, *.js    the page, as it is in export/page/
         site.json                      what the page says about this model
         model/                         as `tinyalbert export onnx` writes it
         runtime/, NOTICE.txt           what it runs on, see npm.py

For the two tasks whose answer is a bar chart: a masked language model, and a classifier of texts.
Left out: pairs of texts, and a label for each word.
"""

from __future__ import annotations

import contextlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..config import AnyConfig, config_from_dict
from ..errors import InputError
from ..files import delete, read_json_object, write_atomically, write_json
from ..hub import local_directory
from ..pipelines.text_classification import function_of
from ..pretraining.config import PretrainConfig
from ..report.finetuning import read_predictions
from ..report.samples import PROMPTS, held_out_samples
from ..tokenization import load_tokenizer
from .folder import GRAPH, QUANTIZED, export_onnx, trained_task
from .graph import import_onnx
from .npm import npm_files
from .quantized import quantize

WORDS = {
    "fill-mask": {
        "ask": "What is behind the blank?",
        "how": "A sentence in which ___ (two underscores or more) or [MASK] hides a word, or "
               "several"},
    "text-classification": {
        "ask": "Which label fits?",
        "how": "A text"}}
EXAMPLES = {
    "fill-mask": ["The people of the United ___ are free.", "She opened the ___ and went in.",
                  "Good night, and good ___!"],
    "text-classification": ["I loved every minute of it.",
                            "It was far too long, and the end made no sense."]}
SITE, BLANK = "site.json", "___"
FLOAT32 = 100 * 2**20       # bytes at most, as common hosts of static pages allow; else 8 bits


def export_web(name_or_directory: str | Path, out: str | Path, *,
               node_modules: Path | None = None) -> Path:
    """Write the page of a model to a folder, which is new, empty, or such a page; returns it.

    node_modules: where npm has put the packages of npm.py, instead of fetching them.

    Raises InputError if the model is for another task, the folder cannot be used, or the packages
    cannot be had.
    """
    out = Path(out)
    if out.exists() and not (out / SITE).exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} holds something else than a page: give a new folder as --out")
    settings = site_settings(name_or_directory)
    runtime = npm_files(node_modules)
    write_json(out / SITE, settings)        # first: an export that fails below can be repeated
    weights = write_model(name_or_directory, out / "model")
    for name, content in runtime.items():
        write_atomically(out / "runtime" / name, content)
    for file in files(__package__).joinpath("page").iterdir():
        write_atomically(out / file.name, file.read_bytes())
    megabytes = (weights.stat().st_size + sum(map(len, runtime.values()))) / 1e6
    write_json(out / SITE, {**settings, "weights": weights.relative_to(out).as_posix(),
                            "megabytes": round(megabytes, 1)})
    return out


def write_model(name_or_directory: str | Path, directory: Path) -> Path:
    """As `tinyalbert export onnx --attentions`; returns the graph's file."""
    exported = export_onnx(name_or_directory, directory, attentions=True, overwrite=True)
    if exported.files[GRAPH] <= FLOAT32:
        return directory / GRAPH
    graph = quantize(import_onnx().load(directory / GRAPH))
    write_atomically(directory / QUANTIZED, graph.SerializeToString())
    delete(directory / GRAPH)
    return directory / QUANTIZED


def site_settings(name_or_directory: str | Path) -> dict[str, Any]:
    """What the page is to know. InputError if it has no way to show the model's answer."""
    task = trained_task(name_or_directory)
    directory = local_directory(name_or_directory, ["config.json"])
    config = config_from_dict(read_json_object(directory / "config.json"))
    if task not in WORDS or (task == "text-classification" and function_of(config) == "none"):
        raise InputError(f"{name_or_directory} is for {task}, and the page shows masked language "
                         "models, and classifiers that have labels: give it one of those")
    local = Path(name_or_directory).is_dir()
    settings = {"title": directory.resolve().name if local else str(name_or_directory),
                "about": about(config), "task": task, **WORDS[task], "sharing": sharing(config),
                "row": "layer" if config.sharing == "none" else "application",
                "positions": config.max_position_embeddings,
                "examples": examples(name_or_directory, directory, task,
                                     config.max_position_embeddings)}
    if task == "text-classification":
        settings |= {"function": function_of(config), "labels": [*(config.id2label or {}).values()]}
    return settings


def about(config: AnyConfig) -> str:
    family = config.model_type.upper()
    return (f"{family} with {config.num_hidden_layers} layers of {config.num_attention_heads} "
            f"heads, {config.hidden_size} wide, and {config.vocab_size:,} pieces of words")


def sharing(config: AnyConfig) -> str:
    """What the applications of the layer have in common."""
    depth = config.num_hidden_layers * config.inner_group_num
    sets = config.num_hidden_groups * config.inner_group_num
    if config.sharing in ("attention", "ffn"):
        parts = ["attention", "feed-forward part"]
        shared, own = parts if config.sharing == "attention" else reversed(parts)
        return (f"One set of weights for the {shared}, applied {depth} times; the {own} has "
                f"{depth} sets.")
    if config.sharing == "none":
        return f"{depth} layers, each with weights of its own."
    if sets > 1:
        return f"{sets} sets of weights, applied {depth} times in all."
    return (f"One set of weights, applied {depth} times: the maps of one head differ from row to "
            "row only because each application reads what the one before it wrote.")


def examples(name_or_directory: str | Path, directory: Path, task: str,
             longest: int) -> list[str]:
    """Texts to try, of at most `longest` tokens; from what the run held out of its training, if
    that is at hand."""
    tokenizer = load_tokenizer(name_or_directory)
    texts = EXAMPLES[task]
    if (directory / "predictions.jsonl").exists():
        texts = held_out_texts(directory) or texts
    elif task == "fill-mask" and (directory / "pretrain.json").exists():
        texts = [text.replace("[MASK]", BLANK)
                 for text in masked_sentences(directory, tokenizer)] or texts
    short = (text for text in texts
             if len(tokenizer.encode(text.replace(BLANK, "[MASK]"))) <= longest)
    return [*short] or texts[:1]


def masked_sentences(directory: Path, tokenizer: Any) -> list[str]:
    """Famous ones of the corpus, else held-out ones; none without the shards they are in."""
    training = PretrainConfig.from_dict(read_json_object(directory / "pretrain.json"))
    with contextlib.suppress(InputError):
        return list(PROMPTS.get(training.corpus, ())) or [
            sample.masked for sample in held_out_samples(directory, tokenizer, training.held_out)]
    return []


def held_out_texts(run: Path) -> list[str]:
    """The short ones, of a classifier's first. InputError if they are pairs."""
    found = read_predictions(run)[0][:200]
    if any(example.get("text_pair") for example in found):
        raise InputError(f"{run} classifies pairs of texts, and the page has room "
                         "for one: give it another model")
    return sorted((example["text"] for example in found), key=len)[:4]
