"""What 8 bits cost, measured: the same questions to both graphs of an exported folder.

    a fine-tuned model      the metrics of its task, on examples that have their labels
    masked words            one token of a sentence is hidden: how often is the first guess right,
                            its cross-entropy in nats, how often do both graphs guess the same
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.corpus import read_documents
from ..data.shards import held_out_of
from ..errors import InputError
from ..files import read_json_object
from ..finetuning.finetuned import FineTuned
from ..finetuning.squad import Answer
from ..pipelines.batches import by_length, pad
from ..report.finetuning import read_predictions
from ..scoring import log_prob
from ..tokenization import load_tokenizer
from ..tokenization.base import PreTrainedTokenizer
from .folder import GRAPH, QUANTIZED
from .session import OnnxModel

SENTENCES = 1000            # at most
SHORTEST = 4                # tokens of one


class Agreement(NamedTuple):
    asked: str                                  # "1,000 sentences of ..."
    metrics: dict[str, tuple[float, float]]     # of the float32 graph, and of the one in 8 bits


def measure(name_or_directory: str | Path, folder: str | Path, task: str,
            file: Path | None = None, **reading: Any) -> Agreement:
    """Ask both graphs of the folder to which the model was exported for this task.

    file: for masked words a text, else labelled examples as `tinyalbert finetune` reads them
    (`reading` says how). None: what the run held out of its training.

    Raises InputError if there is nothing to ask.
    """
    graphs = [OnnxModel(folder, file=Path(name).name) for name in (GRAPH, QUANTIZED)]
    if task in ("fill-mask", "pretraining"):
        tokenizer = load_tokenizer(name_or_directory)
        sentences: Iterator[Any] = (of_file(file, tokenizer) if file else
                                    of_run(Path(name_or_directory)))
        return masked_words(graphs, tokenizer, sentences, file)
    if task == "feature-extraction":
        raise InputError("vectors are neither right nor wrong, so there is nothing to count: every "
                         "other task can be measured")
    finetuned = FineTuned.load(name_or_directory)
    examples = (finetuned.task.read(file, **reading) if file else
                held_out_examples(Path(name_or_directory), finetuned))
    found = [replace(finetuned, model=graph).evaluate(examples)[0] for graph in graphs]
    return Agreement(f"{len(examples):,} examples {source(file)}",
                     {name: (value, found[1][name]) for name, value in found[0].items()})


def held_out_examples(run: Path, finetuned: FineTuned) -> list[Any]:
    """Those of dev, which stand beside what the model said of them."""
    if not (run / "predictions.jsonl").exists():
        raise InputError(f"{run} keeps no labelled examples: give some with --evaluate")
    examples, _ = read_predictions(run)
    for example in examples:
        if example.get("answers") is not None:          # JSON has no tuples
            example["answers"] = tuple(Answer(*answer) for answer in example["answers"])
    return [finetuned.task.example(**example) for example in examples]


def of_file(file: Path, tokenizer: PreTrainedTokenizer) -> Iterator[Sequence[int]]:
    """The ids of every sentence of a text."""
    for document in read_documents(str(file)):
        yield from tokenizer(document, add_special_tokens=False)["input_ids"]


def of_run(run: Path) -> Iterator[np.ndarray]:
    """The same of the documents that a pretraining held out."""
    settings = run / "pretrain.json"
    unseen = settings.exists() and held_out_of(run, read_json_object(settings).get("held_out"))
    if not unseen:
        raise InputError(f"{run} keeps no text that was held out: give one with --evaluate")
    for shard in unseen:
        for document in shard.documents:
            bounds = shard.sentence_bounds(document)
            yield from np.split(shard.tokens[bounds[0]:bounds[-1]], bounds[1:-1] - bounds[0])


def masked_words(graphs: list[OnnxModel], tokenizer: PreTrainedTokenizer,
                 sentences: Iterator[Any], file: Path | None) -> Agreement:
    """One token of each sentence is hidden: always the same sentences, and the same tokens."""
    rng = np.random.default_rng(0)
    longest = graphs[0].config.max_position_embeddings - 2
    usable = [np.array(ids[:longest]) for ids in sentences if len(ids) >= SHORTEST]
    if not usable:
        raise InputError(f"no sentence of {SHORTEST} tokens or more {source(file)}: give another "
                         "text with --evaluate")
    count = min(len(usable), SENTENCES)
    rows = [[tokenizer.cls_token_id, *usable[i].tolist(), tokenizer.sep_token_id]
            for i in rng.choice(len(usable), count, replace=False)]
    places = [int(rng.integers(1, len(row) - 1)) for row in rows]
    words = np.array([row[place] for row, place in zip(rows, places, strict=True)])
    for row, place in zip(rows, places, strict=True):
        row[place] = tokenizer.mask_token_id
    (first, nats), (first8, nats8) = (ask(graph, rows, places, words, tokenizer.pad_token_id)
                                      for graph in graphs)
    return Agreement(f"a hidden word in each of {len(rows):,} sentences {source(file)}", {
        "accuracy": (float((first == words).mean()), float((first8 == words).mean())),
        "loss": (float(nats.mean()), float(nats8.mean())),
        "same guess": (1.0, float((first == first8).mean()))})


def ask(graph: OnnxModel, rows: list[list[int]], places: list[int], words: np.ndarray,
        pad_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """The first guess for each hidden word [M], and what the right one costs, in nats [M]."""
    guesses, nats = np.empty(len(rows), np.int64), np.empty(len(rows))
    for batch in by_length([len(row) for row in rows], 32):
        ids, mask = pad([rows[i] for i in batch], pad_token_id)                 # [B, T]
        out = graph(ids, mask)
        logits = out["logits" if "logits" in out else "prediction_logits"]
        hidden = logits[np.arange(len(batch)), [places[i] for i in batch]]      # [B, V]
        guesses[batch], nats[batch] = hidden.argmax(-1), -log_prob(hidden, words[batch])
    return guesses, nats


def source(file: Path | None) -> str:
    return f"of {file}" if file else "that the run held out"
