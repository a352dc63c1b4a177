"""Every model class of both families against Hugging Face's in PyTorch: outputs, losses, and the
gradient of every parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hugging_face import assert_outputs_agree, same_dropout, summed_gradients, tensors, twin
from tiny import (
    CLASSES,
    TOLERANCE,
    assert_close,
    assert_gradients_close,
    gradients,
    make_task_batch,
    task_of,
    tiny_model,
    without_labels,
)

from tinyalbert.pretrained import PreTrainedModel

torch.set_num_threads(1)

both_precisions = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_class = pytest.mark.parametrize("name", CLASSES)
both_families = pytest.mark.parametrize("family", ["Albert", "Bert"])
CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")


def random_changes(name: str, seed: int) -> dict[str, Any]:
    """A configuration of its own for every seed; twelve of them cover every activation, kind of
    sharing and number of labels, and E = H."""
    rng = np.random.default_rng(seed)
    heads, width = [(1, 7), (2, 4), (3, 3), (5, 2), (7, 1), (3, 4)][seed % 6]
    layers = int(rng.integers(1, 5))
    changes: dict[str, Any] = {
        "num_attention_heads": heads, "hidden_size": heads * width, "num_hidden_layers": layers,
        "hidden_act": ["gelu", "gelu_new", "relu"][seed % 3],
        "intermediate_size": int(rng.integers(5, 25)), "vocab_size": int(rng.integers(5, 40)),
        "type_vocab_size": int(rng.integers(1, 4)), "layer_norm_eps": float(10.0 ** -(3 + seed))}
    if any(task in name for task in CLASSIFIERS):
        changes["num_labels"] = [2, 5, 1, 3][seed % 4]
    if name.startswith("Albert"):
        changes |= {
            "embedding_size": heads * width if seed % 3 == 0 else int(rng.integers(5, 11)),
            "num_hidden_groups": int(rng.integers(1, layers + 1)),
            "inner_group_num": 1 + seed % 2,
            **({"sharing": ["attention", "none", "ffn"][seed % 3]} if seed % 4 == 3 else {})}
    return changes


def compare_training(model: PreTrainedModel, batch: dict[str, Any],
                     rng: np.random.Generator | None = None) -> None:
    """The loss and every gradient, of one forward and backward pass."""
    theirs, tolerance = twin(model).train(rng is not None), TOLERANCE[model.dtype.name]
    # Theirs never trains the row of [PAD]; ours does, as Google's, where anything depends on it.
    theirs.get_input_embeddings().padding_idx = None
    out, cache = model.forward(**batch, rng=rng)
    expected = theirs(**tensors(batch))
    if task_of(model) == "Model":
        d = [np.cos(np.arange(y.size)).reshape(y.shape).astype(np.float32).astype(model.dtype)
             for y in out.to_tuple()]
        model.backward(*d, cache)
        sum((y * torch.tensor(dy)).sum()
            for y, dy in zip(expected.to_tuple(), d, strict=True)).backward()
    else:
        model.backward(cache)
        expected.loss.backward()
        assert_close(out.loss, expected.loss.item(), tolerance, "loss")
    assert_gradients_close(gradients(model), summed_gradients(model, theirs), tolerance)


@both_precisions
@pytest.mark.parametrize("seed", range(12))
@every_class
def test_random_models(name: str, seed: int, dtype: str) -> None:
    model = tiny_model(name, dtype, seed, **random_changes(name, seed))
    batch = make_task_batch(model, seed=seed)
    assert_outputs_agree(model, twin(model), batch)
    compare_training(model, batch)


@both_precisions
@every_class
def test_word_vectors_and_positions_of_the_callers_own(name: str, dtype: str) -> None:
    model, rng = tiny_model(name, dtype), np.random.default_rng(0)
    batch = make_task_batch(model)
    ids = batch.pop("input_ids")
    vectors = rng.standard_normal((*ids.shape, model.config.embedding_size))
    batch["inputs_embeds"] = vectors.astype(np.float32).astype(dtype)
    batch["position_ids"] = rng.integers(0, model.config.max_position_embeddings, ids.shape)
    assert_outputs_agree(model, twin(model), batch)
    compare_training(model, batch)


@both_precisions
@pytest.mark.parametrize("name", ["AlbertModel", "BertModel"])
def test_the_gradient_of_word_vectors(name: str, dtype: str) -> None:
    model, rng = tiny_model(name, dtype), np.random.default_rng(0)
    vectors = rng.standard_normal((2, 5, model.config.embedding_size)).astype(np.float32)
    vectors = vectors.astype(dtype)
    out, cache = model.forward(inputs_embeds=vectors)
    d_hidden = rng.standard_normal(out.last_hidden_state.shape).astype(dtype)
    d_vectors = model.backward(d_hidden, None, cache)
    theirs = torch.tensor(vectors, requires_grad=True)
    twin(model).eval()(inputs_embeds=theirs).last_hidden_state.backward(torch.tensor(d_hidden))
    assert_close(d_vectors, theirs.grad, TOLERANCE[dtype])


@both_precisions
@pytest.mark.parametrize("num_labels, problem_type", [
    (1, None), (1, "regression"), (4, "regression"), (3, "single_label_classification"),
    (4, "multi_label_classification"), (1, "multi_label_classification")])
@both_families
def test_problem_types(family: str, num_labels: int, problem_type: str | None, dtype: str) -> None:
    model = tiny_model(f"{family}ForSequenceClassification", dtype, num_labels=num_labels,
                       problem_type=problem_type)
    compare_training(model, make_task_batch(model))


@both_families
def test_several_labels_are_recognized_by_themselves(family: str) -> None:
    model = tiny_model(f"{family}ForSequenceClassification", num_labels=4)
    batch = make_task_batch(model)
    batch["labels"] = np.array([[1.0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0]])
    compare_training(model, batch)


@both_families
def test_one_number_comes_as_a_column_too(family: str) -> None:
    model = tiny_model(f"{family}ForSequenceClassification", num_labels=1)
    batch = make_task_batch(model)
    compare_training(model, {**batch, "labels": batch["labels"][:, 0]})


@both_families
@pytest.mark.parametrize("task", ["ForSequenceClassification", "ForMultipleChoice",
                                  "ForTokenClassification", "ForMaskedLM", "ForPreTraining"])
def test_ignored_labels(family: str, task: str) -> None:
    model = tiny_model(family + task)
    batch = make_task_batch(model)
    for key in set(batch) - set(without_labels(batch)):
        batch[key][[0, 2]] = -100
        batch[key][1] = 1
    compare_training(model, batch)


@both_precisions
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}], ids=str)
@every_class
def test_dropout(name: str, changes: dict[str, Any], dtype: str) -> None:
    classifier = "classifier_dropout" + ("_prob" if name.startswith("Albert") else "")
    model = tiny_model(name, dtype, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3,
                       **{classifier: 0.4}, **changes)
    batch = make_task_batch(model)
    with same_dropout(model, 7, batch):
        compare_training(model, batch, np.random.default_rng(7))


@pytest.mark.parametrize("task", CLASSIFIERS)
def test_a_classifier_without_a_rate_of_its_own(task: str) -> None:
    """It has that of the layers. (For sequences, their ALBERT cannot be built then.)"""
    model = tiny_model(f"Bert{task}", hidden_dropout_prob=0.2, classifier_dropout=None)
    batch = make_task_batch(model)
    with same_dropout(model, 7, batch):
        compare_training(model, batch, np.random.default_rng(7))


def test_the_comparison_notices_a_wrong_weight_of_a_head() -> None:
    model = tiny_model("BertForTokenClassification")
    theirs, batch = twin(model), make_task_batch(model)
    model.classifier.weight.data[3, 1] *= 1 + 1e-6
    out, cache = model.forward(**batch)
    model.backward(cache)
    theirs.eval()(**tensors(batch)).loss.backward()
    with pytest.raises(AssertionError, match="off by"):
        assert_gradients_close(gradients(model), summed_gradients(model, theirs), 1e-10)
