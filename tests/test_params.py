"""Expected counts are the specification's closed forms and published figures, worked out by hand
from the paper, or what the model itself allocates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_config

from tinyalbert.config import PUBLISHED, AlbertConfig
from tinyalbert.model import AlbertForPreTraining, AlbertModel
from tinyalbert.params import format_table, parameter_table, parameter_totals

BASE = PUBLISHED["albert-base-v2"]
A, B, C = list(parameter_totals(BASE))[:3]
MAP_768 = 768 * 768 + 768      # the paper has no E -> H map when E = H; the model always has one


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["all", "attention", "ffn", "none"]), st.integers(1, 5), st.integers(1, 5),
       st.integers(1, 2), st.integers(1, 3), st.integers(1, 9))
def test_the_model_allocates_what_the_table_counts(sharing, layers, groups, inner, types, size):
    config = tiny_config(sharing=sharing, num_hidden_layers=layers, inner_group_num=inner,
                         num_hidden_groups=min(groups, layers), type_vocab_size=types,
                         embedding_size=size)
    totals = parameter_totals(config)
    assert sum(parameter_table(config).values()) == totals[C]
    assert AlbertForPreTraining(config).num_parameters() == totals[C]
    assert AlbertModel(config).num_parameters() == totals[B]
    unshared = AlbertForPreTraining(config.replace(num_hidden_groups=layers, sharing="all"))
    assert unshared.num_parameters() == totals["the same, nothing shared"]


@pytest.mark.parametrize(("name", "a", "b", "c"), [
    ("albert-base-v2", 11_092_992, 11_683_584, 11_813_810),
    ("albert-large-v2", 16_634_368, 17_683_968, 17_847_474),
    ("albert-xlarge-v2", 54_528_512, 58_724_864, 59_021_490),
    ("albert-xxlarge-v2", 205_814_272, 222_595_584, 223_158_450),
])
def test_published_sizes(name, a, b, c):
    totals = parameter_totals(PUBLISHED[name])
    assert (totals[A], totals[B], totals[C]) == (a, b, c)


@pytest.mark.parametrize(("size", "sharing", "a", "b"), [
    (64, "none", 87_057_408, 87_648_000), (64, "all", 9_090_816, 9_681_408),
    (128, "none", 89_059_584, 89_650_176), (256, "none", 93_063_936, 93_654_528),
    (256, "all", 15_097_344, 15_687_936), (128, "attention", 63_056_640, 63_647_232),
    (128, "ffn", 37_095_936, 37_686_528),
    (768, "none", 108_490_752 + MAP_768, 109_081_344 + MAP_768),
    (768, "all", 30_524_160 + MAP_768, 31_114_752 + MAP_768),
    (768, "attention", 82_487_808 + MAP_768, 83_078_400 + MAP_768),
    (768, "ffn", 56_527_104 + MAP_768, 57_117_696 + MAP_768),
])
def test_tables_3_and_4_of_the_paper(size, sharing, a, b):
    totals = parameter_totals(BASE.replace(embedding_size=size, sharing=sharing))
    assert (totals[A], totals[B]) == (a, b)


def test_components_of_the_base_model():
    table = parameter_table(BASE)
    assert table["word embeddings"] == 30000 * 128
    assert table["attention"] == 4 * (768**2 + 768)
    assert table["feed-forward"] == 2 * 768 * 3072 + 3072 + 768
    assert table["layer norms"] == 2 * 768 + 2 * 768
    assert table["masked-LM head"] == 768 * 128 + 128 + 2 * 128 + 30000
    assert table["sentence-order head"] == 2 * 768 + 2


def test_what_factorization_saves():
    totals = parameter_totals(BASE)
    assert totals["word table as V x H"] == 23_040_000
    assert totals["word table as V x E + E x H"] == 3_938_304


def test_the_largest_model_is_counted_without_being_allocated():
    huge = AlbertConfig(vocab_size=10**6, hidden_size=2**16, intermediate_size=2**18)
    assert parameter_totals(huge)[C] > 10**10


def test_table_side_by_side():
    lines = format_table({"base": BASE, "tiny": tiny_config()}).splitlines()
    assert lines[0].split() == ["base", "tiny"]
    assert lines[2].split() == ["word", "embeddings", "3,840,000", str(23 * 6)]
    assert lines[1] == lines[13] == "-" * len(lines[0])
    assert len({len(line) for line in lines}) == 1
