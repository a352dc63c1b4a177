"""The numbers that make a model: one frozen dataclass for each family, and the published sizes.

Field names and defaults are those of Hugging Face's `AlbertConfig` and `BertConfig`, so a
`config.json` means the same in both. `sharing`, `dropout_sites` and `gradient_checkpointing` are
ours; their defaults change nothing.

Here is all that sets the families apart: to the encoder, BERT is an ALBERT with E = H, without a
map between them, and with nothing shared.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from .config_checks import check_field, check_keys, check_labels
from .errors import InputError
from .files import read_json_object, write_atomically

Activation = Literal["gelu", "gelu_new", "relu"]
Sharing = Literal["all", "attention", "ffn", "none"]
DropoutSites = Literal["google", "huggingface"]
ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
CHOICES = {"hidden_act": get_args(Activation), "sharing": get_args(Sharing),
           "dropout_sites": get_args(DropoutSites),
           "problem_type": (None, *get_args(ProblemType))}
# What Hugging Face's configurations may ask for, and the one value of it that is here.
UNSUPPORTED = {"position_embedding_type": "absolute", "is_decoder": False,
               "add_cross_attention": False, "tie_word_embeddings": True}


@dataclass(frozen=True)
class EncoderConfig:
    """What both families have.

    hidden_act: `gelu` is the exact (erf) form, `gelu_new` the tanh form that Google trained with.
    gradient_checkpointing: keep only the input of each layer application and recompute the rest
        in the backward pass. The result is the same to the last bit; memory no longer grows by
        everything a layer computes, only by its input.
    num_labels, id2label: what a classifier on top tells apart; where both are given, id2label
        counts. problem_type: its loss; None lets the labels decide, as in Hugging Face.

    Raises InputError when the numbers contradict each other.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    hidden_act: Activation
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    gradient_checkpointing: bool = False
    num_labels: int = 2
    id2label: dict[int, str] | None = field(default=None, hash=False)
    problem_type: ProblemType | None = None

    model_type: ClassVar[str]

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_field(name, value, CHOICES)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}: every head needs the same width")
        if not isinstance(self.pad_token_id, int) or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id {self.pad_token_id!r} is not an id of the vocabulary "
                             f"of {self.vocab_size}")
        names = self.id2label or {i: f"LABEL_{i}" for i in range(self.num_labels)}
        object.__setattr__(self, "id2label", check_labels(names))
        object.__setattr__(self, "num_labels", len(names))

    @property
    def head_size(self) -> int:
        """D = H / N."""
        return self.hidden_size // self.num_attention_heads

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; an unknown name is an InputError."""
        check_keys(changes, [f.name for f in fields(self)], type(self).__name__)
        if "num_labels" in changes:
            changes = {"id2label": None, **changes}
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """What `config.json` holds: model_type, and every field in order."""
        values = {"model_type": self.model_type, **asdict(self)}
        del values["num_labels"]                    # Hugging Face counts id2label
        return values | {"label2id": {label: i for i, label in (self.id2label or {}).items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From a parsed `config.json`. Keys of Hugging Face or Google that mean nothing to the
        model (`architectures`, `transformers_version`, `net_structure_type`, ...) are ignored;
        a key that looks like a misspelt field is an InputError, and so is one that asks for what
        is not here: another family, a decoder, relative positions."""
        family = values.get("model_type", cls.model_type)
        if family != cls.model_type:
            raise InputError(f"this is the configuration of a {family!r} model, and "
                             f"{cls.__name__} is for {cls.model_type!r}")
        for key, only in UNSUPPORTED.items():
            if values.get(key, only) != only:
                raise InputError(f"configuration key {key!r} is {values[key]!r}, and here it can "
                                 f"only be {only!r}")
        names = [f.name for f in fields(cls)]
        for key in values:
            near = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
            if key not in (*names, *UNSUPPORTED) and near:
                raise InputError(f"unknown configuration key {key!r}: did you mean {near[0]!r}?")
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def from_json_file(cls, path: str | Path) -> Self:
        """Read `config.json`; InputError if it is missing or not a JSON object."""
        return cls.from_dict(read_json_object(Path(path)))

    @classmethod
    def from_pretrained(cls, name_or_directory: str | Path) -> Self:
        """`config.json` of a directory, or of a model of the Hugging Face hub."""
        from .hub import local_directory
        return cls.from_json_file(local_directory(name_or_directory, ["config.json"])
                                  / "config.json")

    def save_pretrained(self, directory: str | Path, **more: Any) -> None:
        """Write `config.json`, with the keys in `more` before ours."""
        text = json.dumps({**more, **self.to_dict()}, indent=2) + "\n"
        write_atomically(Path(directory, "config.json"), text.encode())


@dataclass(frozen=True)
class AlbertConfig(EncoderConfig):
    """The shape of an ALBERT. The defaults are ALBERT-xxlarge, as in Hugging Face.

    num_hidden_groups: parameter sets that the layers are divided among (1 = ALBERT).
    inner_group_num: different blocks inside one layer application; the depth is
        num_hidden_layers * inner_group_num.
    sharing: what the layers of a group share (paper, section 3.1 and Table 4). With `attention` or
        `ffn` all layers share that half, with `none` nothing: num_hidden_groups is then the number
        of layers, since no two are the same.
    dropout_sites: `google` drops out the feed-forward output and not the sentence-order input;
        `huggingface` the other way round (its PyTorch port never calls the one it builds).
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
    classifier_dropout_prob: float | None = 0.1
    bos_token_id: int = 2
    eos_token_id: int = 3
    sharing: Sharing = "all"
    dropout_sites: DropoutSites = "google"

    model_type = "albert"
    maps_embeddings: ClassVar[bool] = True      # from E to H, even where they are equal

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sharing != "all":
            object.__setattr__(self, "num_hidden_groups", self.num_hidden_layers)
        if self.num_hidden_groups > self.num_hidden_layers:
            raise InputError(
                f"num_hidden_groups {self.num_hidden_groups} exceeds num_hidden_layers "
                f"{self.num_hidden_layers}: a group needs at least one layer")

    def replace(self, **changes: Any) -> Self:
        if "sharing" in changes:
            changes = {"num_hidden_groups": 1, **changes}
        return super().replace(**changes)

    @property
    def classifier_dropout_rate(self) -> float:
        """Before the linear map of a classifier."""
        rate = self.classifier_dropout_prob
        return self.hidden_dropout_prob if rate is None else rate


@dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """The shape of a BERT (Devlin et al. 2018). The defaults are BERT-base, as in Hugging Face."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: Activation = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None

    model_type = "bert"
    maps_embeddings: ClassVar[bool] = False
    inner_group_num: ClassVar[int] = 1
    sharing: ClassVar[Sharing] = "none"
    dropout_sites: ClassVar[DropoutSites] = "google"

    @property
    def embedding_size(self) -> int:
        """E = H."""
        return self.hidden_size

    @property
    def num_hidden_groups(self) -> int:
        return self.num_hidden_layers

    @property
    def classifier_dropout_rate(self) -> float:
        """Before the linear map of a classifier."""
        rate = self.classifier_dropout
        return self.hidden_dropout_prob if rate is None else rate


AnyConfig: TypeAlias = AlbertConfig | BertConfig


def config_from_dict(values: Mapping[str, Any]) -> AnyConfig:
    """Of the family that `model_type` names; without one, ALBERT's."""
    family = values.get("model_type", "albert")
    for config in (AlbertConfig, BertConfig):
        if config.model_type == family:
            return config.from_dict(values)
    raise InputError(f"model_type is {family!r}: only 'albert' and 'bert' are known here")
