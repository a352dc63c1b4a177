"""Every backward pass against measured slopes: each function, each layer, the whole model.

Everything runs twice: as written in functional.py, and with the fast twins. Dropout is on wherever
there is any, and sequences are padded, one of them entirely. Hypothesis draws shapes and seeds.
"""

from __future__ import annotations

import numpy as np
import pytest
import tiny
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tinyalbert import AlbertForPreTraining, check_gradients
from tinyalbert import functional as F
from tinyalbert.attention import AlbertAttention
from tinyalbert.backend import get_backend
from tinyalbert.embeddings import AlbertEmbeddings
from tinyalbert.encoder import AlbertEncoder
from tinyalbert.errors import InputError
from tinyalbert.fast import textbook
from tinyalbert.feed_forward import AlbertFeedForward
from tinyalbert.gradcheck.example import run
from tinyalbert.heads import AlbertMLMHead
from tinyalbert.layer import Initializer, Parameter
from tinyalbert.layers import (
    Classifier,
    Embedding,
    Identity,
    LayerNorm,
    Linear,
    TiedLinear,
)
from tinyalbert.pooler import AlbertPooler

few = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
seeds = st.integers(0, 999)
sizes = st.integers(1, 5)
SHARING = ("all", "attention", "ffn", "none")
CONFIG = tiny.tiny_config(
    vocab_size=13, embedding_size=4, hidden_size=6, num_hidden_layers=3, intermediate_size=10,
    hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2, classifier_dropout_prob=0.2)


@pytest.fixture(params=["textbook", "fast"], autouse=True, scope="module")
def both_versions(request):
    if request.param == "fast":
        yield
    else:
        with textbook():
            yield


def init(seed: int = 0) -> Initializer:
    return Initializer(get_backend("numpy"), np.float64, seed, std=0.5)


def assert_right(*arguments, **options) -> None:
    report = check_gradients(*arguments, **options)
    assert report.ok, report


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def attention_bias(seed: int, batch: int, tokens: int) -> np.ndarray:
    """[B, 1, 1, T]: sequences of random lengths, the last one all padding."""
    lengths = np.random.default_rng(seed).integers(0, tokens + 1, (batch, 1))
    lengths[-1] = 0
    return np.where(np.arange(tokens) < lengths, 0.0, -10000.0)[:, None, None, :]


# --- functions


def linear(x, weight, bias):
    return F.linear(x, weight, bias), (x, weight)


def linear_backward(dy, cache):
    return F.linear_backward(dy, *cache)


@few
@given(sizes, sizes, sizes, sizes, seeds)
def test_linear(batch, tokens, width, out, seed):
    x, weight, bias = draw(seed, batch, tokens, width), draw(seed, width, out), draw(seed, out)
    assert_right((linear, linear_backward), x, weight, bias, seed=seed)


@pytest.mark.parametrize("name", F.ACTIVATIONS)
@few
@given(sizes, sizes, seeds)
def test_activations(name, rows, width, seed):
    assert_right(F.ACTIVATIONS[name], 2 * draw(seed, rows, width), seed=seed)


@few
@given(sizes, sizes, st.sampled_from([0.0, 0.1, 0.7]), seeds)
def test_dropout(rows, width, p, seed):
    assert_right((F.dropout, F.dropout_backward), draw(seed, rows, width), p, seed=seed)


@few
@given(sizes, st.integers(2, 9), seeds)
def test_layer_norm(rows, width, seed):
    x, weight, bias = draw(seed, rows, 2, width), draw(seed + 1, width), draw(seed + 2, width)
    assert_right((F.layer_norm, F.layer_norm_backward), x, weight, bias, 1e-5, seed=seed)


@few
@given(sizes, sizes, seeds)
def test_softmax(rows, width, seed):
    assert_right((F.softmax, F.softmax_backward), draw(seed, rows, 2, width), seed=seed)


@few
@given(st.integers(1, 3), st.integers(1, 3), sizes, sizes, st.sampled_from([0.0, 0.3]), seeds)
def test_attention(batch, heads, tokens, width, p, seed):
    query, key, value = draw(seed, 3, batch, heads, tokens, width)
    bias = attention_bias(seed, batch, tokens)
    assert_right((F.attention, F.attention_backward), query, key, value, bias, p, seed=seed)


@few
@given(sizes, st.integers(2, 7), seeds)
def test_cross_entropy(rows, classes, seed):
    labels = np.random.default_rng(seed).integers(-1, classes, rows)
    labels[labels < 0] = F.IGNORED
    assert_right((F.cross_entropy, F.cross_entropy_backward), draw(seed, rows, classes), labels,
                 seed=seed)


def test_cross_entropy_with_nothing_asked():
    loss, cache = F.cross_entropy(draw(0, 3, 4), np.full(3, F.IGNORED))
    assert loss == 0
    assert (F.cross_entropy_backward(1.0, cache) == 0).all()


def test_the_order_in_memory_does_not_matter():
    """The same numbers as the transpose of something else, which NumPy stores in another order."""
    x, weight, bias = draw(0, 4, 3, 6).swapaxes(0, 1), draw(1, 6, 6).T, draw(2, 6)
    assert_right((linear, linear_backward), x, weight, bias)
    assert_right((F.layer_norm, F.layer_norm_backward), x, bias, bias, 1e-5)
    for pair in [(F.softmax, F.softmax_backward), *F.ACTIVATIONS.values()]:
        assert_right(pair, x)
    query, key, value = draw(3, 3, 2, 5, 2, 4).swapaxes(2, 3)           # [B, N, T, D]
    bias = attention_bias(0, 2, 5)
    assert_right((F.attention, F.attention_backward), query, key, value, bias, 0.1)


# --- layers


def test_basic_layers():
    x = draw(0, 3, 5, 6)
    ids = np.array([[3, 0, 3, 1, 3], [1, 0, 0, 0, 3]])         # repeated ids, an unused row
    assert_right(Linear(6, 4, init()), x)
    assert_right(TiedLinear(Parameter(draw(1, 4, 6)), Parameter(draw(2, 4))), x)
    assert_right(Embedding(4, 3, init()), ids)
    assert_right(LayerNorm(6, 1e-12, init()), x)


@few
@given(st.integers(1, 3), sizes, seeds)
def test_embeddings(batch, tokens, seed):
    rng = np.random.default_rng(seed)
    ids, types = rng.integers(0, 13, (batch, tokens)), rng.integers(0, 3, (batch, tokens))
    layer, places = AlbertEmbeddings(CONFIG, init()), np.arange(tokens)[None]
    assert_right(layer, ids, types, places, seed=seed)
    assert_right(layer, ids, types, rng.integers(0, 7, (batch, tokens)), seed=seed)


@few
@given(st.integers(1, 3), sizes, st.sampled_from([1, 2, 3, 6]), seeds)
def test_attention_layer(batch, tokens, heads, seed):
    layer = AlbertAttention(CONFIG.replace(num_attention_heads=heads), init(seed))
    x, bias = draw(seed, batch, tokens, 6), attention_bias(seed, batch, tokens)
    assert_right(layer, x, bias, seed=seed, elements=16)
    rows = np.random.default_rng(seed).permutation(batch * tokens)[:1 + seed % 3]
    assert_right(layer, x, bias, rows, seed=seed, elements=16)


@pytest.mark.parametrize("sites", ["google", "huggingface"])
@pytest.mark.parametrize("hidden_act", F.ACTIVATIONS)
def test_feed_forward_and_heads(hidden_act, sites):
    config = CONFIG.replace(hidden_act=hidden_act, dropout_sites=sites)
    assert_right(AlbertFeedForward(config, init()), draw(0, 2, 3, 6), elements=16)
    assert_right(AlbertMLMHead(config, Parameter(draw(1, 13, 4)), init()), draw(2, 5, 6))


def test_pooler_and_classifier():
    assert_right(AlbertPooler(CONFIG, init()), draw(0, 3, 6))
    assert_right(Classifier(6, 5, 0.3, init()), draw(3, 4, 6))
    assert_right(Classifier(6, 5, 0.3, init()), draw(3, 4, 2, 6))
    assert_right(Identity(), draw(3, 4, 6))


# --- the encoder: what is shared, how often, and whether it is computed twice


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("inner_group_num", [1, 2])
@pytest.mark.parametrize("sharing, groups", [
    *[(sharing, groups) for sharing in ("all", "attention", "ffn") for groups in (1, 2, 3)],
    ("none", 1)])       # without sharing there is nothing to group
def test_encoder(sharing, groups, inner_group_num, gradient_checkpointing):
    config = CONFIG.replace(sharing=sharing, num_hidden_groups=groups, hidden_act="gelu",
                            inner_group_num=inner_group_num,
                            gradient_checkpointing=gradient_checkpointing)
    encoder = AlbertEncoder(config, init())
    x, bias = draw(0, 2, 3, 4), attention_bias(1, 2, 3)
    assert_right(encoder, x, bias, elements=0)
    assert_right(encoder, x, bias, np.array([4, 0]), elements=0)


def encoder_gradients(encoder: AlbertEncoder, seed: int = 0) -> dict[str, np.ndarray]:
    y, cache = encoder.forward(draw(seed, 2, 3, 4), attention_bias(seed, 2, 3),
                               rng=np.random.default_rng(seed))
    dx = encoder.backward(draw(seed + 1, *y.shape), cache)
    return {"x": dx} | {name: p.grad for name, p in encoder.named_parameters().items()}


@few
@given(st.sampled_from(SHARING), st.integers(1, 5), st.integers(1, 5), st.integers(1, 2), seeds)
def test_a_shared_gradient_is_the_sum_over_its_uses(sharing, layers, groups, inner, seed):
    """Give every layer application a copy of its weights; add up the gradients of the copies."""
    groups = min(groups, layers)
    config = CONFIG.replace(sharing=sharing, num_hidden_layers=layers, num_hidden_groups=groups,
                            inner_group_num=inner)
    shared = AlbertEncoder(config, init(seed))
    copies = AlbertEncoder(config.replace(sharing="none"), init(seed + 1))
    pairs = [(copies, shared), *zip(copies.applications(), shared.applications(), strict=True)]
    for copy, original in pairs:
        copied = copy.named_parameters()
        for name, parameter in original.named_parameters().items():
            if name in copied and copied[name].data.shape == parameter.data.shape:
                copied[name].data[...] = parameter.data
    got, expected = encoder_gradients(shared, seed), encoder_gradients(copies, seed)
    tiny.assert_close(got["x"], expected["x"], 1e-12, "x")
    total = {id(p): np.zeros_like(p.data) for p in shared.named_parameters().values()}
    for copy, original in pairs[1:]:
        for name, parameter in original.named_parameters().items():
            total[id(parameter)] += copy.named_parameters()[name].grad
    scale = max(np.abs(t).max() for t in total.values())
    for name, parameter in shared.albert_layer_groups[0].named_parameters().items():
        tiny.assert_close(parameter.grad, total[id(parameter)], 1e-12, name, scale)


@few
@given(st.sampled_from(SHARING), st.integers(1, 4), st.integers(1, 2), seeds)
def test_gradient_checkpointing_changes_no_bit(sharing, layers, inner, seed):
    config = CONFIG.replace(sharing=sharing, num_hidden_layers=layers, inner_group_num=inner)
    once = encoder_gradients(AlbertEncoder(config, init(seed)), seed)
    again = encoder_gradients(
        AlbertEncoder(config.replace(gradient_checkpointing=True), init(seed)), seed)
    assert once.keys() == again.keys()
    for name in once:
        assert np.array_equal(once[name], again[name]), name


# --- the whole model


def pretraining_model(**changes) -> AlbertForPreTraining:
    model = AlbertForPreTraining(CONFIG.replace(**changes), dtype=np.float64)
    return tiny.randomize(model)


@pytest.mark.parametrize("changes", [
    {},
    {"hidden_act": "gelu", "dropout_sites": "huggingface"},
    {"hidden_act": "relu", "num_hidden_groups": 2, "gradient_checkpointing": True},
    {"sharing": "attention", "inner_group_num": 2},
    {"sharing": "ffn", "num_hidden_groups": 3, "dropout_sites": "huggingface"},
], ids=str)
def test_pretraining(changes):
    batch = tiny.make_batch(CONFIG, (5, 3, 0))
    assert_right(pretraining_model(**changes), elements=2, **batch)


def test_pretraining_on_every_array_library(backend):
    config = CONFIG.replace(num_hidden_layers=1, num_hidden_groups=1)
    model = tiny.randomize(AlbertForPreTraining(config, dtype=np.float64, backend=backend))
    assert_right(model, elements=0, **tiny.make_batch(CONFIG, (5, 3, 0)))


@few
@given(st.lists(st.integers(0, 4), min_size=1, max_size=3).filter(any), seeds)
def test_pretraining_on_any_batch(lengths, seed):
    batch = tiny.make_batch(CONFIG, tuple(lengths), seed=seed)
    assert_right(pretraining_model(num_hidden_layers=1), seed=seed, elements=1, **batch)


@pytest.mark.parametrize("absent", ["labels", "sentence_order_label"])
def test_one_of_the_two_losses(absent):
    batch = tiny.make_batch(CONFIG, (4, 2), labels="all")
    del batch[absent]
    assert_right(pretraining_model(), elements=1, **batch)


def test_twice_doubles_and_evaluation_leaves_no_gradient():
    model, batch = pretraining_model(), tiny.make_batch(CONFIG, (5, 3, 0))
    model(**batch)
    assert not any(p.grad.any() for p in model.named_parameters().values())
    _, cache = model.forward(**batch, rng=np.random.default_rng(0))
    model.backward(cache)
    once = {name: p.grad.copy() for name, p in model.named_parameters().items()}
    model.backward(cache, d_loss=-3.0)
    scale = max(np.abs(grad).max() for grad in once.values())
    for name, p in model.named_parameters().items():
        tiny.assert_close(p.grad, -2 * once[name], 1e-12, name, scale)


# --- the command


def test_the_command_prints_the_table_of_a_tiny_model(capsys):
    report = run(num_hidden_layers=2, num_hidden_groups=2, elements=1)
    out = capsys.readouterr().out
    assert report.ok and out == f"{report}\n"
    assert out.startswith("gradients of AlbertForPreTraining\n")
    assert out.endswith("48 of 48 gradients right, no laws broken\n")
    assert report["albert.encoder.albert_layer_groups.1.albert_layers.0.attention.key.bias"].ok


def test_the_command_refuses_what_contradicts_itself():
    with pytest.raises(InputError, match="num_hidden_groups 4 exceeds num_hidden_layers 2"):
        run(num_hidden_layers=2, num_hidden_groups=4)
