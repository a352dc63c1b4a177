"""The task "summarize": a short text for a long one, in the model's own words.

    [CLS] source [SEP] target [SEP]

The encoder itself writes (seq2seq.py). Both texts share its positions, so of a long source only the
beginning is read. extraction.py has the other way: sentences of the text itself, of all of it.
Left out: copying source words by a mechanism of its own (See et al. 2017). Attention learns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from tqdm import tqdm

from ..config import AnyConfig
from ..errors import InputError
from ..pipelines.batches import by_length, pad
from ..tokenization.base import PreTrainedTokenizer
from .tables import Row, find_column, read_rows, read_text, shown, text_of
from .task import Features, Prediction, Task

TEXTS = ("text", "article", "document", "source")
SUMMARIES = ("summary", "highlights", "headline", "title", "target")
HIGHLIGHT = "@highlight"
SMALLEST = 16       # tokens for a summary, where nothing is known of its length
BEAMS = 4
CHOOSING = 200      # examples that choose the weights: to write takes ten times as long as to read


class SummaryExample(NamedTuple):
    text: str
    summary: str | None = None
    where: str = ""


class Summaries(Task):
    """max_target_length: tokens of a summary, its [SEP] included; None until examples with
    summaries become features, which decides it. num_beams: as in generation.py.
    """

    name = "summarize"
    model = "ForSeq2SeqLM"
    metric = "rougeL"
    example, label = SummaryExample, "summary"

    def __init__(self, max_target_length: int | None = None, num_beams: int = BEAMS) -> None:
        self.max_target_length, self.num_beams = max_target_length, num_beams

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True, text_column: str | None = None,
             summary_column: str | None = None) -> list[SummaryExample]:
        return read_summaries(path, labelled, text_column, summary_column)

    @classmethod
    def of_text(cls, text: str) -> SummaryExample:
        return SummaryExample(text)

    @classmethod
    def problem(cls, example: SummaryExample) -> str | None:
        return problem(example)

    @classmethod
    def of_examples(cls, examples: Sequence[SummaryExample]) -> Self:
        first = examples[0].summary
        if len(examples) > 1 and all(example.summary == first for example in examples):
            raise InputError(f"all {len(examples):,} examples have the summary {first!r:.60}: "
                             "there is nothing to learn from the texts")
        return cls()

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        return {"max_target_length": self.max_target_length, "num_beams": self.num_beams}

    def summary(self, examples: Sequence[SummaryExample]) -> str:
        return (f"{len(examples):,} texts of {mean_words([e.text for e in examples]):.0f} words on "
                f"average, summaries of {mean_words([e.summary or '' for e in examples]):.0f}")

    def looked_at(self, dev: Sequence[SummaryExample]) -> Sequence[SummaryExample]:
        return dev[::1 + (len(dev) - 1) // CHOOSING]

    # ---- in

    def room(self, max_length: int) -> int:
        """Of max_length tokens those for the summary: at most half."""
        return min(self.max_target_length or max(SMALLEST, max_length // 4), max_length // 2)

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[SummaryExample],
                 max_length: int) -> list[Features]:
        """What the first ones have decides the room for a summary: enough for 99 % of them. Longer
        ones are cut, and sources to what is left, with or without a summary: it is not there when
        the model has to write it."""
        sources = [tokenizer.encode(e.text, add_special_tokens=False) for e in examples]
        targets = [None if e.summary is None else
                   tokenizer.encode(e.summary, add_special_tokens=False) for e in examples]
        lengths = [len(target) + 1 for target in targets if target is not None]
        if self.max_target_length is None and lengths:
            self.max_target_length = int(np.percentile(lengths, 99, method="higher"))
            self.max_target_length = self.room(max_length)
        room = self.room(max_length)
        features = []
        for number, (source, target) in enumerate(zip(sources, targets, strict=True)):
            before = [tokenizer.cls_token_id, *source[:max_length - room - 2],
                      tokenizer.sep_token_id]
            after = [] if target is None else [*target[:room - 1], tokenizer.sep_token_id]
            features.append({"input_ids": before + after, "example": number,
                             "token_type_ids": [0] * len(before) + [1] * len(after)})
        return features

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        batch = super().batch(features, pad_token_id)
        if all(map(has_target, features)):
            batch["labels"] = batch["input_ids"]
        return batch

    # ---- out

    def predict(self, model: Any, tokenizer: PreTrainedTokenizer,
                examples: Sequence[SummaryExample], *, max_length: int | None = None,
                batch_size: int = 32, features: list[Features] | None = None,
                progress: bool = False) -> tuple[list[Prediction], float | None]:
        """As everywhere; but what a model writes takes many passes, and the loss one of its own."""
        if not examples:
            return [], None
        if features is None:
            max_length = max_length or tokenizer.model_max_length
            features = self.features(tokenizer, examples, max_length)
        loss = None
        if all(map(has_target, features)):
            loss = super().predict(model, tokenizer, examples, batch_size=batch_size,
                                   features=features, progress=progress)[1]
        sources = [feature["input_ids"][:feature["token_type_ids"].count(0)]
                   for feature in features]
        room = self.room(max_length or model.config.max_position_embeddings)
        texts = write(model, tokenizer, sources, batch_size=batch_size, progress=progress,
                      num_beams=self.num_beams, max_new_tokens=room)
        return self.predictions(examples, features, texts), loss

    def outputs(self, out: Any, batch: dict[str, Any], to_numpy: Any) -> list[Any]:
        """None: logits of the tokens that were asked for make no text."""
        return [None] * len(batch["input_ids"])

    def predictions(self, examples: Sequence[SummaryExample], features: Sequence[Features],
                    outputs: Sequence[str]) -> list[Prediction]:
        """{"summary_text"}; outputs: the texts."""
        return [{"summary_text": text} for text in outputs]

    def metrics(self, examples: Sequence[SummaryExample],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        """ROUGE; exact_match: the share that is as asked for, but for capitals and spaces."""
        from .rouge import rouge
        asked = [example.summary or "" for example in examples]
        said = [prediction["summary_text"] for prediction in predictions]
        exact = [letters(a) == letters(b) for a, b in zip(asked, said, strict=True)]
        return {**rouge(asked, said), "exact_match": float(np.mean(exact))}

    def baseline(self, train: Sequence[SummaryExample],
                 examples: Sequence[SummaryExample]) -> tuple[str, dict[str, float]]:
        count = max(1, round(mean_words([e.summary or "" for e in train])))
        lead = [{"summary_text": " ".join(e.text.split()[:count])} for e in examples]
        return f"the first {count} word{'s' * (count > 1)}", self.metrics(examples, lead)

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        said = {prediction["summary_text"] for prediction in predictions}
        return f"{said.pop()!r:.60}" if len(said) == 1 else None

    def show(self, example: SummaryExample, prediction: Prediction) -> str:
        return prediction["summary_text"]


def write(model: Any, tokenizer: PreTrainedTokenizer, sources: Sequence[list[int]], *,
          batch_size: int = 32, progress: bool = False, **options: Any) -> list[str]:
    """What the model writes for each source, [CLS] text [SEP]; options: those of `generate`."""
    texts = [""] * len(sources)
    order = list(by_length([len(source) for source in sources], batch_size))
    for rows in tqdm(order, desc="writing", unit="batch", disable=not progress, leave=False):
        ids, mask = pad([sources[i] for i in rows], tokenizer.pad_token_id)
        written = model.generate(ids, mask, eos_token_id=tokenizer.sep_token_id,
                                 suppress_tokens=tokenizer.all_special_ids, **options)
        for i, text in zip(rows, tokenizer.batch_decode(written, skip_special_tokens=True),
                           strict=True):
            texts[i] = text.strip()
    return texts


def has_target(feature: Features) -> bool:
    return feature["token_type_ids"][-1] == 1


def letters(text: str) -> str:
    return "".join(text.lower().split())


def mean_words(texts: Sequence[str]) -> float:
    return float(np.mean([len(text.split()) for text in texts]))


# ---- reading, for both ways


def problem(example: SummaryExample) -> str | None:
    """What is wrong with an example that was made by hand."""
    for name, text in (("text", example.text), ("summary", example.summary)):
        if not isinstance(text, str) or not text.strip():
            return f"the {name} must be a text, not {text!r:.50}"
    return None


def read_summaries(path: Path, labelled: bool, text_column: str | None,
                   summary_column: str | None) -> list[SummaryExample]:
    """A table; or a .story of the CNN and Daily Mail corpus, or a folder of them."""
    if path.is_dir() or path.suffix == ".story":
        stories = sorted(path.glob("*.story")) if path.is_dir() else [path]
        if not stories:
            raise InputError(f"the folder {path} holds no .story files")
        return [read_story(story, labelled) for story in stories]
    rows = read_rows(path)
    text = find_column(rows, path, text_column, TEXTS, "the text", "--text-column")
    summary = find_column(rows, path, summary_column, SUMMARIES, "the summary", "--summary-column")
    for column, what in ((text, "text"), (summary, "summary")):
        if column is None and (labelled or what == "text"):
            raise InputError(f"{shown(path)}: which column is the {what}? They are "
                             f"{', '.join(rows[0].values)}: give --{what}-column; or a .csv, .tsv "
                             "or .jsonl, if the file is none")
    return [SummaryExample(text_of(row, text or ""), summary_of(row, summary, labelled), row.where)
            for row in rows]


def summary_of(row: Row, column: str | None, labelled: bool) -> str | None:
    if column is None or (not labelled and row.values.get(column) in (None, "")):
        return None
    return text_of(row, column)


def read_story(path: Path, labelled: bool) -> SummaryExample:
    """An article, and its highlights, each after a line that says so. They are sentences, most
    without their full stop."""
    article, *highlights = (part.strip() for part in read_text(path).split(HIGHLIGHT))
    highlights = list(filter(None, highlights))
    if not article:
        raise InputError(f"{path} has no text before its highlights")
    if labelled and not highlights:
        raise InputError(f"{path} has no {HIGHLIGHT} with a text after it")
    summary = " ".join(text if text[-1] in ".!?\"'" else f"{text}." for text in highlights)
    return SummaryExample(article, summary or None, str(path))
