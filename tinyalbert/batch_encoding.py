"""From rows of token ids to one batch: truncation, padding, arrays.

Nothing here knows about text or vocabularies. A row is a dict of equally long lists
(`input_ids`, `token_type_ids`, ...), a batch a dict of lists of rows, as in Hugging Face.
Left out: padding or truncating on the left, and splitting a long text into several rows.
"""

from typing import Any

import numpy as np

from .errors import InputError

TRUNCATIONS = (False, True, "longest_first", "only_first", "only_second")
PADDINGS = (False, True, "longest", "max_length")


class BatchEncoding(dict[str, Any]):
    """A dict whose entries are also attributes: `encoding["input_ids"]`, `encoding.input_ids`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this encoding has no {name!r}, only {list(self)}") from None


def truncated_lengths(first: int, second: int, room: int, truncation: bool | str) -> tuple[int, int]:
    """How many tokens of each text to keep so that both fit into `room` tokens.

    "longest_first" (or True) shortens the longer text token by token, the second one on a tie, as
    Google's `_truncate_seq_pair` does. The other strategies shorten one text only; InputError if
    that is not enough.
    """
    if truncation in (True, "longest_first"):
        while first + second > room:
            if first > second:
                first -= 1
            else:
                second -= 1
    elif truncation == "only_first":
        first = min(first, room - second)
    elif truncation == "only_second":
        second = min(second, room - first)
    if first < 0 or second < 0:
        raise InputError(
            f"truncation={truncation!r} cannot make the pair fit, because the other text alone is "
            f"longer than max_length: use truncation='longest_first' or a larger max_length."
        )
    return first, second


def pad(rows: list[dict[str, list]], length: int, pad_token_id: int) -> None:
    """Lengthen every row in place to `length` tokens; longer rows stay as they are.

    Padding has attention_mask 0, token_type_id 0, offset (0, 0) and counts as a special token.
    """
    padding = {"input_ids": pad_token_id, "offset_mapping": (0, 0), "special_tokens_mask": 1}
    for row in rows:
        missing = length - len(row["input_ids"])
        for name, values in row.items():
            values += [padding.get(name, 0)] * missing


def to_arrays(columns: dict[str, list]) -> dict[str, np.ndarray]:
    """Lists of rows -> int64 arrays [B, T], `offset_mapping` [B, T, 2]."""
    if len({len(row) for row in columns["input_ids"]}) > 1:
        raise InputError(
            "return_tensors='np' needs rows of one length: pass padding=True, and truncation=True "
            "if a row is longer than max_length."
        )
    return {name: np.array(rows, dtype=np.int64) for name, rows in columns.items()}
