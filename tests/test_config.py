"""The configuration: what it refuses, the published sizes, which layer uses which parameters."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_config

from tinyalbert import AlbertConfig, AlbertForPreTraining, AlbertModel, InputError
from tinyalbert.backend import get_backend
from tinyalbert.encoder import AlbertEncoder
from tinyalbert.layer import Initializer, Parameter
from tinyalbert.published import PUBLISHED

# --- parameters that are counted, not allocated -------------------------------------------------


class Countable(Parameter):
    """A parameter of any size in four bytes: one zero, repeated by strides of 0."""

    def __init__(self, *shape: int) -> None:
        self.data = self.grad = np.broadcast_to(np.float32(0), shape)


class CountingInitializer(Initializer):
    def __init__(self, *_: Any) -> None:
        super().__init__(get_backend("numpy"), np.float32, seed=0, std=0.0)

    normal = zeros = ones = staticmethod(Countable)


def count(config: AlbertConfig) -> int:
    """The parameters of the encoder and pooler, without heads: column B of the tables below."""
    return AlbertModel(config, init=CountingInitializer()).num_parameters()


@pytest.mark.parametrize("size, encoder, pretraining", [
    ("base", 11_683_584, 11_813_810),
    ("large", 17_683_968, 17_847_474),
    ("xlarge", 58_724_864, 59_021_490),
    ("xxlarge", 222_595_584, 223_158_450),
])
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_published_sizes(size: str, version: str, encoder: int, pretraining: int,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Table 1 of the paper, exactly; Keras Hub publishes the same four numbers."""
    config = PUBLISHED[f"albert-{size}-{version}"]
    assert count(config) == encoder
    monkeypatch.setattr("tinyalbert.model.Initializer", CountingInitializer)
    assert AlbertForPreTraining(config).num_parameters() == pretraining


# The map from E to H exists at E = H too, as in Hugging Face; the paper's counts have none there.
MAP = 768 * 768 + 768


@pytest.mark.parametrize("sharing, embedding, encoder", [
    ("none", 64, 87_648_000), ("none", 128, 89_650_176), ("none", 256, 93_654_528),
    ("none", 768, 109_081_344 + MAP),
    ("all", 64, 9_681_408), ("all", 128, 11_683_584), ("all", 256, 15_687_936),
    ("all", 768, 31_114_752 + MAP),
    ("attention", 128, 63_647_232), ("attention", 768, 83_078_400 + MAP),
    ("ffn", 128, 37_686_528), ("ffn", 768, 57_117_696 + MAP),
])
def test_what_sharing_saves(sharing: str, embedding: int, encoder: int) -> None:
    """Tables 3 and 4 of the paper, from the closed forms of the layer sizes."""
    config = PUBLISHED["albert-base-v2"].replace(sharing=sharing, embedding_size=embedding)
    assert count(config) == encoder


def test_an_allocated_model_has_as_many() -> None:
    config = tiny_config(sharing="attention", inner_group_num=2)
    assert AlbertModel(config).num_parameters() == count(config)


# --- which layer uses which parameters ----------------------------------------------------------


def test_layers_are_divided_among_groups_exactly() -> None:
    init = CountingInitializer()
    for depth in range(1, 49):
        for groups in range(1, depth + 1):
            encoder = AlbertEncoder(tiny_config(num_hidden_layers=depth, num_hidden_groups=groups),
                                    init)
            assert len(encoder.albert_layer_groups) == groups
            assert encoder.order == [int(Fraction(i, depth) * groups) for i in range(depth)]


@pytest.mark.parametrize("depth, groups, order", [
    (12, 1, [0] * 12),
    (6, 3, [0, 0, 1, 1, 2, 2]),
    (5, 3, [0, 0, 1, 1, 2]),
    (22, 22, list(range(22))),      # floating point puts layer 15 into group 14
])
def test_divisions_by_hand(depth: int, groups: int, order: list[int]) -> None:
    config = tiny_config(num_hidden_layers=depth, num_hidden_groups=groups)
    assert AlbertEncoder(config, CountingInitializer()).order == order


@pytest.mark.parametrize("sharing, attentions, feed_forwards", [
    ("all", 2, 2), ("attention", 1, 4), ("ffn", 4, 1), ("none", 4, 4)])
def test_a_shared_half_is_one_object(sharing: str, attentions: int, feed_forwards: int) -> None:
    config = tiny_config(sharing=sharing, num_hidden_groups=2)          # four layers
    layers = AlbertEncoder(config, CountingInitializer()).applications()
    assert len({id(layer.attention) for layer in layers}) == attentions
    assert len({id(layer.feed_forward) for layer in layers}) == feed_forwards
    assert (layers[0].attention is layers[1].attention) == (attentions <= 2)
    assert (layers[1].attention is layers[2].attention) == (attentions == 1)


def test_inner_groups_follow_each_other() -> None:
    config = tiny_config(num_hidden_layers=2, inner_group_num=3)
    layers = AlbertEncoder(config, CountingInitializer()).applications()
    assert len(layers) == 6 and layers[:3] == layers[3:] and len(set(layers)) == 3


# --- files and mistakes -------------------------------------------------------------------------


def test_the_defaults_are_hugging_faces() -> None:
    config = AlbertConfig()
    assert config == PUBLISHED["albert-xxlarge-v2"]
    assert (config.vocab_size, config.embedding_size, config.hidden_act) == (30000, 128, "gelu_new")
    assert config.head_size == 64


def test_a_file_comes_back(tmp_path: Path) -> None:
    config, path = tiny_config(sharing="ffn", hidden_act="relu"), tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert AlbertConfig.from_json_file(path) == config


def test_foreign_keys_are_ignored() -> None:
    foreign = {"architectures": ["AlbertForMaskedLM"], "transformers_version": "5.0",
               "net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0,
               "down_scale_factor": 1, "layers_to_keep": [], "model_type": "albert"}
    assert AlbertConfig.from_dict({**foreign, "hidden_size": 128}).hidden_size == 128


@pytest.mark.parametrize("content, message", [
    ("{", "config.json is not valid JSON: "),
    ("[1]", "config.json must hold a JSON object, not a list"),
])
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        AlbertConfig.from_json_file(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="^cannot read .*none.json: No such file"):
        AlbertConfig.from_json_file(tmp_path / "none.json")


@pytest.mark.parametrize("misspelt, meant", [
    ("hiden_size", "hidden_size"), ("num_hidden_layer", "num_hidden_layers"),
    ("hidden_dropout_probs", "hidden_dropout_prob"), ("vocabsize", "vocab_size")])
def test_a_misspelt_key_is_answered_with_the_right_one(misspelt: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"key '{misspelt}': did you mean '{meant}'"):
        AlbertConfig.from_dict({misspelt: 1})
    with pytest.raises(InputError, match=f"key '{misspelt}': did you mean '{meant}'"):
        AlbertConfig().replace(**{misspelt: 1})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": 0}, "hidden_size must be a positive whole number, not 0"),
    ({"vocab_size": 30000.0}, "vocab_size must be a positive whole number, not 30000.0"),
    ({"num_hidden_layers": True}, "num_hidden_layers must be a positive whole number, not True"),
    ({"embedding_size": "128"}, "embedding_size must be a positive whole number, not '128'"),
    ({"hidden_dropout_prob": 1.0}, r"hidden_dropout_prob must be a number in \[0, 1\), not 1.0"),
    ({"attention_probs_dropout_prob": -0.1},
     r"attention_probs_dropout_prob must be a number in \[0, 1\), not -0.1"),
    ({"classifier_dropout_prob": float("nan")},
     r"classifier_dropout_prob must be a number in \[0, 1\), not nan"),
    ({"hidden_act": "silu"}, "hidden_act must be one of gelu, gelu_new, relu, not 'silu'"),
    ({"sharing": "some"}, "sharing must be one of all, attention, ffn, none, not 'some'"),
    ({"dropout_sites": "all"}, "dropout_sites must be one of google, huggingface, not 'all'"),
    ({"hidden_size": 100, "num_attention_heads": 3},
     "hidden_size 100 is not a multiple of num_attention_heads 3: every head needs the same width"),
    ({"num_hidden_groups": 13},
     "num_hidden_groups 13 exceeds num_hidden_layers 12: a group needs at least one layer"),
    ({"pad_token_id": 30000}, "pad_token_id 30000 is not an id of the vocabulary of 30000"),
    ({"pad_token_id": None}, "pad_token_id None is not an id of the vocabulary of 30000"),
    ({"initializer_range": -1}, "initializer_range must be a number greater than 0, not -1"),
    ({"layer_norm_eps": "x"}, "layer_norm_eps must be a number greater than 0, not 'x'"),
    ({"gradient_checkpointing": "no"}, "gradient_checkpointing must be true or false, not 'no'"),
]


@pytest.mark.parametrize("values, message", WRONG, ids=[str(values) for values, _ in WRONG])
def test_numbers_that_make_no_model(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        AlbertConfig(**values)
