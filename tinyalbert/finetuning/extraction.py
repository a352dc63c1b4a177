"""The task "extract": a summary out of sentences of the text itself, of a text of any length.

A sentence is to this task what a word is to "ner" (entities.py): its first token bears a label,
IN or OUT, and a long text is seen through windows of whole sentences that overlap. The sentences to
learn are those that together have the best ROUGE (Nallapati et al. 2017), as no corpus names them.
Unlike in BERTSUM (Liu & Lapata 2019) there is no [CLS] before each sentence and no layer on top,
and a window does not know where in the text it stands.

What needs no training stands here, too: the first sentences, and the most central ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np

from ..config import AnyConfig
from ..data.sentences import split_prose
from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .conll import Sentence
from .entities import Entities
from .stories import SummaryExample, SummaryTask
from .task import Features, Prediction

LABELS = ("OUT", "IN")
MOST = 5        # sentences of a summary
LEAD = 3


class Extraction(SummaryTask):
    """sentences: of a summary, at most."""

    name = "extract"
    model = "ForTokenClassification"

    def __init__(self, sentences: int = LEAD) -> None:
        self.sentences, self.tagger = sentences, Entities(LABELS)

    @classmethod
    def of_examples(cls, examples: Sequence[SummaryExample]) -> Self:
        """As many sentences as the best summaries have on average."""
        counts = [len(oracle(example.text, example.summary or "")) for example in examples]
        if not any(counts):
            raise InputError("no sentence has a word in common with the summary of its text: there "
                             "is nothing to learn")
        return cls(max(1, round(float(np.mean(counts)))))

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        return cls(**settings)

    def config_changes(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(LABELS))}

    def settings(self) -> dict[str, Any]:
        return {"sentences": self.sentences}

    def summary(self, examples: Sequence[SummaryExample]) -> str:
        counts = [len(split_prose(example.text)) for example in examples]
        best = [len(oracle(example.text, example.summary or "")) for example in examples]
        return (f"{len(examples):,} texts of {np.mean(counts):.1f} sentences on average; "
                f"{np.mean(best):.1f} of them have the best ROUGE")

    # ---- in

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[SummaryExample],
                 max_length: int) -> list[Features]:
        return self.tagger.features(tokenizer, [tagged(e) for e in examples], max_length)

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        return self.tagger.batch(features, pad_token_id)

    def loss_options(self, features: Sequence[Features], class_weights: str) -> dict[str, Any]:
        return self.tagger.loss_options(features, class_weights)

    # ---- out

    def predictions(self, examples: Sequence[SummaryExample], features: Sequence[Features],
                    outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """{"summary_text", "sentences": which of the text's, "scores": of all of them}. A score is
        the probability that the sentence belongs to the summary."""
        texts = [split_prose(example.text) for example in examples]
        scores = [np.zeros(len(sentences)) for sentences in texts]
        for feature, logits in zip(features, outputs, strict=True):
            sentences, begins, _ = np.array(feature["words"]).T
            probs = softmax(logits[begins].astype(np.float64))                          # [S, 2]
            scores[feature["example"]][sentences] = probs[:, LABELS.index("IN")]
        return [best_sentences(*both, self.sentences) for both in zip(texts, scores, strict=True)]

    def baseline(self, train: Sequence[SummaryExample],
                 examples: Sequence[SummaryExample]) -> tuple[str, dict[str, float]]:
        count = self.sentences
        return (f"the first {count} sentence{'s' * (count > 1)}",
                self.metrics(examples, [lead(example.text, count) for example in examples]))

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        """A text that is not longer than its summary leaves no choice."""
        chosen = {tuple(p["sentences"]) for p in predictions
                  if len(p["scores"]) > len(p["sentences"])}
        numbers = ", ".join(str(i + 1) for i in min(chosen, default=()))
        return f"the sentences {numbers}" if len(chosen) == 1 else None


def tagged(example: SummaryExample) -> Sentence:
    """A text as a "sentence" whose words are its sentences."""
    sentences, tags = split_prose(example.text), None
    if example.summary is not None:
        best = oracle(example.text, example.summary)
        tags = [LABELS[i in best] for i in range(len(sentences))]
    return Sentence(sentences, tags, example.where)


def best_sentences(sentences: Sequence[str], scores: np.ndarray, count: int) -> Prediction:
    """Those with the largest scores, in the order of the text."""
    best = sorted(np.argsort(-scores, kind="stable")[:count].tolist())
    return {"summary_text": " ".join(sentences[i] for i in best), "sentences": best,
            "scores": scores.tolist()}


# ---- the best sentences by ROUGE


class Ngrams(NamedTuple):
    """How often the summary has each of its G n-grams, and each of S sentences has them."""

    asked: np.ndarray       # [G]
    found: np.ndarray       # [S, G]
    totals: np.ndarray      # [S] n-grams of each sentence, those that the summary lacks too

    def f_with_each(self, chosen: list[int]) -> np.ndarray:
        """F [S] of the chosen sentences together with each one of all."""
        hits = np.minimum(self.found[chosen].sum(0) + self.found, self.asked).sum(1)
        counts = self.totals[chosen].sum() + self.totals + self.asked.sum()
        return 2 * hits / np.maximum(counts, 1)


def count_ngrams(sentences: Sequence[Sequence[Any]], summary: Sequence[Any]) -> Ngrams:
    asked, counts = Counter(summary), [Counter(sentence) for sentence in sentences]
    found = np.array([[count[ngram] for ngram in asked] for count in counts], np.int64)
    return Ngrams(np.array([*asked.values()], np.int64), found.reshape(len(counts), len(asked)),
                  np.array([count.total() for count in counts], np.int64))


@cache
def oracle(text: str, summary: str) -> tuple[int, ...]:
    """The sentences that together have the best ROUGE-1 + ROUGE-2, or nearly: greedily the one
    that adds most, until none does. Pairs of words are counted within sentences."""
    from .rouge import words
    sentences, asked = [words(sentence) for sentence in split_prose(text)], words(summary)
    unigrams = count_ngrams(sentences, asked)
    bigrams = count_ngrams([[*pairwise(s)] for s in sentences], [*pairwise(asked)])
    chosen: list[int] = []
    best = 0.0
    while len(chosen) < min(MOST, len(sentences)):
        scores = unigrams.f_with_each(chosen) + bigrams.f_with_each(chosen)         # [S]
        scores[chosen] = 0
        if scores.max() <= best:
            break
        chosen.append(int(scores.argmax()))
        best = float(scores.max())
    return tuple(sorted(chosen))


# ---- summaries that nobody learned


def lead(text: str, count: int) -> Prediction:
    sentences = split_prose(text)
    return best_sentences(sentences, -np.arange(len(sentences), dtype=float), count)


def best_by_rouge(example: SummaryExample) -> Prediction:
    sentences, best = split_prose(example.text), oracle(example.text, example.summary or "")
    scores = np.array([float(i in best) for i in range(len(sentences))])
    return best_sentences(sentences, scores, len(best))


def central(model: Any, tokenizer: PreTrainedTokenizer, text: str, count: int) -> Prediction:
    """The sentences most like all the others: degree centrality (Erkan & Radev 2004), the mean
    cosine of a sentence's vector with the others'. It is the mean of its tokens' last states."""
    from ..pipelines.feature_extraction import extract_features
    sentences = split_prose(text)
    states = extract_features(model, tokenizer, sentences, truncation=True, return_tensors=True)
    vectors = np.stack([of_sentence[0].mean(0) for of_sentence in states])          # [S, H]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (vectors @ vectors.sum(0) - 1) / max(len(sentences) - 1, 1)           # [S]
    return best_sentences(sentences, cosines, count)


def baselines(examples: Sequence[SummaryExample], model: Any, tokenizer: PreTrainedTokenizer,
              count: int = LEAD) -> dict[str, dict[str, float]]:
    """ROUGE of what to compare with: the first sentences, the most central ones by the vectors of
    a pretrained encoder, and the best ones, which no choice of sentences surpasses by much."""
    texts = [example.text for example in examples]
    summaries = {
        f"lead-{count}": [lead(text, count) for text in texts],
        "centrality": [central(model, tokenizer, text, count) for text in texts],
        "oracle": [best_by_rouge(example) for example in examples],
    }
    return {name: Extraction(count).metrics(examples, predictions)
            for name, predictions in summaries.items()}
