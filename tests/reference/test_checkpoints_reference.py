"""Directories that one side saved, opened by the other: nothing missing, nothing left over, the
same tensors to the last bit, and equal outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hugging_face import OURS, assert_outputs_agree
from safetensors.numpy import load_file
from tiny import CLASSES, TASKS, make_task_batch, tiny_bert_config, tiny_config, tiny_model

import tinyalbert
from tinyalbert.pretrained import PreTrainedModel

torch.set_num_threads(1)

every_class = pytest.mark.parametrize("name", CLASSES)
both_families = pytest.mark.parametrize("family", ["Albert", "Bert"])


def their_model(name: str, **changes: Any) -> Any:
    """Theirs, every parameter drawn."""
    config = (tiny_bert_config if name.startswith("Bert") else tiny_config)(**changes)
    values = {key: value for key, value in config.to_dict().items() if key not in OURS}
    their_class = getattr(transformers, name)
    theirs = their_class(their_class.config_class(**values, attn_implementation="eager"))
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return theirs.eval()


def load_here(name: str, directory: Path, **options: Any) -> PreTrainedModel:
    model, info = getattr(tinyalbert, name).from_pretrained(directory, output_loading_info=True,
                                                            **options)
    assert info == {"missing_keys": [], "unexpected_keys": []}
    return model


def load_there(their_class: Any, directory: Path) -> Any:
    theirs, info = their_class.from_pretrained(directory, output_loading_info=True,
                                               attn_implementation="eager")
    assert not any(info.values()), info
    return theirs


def assert_same_tensors(model: PreTrainedModel, theirs: Any) -> None:
    ours, expected = model.state_dict(), theirs.state_dict()
    assert ours.keys() == expected.keys()
    for key, tensor in expected.items():
        assert ours[key].dtype == tensor.numpy().dtype
        assert ours[key].tobytes() == tensor.numpy().tobytes(), key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_class
def test_what_was_saved_here_opens_there(name: str, dtype: str, tmp_path: Path) -> None:
    model = tiny_model(name, dtype)
    model.save_pretrained(tmp_path)
    theirs = load_there(getattr(transformers, name), tmp_path)
    assert_same_tensors(model, theirs)
    assert_outputs_agree(model, theirs, make_task_batch(model))


@pytest.mark.parametrize("max_shard_size", ["50GB", "2KB"])
@every_class
def test_what_was_saved_there_opens_here(name: str, max_shard_size: str, tmp_path: Path) -> None:
    theirs = their_model(name)
    theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert (len(files) > 2) == (max_shard_size == "2KB")
    model = load_here(name, tmp_path)
    assert_same_tensors(model, theirs)
    assert_outputs_agree(model, theirs, make_task_batch(model))

    model.save_pretrained(tmp_path / "ours")
    expected = {key: tensor for file in files for key, tensor in load_file(file).items()}
    ours = load_file(tmp_path / "ours" / "model.safetensors")
    assert ours.keys() == expected.keys()               # what is tied is written once, by both
    assert all(ours[key].tobytes() == tensor.tobytes() for key, tensor in expected.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@both_families
def test_half_precision(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = their_model(f"{family}ForPreTraining").to(dtype)
    theirs.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(dtype)[6:]
    theirs = theirs.float()                             # exact
    model = load_here(f"{family}ForPreTraining", tmp_path)
    assert_same_tensors(model, theirs)
    assert_outputs_agree(model, theirs, make_task_batch(model))


def test_a_precision_of_ones_own(tmp_path: Path) -> None:
    theirs = their_model("BertForMaskedLM")
    theirs.save_pretrained(tmp_path)
    model = load_here("BertForMaskedLM", tmp_path, dtype="float64")
    assert_same_tensors(model, theirs.double())
    assert_outputs_agree(model, theirs, make_task_batch(model))


@every_class
def test_the_same_is_missing_and_left_over(name: str, tmp_path: Path) -> None:
    """The file of every class, opened as every class of its family. (Only the classifier of choices
    and those of labels have the same name and different shapes.)"""
    their_model(name).save_pretrained(tmp_path)
    options = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    for task in TASKS:
        other = name.removesuffix(next(t for t in TASKS if name.endswith(t))) + task
        theirs, expected = getattr(transformers, other).from_pretrained(tmp_path, **options)
        model, info = getattr(tinyalbert, other).from_pretrained(tmp_path, **options)
        mismatched = {key for key, *_ in expected["mismatched_keys"]}
        # They report a tied tensor under every name, we under the first.
        missing = {key for key in expected["missing_keys"] if ".decoder." not in key} | mismatched
        assert set(info["missing_keys"]) == missing, other
        assert set(info["unexpected_keys"]) - mismatched == expected["unexpected_keys"], other
        state = theirs.state_dict()
        for key, tensor in model.state_dict().items():
            if key not in expected["missing_keys"] | mismatched:
                assert np.array_equal(tensor, state[key].numpy()), (other, key)


@pytest.mark.parametrize("inner_group_num", [1, 2])
@pytest.mark.parametrize("sharing", ["attention", "ffn", "none"])
def test_partial_sharing_opens_there(sharing: str, inner_group_num: int, tmp_path: Path) -> None:
    """As a model in which nothing is shared: every layer's name has its copy in the file."""
    model = tiny_model("AlbertForPreTraining", "float32", sharing=sharing,
                       inner_group_num=inner_group_num)
    model.save_pretrained(tmp_path)
    theirs = load_there(transformers.AlbertForPreTraining, tmp_path)
    assert_same_tensors(model, theirs)
    assert_outputs_agree(model, theirs, make_task_batch(model))
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_here("AlbertForPreTraining", tmp_path / "theirs")
    assert again.config == model.config and again.num_parameters() == model.num_parameters()
    assert_same_tensors(again, theirs)


AUTO = {"Model": transformers.AutoModel,
        "ForPreTraining": transformers.AutoModelForPreTraining,
        "ForMaskedLM": transformers.AutoModelForMaskedLM,
        "ForSequenceClassification": transformers.AutoModelForSequenceClassification,
        "ForMultipleChoice": transformers.AutoModelForMultipleChoice,
        "ForTokenClassification": transformers.AutoModelForTokenClassification,
        "ForQuestionAnswering": transformers.AutoModelForQuestionAnswering}


@pytest.mark.parametrize("task", TASKS)
@both_families
def test_their_automatic_classes(family: str, task: str, tmp_path: Path) -> None:
    tiny_model(family + task, "float32").save_pretrained(tmp_path)
    assert type(load_there(AUTO[task], tmp_path)).__name__ == family + task
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert type(config).__name__ == f"{family}Config"
    assert config.architectures == [family + task]


@both_families
def test_labels_have_the_same_names_on_both_sides(family: str, tmp_path: Path) -> None:
    name, labels = f"{family}ForTokenClassification", {0: "O", 1: "B-PER", 2: "I-PER"}
    model = tiny_model(name, "float32", id2label=labels)
    model.save_pretrained(tmp_path)
    theirs = load_there(getattr(transformers, name), tmp_path)
    assert theirs.config.id2label == labels and theirs.config.num_labels == 3
    assert theirs.config.label2id == {label: i for i, label in labels.items()}
    theirs.save_pretrained(tmp_path / "theirs")
    again = load_here(name, tmp_path / "theirs")
    assert again.config == model.config and again.config.id2label == labels


@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
@both_families
def test_the_problem_type_comes_along(family: str, problem_type: str, tmp_path: Path) -> None:
    name = f"{family}ForSequenceClassification"
    model = tiny_model(name, "float32", num_labels=4, problem_type=problem_type)
    model.save_pretrained(tmp_path / "ours")
    theirs = load_there(getattr(transformers, name), tmp_path / "ours")
    assert_outputs_agree(model, theirs, make_task_batch(model))         # the loss, too
    theirs.save_pretrained(tmp_path / "theirs")
    assert load_here(name, tmp_path / "theirs").config == model.config


@both_families
def test_default_configurations_are_the_same(family: str) -> None:
    ours, theirs = (getattr(side, f"{family}Config") for side in (tinyalbert, transformers))
    assert ours.from_dict(theirs().to_dict()) == ours()
    shared = {key: value for key, value in ours().to_dict().items() if key not in OURS}
    assert shared == {key: getattr(theirs(), key) for key in shared}
