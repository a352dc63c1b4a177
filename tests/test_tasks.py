"""The model classes of both families: gradients, losses, what evaluation leaves out, bad input."""

from __future__ import annotations

import tracemalloc
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from tiny import (
    CLASSES,
    assert_close,
    assert_gradients_close,
    encoder_of,
    gradients,
    make_task_batch,
    task_of,
    tiny_bert_config,
    tiny_config,
    tiny_model,
    without_labels,
)

import tinyalbert
from tinyalbert import AlbertConfig, BertConfig, InputError, check_gradients
from tinyalbert.backend import Backend
from tinyalbert.fast import textbook
from tinyalbert.pretrained import PreTrainedModel

WITH_LOSS = [name for name in CLASSES if not name.endswith("Model")]
every_class = pytest.mark.parametrize("name", CLASSES)
every_loss = pytest.mark.parametrize("name", WITH_LOSS)
both_families = pytest.mark.parametrize("family", ["Albert", "Bert"])
PROBLEMS = pytest.mark.parametrize("num_labels, problem_type", [
    (3, "single_label_classification"), (1, None), (3, "regression"),
    (3, "multi_label_classification")])


def with_dropout(name: str, **changes: Any) -> dict[str, Any]:
    classifier = "classifier_dropout" + ("_prob" if name.startswith("Albert") else "")
    return {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, classifier: 0.4,
            "num_hidden_layers": 2, **changes}


def trained(model: PreTrainedModel, batch: dict[str, Any], seed: int | None = None) -> Any:
    """The output of one training pass; its gradients are added."""
    rng = None if seed is None else np.random.default_rng(seed)
    out, cache = model.forward(**batch, rng=rng)
    if task_of(model) == "Model":
        model.backward(*(0.5 * y for y in out.to_tuple()), cache)
    else:
        model.backward(cache)
    return out


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version, gradient_checkpointing", [
    (textbook, False), (nullcontext, True)], ids=["textbook", "fast, with recomputation"])
@every_loss
def test_gradients(name: str, version: type[AbstractContextManager],
                   gradient_checkpointing: bool) -> None:
    changes = with_dropout(name, gradient_checkpointing=gradient_checkpointing)
    model = tiny_model(name, **changes)
    with version():
        report = check_gradients(model, elements=1, **make_task_batch(model, (5, 3, 1)))
    assert report.ok, report


@PROBLEMS
@pytest.mark.parametrize("version", [textbook, nullcontext], ids=["textbook", "fast"])
def test_gradients_of_each_problem(version: type[AbstractContextManager], num_labels: int,
                                   problem_type: str | None) -> None:
    model = tiny_model("BertForSequenceClassification", num_hidden_layers=1,
                       num_labels=num_labels, problem_type=problem_type)
    with version():
        report = check_gradients(model, elements=1, **make_task_batch(model, (5, 3, 1)))
    assert report.ok, report


@pytest.mark.parametrize("name", ["AlbertModel", "BertModel"])
def test_the_gradient_of_word_vectors_is_that_of_their_rows(name: str) -> None:
    by_id, by_vector = tiny_model(name), tiny_model(name)
    batch = make_task_batch(by_id)
    table = by_id.embeddings.word_embeddings.weight
    vectors = {**batch, "inputs_embeds": table.data[batch["input_ids"]], "input_ids": None}
    out, cache = by_id.forward(**batch)
    by_id.backward(out.last_hidden_state, out.pooler_output, cache)
    same, cache = by_vector.forward(**vectors)
    assert np.array_equal(same.last_hidden_state, out.last_hidden_state)
    d_vectors = by_vector.backward(out.last_hidden_state, out.pooler_output, cache)
    summed = np.zeros_like(table.data)
    np.add.at(summed, batch["input_ids"], d_vectors)
    assert_close(summed, table.grad, 1e-12)
    assert not by_vector.embeddings.word_embeddings.weight.grad.any()


# --- every array library ------------------------------------------------------------------------


def assert_the_same_everywhere(backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch,
                               **changes: Any) -> None:
    monkeypatch.setattr(backend, "uniform", lambda rng, shape: backend.asarray(
        rng.random(shape, dtype=np.float32)), raising=False)        # CuPy has streams of its own
    expected = tiny_model(name, **changes)
    model = getattr(tinyalbert, name)(expected.config, backend=backend, dtype="float64")
    model.load_state_dict(expected.state_dict())
    batch = make_task_batch(model)
    out, out_trained = model(**batch), trained(model, batch, seed=7)
    with textbook():
        for ours, theirs in ((out, expected(**batch)),
                             (out_trained, trained(expected, batch, seed=7))):
            assert ours.keys() == theirs.keys()
            for field, value in theirs.items():
                assert_close(backend.to_numpy(ours[field]), value, 1e-12, field)
    assert_gradients_close(gradients(model), gradients(expected), 1e-12)


@every_class
def test_a_training_step_on_every_array_library(backend: Backend, name: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    assert_the_same_everywhere(backend, name, monkeypatch, **with_dropout(name))


@PROBLEMS
def test_each_problem_on_every_array_library(backend: Backend, num_labels: int,
                                             problem_type: str | None,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    assert_the_same_everywhere(backend, "AlbertForSequenceClassification", monkeypatch,
                               num_labels=num_labels, problem_type=problem_type)


# --- evaluation, and what training leaves out ---------------------------------------------------


@every_class
def test_training_without_dropout_computes_what_evaluation_does(name: str) -> None:
    model = tiny_model(name)
    batch = make_task_batch(model)
    whole, (out, _) = model(**batch), model.forward(**batch)
    assert out.keys() == whole.keys()
    for field, value in out.items():
        expected = whole[field]
        if value.ndim < expected.ndim:              # [M, ...] of the labelled tokens
            expected = expected[batch["labels"] != -100]
        assert_close(value, expected, 1e-13, field)


@every_class
def test_evaluation_keeps_nothing(name: str) -> None:
    """Three times the layers need no more memory, and no gradient is made."""
    def peak(layers: int) -> int:
        model = tiny_model(name, num_hidden_layers=layers)
        batch = make_task_batch(model, (12,) * 20)
        model(**batch)
        tracemalloc.start()
        model(**batch)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert all(p._grad is None for p in model.named_parameters().values())
        return peak
    assert peak(12) < 1.02 * peak(4)


@pytest.mark.parametrize("name", ["AlbertModel", "BertModel"])
def test_tokens_that_are_asked_about(name: str) -> None:
    """In any order; the pooled first tokens come along whether asked about or not."""
    model, other = tiny_model(name), tiny_model(name)
    batch, tokens = make_task_batch(model), np.array([20, 4, 9, 0])
    whole = model(**batch)
    out, cache = model.forward(**batch, tokens=tokens)
    assert_close(out.last_hidden_state, whole.last_hidden_state.reshape(27, 8)[tokens], 1e-13)
    assert_close(out.pooler_output, whole.pooler_output, 1e-13)
    none = model(**batch, tokens=np.zeros(0, int))
    assert none.last_hidden_state.shape == (0, 8)
    assert_close(none.pooler_output, whole.pooler_output, 1e-13)

    d_tokens, d_pooled = np.random.default_rng(0).standard_normal((4, 8)), whole.pooler_output
    model.backward(d_tokens, d_pooled, cache)
    d_hidden = np.zeros((27, 8))
    d_hidden[tokens] = d_tokens
    other.backward(d_hidden.reshape(3, 9, 8), d_pooled, other.forward(**batch)[1])
    assert_gradients_close(gradients(model), gradients(other), 1e-12)


# --- losses, by hand ----------------------------------------------------------------------------


def mean_of_chosen(logits: np.ndarray, labels: np.ndarray) -> float:
    asked = labels != -100
    return -np.take_along_axis(log_softmax(logits[asked], -1), labels[asked][:, None], -1).mean()


@both_families
@pytest.mark.parametrize("task", ["ForMaskedLM", "ForTokenClassification", "ForMultipleChoice",
                                  "ForSequenceClassification"])
def test_a_cross_entropy(family: str, task: str) -> None:
    model = tiny_model(family + task)
    batch = make_task_batch(model)
    out = model(**batch)
    assert_close(out.loss, mean_of_chosen(out.logits, batch["labels"]), 1e-13)


def test_both_losses_of_bert() -> None:
    model = tiny_model("BertForPreTraining")
    batch = make_task_batch(model)
    out = model(**batch)
    words = mean_of_chosen(out.prediction_logits, batch["labels"])
    follows = mean_of_chosen(out.seq_relationship_logits, batch["next_sentence_label"])
    assert_close(out.masked_lm_loss, words, 1e-13)
    assert_close(out.next_sentence_loss, follows, 1e-13)
    assert_close(out.loss, words + follows, 1e-13)
    del batch["labels"]
    alone = model(**batch)
    assert alone.loss == out.next_sentence_loss and alone.masked_lm_loss is None


@both_families
def test_an_answer_beyond_the_tokens_is_not_asked(family: str) -> None:
    model = tiny_model(f"{family}ForQuestionAnswering")
    batch = make_task_batch(model)                      # T = 9
    batch["start_positions"], batch["end_positions"] = np.array([[3, 0, 9], [5, 40, 8]])
    out = model(**batch)
    starts = mean_of_chosen(out.start_logits, np.array([3, 0, -100]))
    ends = mean_of_chosen(out.end_logits, np.array([5, -100, 8]))
    assert_close(out.loss, (starts + ends) / 2, 1e-13)


@PROBLEMS
def test_the_loss_of_each_problem(num_labels: int, problem_type: str | None) -> None:
    model = tiny_model("AlbertForSequenceClassification", num_labels=num_labels,
                       problem_type=problem_type)
    batch = make_task_batch(model)
    out, labels = model(**batch), batch["labels"]
    p = expit(out.logits)
    expected = {
        None: lambda: ((out.logits - labels) ** 2).mean(),
        "regression": lambda: ((out.logits - labels) ** 2).mean(),
        "single_label_classification": lambda: mean_of_chosen(out.logits, labels),
        "multi_label_classification":
            lambda: -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(),
    }[problem_type]()
    assert_close(out.loss, expected, 1e-13)
    unnamed = tiny_model("AlbertForSequenceClassification", num_labels=num_labels)
    if problem_type != "regression" or num_labels == 1:         # the labels say it themselves
        assert_close(unnamed(**batch).loss, out.loss, 1e-15)


def test_extreme_scores_overflow_nothing() -> None:
    model = tiny_model("AlbertForSequenceClassification", problem_type="multi_label_classification")
    model.classifier.bias.data[...] = [1e4, -1e4]
    batch = make_task_batch(model, (4,))
    with np.errstate(all="raise", under="ignore"):
        right = model(**{**batch, "labels": [[1, 0]]}).loss
        wrong = trained(model, {**batch, "labels": np.array([[0.0, 1.0]])}).loss
    assert right == 0 and wrong == pytest.approx(1e4, rel=1e-3)


@every_loss
def test_nothing_asked_is_no_loss_and_no_gradient(name: str) -> None:
    model = tiny_model(name)
    batch = make_task_batch(model)
    for key in batch.keys() - without_labels(batch).keys():
        batch[key] = np.full_like(batch[key], 99 if "positions" in key else -100)
    assert trained(model, batch).loss == 0
    assert not any(g.any() for g in gradients(model).values())
    out, cache = model.forward(**without_labels(batch))
    assert out.loss is None
    with pytest.raises(InputError, match="^backward has no loss to start from: give `forward` the"):
        model.backward(cache)


# --- bad input ----------------------------------------------------------------------------------

IDS = np.array([[5, 6, 7], [8, 9, 10]])
CHOICES = np.stack([IDS, IDS], 1)                       # [2, 2, 3]
VECTORS = np.zeros((2, 3, 8))
SEQUENCE, TOKEN, ANSWER = ("ForSequenceClassification", "ForTokenClassification",
                           "ForQuestionAnswering")
BOTH_OR_NEITHER = "give either input_ids or inputs_embeds"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    *[(task, inputs, BOTH_OR_NEITHER) for task in ("Model", "ForMaskedLM", SEQUENCE, TOKEN, ANSWER)
      for inputs in ({}, {"input_ids": IDS, "inputs_embeds": VECTORS})],
    ("ForMultipleChoice", {"input_ids": CHOICES, "inputs_embeds": VECTORS[:, None]},
     r"input_ids has shape \[2, 2, 3\], expected \[2, 1, tokens\]"),
    ("Model", {"inputs_embeds": VECTORS[0]}, r"inputs_embeds must be an array \[batch, tokens, "
                                             r"embedding\], not of shape \[3, 8\]"),
    ("Model", {"inputs_embeds": VECTORS[..., :5]},
     "inputs_embeds are 5 wide, the model's embeddings 8"),
    ("Model", {"input_ids": IDS, "position_ids": IDS * 0 + 12},
     r"position_ids holds 12, which is outside 0\.\.11"),
    ("Model", {"input_ids": IDS, "position_ids": [[0, 1, 2, 3]]},
     r"position_ids has shape \[1, 4\], input_ids \[2, 3\]: they must agree"),
    ("Model", {"input_ids": IDS, "tokens": [6]}, r"tokens holds 6, which is outside 0\.\.5"),
    ("Model", {"input_ids": IDS, "tokens": [1, 2, 1]}, "tokens names a token twice"),
    ("Model", {"input_ids": IDS, "tokens": [[1, 2]]}, r"tokens has shape \[1, 2\], expected \[2\]"),
    ("ForMaskedLM", {"input_ids": IDS, "labels": IDS[0]},
     r"labels has shape \[3\], expected \[2, 3\]"),
    ("ForMaskedLM", {"input_ids": IDS, "labels": IDS + 20},
     r"labels holds 25, which is outside 0\.\.22"),
    (TOKEN, {"input_ids": IDS, "labels": [0, 1]}, r"labels has shape \[2\], expected \[2, 3\]"),
    (TOKEN, {"input_ids": IDS, "labels": IDS * 0 + 2}, r"labels holds 2, which is outside 0\.\.1"),
    (TOKEN, {"input_ids": IDS, "labels": IDS * 0.5},
     "labels must hold whole numbers, not float64"),
    (SEQUENCE, {"input_ids": IDS, "labels": [0, 1, 1]}, r"labels has shape \[3\], expected \[2\]"),
    (SEQUENCE, {"input_ids": IDS, "labels": [0, 2]}, r"labels holds 2, which is outside 0\.\.1"),
    (SEQUENCE, {"input_ids": IDS, "labels": [0.5, 2]},
     r"labels has shape \[2\], expected \[2, 2\]"),
    (SEQUENCE, {"input_ids": IDS, "labels": [[0.5, float("nan")], [1, 1]]},
     "labels must hold finite numbers"),
    (SEQUENCE, {"input_ids": IDS, "labels": [["yes", "no"], ["no", "no"]]},
     "labels must hold finite numbers"),
    (SEQUENCE, {"input_ids": IDS, "labels": [[1], [1, 0]]},
     r"labels cannot be made into one array: are its sequences padded to the same length\?"),
    ("ForMultipleChoice", {"input_ids": IDS},
     r"input_ids must have shape \[batch, choices, tokens\], not \[2, 3\]"),
    ("ForMultipleChoice", {}, r"input_ids must have shape \[batch, choices, tokens\], not \[\]"),
    ("ForMultipleChoice", {"input_ids": CHOICES, "attention_mask": IDS * 0 + 1},
     r"attention_mask must have shape \[batch, choices, tokens\], not \[2, 3\]"),
    ("ForMultipleChoice", {"input_ids": CHOICES, "token_type_ids": CHOICES[:, :1] * 0},
     r"token_type_ids has shape \[2, 1, 3\], expected \[2, 2, tokens\]"),
    ("ForMultipleChoice", {"input_ids": CHOICES, "labels": [0, 2]},
     r"labels holds 2, which is outside 0\.\.1"),
    ("ForMultipleChoice", {"input_ids": CHOICES, "labels": [[0], [1]]},
     r"labels has shape \[2, 1\], expected \[2\]"),
    (ANSWER, {"input_ids": IDS, "start_positions": [0, 1]},
     "give start_positions and end_positions, or neither"),
    (ANSWER, {"input_ids": IDS, "start_positions": [0, -1], "end_positions": [1, 1]},
     "start_positions must hold places of tokens, counted from 0"),
    (ANSWER, {"input_ids": IDS, "start_positions": [0, 1], "end_positions": [1.0, 1.0]},
     "end_positions must hold places of tokens, counted from 0"),
    (ANSWER, {"input_ids": IDS, "start_positions": [0, 1, 1], "end_positions": [1, 1]},
     r"start_positions has shape \[3\], expected \[2\]"),
]


@both_families
@pytest.mark.parametrize("task, inputs, message", WRONG)
def test_bad_input_is_one_sentence(family: str, task: str, inputs: dict[str, Any],
                                   message: str) -> None:
    model = tiny_model(family + task, **({"embedding_size": 8} if family == "Albert" else {}))
    for call in (model, model.forward):
        with pytest.raises(InputError, match=f"^{message}$"):
            call(**inputs)


def test_the_last_task_of_each_family_has_a_label_of_its_own_name() -> None:
    model = tiny_model("BertForPreTraining")
    with pytest.raises(InputError, match=r"^next_sentence_label has shape \[1\], expected \[2\]$"):
        model(IDS, next_sentence_label=[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int32])
def test_labels_in_any_kind_of_whole_number(dtype: type) -> None:
    answer, sequence = tiny_model("BertForQuestionAnswering"), tiny_model(f"Bert{SEQUENCE}")
    places, labels = np.array([1, 7], dtype), np.array([1, 0], dtype)
    assert (answer(IDS, start_positions=places, end_positions=labels).loss
            == answer(IDS, start_positions=[1, 7], end_positions=[1, 0]).loss)
    assert sequence(IDS, labels=labels).loss == sequence(IDS, labels=[1, 0]).loss


@every_class
def test_the_configuration_of_the_other_family(name: str) -> None:
    own, other = AlbertConfig.__name__, BertConfig.__name__
    config: Any = tiny_bert_config()
    if name.startswith("Bert"):
        own, other, config = other, own, tiny_config()
    with pytest.raises(InputError, match=f"^{name} needs {own}, not {other}$"):
        getattr(tinyalbert, name)(config)


def test_berts_encoder_has_its_name() -> None:
    model = tiny_model("BertForMaskedLM")
    assert model.bert is encoder_of(model)


@every_class
def test_hidden_states_in_training_are_whole(name: str) -> None:
    """Whoever asks for them gets every token's, also of the last layer."""
    model = tiny_model(name)
    batch = make_task_batch(model)
    out, cache = model.forward(**batch, output_hidden_states=True, output_attentions=True)
    whole = model(**batch, output_hidden_states=True, output_attentions=True)
    for ours, expected in zip(out.hidden_states, whole.hidden_states, strict=True):
        assert_close(ours, expected, 1e-13)
    if name in WITH_LOSS:
        model.backward(cache)
        other = tiny_model(name)
        trained(other, batch)
        assert_gradients_close(gradients(model), gradients(other), 1e-12)
