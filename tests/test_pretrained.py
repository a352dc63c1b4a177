"""Directories: what is saved comes back, older and other people's files load, and what does not fit
is told in one sentence."""

from __future__ import annotations

import json
import logging
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from tiny import (
    CLASSES,
    assert_close,
    encoder_of,
    make_task_batch,
    tiny_model,
    without_labels,
)

import tinyalbert
from tinyalbert import InputError
from tinyalbert.pretrained import PreTrainedModel

every_class = pytest.mark.parametrize("name", CLASSES)
both_families = pytest.mark.parametrize("family", ["Albert", "Bert"])
NOTHING = {"missing_keys": [], "unexpected_keys": []}
Tensors = dict[str, np.ndarray]


def saved(directory: Path, name: str, dtype: str = "float32", **changes: Any) -> PreTrainedModel:
    model = tiny_model(name, dtype, **changes)
    model.save_pretrained(directory)
    return model


def load(name: str, directory: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    return getattr(tinyalbert, name).from_pretrained(directory, output_loading_info=True, **options)


def rewrite(directory: Path, change: Callable[[Tensors], Tensors]) -> None:
    """The file of weights once more, with other tensors."""
    path = directory / "model.safetensors"
    save_file({key: np.ascontiguousarray(tensor)
               for key, tensor in change(load_file(path)).items()}, path)


def reconfigure(directory: Path, **values: Any) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def assert_same_tensors(model: PreTrainedModel, expected: PreTrainedModel) -> None:
    ours, theirs = model.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    for key, tensor in theirs.items():
        assert ours[key].dtype == tensor.dtype and ours[key].tobytes() == tensor.tobytes(), key


# --- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_class
def test_what_is_saved_comes_back(name: str, dtype: str, tmp_path: Path) -> None:
    model = saved(tmp_path, name, dtype, hidden_act="relu", layer_norm_eps=1e-7)
    again, info = load(name, tmp_path, dtype=dtype)
    assert info == NOTHING and again.config == model.config
    assert_same_tensors(again, model)
    again.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@every_class
def test_what_was_loaded_learns(name: str, tmp_path: Path) -> None:
    """Its parameters are arrays of its own, also those of which the file knew nothing."""
    family = "Bert" if name.startswith("Bert") else "Albert"
    saved(tmp_path, f"{family}ForMaskedLM")
    model, _ = load(name, tmp_path)
    loss = None
    for _ in range(2):
        out, cache = model.forward(**make_task_batch(model))
        if name.endswith("Model"):
            model.backward(out.last_hidden_state, out.pooler_output, cache)
        else:
            assert loss is None or out.loss < loss
            loss = out.loss
            model.backward(cache)
        for parameter in model.named_parameters().values():
            assert parameter.data.flags.owndata and parameter.data.flags.c_contiguous
            parameter.data -= 1e-3 * parameter.grad


@pytest.mark.parametrize("inner_group_num", [1, 2])
@pytest.mark.parametrize("sharing", ["all", "attention", "ffn", "none"])
def test_partial_sharing_comes_back(sharing: str, inner_group_num: int, tmp_path: Path) -> None:
    model = saved(tmp_path, "AlbertForPreTraining", sharing=sharing,
                  inner_group_num=inner_group_num)
    again, info = load("AlbertForPreTraining", tmp_path)
    assert info == NOTHING and again.num_parameters() == model.num_parameters()
    assert_same_tensors(again, model)


@both_families
def test_another_precision(family: str, tmp_path: Path) -> None:
    model = saved(tmp_path, f"{family}ForMaskedLM")
    exact, _ = load(f"{family}ForMaskedLM", tmp_path, dtype="float64")
    for key, tensor in exact.state_dict().items():
        assert tensor.dtype == np.float64 and np.array_equal(tensor, model.state_dict()[key])


def test_the_directory_of_another_model_is_taken_over(tmp_path: Path) -> None:
    saved(tmp_path, "AlbertForMaskedLM")
    model = saved(tmp_path, "BertModel")
    assert_same_tensors(load("BertModel", tmp_path)[0], model)


def test_where_nothing_can_be_saved(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="^cannot write .*file"):
        saved(tmp_path / "file", "BertModel")


# --- other people's files -----------------------------------------------------------------------


@both_families
@pytest.mark.parametrize("change", ["prefix added", "prefix taken away"])
def test_the_prefix_is_optional(family: str, change: str, tmp_path: Path) -> None:
    prefix = f"{family.lower()}."
    name = f"{family}Model" if change == "prefix added" else f"{family}ForSequenceClassification"
    model = saved(tmp_path, name)
    rewrite(tmp_path, lambda tensors: {
        prefix + key if change == "prefix added" else key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()})
    again, info = load(name, tmp_path)
    assert info == NOTHING
    assert_same_tensors(again, model)


@both_families
def test_an_encoder_becomes_a_model_with_a_head(family: str, tmp_path: Path,
                                                caplog: pytest.LogCaptureFixture) -> None:
    encoder, name = saved(tmp_path, f"{family}Model"), f"{family}ForTokenClassification"
    model, info = load(name, tmp_path, num_labels=5, seed=3)
    assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
    assert all("pooler" in key for key in info["unexpected_keys"]) and info["unexpected_keys"]
    assert not caplog.records               # whoever asks is told in this way only
    getattr(tinyalbert, name).from_pretrained(tmp_path)
    record, = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{name}: not in {tmp_path} and newly initialized: classifier.weight, classifier.bias. "
        "Train the model before you rely on them.")
    ids = make_task_batch(encoder)
    assert np.array_equal(encoder_of(model)(**ids).last_hidden_state,
                          encoder(**ids).last_hidden_state)


@both_families
def test_a_model_with_a_head_becomes_an_encoder(family: str, tmp_path: Path,
                                                caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = saved(tmp_path, f"{family}ForPreTraining")
    encoder, info = load(f"{family}Model", tmp_path)
    assert_same_tensors(encoder, encoder_of(model))
    heads = [key for key in model.state_dict(tied=False) if not key.startswith(family.lower())]
    assert info == {"missing_keys": [], "unexpected_keys": heads}
    record, = caplog.records
    assert record.levelno == logging.INFO
    assert record.getMessage() == (f"{family}Model: in {tmp_path} and not used: "
                                   + ", ".join(heads))


def test_new_heads_are_decided_by_the_seed(tmp_path: Path) -> None:
    """And drawn as in a new model: Google's truncated normal, and biases of 0."""
    saved(tmp_path, "BertModel", initializer_range=0.5)
    models = [load("BertForTokenClassification", tmp_path, num_labels=200, seed=seed)[0]
              for seed in (1, 1, 2)]
    weights = [model.classifier.weight.data for model in models]
    assert np.array_equal(weights[0], weights[1]) and (weights[0] != weights[2]).all()
    assert abs(weights[0]).max() <= 1 and weights[0].std() == pytest.approx(0.44, rel=0.05)
    assert not models[0].classifier.bias.data.any()


@both_families
def test_names_and_buffers_of_older_versions(family: str, tmp_path: Path) -> None:
    name, prefix = f"{family}ForMaskedLM", f"{family.lower()}.embeddings"
    model = saved(tmp_path, name)
    rewrite(tmp_path, lambda tensors: {
        key.replace("LayerNorm.weight", "LayerNorm.gamma")
           .replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for key, tensor in tensors.items()} | {
            f"{prefix}.position_ids": np.arange(12)[None],
            f"{prefix}.token_type_ids": np.zeros((1, 12), np.int64)})
    assert any("gamma" in key for key in load_file(tmp_path / "model.safetensors"))
    again, info = load(name, tmp_path)
    assert info == NOTHING
    assert_same_tensors(again, model)


@both_families
@pytest.mark.parametrize("left_out", [(), ("decoder",), ("word_embeddings", "predictions.bias")])
def test_tied_tensors_stand_under_any_of_their_names(family: str, left_out: tuple[str, ...],
                                                     tmp_path: Path) -> None:
    name = f"{family}ForMaskedLM"
    model = saved(tmp_path, name)
    rewrite(tmp_path, lambda _: {key: tensor for key, tensor in model.state_dict().items()
                                 if not any(part in key for part in left_out)})
    again, info = load(name, tmp_path)
    assert info == NOTHING
    assert_same_tensors(again, model)
    rewrite(tmp_path, lambda tensors: {
        key: tensor for key, tensor in tensors.items()
        if "word_embeddings" not in key and "decoder" not in key})
    with pytest.raises(InputError, match="lacks 1 tensors of the encoder that its config.json "
                                         "describes, first '.*word_embeddings.weight'$"):
        load(name, tmp_path)


def halve(tensor: np.ndarray, dtype: str) -> np.ndarray:
    """float16, or the bits of a bfloat16: the upper half of a float32, the rest cut off."""
    return (tensor.astype(np.float16) if dtype == "F16"
            else (tensor.view(np.uint32) >> 16).astype(np.uint16))


@both_families
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision(family: str, dtype: str, tmp_path: Path) -> None:
    name, path = f"{family}ForMaskedLM", tmp_path / "model.safetensors"
    model = saved(tmp_path, name)
    rewrite(tmp_path, lambda tensors: {key: halve(t, dtype) for key, t in tensors.items()})
    content = path.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = content[8:end].replace(b'"U16"', b'"BF16"')        # NumPy has no name for it
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[end:])
    again, info = load(name, tmp_path)
    assert info == NOTHING
    original = model.state_dict(tied=False)
    for key, tensor in again.state_dict(tied=False).items():
        assert tensor.dtype == np.float32
        assert np.array_equal(halve(tensor, dtype), halve(original[key], dtype)), key
        assert_close(tensor, original[key], 2**-11 if dtype == "F16" else 2**-7, key)


@both_families
def test_shards(family: str, tmp_path: Path) -> None:
    model, path = saved(tmp_path, f"{family}ForPreTraining"), tmp_path / "model.safetensors"
    tensors = load_file(path)
    path.unlink()
    shards = {key: f"model-{i % 3 + 1:05}-of-00003.safetensors" for i, key in enumerate(tensors)}
    for shard in set(shards.values()):
        save_file({key: tensors[key] for key in tensors if shards[key] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    again, info = load(type(model).__name__, tmp_path)
    assert info == NOTHING
    assert_same_tensors(again, model)


def test_labels_by_name(tmp_path: Path) -> None:
    labels = {0: "negative", 1: "neutral", 2: "positive"}
    saved(tmp_path, "BertForSequenceClassification", id2label=labels)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}
    assert config["label2id"] == {"negative": 0, "neutral": 1, "positive": 2}
    model, _ = load("BertForSequenceClassification", tmp_path)
    assert model.config.id2label == labels and model.config.num_labels == 3
    by_text = model.config.replace(id2label={str(i): label for i, label in labels.items()})
    assert by_text == model.config


# --- what does not fit --------------------------------------------------------------------------


@both_families
def test_another_number_of_labels(family: str, tmp_path: Path) -> None:
    name = f"{family}ForSequenceClassification"
    model = saved(tmp_path, name, num_labels=3)
    with pytest.raises(InputError, match=r"^tensor 'classifier.weight' has shape \[3, 8\], the "
                                         r"configuration asks for \[5, 8\]$"):
        load(name, tmp_path, num_labels=5)
    again, info = load(name, tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert info["missing_keys"] == ["classifier.weight", "classifier.bias"]
    assert again.classifier.weight.data.shape == (8, 5)
    batch = without_labels(make_task_batch(model))
    assert np.array_equal(encoder_of(again)(**batch).pooler_output,
                          encoder_of(model)(**batch).pooler_output)


@pytest.mark.parametrize("name, other", [("AlbertModel", "bert"), ("BertForMaskedLM", "albert")])
def test_the_other_family(name: str, other: str, tmp_path: Path) -> None:
    saved(tmp_path, f"{other.title()}Model")
    own = "albert" if other == "bert" else "bert"
    with pytest.raises(InputError, match=f"^this is the configuration of a '{other}' model, and "
                                         f"{own.title()}Config is for '{own}'$"):
        load(name, tmp_path)


def test_an_encoder_that_is_not_all_there(tmp_path: Path) -> None:
    saved(tmp_path, "BertModel")
    rewrite(tmp_path, lambda tensors: {key: tensor for key, tensor in tensors.items()
                                       if "layer.1.attention" not in key})
    with pytest.raises(InputError, match=r"lacks 10 tensors of the encoder that its config.json "
                                         r"describes, first 'encoder.layer.1.attention.self.query"
                                         r".weight'$"):
        load("BertModel", tmp_path)


def test_a_pooler_may_be_new(tmp_path: Path) -> None:
    saved(tmp_path, "AlbertForQuestionAnswering")
    _, info = load("AlbertForSequenceClassification", tmp_path)
    assert info["missing_keys"] == ["albert.pooler.weight", "albert.pooler.bias",
                                    "classifier.weight", "classifier.bias"]


CONTRADICTIONS: dict[str, tuple[int, str]] = {
    "vocab_size": (22, r"word_embeddings.weight' has shape \[23, 8\].* asks for \[22, 8\]$"),
    "hidden_size": (10, r"word_embeddings.weight' has shape \[23, 8\].* asks for \[23, 10\]$"),
    "intermediate_size": (21, r"intermediate.dense.weight' has shape \[20, 8\].* for \[21, 8\]$"),
    "max_position_embeddings": (13, r"position_embeddings.weight' has shape \[12, 8\].*\[13, 8\]$"),
    "type_vocab_size": (2, r"token_type_embeddings.weight' has shape \[3, 8\].* for \[2, 8\]$"),
    "num_hidden_layers": (4, r"lacks 16 tensors of the encoder.* first 'encoder.layer.3.attention"),
}


@pytest.mark.parametrize("field", CONTRADICTIONS)
def test_a_configuration_that_contradicts_the_tensors(field: str, tmp_path: Path) -> None:
    saved(tmp_path, "BertModel")
    value, message = CONTRADICTIONS[field]
    reconfigure(tmp_path, **{field: value})
    with pytest.raises(InputError, match=message):
        load("BertModel", tmp_path)


@pytest.mark.parametrize("missing, message", [
    ("config.json", "^cannot read .*config.json: No such file or directory$"),
    ("model.safetensors", "holds no weights: neither model.safetensors nor model.safetensors.index"
                          ".json is there$")])
def test_a_missing_file(missing: str, message: str, tmp_path: Path) -> None:
    saved(tmp_path, "AlbertModel")
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=message):
        load("AlbertModel", tmp_path)


def test_a_misspelt_change(tmp_path: Path) -> None:
    saved(tmp_path, "AlbertModel")
    with pytest.raises(InputError, match="^unknown AlbertConfig key 'num_label': did you mean "
                                         "'num_labels'"):
        load("AlbertModel", tmp_path, num_label=3)


def test_a_weight_of_whole_numbers(tmp_path: Path) -> None:
    saved(tmp_path, "BertModel")
    rewrite(tmp_path, lambda tensors: tensors | {
        "embeddings.LayerNorm.bias": np.zeros(8, np.int32)})
    with pytest.raises(InputError, match="'embeddings.LayerNorm.bias' in .* cannot be read as "
                                         "weights: its dtype is I32"):
        load("BertModel", tmp_path)


# --- damaged configurations ---------------------------------------------------------------------

HUGE: list[dict[str, Any]] = [
    *[{field: value} for value in (10**9, 2**31 - 1, 2**63, 10**400) for field in (
        "vocab_size", "embedding_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "inner_group_num", "max_position_embeddings", "type_vocab_size", "num_labels")],
    {"hidden_size": 10**8, "intermediate_size": 10**8, "embedding_size": 10**8},
    {"vocab_size": 10**8, "embedding_size": 10**8},
    {"num_labels": 100_000, "id2label": None},
    {"num_hidden_layers": 200, "num_hidden_groups": 200, "inner_group_num": 10},
    {"id2label": {str(i): "x" for i in range(10_000)}},
]


@pytest.mark.parametrize("values", HUGE, ids=lambda values: f"{values!r:.60}")
def test_absurd_sizes_take_neither_memory_nor_time(values: dict[str, Any], tmp_path: Path) -> None:
    saved(tmp_path, "AlbertForSequenceClassification")
    reconfigure(tmp_path, **values)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(InputError):
            load("AlbertForSequenceClassification", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        assert time.perf_counter() - start < 10
    finally:
        tracemalloc.stop()


NASTY = st.sampled_from([
    0, 1, 2, 3, -1, True, False, None, "", "8", "gelu", 1.5, 1e-12, -0.0, 1e308, float("inf"),
    float("nan"), 10**9, 2**63, -10**30, 10**400, [], [8], {}, {"0": "a"}, {"0": 1, "1": None},
    {"9" * 5000: "a"}, {"-1": "a"}, [[]], "\0", "\ud800", "ffn", "bert", "regression"])


@pytest.fixture(scope="module", params=["AlbertForSequenceClassification", "BertForMaskedLM"])
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz") / request.param
    saved(directory, request.param)
    return directory


def loads_or_says_why(directory: Path) -> None:
    try:
        model, _ = load(directory.name, directory, seed=1)
    except InputError as error:
        assert "\n" not in str(error)
        return
    with np.errstate(all="ignore"):
        model([[1, 2]], labels=None)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_values_the_configuration_has(example: Path, data: st.DataObject) -> None:
    path = example / "config.json"
    original = path.read_text()
    values = json.loads(original)
    keys = st.sampled_from([*values, "num_labels"])
    for key in data.draw(st.lists(keys, min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            values[key] = data.draw(NASTY)
        else:
            values.pop(key, None)
    try:
        path.write_text(json.dumps(values))
        loads_or_says_why(example)
    finally:
        path.write_text(original)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_whatever_bytes_the_configuration_has(example: Path, data: st.DataObject) -> None:
    path = example / "config.json"
    original = path.read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place:place + data.draw(st.integers(0, 3))] = data.draw(st.sampled_from(
            [b"", b"0", b"9", b"[", b"{", b'"', b",", b":", b"-", b"\xff", b"e9", b"null", b"\n"]))
    try:
        path.write_bytes(damaged)
        loads_or_says_why(example)
    finally:
        path.write_bytes(original)


# --- tensors that are one here and two in the file ----------------------------------------------


@pytest.mark.parametrize("sharing, key", [
    ("all", "predictions.decoder.weight"),
    ("attention", "albert.encoder.albert_layer_groups.2.albert_layers.0.attention.query.bias")])
def test_copies_that_differ(sharing: str, key: str, tmp_path: Path) -> None:
    """An untied decoder, or a partially shared model that was trained elsewhere."""
    model = saved(tmp_path, "AlbertForMaskedLM", sharing=sharing)
    tensors = model.state_dict()
    rewrite(tmp_path, lambda _: tensors)
    assert load("AlbertForMaskedLM", tmp_path)[1] == NOTHING
    tensors[key][0] += 1
    rewrite(tmp_path, lambda _: tensors)
    with pytest.raises(InputError, match=f"^tensors '.*' and '{key}' are one and the same in this "
                                         "model, and here they differ$"):
        load("AlbertForMaskedLM", tmp_path)


def test_layers_that_are_left_over_are_worth_a_warning(tmp_path: Path,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, "BertModel")
    model, info = load("BertModel", tmp_path, num_hidden_layers=2)
    assert len(info["unexpected_keys"]) == 16
    record, = caplog.records
    assert record.levelno == logging.WARNING
    assert "and not used: encoder.layer.2.attention.self.query.weight, " in record.getMessage()
    assert len(model.encoder.applications()) == 2
