"""The numbers that make an ALBERT: one frozen dataclass, and the published sizes.

Field names and defaults are those of Hugging Face's `AlbertConfig`, so a `config.json` means the
same in both. The last three fields are ours; they have values that change nothing by default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from .errors import InputError
from .files import read_json_object

Activation = Literal["gelu", "gelu_new", "relu"]
Sharing = Literal["all", "attention", "ffn", "none"]
DropoutSites = Literal["google", "huggingface"]


@dataclass(frozen=True)
class AlbertConfig:
    """The shape of an ALBERT. The defaults are ALBERT-xxlarge, as in Hugging Face.

    hidden_act: `gelu` is the exact (erf) form, `gelu_new` the tanh form that Google trained with.
    num_hidden_groups: parameter sets that the layers are divided among (1 = ALBERT).
    inner_group_num: different blocks inside one layer application; the depth is
        num_hidden_layers * inner_group_num.
    sharing: what the layers of a group share (paper, section 3.1 and Table 4). `none` gives every
        layer its own parameters, whatever num_hidden_groups says.
    dropout_sites: `google` drops out the feed-forward output and not the sentence-order input;
        `huggingface` the other way round (its PyTorch port never calls the one it builds).
    gradient_checkpointing: keep only the input of each layer application and recompute the rest
        in the backward pass. The result is the same to the last bit; memory no longer grows by
        everything a layer computes, only by its input.

    Raises InputError when the numbers contradict each other.
    """

    vocab_size: int = 30000
    embedding_size: int = 128
    hidden_size: int = 4096
    num_hidden_layers: int = 12
    num_hidden_groups: int = 1
    num_attention_heads: int = 64
    intermediate_size: int = 16384
    inner_group_num: int = 1
    hidden_act: Activation = "gelu_new"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout_prob: float = 0.1
    pad_token_id: int = 0
    bos_token_id: int = 2
    eos_token_id: int = 3
    sharing: Sharing = "all"
    dropout_sites: DropoutSites = "google"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        for name in SIZES:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a positive whole number, not {value!r}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob",
                     "classifier_dropout_prob"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise InputError(f"{name} must be a number in [0, 1), not {value!r}")
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise InputError(f"{name} must be a number greater than 0, not {value!r}")
        if not isinstance(self.gradient_checkpointing, bool):
            raise InputError("gradient_checkpointing must be true or false, not "
                             f"{self.gradient_checkpointing!r}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}: every head needs the same width")
        if self.num_hidden_groups > self.num_hidden_layers:
            raise InputError(
                f"num_hidden_groups {self.num_hidden_groups} exceeds num_hidden_layers "
                f"{self.num_hidden_layers}: a group needs at least one layer")
        if not isinstance(self.pad_token_id, int) or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id {self.pad_token_id!r} is not an id of the vocabulary "
                             f"of {self.vocab_size}")

    @property
    def head_size(self) -> int:
        """D = H / N."""
        return self.hidden_size // self.num_attention_heads

    def replace(self, **changes: Any) -> AlbertConfig:
        """A copy with some fields changed; an unknown name is an InputError."""
        check_keys(changes, [f.name for f in fields(self)], "AlbertConfig")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every field, in order: what `config.json` holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AlbertConfig:
        """From a parsed `config.json`. Keys of Hugging Face or Google that mean nothing to the
        model (`architectures`, `transformers_version`, `net_structure_type`, ...) are ignored;
        a key that looks like a misspelt field is an InputError."""
        names = [f.name for f in fields(cls)]
        for key in values:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
            if key not in names and near:
                raise InputError(f"unknown configuration key {key!r}: did you mean {near[0]!r}?")
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def from_json_file(cls, path: str | Path) -> AlbertConfig:
        """Read `config.json`; InputError if it is missing or not a JSON object."""
        return cls.from_dict(read_json_object(Path(path)))


SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "num_hidden_groups",
         "num_attention_heads", "intermediate_size", "inner_group_num", "max_position_embeddings",
         "type_vocab_size")
CHOICES = {"hidden_act": get_args(Activation), "sharing": get_args(Sharing),
           "dropout_sites": get_args(DropoutSites)}


def check_keys(given: Mapping[str, Any], known: list[str], what: str) -> None:
    """InputError for the first key that is not known, with the nearest known one."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"unknown {what} key {key!r}: {hint}")


def _size(hidden: int, layers: int, heads: int, **rest: Any) -> AlbertConfig:
    return AlbertConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=4 * hidden, **rest)


_V1 = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}

# The published sizes (paper, Table 1; values of Hugging Face's config.json). v2 was trained longer,
# with more data and without dropout. The paper's rule gives xlarge 32 heads; both hubs say 16.
PUBLISHED: dict[str, AlbertConfig] = {
    "albert-base-v1": _size(768, 12, 12, **_V1),
    "albert-large-v1": _size(1024, 24, 16, **_V1),
    "albert-xlarge-v1": _size(2048, 24, 16, **_V1),
    "albert-xxlarge-v1": _size(4096, 12, 64, hidden_act="gelu"),
    "albert-base-v2": _size(768, 12, 12),
    "albert-large-v2": _size(1024, 24, 16),
    "albert-xlarge-v2": _size(2048, 24, 16),
    "albert-xxlarge-v2": _size(4096, 12, 64),
}
