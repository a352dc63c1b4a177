"""Settings from three places: a preset, then a file, then flags; the later one wins.

The flags are the fields of AlbertConfig and PretrainConfig, and so are the keys of a file:

    preset = "small"            a recipe.toml; sections are headings, keys may also stand without
    [training]
    batch_size = 64
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from ..config import AlbertConfig
from ..config_checks import check_keys
from ..errors import InputError
from ..pretraining.config import PretrainConfig
from .flags import add_flag, check_type, parse_file

MODEL_HELP = {
    "vocab_size": "pieces of the vocabulary",
    "embedding_size": "E, width of the word embeddings",
    "hidden_size": "H, width of the layers",
    "num_hidden_layers": "how often a layer is applied",
    "num_hidden_groups": "parameter sets that the layers are divided among",
    "num_attention_heads": "heads, a divisor of the hidden size",
    "intermediate_size": "width inside the feed-forward part",
    "inner_group_num": "different blocks inside one layer",
    "hidden_act": "gelu (exact), gelu_new (tanh form) or relu",
    "hidden_dropout_prob": "share of the hidden units dropped in training",
    "attention_probs_dropout_prob": "share of the attention weights dropped in training",
    "max_position_embeddings": "longest sequence",
    "type_vocab_size": "kinds of segments",
    "initializer_range": "deviation of the first weights; near 1/sqrt(H) for a small model",
    "layer_norm_eps": "added to the variance in LayerNorm",
    "classifier_dropout_prob": "share of the pooled units dropped before the sentence-order head",
    "pad_token_id": "id of <pad>",
    "bos_token_id": "id of [CLS]",
    "eos_token_id": "id of [SEP]",
    "sharing": "what the layers of a group share: all, attention, ffn or none",
    "dropout_sites": "where dropout is: as in google's code or in huggingface's",
    "gradient_checkpointing": "recompute instead of keeping activations: less memory, more time",
}
# The fields of a section are those from the one named here to the next section's.
SECTIONS = {"model": "vocab_size", "data": "corpus", "training": "batch_size", "run": "seed"}
HINTS = {name: hint for name, hint in get_type_hints(AlbertConfig).items() if name in MODEL_HELP}
HINTS |= get_type_hints(PretrainConfig)


def add_settings(parser: argparse.ArgumentParser, *configs: AlbertConfig | PretrainConfig) -> None:
    """A flag for every field; --help shows the value that it has in these configurations."""
    group: Any = parser
    headings = {first: section for section, first in SECTIONS.items()}
    for config in configs:
        for field in fields(config):
            if field.name not in HINTS:         # what only a classifier has
                continue
            if field.name in headings:
                group = parser.add_argument_group(headings[field.name])
            text = field.metadata.get("help") or MODEL_HELP[field.name]
            add_flag(group, field.name, HINTS[field.name], text, getattr(config, field.name))


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that stand on the command line."""
    return {name: value for name, value in vars(args).items() if name in HINTS}


def split_settings(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of AlbertConfig, those of PretrainConfig."""
    model = set(MODEL_HELP)
    return ({key: value for key, value in settings.items() if key in model},
            {key: value for key, value in settings.items() if key not in model})


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a .toml or .json file, `preset` among them. Raises InputError that names the
    file for one that cannot be read, an unknown key and a value of the wrong type."""
    known = {**HINTS, "preset": str}
    settings: dict[str, Any] = {}
    for section, value in parse_file(path).items():
        inside = section in SECTIONS and isinstance(value, dict)
        for key, item in (value if inside else {section: value}).items():
            name = key.replace("-", "_")
            check_keys({name: item}, [*known, *([] if inside else SECTIONS)], str(path))
            if name in settings:
                raise InputError(f"{path} sets {name} twice")
            settings[name] = check_type(path, name, item, known.get(name, dict))
    return settings
