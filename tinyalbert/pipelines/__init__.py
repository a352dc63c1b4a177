"""`pipeline(task, model)`: from texts to answers in one call, in Hugging Face's style and shape.

    fill = pipeline("fill-mask", "albert-base-v2")
    fill("We the [MASK] of the United States")
    -> [{"score": ..., "token": 148, "token_str": "people", "sequence": "we the people ..."}, ...]

In reading order: loading.py (a model and its tokenizer by name), batches.py (texts to padded arrays
and back), then a file for each task. A task is a function and a line in TASKS. Left out: what
Transformers' pipelines stream, compute in 16 bits, or read from another source than texts.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..pretrained import PreTrainedModel
from ..tokenization import load_tokenizer
from ..tokenization.base import PreTrainedTokenizer
from .feature_extraction import extract_features
from .fill_mask import fill_masks
from .loading import load
from .question_answering import answer_questions
from .summarization import summarize_texts, summarizer
from .text_classification import classify_texts
from .token_classification import find_entities


class Task(NamedTuple):
    answer: Callable[..., Any]      # (model, tokenizer, texts, **options)
    # What to load by name: "ForMaskedLM" is AlbertForMaskedLM. Or what finds it out, with options.
    model: str | Callable[[str | Path], tuple[str, dict[str, Any]]]


TASKS = {
    "fill-mask": Task(fill_masks, "ForMaskedLM"),
    "feature-extraction": Task(extract_features, "Model"),
    "text-classification": Task(classify_texts, "ForSequenceClassification"),
    "sentiment-analysis": Task(classify_texts, "ForSequenceClassification"),
    "question-answering": Task(answer_questions, "ForQuestionAnswering"),
    "token-classification": Task(find_entities, "ForTokenClassification"),
    "ner": Task(find_entities, "ForTokenClassification"),
    "summarization": Task(summarize_texts, summarizer),
}


class Pipeline:
    """A task's function with its model, its tokenizer and its options filled in."""

    def __init__(self, task: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizer,
                 **options: Any) -> None:
        self.task, self.model, self.tokenizer, self.options = task, model, tokenizer, options

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """The answer for one text, or a list of them; `options` win over those given before."""
        return TASKS[self.task].answer(self.model, self.tokenizer, *texts,
                                       **{**self.options, **options})


def pipeline(task: str, model: PreTrainedModel | str | Path,
             tokenizer: PreTrainedTokenizer | str | Path | None = None, *,
             backend: str = "numpy", **options: Any) -> Pipeline:
    """A function of texts for one of TASKS, as "fill-mask" (`fill_masks`); `options` are that
    function's, and can be given here or with the texts.

    model: a model, or the directory or hub name to load one from. tokenizer: the same; left out,
    it comes from where the model comes from. backend: of a model that is loaded by name.

    Raises InputError for an unknown task, a model that was not trained for it, or one without a
    tokenizer.
    """
    if task not in TASKS:
        near = difflib.get_close_matches(task, TASKS, n=1)
        raise InputError(f"unknown task {task!r}: " + (f"did you mean {near[0]!r}?" if near else
                                                       f"known are {', '.join(TASKS)}"))
    if isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(tokenizer)
    if not isinstance(model, PreTrainedModel):
        kind = TASKS[task].model
        if not isinstance(kind, str):
            kind, learned = kind(model)
            options = learned | options
        model, tokenizer = load(model, kind, tokenizer, backend=backend)
        encoder: Any = getattr(model, "albert", model)
        encoder.freeze()                                # it is asked, and no longer taught
    elif tokenizer is None:
        raise InputError("a model does not know its tokenizer: pass tokenizer= too")
    return Pipeline(task, model, tokenizer, **options)
