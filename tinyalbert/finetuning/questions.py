"""The task "qa": the part of a text that answers a question, or that there is none.

    [CLS] question [SEP] window of the context [SEP]

A context that is too long is seen through overlapping windows. In each window the model scores
every token as the answer's first and as its last; "no answer" is [CLS] as both. Left out: SQuAD
2.0's larger head in Google's code, and answers that are not a part of the text.

Source: Google's run_squad_v1.py, and Devlin et al. 2019, section 4.3, for "no answer".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..config import AnyConfig
from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .spans import Span, Tokens, best_spans, covering, tokens_of
from .squad import (
    Answer,
    QuestionExample,
    best_threshold,
    exact_match,
    f1,
    guess,
    read_squad,
    score,
    squad_metrics,
)
from .tables import find_column, read_rows, shown, text_of
from .task import Features, Prediction, Task

QUESTION_TOKENS = 64    # longer questions are cut, and to half of a short input


class Questions(Task):
    """has_unanswerable: whether "" is an answer.
    null_threshold: by how much "no answer" must lead to be given, in logits.
    doc_stride: how many tokens a window lies after the one before, at most half a window.
    max_answer_length: in tokens.
    """

    name = "qa"
    model = "ForQuestionAnswering"
    metric = "f1"
    example, label = QuestionExample, "answers"

    def __init__(self, has_unanswerable: bool = False, null_threshold: float = 0.0, *,
                 doc_stride: int = 128, max_answer_length: int = 30) -> None:
        self.has_unanswerable, self.null_threshold = has_unanswerable, null_threshold
        self.doc_stride, self.max_answer_length = doc_stride, max_answer_length

    @classmethod
    def read(cls, path: Path, *, labelled: bool = True) -> list[QuestionExample]:
        """SQuAD's JSON; or, without answers, a table with the columns question, context and
        perhaps id."""
        if path.name.lower().removesuffix(".gz").endswith(".json"):
            return read_squad(path, labelled)
        if labelled:
            raise InputError(f"{shown(path)}: questions with answers are read from SQuAD's .json")
        rows = read_rows(path)
        question, context = (find_column(rows, path, None, (name,), name, "")
                             for name in ("question", "context"))
        if question is None or context is None:
            raise InputError(f"{shown(path)} has no columns question and context: give SQuAD's "
                             ".json, or a .csv, .tsv or .jsonl that has them")
        return [QuestionExample(text_of(row, question), text_of(row, context),
                                id=str(row.values.get("id", i)), where=row.where)
                for i, row in enumerate(rows)]

    @classmethod
    def problem(cls, example: QuestionExample) -> str | None:
        if not example.question.strip() or not example.context.strip():
            return "neither the question nor its context may be empty"
        answers = example.answers
        if not isinstance(answers, tuple) or not all(isinstance(a, Answer) for a in answers):
            return f"answers must be a tuple of Answer(text, start), not {answers!r:.60}"
        wrong = [(text, start) for text, start in answers
                 if not text or start < 0 or not example.context.startswith(text, start)]
        return f"the context has no {wrong[0][0]!r:.60} at {wrong[0][1]}" if wrong else None

    @classmethod
    def of_examples(cls, examples: Sequence[QuestionExample]) -> Self:
        if not any(example.answers for example in examples):
            raise InputError(f"none of the {len(examples):,} questions has an answer to learn from")
        return cls(any(example.answers == () for example in examples))

    @classmethod
    def of_model(cls, config: AnyConfig, settings: dict[str, Any]) -> Self:
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        return {"has_unanswerable": self.has_unanswerable, "null_threshold": self.null_threshold}

    def summary(self, examples: Sequence[QuestionExample]) -> str:
        contexts = {example.context for example in examples}
        without = sum(example.answers == () for example in examples) / len(examples)
        return (f"{len(examples):,} questions on {len(contexts):,} texts, the longest of "
                f"{max(len(context.split()) for context in contexts):,} words"
                + (f"; {without:.0%} of the questions have no answer" if without else ""))

    # ---- in

    def features(self, tokenizer: PreTrainedTokenizer, examples: Sequence[QuestionExample],
                 max_length: int) -> list[Features]:
        """One for each window. Where it does not hold the whole answer, [CLS] is the answer."""
        limit = min(QUESTION_TOKENS, (max_length - 3) // 2)
        contexts: dict[str, Tokens] = {}        # questions share them
        features: list[Features] = []
        for number, example in enumerate(examples):
            if example.context not in contexts:
                contexts[example.context] = tokens_of(tokenizer, example.context)
            question = tokenizer(example.question, add_special_tokens=False)["input_ids"]
            before = [tokenizer.cls_token_id, *question[:limit], tokenizer.sep_token_id]
            for feature in self.windows(before, contexts[example.context], tokenizer.sep_token_id,
                                        max_length):
                features.append(feature | {"example": number} | positions(example, feature))
        return features

    def windows(self, before: list[int], context: Tokens, sep: int,
                max_length: int) -> Iterator[Features]:
        """before: [CLS] question [SEP]."""
        size = max_length - len(before) - 1
        stride = max(1, min(self.doc_stride, size // 2))
        for first in range(0, max(len(context.ids) - size, 0) + stride, stride):
            window = context.ids[first:first + size]
            yield {"input_ids": [*before, *window, sep],
                   "token_type_ids": [0] * len(before) + [1] * (len(window) + 1),
                   "context_start": len(before), "first": first, "spans": context.spans}

    def batch(self, features: Sequence[Features], pad_token_id: int) -> dict[str, Any]:
        batch = super().batch(features, pad_token_id)
        if all("start" in feature for feature in features):
            batch["start_positions"] = np.array([feature["start"] for feature in features])  # [B]
            batch["end_positions"] = np.array([feature["end"] for feature in features])      # [B]
        return batch

    # ---- out

    def outputs(self, out: Any, batch: dict[str, Any], to_numpy: Any) -> list[np.ndarray]:
        """[2, T]: the logits of start and end."""
        return list(np.stack([to_numpy(out.start_logits), to_numpy(out.end_logits)], 1))

    def predictions(self, examples: Sequence[QuestionExample], features: Sequence[Features],
                    outputs: Sequence[np.ndarray]) -> list[Prediction]:
        """{"answer", "score", "start", "end", "nbest": [...]}: answer is context[start:end], and
        score its probability among the n best. With questions that have no answer "" is among
        them, and "null_score_diff" is by how much it leads over the best other one."""
        windows: dict[int, list[tuple[Features, np.ndarray]]] = defaultdict(list)
        for feature, output in zip(features, outputs, strict=True):
            windows[feature["example"]].append((feature, output.astype(np.float64)))
        return [self.prediction(example.context, windows[number])
                for number, example in enumerate(examples)]

    def prediction(self, context: str,
                   windows: Sequence[tuple[Features, np.ndarray]]) -> Prediction:
        spans = best_spans(context, windows, self.max_answer_length)
        null = Span(min(float(logits[:, 0].sum()) for _, logits in windows), 0, 0)
        ranked = sorted(spans + [null] * (self.has_unanswerable or not spans), reverse=True)
        probs = softmax(np.array([span.logit for span in ranked]))
        nbest = [{"answer": context[span.start:span.end], "score": float(prob),
                  "start": span.start, "end": span.end}
                 for span, prob in zip(ranked, probs, strict=True)]
        if not self.has_unanswerable:
            return {**nbest[0], "nbest": nbest}
        return self.decided(nbest, null.logit - (spans[0].logit if spans else null.logit))

    def decided(self, nbest: list[Prediction], null_score_diff: float) -> Prediction:
        """The prediction that the threshold makes of the n best answers, "" among them."""
        null = next(answer for answer in nbest if not answer["answer"])
        chosen = null if null_score_diff > self.null_threshold else best_answer(nbest)
        return {**chosen, "nbest": nbest, "null_score_diff": null_score_diff}

    def metrics(self, examples: Sequence[QuestionExample],
                predictions: Sequence[Prediction]) -> dict[str, float]:
        """Official exact match and F1; best_: with the threshold that suits these examples best."""
        values = squad_metrics(examples, [prediction["answer"] for prediction in predictions])
        if "NoAns_f1" in values and all("null_score_diff" in p for p in predictions):
            values["best_exact"] = threshold_for(exact_match, examples, predictions)[0]
            values["best_f1"] = threshold_for(f1, examples, predictions)[0]
        return values

    def tune(self, examples: Sequence[QuestionExample],
             predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """The threshold becomes the one with the best F1, if some questions have no answer."""
        if not self.has_unanswerable or all(example.answers for example in examples):
            return predictions
        self.null_threshold = threshold_for(f1, examples, predictions)[1]
        return [self.decided(prediction["nbest"], prediction["null_score_diff"])
                for prediction in predictions]

    def baseline(self, train: Sequence[QuestionExample],
                 examples: Sequence[QuestionExample]) -> tuple[str, dict[str, float]]:
        guesses = {"the name or number nearest to the question's words": map(guess, examples)}
        if self.has_unanswerable:
            guesses["never an answer"] = map(lambda _: "", examples)
        scored = [(name, squad_metrics(examples, list(answers)))
                  for name, answers in guesses.items()]
        return max(scored, key=lambda found: found[1]["f1"])

    def stuck(self, predictions: Sequence[Prediction]) -> str | None:
        answers = {prediction["answer"] for prediction in predictions}
        if len(predictions) == 1 or len(answers) > 1:
            return None
        return f"{answers.pop()!r}" if answers != {""} else "that there is no answer"

    def show(self, example: QuestionExample, prediction: Prediction) -> str:
        said = prediction["answer"] or "no answer"
        return f"{said} {prediction['score']:.0%} | {example.question}"


def positions(example: QuestionExample, feature: Features) -> dict[str, int]:
    """The places of the first answer's first and last token in the input."""
    if example.answers is None:
        return {}
    begin, first = feature["context_start"], feature["first"]
    if example.answers:
        text, at = example.answers[0]
        start, end = covering(feature["spans"], at, at + len(text))
        if first <= start and end < first + len(feature["input_ids"]) - begin - 1:
            return {"start": begin + start - first, "end": begin + end - first}
    return {"start": 0, "end": 0}


def best_answer(nbest: Sequence[Prediction]) -> Prediction:
    """The best that is not "", if there is one."""
    return next((answer for answer in nbest if answer["answer"]), nbest[0])


def threshold_for(metric: Callable[[str, str], float], examples: Sequence[QuestionExample],
                  predictions: Sequence[Prediction]) -> tuple[float, float]:
    """The best mean of the metric that a threshold can reach, and the threshold."""
    return best_threshold([score(metric, best_answer(prediction["nbest"])["answer"], example)
                           for example, prediction in zip(examples, predictions, strict=True)],
                          [score(metric, "", example) for example in examples],
                          [prediction["null_score_diff"] for prediction in predictions])
