"""The task "summarize": a short text for a long one, in the model's own words.

    [CLS] source [SEP] target [SEP]

The encoder itself writes (seq2seq.py). Both texts share its positions, so of a long source only the
beginning is read. extraction.py has the other way: sentences of the text itself, of all of it.
Left out: copying source words by a mechanism of its own (See et al. 2017). Attention learns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from ..config import AnyConfig
from ..errors import InputError
from ..pipelines.batches import by_length, pad
from ..tokenization.base import PreTrainedTokenizer
from .stories import SummaryExample, SummaryTask
from .task import Features, Prediction

SMALLEST = 16       # tokens for a summary, where nothing is known of its length
BEAMS = 4
CHOOSING = 200      # examples that choose the weights: to write takes ten times as long as to read


class Summaries(SummaryTask):
    """max_target_length: tokens of a summary, its [SEP] included; None until examples with
    summaries become features, which decides it. num_beams: as in generation.py.
    """

    name = "summarize"
    model = "ForSeq2SeqLM"

    def __init__(self, max_target_length: int | None = None, num_beams: int = BEAMS) -> None:
        self.max_target_length, self.num_beams = max_target_length, num_beams

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
        exact = [letters(example.summary or "") == letters(prediction["summary_text"])
                 for example, prediction in zip(examples, predictions, strict=True)]
        return {**super().metrics(examples, predictions), "exact_match": float(np.mean(exact))}

    def baseline(self, train: Sequence[SummaryExample],
                 examples: Sequence[SummaryExample]) -> tuple[str, dict[str, float]]:
        count = max(1, round(mean_words([e.summary or "" for e in train])))
        lead = [{"summary_text": " ".join(e.text.split()[:count])} for e in examples]
        return f"the first {count} word{'s' * (count > 1)}", self.metrics(examples, lead)

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        said = {prediction["summary_text"] for prediction in predictions}
        return f"{said.pop()!r:.60}" if len(said) == 1 else None


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
