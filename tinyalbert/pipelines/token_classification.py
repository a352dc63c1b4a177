"""The task "token-classification", also called "ner": the entities in a text.

A text is cut into words and punctuation marks, each tokenized by itself, as fine-tuning does it and
Transformers' pipeline with is_split_into_words=True. A text may be of any length. Left out: their
strategies first, average and max; "simple" here is about whole words, which is their "first".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypedDict, get_args

import numpy as np

from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .batches import by_length

Strategy = Literal["none", "simple"]


class Piece(TypedDict):
    entity: str             # its label: "B-PER"
    score: float            # the label's probability, in [0, 1]
    index: int              # among the tokens of its window, counted from [CLS]
    word: str               # the piece: "▁ada"
    start: int              # text[start:end]
    end: int


class Group(TypedDict):
    entity_group: str       # "PER"
    score: float            # the mean of the probabilities of its words' labels
    word: str               # text[start:end]
    start: int
    end: int


def find_entities(model: Any, tokenizer: PreTrainedTokenizer, texts: str | list[str], *,
                  aggregation_strategy: Strategy = "none", batch_size: int = 32) -> Any:
    """The entities of a text: a list; for a list of texts, a list of them.

    aggregation_strategy: "none" gives every `Piece` whose label is not O, "simple" a `Group` of
        words for each entity, a word being what its first piece is, as it was trained.

    Raises InputError for what is no text, or a model without labels for tokens.
    """
    from ..finetuning.entities import Entities, divide  # which stands on the pipelines' batches
    if aggregation_strategy not in get_args(Strategy):
        raise InputError(f"aggregation_strategy must be one of {', '.join(get_args(Strategy))}, "
                         f"not {aggregation_strategy!r}")
    if not type(model).__name__.endswith(Entities.model):
        raise InputError(f"{type(model).__name__} has no labels for tokens: load the model as "
                         "AlbertForTokenClassification or BertForTokenClassification")
    several = texts if isinstance(texts, list) else [texts]
    for text in several:
        if not isinstance(text, str):
            raise InputError(f"a text is a string, not {text!r:.60}")
    task, examples = Entities.of_model(model.config, {}), [divide(text) for text in several]
    features = task.features(tokenizer, examples, min(model.config.max_position_embeddings,
                                                      tokenizer.model_max_length))
    outputs = logits_of(model, task, features, tokenizer.pad_token_id, batch_size)
    if aggregation_strategy == "simple":
        answers = [prediction["entities"]
                   for prediction in task.predictions(examples, features, outputs)]
    else:
        answers = [[] for _ in examples]
        for feature, logits in zip(features, outputs, strict=True):
            example = examples[feature["example"]]
            answers[feature["example"]] += pieces(tokenizer, example, feature, logits, task.labels)
    return answers if isinstance(texts, list) else answers[0]


def logits_of(model: Any, task: Any, features: list[dict[str, Any]], pad_token_id: int,
              batch_size: int) -> list[np.ndarray]:
    """[T, K] for each window; T may be more than its tokens."""
    outputs: list[Any] = [None] * len(features)
    for rows in by_length([len(feature["input_ids"]) for feature in features], batch_size):
        batch = task.batch([features[i] for i in rows], pad_token_id)
        for i, logits in zip(rows, model.backend.to_numpy(model(**batch).logits), strict=True):
            outputs[i] = logits
    return outputs


def pieces(tokenizer: PreTrainedTokenizer, example: Any, feature: dict[str, Any],
           logits: np.ndarray, labels: list[str]) -> Iterator[Piece]:
    """Those of one window that are part of an entity; logits [T, K]."""
    probs, offsets = softmax(logits), example.offsets
    for word, begin, end in feature["words"]:
        written, first = example.words[word], offsets[word][0]
        spans = tokenizer([written], add_special_tokens=False,
                          return_offsets_mapping=True)["offset_mapping"][0]
        for index, (start, stop) in zip(range(begin, end), spans or [(0, len(written))],
                                        strict=False):      # of a very long word, what fitted
            best, token = int(probs[index].argmax()), feature["input_ids"][index]
            if labels[best] != "O":
                unknown = token == tokenizer.unk_token_id
                yield Piece(entity=labels[best], score=float(probs[index, best]), index=index,
                            word=(written[start:stop] if unknown else
                                  tokenizer.convert_ids_to_tokens([token])[0]),
                            start=first + start, end=first + stop)
