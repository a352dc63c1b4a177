"""What the fields of a configuration may hold. A value that no model can have is an InputError."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from .errors import InputError

SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_hidden_groups",
         "num_attention_heads", "intermediate_size", "inner_group_num", "max_position_embeddings",
         "type_vocab_size", "num_labels")
LARGEST_SIZE = 10**8                # the bytes of a matrix of this size still have a number
# Where a damaged file could ask for more objects than fit a memory, before it is compared with
# the weights.
LARGEST = {"num_hidden_layers": 1000, "inner_group_num": 10, "num_labels": 100_000}
SHARES = {"hidden_dropout_prob": False, "attention_probs_dropout_prob": False,
          "classifier_dropout_prob": True, "classifier_dropout": True}      # may be None


def check_field(name: str, value: Any, choices: Mapping[str, tuple]) -> None:
    """InputError if a field holds what no model can have."""
    number = (isinstance(value, (int, float)) and not isinstance(value, bool)
              and abs(value) < 1e9)             # neither infinite nor an integer of 400 digits
    if name in SIZES and not (type(value) is int and value > 0):
        raise InputError(f"{name} must be a positive whole number, not {value!r}")
    if name in SIZES and value > LARGEST.get(name, LARGEST_SIZE):
        raise InputError(f"{name} {value} is beyond any model that exists")
    if name in SHARES and not (number and 0 <= value < 1 or SHARES[name] and value is None):
        raise InputError(f"{name} must be a number in [0, 1), not {value!r}")
    if name in ("initializer_range", "layer_norm_eps") and not (number and value > 0):
        raise InputError(f"{name} must be a number greater than 0, not {value!r}")
    if name == "gradient_checkpointing" and not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {value!r}")
    if name in choices and value not in choices[name]:
        raise InputError(f"{name} must be one of {', '.join(map(str, choices[name]))}, "
                         f"not {value!r}")


def check_labels(id2label: Any) -> dict[int, str]:
    """id2label must name 0, 1, 2, ..., each by a text. In JSON its keys are texts too."""
    given = id2label if isinstance(id2label, dict) else {}
    by_text = {str(i): str(label) for i, label in given.items()}
    if not by_text or by_text.keys() != set(map(str, range(len(given)))):
        raise InputError("id2label must name the labels 0, 1, 2, ... in order, not "
                         f"{id2label!r:.100}")
    return {i: by_text[str(i)] for i in range(len(by_text))}


def check_keys(given: Mapping[str, Any], known: list[str], what: str) -> None:
    """InputError for the first key that is not known, with the nearest known one."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"unknown {what} key {key!r}: {hint}")
