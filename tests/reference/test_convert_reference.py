"""`tinyalbert convert` on checkpoints that TensorFlow has written, loaded in Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path

import google_checkpoints as google
import numpy as np
import pytest
import tensorflow as tf
from google_checkpoints import Checkpoint, write_albert_files, write_bert_files
from transformers import AlbertForPreTraining, BertForPreTraining

from tinyalbert.cli import COMMANDS, main
from tinyalbert.convert import convert_checkpoint
from tinyalbert.errors import InputError
from tinyalbert.google_files import read_variables


def save(prefix: Path, variables: dict[str, np.ndarray]) -> None:
    """What tf.train.Saver runs."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=list(variables),
                      shape_and_slices=[""] * len(variables),
                      tensors=[tf.constant(value) for value in variables.values()])


def write_albert(folder: Path, checkpoint: Checkpoint) -> Path:
    write_albert_files(folder, checkpoint.config)
    save(folder / "model.ckpt-best",
         checkpoint.variables | google.optimizer_state(checkpoint.variables))
    return folder


def assert_equal_models(directory: Path, model_class: type, expected: Checkpoint) -> None:
    model, info = model_class.from_pretrained(directory, output_loading_info=True)
    assert not any(info.values()), info
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    for name, value in expected.tensors.items():
        np.testing.assert_array_equal(state.pop(name), value, err_msg=name, strict=True)
    assert all("decoder" in name for name in state)       # tied to one of those above


@pytest.mark.parametrize(("groups", "inner", "width"), [(1, 1, 4), (2, 1, 4), (2, 2, 4), (1, 1, 6)])
def test_albert(groups, inner, width, tmp_path):
    checkpoint = google.albert(groups, inner, width)
    converted = convert_checkpoint(write_albert(tmp_path / "albert", checkpoint), tmp_path / "out")
    assert converted.ignored == []
    assert_equal_models(tmp_path / "out", AlbertForPreTraining, checkpoint)


def test_bert(tmp_path):
    checkpoint = google.bert()
    folder = tmp_path / "uncased_L-4_H-6_A-2"
    write_bert_files(folder, checkpoint.config)
    save(folder / "bert_model.ckpt", checkpoint.variables)
    convert_checkpoint(folder, tmp_path / "out")
    assert_equal_models(tmp_path / "out", BertForPreTraining, checkpoint)


def test_what_is_not_the_model_is_not_read(tmp_path):
    save(tmp_path / "m", {"module/bert/x": np.ones(2, "f4"), "bert/x/adam_m": np.ones(2, "f4"),
                          "bert/x/adam_v": np.ones(2, "f4"), "global_step": np.int64(7),
                          "words": np.array([b"a"]), "half": tf.constant([1.5], tf.bfloat16)})
    variables = read_variables(tmp_path / "m")
    assert {name: value.tolist() for name, value in variables.items()} == {
        "bert/x": [1, 1], "half": [1.5]}
    assert {value.dtype for value in variables.values()} == {np.dtype(np.float32)}


def test_damaged_checkpoints(tmp_path):
    save(tmp_path / "m", {"bert/x": np.arange(1000, dtype="f4")})
    index, data = tmp_path / "m.index", tmp_path / "m.data-00000-of-00001"
    flipped = bytearray(data.read_bytes())
    flipped[50] ^= 1
    for path, content in ((data, data.read_bytes()[:100]), (data, b""), (data, bytes(flipped)),
                          (index, index.read_bytes()[:40]), (index, b""), (index, b"x" * 999)):
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged or incomplete") as caught:
            read_variables(tmp_path / "m")
        assert "\n" not in str(caught.value)
        path.write_bytes(whole)
    data.unlink()
    with pytest.raises(InputError, match="data-00000-of-00001; No such file"):
        read_variables(tmp_path / "m")


def test_any_flipped_bit_of_the_index_is_noticed_or_harmless(tmp_path):
    save(tmp_path / "m", {"bert/x": np.arange(10, dtype="f4"), "bert/y": np.ones((2, 3), "f4")})
    index = tmp_path / "m.index"
    whole, rng = index.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        index.write_bytes(content)
        try:
            found = read_variables(tmp_path / "m")
        except InputError:
            continue
        np.testing.assert_array_equal(found["bert/x"], np.arange(10))
        np.testing.assert_array_equal(found["bert/y"], np.ones((2, 3)))


def test_the_command(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(COMMANDS, "convert", "")
    folder = write_albert(tmp_path / "albert", google.albert(width=6))
    save(folder / "model.ckpt-best", google.albert(width=6).variables | {
        "output_bias": np.zeros(3, "f4")})
    assert main(["convert", str(folder), "--out", str(tmp_path / "out"), "--cased"]) == 0
    printed, _ = capfd.readouterr()
    assert printed.startswith("AlbertForPreTraining: 32 tensors, ")
    assert "the identity was written" in printed and "left out: output_bias" in printed
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] is False
    assert main(["convert", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "is not empty" in capfd.readouterr().err
