"""The task "text-classification", also called "sentiment-analysis": the label of a text or a pair.

Left out: a list within a list for one text, which Transformers gives when top_k was named to
`pipeline` and not with the text.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import numpy as np

from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .batches import by_length, encode, pad

Function = Literal["softmax", "sigmoid", "none"]
FUNCTIONS: dict[Function, Any] = {
    "softmax": softmax,
    "sigmoid": lambda x: np.exp(-np.logaddexp(0, -x)),      # never overflows
    "none": lambda x: x,
}


class Label(TypedDict):
    label: str
    score: float            # a probability; the number itself where the model was taught numbers


def classify_texts(model: Any, tokenizer: PreTrainedTokenizer, texts: Any, *,
                   top_k: int | None = 0, function_to_apply: Function | None = None,
                   truncation: bool = False, batch_size: int = 32) -> Any:
    """The likeliest `Label` of each text: a list of them, for one text too. A pair is written
    {"text": ..., "text_pair": ...}, and one pair alone gets one Label. (As in Hugging Face.)

    top_k: the k likeliest instead, or all of them with None, likeliest first: a list for each text.
    function_to_apply: what makes scores of the logits, "softmax", "sigmoid" or "none". Left out,
        it is what the model was trained with: none for numbers, the sigmoid where a text has any
        number of labels, softmax where it has one. truncation: cut texts that are too long.

    Raises InputError if a text is longer than the model's positions, or is no text.
    """
    if top_k is not None and top_k < 0:
        raise InputError(f"top_k must be at least 1, or None for all labels, not {top_k}")
    function = function_of(model.config) if function_to_apply is None else function_to_apply
    if function not in FUNCTIONS:
        raise InputError(f"function_to_apply must be one of {', '.join(FUNCTIONS)}, not "
                         f"{function!r}")
    rows = [encode_one(model, tokenizer, text, truncation)
            for text in (texts if isinstance(texts, list) else [texts])]
    answers: list[Any] = [None] * len(rows)
    for batch in by_length([len(ids) for ids, _ in rows], batch_size):
        ids, mask = pad([rows[i][0] for i in batch], tokenizer.pad_token_id)        # [B, T]
        types, _ = pad([rows[i][1] for i in batch], 0)
        logits = model.backend.to_numpy(model(ids, mask, types).logits)             # [B, K]
        for i, scores in zip(batch, FUNCTIONS[function](logits), strict=True):
            best = np.argsort(-scores, kind="stable")[:top_k or (1 if top_k == 0 else None)]
            answers[i] = [Label(label=model.config.id2label[k], score=float(scores[k]))
                          for k in best.tolist()]
    if top_k == 0:
        answers = [answer[0] for answer in answers]
        return answers[0] if isinstance(texts, dict) else answers
    return answers if isinstance(texts, list) else answers[0]


def function_of(config: Any) -> Function:
    """The inverse of what the loss does with the logits."""
    if config.problem_type == "regression":
        return "none"
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if several else "softmax"


def encode_one(model: Any, tokenizer: PreTrainedTokenizer, text: Any,
               truncation: bool) -> tuple[list[int], list[int]]:
    """input_ids and token_type_ids of a text or a pair."""
    parts = text if isinstance(text, dict) else {"text": text}
    if (not {"text"} <= parts.keys() <= {"text", "text_pair"}
            or not all(isinstance(part, str) for part in parts.values())):
        raise InputError(f"a text is a string, and a pair of them {{'text': ..., 'text_pair': "
                         f"...}}, not {text!r:.60}")
    pairs = [parts["text_pair"]] if "text_pair" in parts else None
    encoding = encode(model, tokenizer, [parts["text"]], truncation, pairs)
    return encoding["input_ids"][0], encoding["token_type_ids"][0]
