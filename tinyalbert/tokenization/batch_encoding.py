"""From the ids of texts to one batch: truncation, special tokens, padding, arrays.

Nothing here knows about text or vocabularies. A segment is the ids of one text, the spans of
characters they cover and the numbers of their words; a row is a dict of equally long lists under
Hugging Face's names. Left out: padding or truncating on the left, and cutting a long text into
several rows.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from ..errors import InputError

Padding = Literal[False, True, "longest", "max_length"]
Truncation = Literal[False, True, "longest_first", "only_first", "only_second"]
Span = tuple[int, int]
Segment = tuple[list[int], list[Span], list[int]]


class BatchEncoding(dict[str, Any]):
    """A dict whose entries are attributes too: `encoding["input_ids"]`, `encoding.input_ids`."""

    def __init__(self, columns: dict[str, Any], words: list[list[int | None]]) -> None:
        super().__init__(columns)
        self._words = words

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For each token of a row, the number of its word in its text; None for what was added."""
        return self._words[batch_index]

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"this encoding has no {name!r}, only {', '.join(self)}")
        return self[name]


def check_options(padding: Any, truncation: Any, max_length: Any, return_tensors: Any,
                  has_pair: bool) -> None:
    for name, value, choices in (("padding", padding, get_args(Padding)),
                                 ("truncation", truncation, get_args(Truncation)),
                                 ("return_tensors", return_tensors, (None, "np"))):
        if value not in choices:
            raise InputError(f"{name} must be one of {choices}, not {value!r}")
    if truncation == "only_second" and not has_pair:
        raise InputError("truncation='only_second' needs a text_pair")
    if max_length is None:
        return
    if not isinstance(max_length, int):
        raise InputError(f"max_length must be a whole number, not {max_length!r}")
    if not truncation and padding != "max_length":
        raise InputError("max_length has no effect without truncation or padding='max_length'")


def as_pairs(text: Any, text_pair: Any) -> list[list[str]]:
    """One [text] or [text, text_pair] per row."""
    texts = _as_list(text, "text")
    if text_pair is None:
        return [[first] for first in texts]
    pairs = _as_list(text_pair, "text_pair")
    if isinstance(text, str) != isinstance(text_pair, str) or len(texts) != len(pairs):
        raise InputError("text and text_pair must both be strings or lists of the same length")
    return [[first, second] for first, second in zip(texts, pairs, strict=True)]


def _as_list(value: Any, name: str) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise InputError(f"{name} must be a string or a list of strings, not {value!r:.50}")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise InputError(f"{name}[{i}] must be a string, not {item!r:.50}")
    return value


def truncate(segments: list[Segment], room: int, truncation: Truncation) -> list[Segment]:
    """Drop tokens from the ends of one or two segments until together they fit into `room`.

    "longest_first" (or True) drops them one by one from the longer segment, from the second on a
    tie, as Google's `_truncate_seq_pair` does; "only_first" and "only_second" from that one alone.
    InputError if the other one alone is too long.
    """
    if not truncation:
        return segments
    lengths = [len(ids) for ids, *_ in segments]
    only = {"only_first": 0, "only_second": 1}.get(str(truncation))
    while sum(lengths) > room:
        longest = max(range(len(lengths)), key=lambda i: (lengths[i], i))
        shortened = longest if only is None else only
        if lengths[shortened] == 0:
            raise InputError(f"truncation={truncation!r} cannot help where the other text alone "
                             f"is too long: use 'longest_first' or a larger max_length")
        lengths[shortened] -= 1
    return [(ids[:n], spans[:n], words[:n])
            for (ids, spans, words), n in zip(segments, lengths, strict=True)]


def join(segments: list[Segment], cls: list[int], sep: list[int]) -> dict[str, list]:
    """[CLS] first [SEP] second [SEP] as one row; what is added has the span (0, 0)."""
    row: dict[str, list] = {"input_ids": [], "token_type_ids": [], "attention_mask": [],
                            "offset_mapping": [], "special_tokens_mask": [], "word_ids": []}
    for segment, (ids, spans, words) in enumerate(segments):
        before, after = (cls if segment == 0 else []), sep
        length = len(before) + len(ids) + len(after)
        row["input_ids"] += before + ids + after
        row["token_type_ids"] += [segment] * length
        row["attention_mask"] += [1] * length
        row["offset_mapping"] += [(0, 0)] * len(before) + spans + [(0, 0)] * len(after)
        row["special_tokens_mask"] += [1] * len(before) + [0] * len(ids) + [1] * len(after)
        row["word_ids"] += [None] * len(before) + words + [None] * len(after)
    return row


def pad(rows: list[dict[str, list]], length: int | None, pad_token_id: int) -> None:
    """Lengthen rows in place to `length`, or to the longest; a longer row stays as it is.

    Padding has attention_mask 0, token_type_id 0, the span (0, 0), no word, and counts as special.
    """
    filler = {"input_ids": pad_token_id, "offset_mapping": (0, 0), "special_tokens_mask": 1,
              "word_ids": None}
    target = length or max(len(row["input_ids"]) for row in rows)
    for row in rows:
        missing = target - len(row["input_ids"])
        for name, values in row.items():
            values += [filler.get(name, 0)] * missing


def to_arrays(columns: dict[str, list]) -> dict[str, np.ndarray]:
    """Rows of lists to int64 arrays [B, T]; `offset_mapping` [B, T, 2]."""
    if len({len(row) for row in columns["input_ids"]}) > 1:
        raise InputError("return_tensors='np' needs rows of one length: pass padding=True, and "
                         "truncation=True if some are longer than max_length")
    return {name: np.array(rows, dtype=np.int64) for name, rows in columns.items()}
