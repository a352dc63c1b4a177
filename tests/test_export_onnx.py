"""ONNX graphs: ONNX Runtime answers what our models answer, and the folder holds what it should."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from command_line import error
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from tiny import (
    CLASSES,
    assert_close,
    encoder_of,
    make_task_batch,
    task_of,
    tiny_model,
    without_labels,
)
from toy_finetuning import FAST, pretrained, quiet, voices

import tinyalbert
from tinyalbert import AlbertForMultipleChoice, AlbertForSeq2SeqLM, AlbertModel, pipeline
from tinyalbert.cli import main
from tinyalbert.config import Activation, Sharing
from tinyalbert.errors import InputError
from tinyalbert.export.agreement import held_out_examples, measure
from tinyalbert.export.folder import GRAPH, QUANTIZED, export_onnx, load_for, trained_task
from tinyalbert.export.quantized import quantize
from tinyalbert.export.session import OnnxModel, answer
from tinyalbert.export.tasks import DEFAULT_OPSET, OPSETS, TASKS, build_graph
from tinyalbert.finetuning.classification import TextExample
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.questions import Questions
from tinyalbert.finetuning.squad import Answer, QuestionExample
from tinyalbert.tokenization import load_tokenizer

TOLERANCE = 1e-5        # of the largest value
OLD = 14                # an opset without LayerNormalization and Gelu


def start(graph: Any) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(graph.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def run_graph(graph: Any, batch: dict[str, np.ndarray]) -> Any:
    session = start(graph)
    names = [output.name for output in session.get_outputs()]
    return answer(dict(zip(names, session.run(names, batch), strict=True)))


def assert_same_answers(model: Any, graph: Any, batch: dict[str, np.ndarray]) -> None:
    """Every output; attentions too, so that nothing of ours is left out for padding."""
    theirs, ours = run_graph(graph, batch), model(**batch, output_attentions=True)
    assert theirs.keys() == ours.keys()
    for name, value in ours.items():
        for i, (mine, other) in enumerate(zip(value, theirs[name], strict=True)
                                          if name == "attentions" else [(value, theirs[name])]):
            assert_close(other, mine, TOLERANCE, f"{name} {i}")


def batch_for(model: Any, lengths: tuple[int, ...] = (9, 6, 2)) -> dict[str, np.ndarray]:
    return without_labels(make_task_batch(model, lengths))


def weights(graph: Any) -> dict[str, np.ndarray]:
    """What the file stores, without the numbers that are no parameters."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer
            if re.match("[a-z]", tensor.name)}


# --- the same answers


@pytest.mark.parametrize("opset", [OLD, DEFAULT_OPSET])
@pytest.mark.parametrize("name", CLASSES)
def test_every_head(name: str, opset: int) -> None:
    model = tiny_model(name, "float32")
    graph = build_graph(model, attentions=True, opset=opset)
    onnx.checker.check_model(graph, full_check=True)
    assert_same_answers(model, graph, batch_for(model))


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from([name for name in CLASSES if name.startswith("Albert")]),
       depth=st.integers(1, 4), groups=st.integers(1, 4), inner=st.integers(1, 2),
       sharing=st.sampled_from(Sharing.__args__), act=st.sampled_from(Activation.__args__),
       heads=st.sampled_from([1, 2, 4]), labels=st.integers(1, 3), opset=st.sampled_from(OPSETS),
       lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_any_albert(name: str, depth: int, groups: int, inner: int, sharing: str, act: str,
                    heads: int, labels: int, opset: int, lengths: list[int], seed: int) -> None:
    model = tiny_model(name, "float32", seed, num_hidden_layers=depth, sharing=sharing,
                       num_hidden_groups=min(groups, depth), inner_group_num=inner, hidden_act=act,
                       num_attention_heads=heads, num_labels=labels)
    graph = build_graph(model, attentions=True, opset=opset)
    onnx.checker.check_model(graph, full_check=True)
    assert_same_answers(model, graph, batch_for(model, tuple(lengths)))


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from([name for name in CLASSES if name.startswith("Bert")]),
       depth=st.integers(1, 3), act=st.sampled_from(Activation.__args__),
       opset=st.sampled_from(OPSETS), seed=st.integers(0, 99))
def test_any_bert(name: str, depth: int, act: str, opset: int, seed: int) -> None:
    model = tiny_model(name, "float32", seed, num_hidden_layers=depth, hidden_act=act)
    graph = build_graph(model, attentions=True, opset=opset)
    assert_same_answers(model, graph, batch_for(model))


@pytest.mark.parametrize("opset", [OLD, DEFAULT_OPSET])
def test_each_application_of_a_layer(opset: int) -> None:
    """The nodes are where their names say: each layer ends in the norm of its second half."""
    model = tiny_model("AlbertModel", "float32", inner_group_num=2)
    graph, batch = build_graph(model, opset=opset), batch_for(model)
    last = "LayerNormalization" if opset == DEFAULT_OPSET else "Add_1"
    states = [f"/encoder/layer_{i}/feed_forward/LayerNorm/{last}" for i in range(7)]
    for name in ("/encoder/embedding_hidden_mapping_in/Add", *states):
        graph.graph.output.append(onnx.ValueInfoProto(name=name))
    found = start(graph).run([output.name for output in graph.graph.output], batch)
    ours = model(**batch, output_hidden_states=True).hidden_states
    for theirs, expected in zip([*found[2:], found[1]], ours, strict=True):
        assert_close(theirs, expected, TOLERANCE)


def test_a_choice_without_tokens_is_none() -> None:
    model = tiny_model("AlbertForMultipleChoice", "float32")
    batch = batch_for(model)
    batch["attention_mask"][0, 1] = 0
    theirs = run_graph(build_graph(model), batch).logits
    assert_close(theirs, model(**batch).logits, TOLERANCE)
    assert theirs[0, 1] < -9000


def test_a_model_of_double_precision_becomes_a_graph_of_single_precision() -> None:
    model = tiny_model("AlbertForMaskedLM", "float64")
    assert_same_answers(model, build_graph(model, attentions=True), batch_for(model))


def test_a_model_without_a_pooler() -> None:
    model = AlbertModel(tiny_model("AlbertModel").config, add_pooling_layer=False)
    assert [output.name for output in build_graph(model).graph.output] == ["last_hidden_state"]


# --- what the file is made of


def test_shared_weights_are_stored_once() -> None:
    sizes = []
    for depth in (1, 12):
        model = tiny_model("AlbertForPreTraining", "float32", num_hidden_layers=depth)
        graph = build_graph(model)
        stored = weights(graph)
        expected = {model.hugging_face_name(name): parameter.data
                    for name, parameter in model.named_parameters().items()}
        assert stored.keys() == expected.keys()
        assert all(np.array_equal(stored[name], expected[name]) for name in stored)
        sizes.append(len(graph.graph.initializer))
    assert sizes[0] == sizes[1]


def test_the_file_is_as_small_as_the_checkpoint(tmp_path: Path) -> None:
    """And in 8 bits a quarter of it. Its nodes need some bytes too, fewer than 1 % of a real model.
    """
    model = tiny_model("AlbertForMaskedLM", "float32", vocab_size=30_000, embedding_size=128)
    model.save_pretrained(tmp_path)
    checkpoint = (tmp_path / "model.safetensors").stat().st_size
    graph = build_graph(model)
    assert 0.99 * checkpoint < len(graph.SerializeToString()) < 1.01 * checkpoint
    assert len(quantize(graph).SerializeToString()) < 0.27 * checkpoint


def test_names_of_inputs_and_sizes() -> None:
    graph = build_graph(tiny_model("AlbertForMaskedLM", "float32"), attentions=True).graph
    shapes = {value.name: [size.dim_param or size.dim_value for size in
                           value.type.tensor_type.shape.dim]
              for value in [*graph.input, *graph.output]}
    assert shapes == {
        **{name: ["batch_size", "sequence_length"]
           for name in ("input_ids", "attention_mask", "token_type_ids")},
        "logits": ["batch_size", "sequence_length", 23],
        **{f"attentions.{i}": ["batch_size", 2, "sequence_length", "sequence_length"]
           for i in range(4)}}
    nodes = {node.name for node in graph.node}
    assert {"/embeddings/word_embeddings/Gather", "/encoder/layer_3/attention/query/MatMul",
            "/encoder/layer_3/feed_forward/LayerNorm/LayerNormalization",
            "/predictions/decoder/MatMul"} <= nodes
    assert len(nodes) == len(graph.node)


def test_an_old_opset_has_only_old_nodes() -> None:
    """And asks for no newer version of the file format than that opset's."""
    model = tiny_model("AlbertForMaskedLM", "float32")
    old, new = build_graph(model, opset=OLD), build_graph(model)
    newer = {"LayerNormalization", "Gelu"}
    assert newer <= {node.op_type for node in new.graph.node}
    assert not newer & {node.op_type for node in old.graph.node}
    assert old.ir_version < new.ir_version


def test_the_runtime_says_what_is_wrong_with_a_long_sequence() -> None:
    graph = build_graph(tiny_model("AlbertModel", "float32"))
    ids = np.ones((1, 13), np.int64)
    with pytest.raises(Exception, match="/embeddings/position_embeddings/Add.* 12 by 13"):
        run_graph(graph, {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids})


# --- 8 bits


@pytest.mark.parametrize("name", CLASSES)
def test_8_bits_answer_almost_the_same(name: str) -> None:
    """What real models lose is measured (agreement.py); here the rounding of fresh weights."""
    config = tiny_model(name).config.replace(hidden_size=64, intermediate_size=256,
                                             initializer_range=0.1)
    model = getattr(tinyalbert, name)(config)
    graph, batch = build_graph(model), batch_for(model)
    whole, rounded = run_graph(graph, batch), run_graph(quantize(graph), batch)
    for key, value in whole.items():
        error = np.sqrt(np.mean((rounded[key] - value) ** 2) / np.mean(value ** 2))
        assert 1e-4 < error < 0.08, key


def test_8_bits_store_every_matrix_once_and_in_8_bits() -> None:
    model = tiny_model("AlbertForPreTraining", "float32")
    graph = quantize(build_graph(model))
    onnx.checker.check_model(graph, full_check=True)
    matrices = [parameter.data.shape for parameter in model.named_parameters().values()
                if parameter.data.ndim == 2]
    stored = [array for array in weights(graph).values() if array.ndim == 2]
    assert sorted(array.shape for array in stored) == sorted(matrices)
    assert {array.dtype.itemsize for array in stored} == {1}
    products = [node.op_type for node in graph.graph.node if "MatMul" in node.op_type]
    assert products.count("MatMulInteger") == 4 * 6 + 5         # a layer's, and map, pooler, heads
    assert products.count("MatMul") == 4 * 2                    # of attention, without weights


# --- the folder


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining of a second, with all that there is."""
    out = tmp_path_factory.mktemp("exported") / "toy"
    export_onnx(finished, out, attentions=True, int8=True)
    return out


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned classifier."""
    folder = tmp_path_factory.mktemp("reviews")
    examples = [TextExample(text, label=label) for text, label in voices(40)]
    finetune("classify", pretrained(folder / "model"), examples, None, folder / "run", FAST,
             log=quiet, progress=False)
    return folder / "run"


def test_the_layout_that_transformers_js_expects(exported: Path) -> None:
    names = {path.relative_to(exported).as_posix() for path in exported.rglob("*.*")}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json", "spiece.model",
                     "special_tokens_map.json", "onnx/model.onnx", "onnx/model_quantized.onnx"}
    config = json.loads((exported / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("albert", ["AlbertForMaskedLM"])
    assert len(load_tokenizer(exported)) == config["vocab_size"]


def test_the_folder_called_as_our_model_is(exported: Path, finished: Path) -> None:
    model, tokenizer = load_for(finished, "fill-mask")
    batch = tokenizer(["ba do", "ki [MASK] la"], padding=True, return_tensors="np")
    graph = OnnxModel(exported)
    assert_close(graph(**batch).logits[batch["attention_mask"] == 1],
                 model(**batch).logits[batch["attention_mask"] == 1], TOLERANCE)
    assert_close(graph([[2, 7, 3]]).attentions[1],      # the same without a mask
                 model([[2, 7, 3]], output_attentions=True).attentions[1], TOLERANCE)
    with pytest.raises(InputError, match="33 tokens exceeds max_position_embeddings 32"):
        graph([[5] * 33])
    with pytest.raises(InputError, match="input_ids holds 36"):
        graph([[36]])
    with pytest.raises(InputError, match=r"shape \[batch_size, sequence_length\], not \[1, 1, 3\]"):
        graph([[[2, 7, 3]]])


def test_a_fine_tuned_model_keeps_its_labels_and_its_metrics(reviews: Path,
                                                             tmp_path: Path) -> None:
    done = export_onnx(reviews, tmp_path / "out", int8=True)
    assert done.task == "text-classification"
    graph = OnnxModel(tmp_path / "out")
    assert graph.config.id2label == {0: "high", 1: "low"}
    classify = pipeline("text-classification", reviews)
    logits = graph(**load_tokenizer(reviews)(["ba do"], return_tensors="np")).logits[0]
    best = int(logits.argmax())
    assert classify("ba do")[0]["label"] == graph.config.id2label[best]
    assert_close(np.exp(logits - logits.max()).max() / np.exp(logits - logits.max()).sum(),
                 classify("ba do")[0]["score"], TOLERANCE)
    agreement = measure(reviews, tmp_path / "out", done.task)
    final = json.loads((reviews / "metrics.jsonl").read_text().splitlines()[-1])
    assert agreement.asked == "4 examples that the run held out"
    assert agreement.metrics["accuracy"][0] == final["accuracy"]


def test_what_8_bits_cost_on_masked_words(exported: Path, finished: Path, corpus: Path) -> None:
    held_out = measure(finished, exported, "fill-mask")
    assert re.match(r"a hidden word in each of [1-9]\d* sentences that the run held out",
                    held_out.asked)
    given_text = measure(finished, exported, "fill-mask", corpus)
    assert given_text.asked.endswith(f"480 sentences of {corpus}")
    for agreement in (held_out, given_text):
        (accuracy, accuracy8), (loss, loss8) = (agreement.metrics[n] for n in ("accuracy", "loss"))
        assert 0.05 < accuracy < 0.9 and abs(accuracy - accuracy8) < 0.1
        assert 1 < loss < np.log(36) and abs(loss - loss8) < 0.1
        assert 0.8 < agreement.metrics["same guess"][1] <= 1


def test_the_masked_words_loss_is_our_models(exported: Path, finished: Path,
                                             tmp_path: Path) -> None:
    """One sentence: the same as hiding each token in turn, for the one that was hidden."""
    text = tmp_path / "text.txt"
    text.write_text("ba do ki la ba do ki la\n")
    model, tokenizer = load_for(finished, "fill-mask")
    scores = model.score(tokenizer, text.read_text().strip()).log_probs
    (loss, _) = measure(finished, exported, "fill-mask", text).metrics["loss"]
    assert np.abs(scores + loss).min() < 1e-4


def test_held_out_questions_are_read_again(tmp_path: Path) -> None:
    example = QuestionExample("who?", "ba do", (Answer("ba", 0),), "1")
    (tmp_path / "predictions.jsonl").write_text(
        json.dumps({"example": example._asdict(), "prediction": {}}) + "\n")
    finetuned: Any = type("Stub", (), {"task": Questions(False)})
    assert held_out_examples(tmp_path, finetuned) == [example]


@pytest.mark.parametrize(("trained", "task"), [
    ("AlbertForPreTraining", "fill-mask"), ("BertForMaskedLM", "fill-mask"),
    ("AlbertForTokenClassification", "token-classification"), ("BertModel", "feature-extraction"),
    ("AlbertForMultipleChoice", "multiple-choice")])
def test_the_task_is_what_the_model_was_trained_for(trained: str, task: str,
                                                    tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [trained]}))
    assert trained_task(tmp_path) == task


def test_another_task_that_the_file_has_the_weights_for(finished: Path, reviews: Path,
                                                        tmp_path: Path) -> None:
    export_onnx(finished, tmp_path / "both", task="pretraining")
    out = OnnxModel(tmp_path / "both")([[2, 7, 3]])
    assert out.keys() == ["prediction_logits", "sop_logits"]
    export_onnx(finished, tmp_path / "vectors", task="feature-extraction")
    assert "pooler_output" in OnnxModel(tmp_path / "vectors")([[2, 7, 3]])
    with pytest.raises(InputError, match="vectors are neither right nor wrong"):
        shutil.copy(tmp_path / "vectors" / GRAPH, tmp_path / "vectors" / QUANTIZED)
        measure(finished, tmp_path / "vectors", "feature-extraction")
    lacks = tmp_path / "lacks"
    model, tokenizer = load_for(finished, "fill-mask")
    model.save_pretrained(lacks)
    tokenizer.save_pretrained(lacks)
    export_onnx(lacks, tmp_path / "tokens", task="feature-extraction")
    assert OnnxModel(tmp_path / "tokens")([[2, 7, 3]]).keys() == ["last_hidden_state"]


# --- the command


def test_the_command(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["export", "onnx", str(finished), "--out", str(tmp_path / "out"), "--int8"]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("AlbertForMaskedLM for fill-mask: ")
    assert "model_quantized.onnx" in printed and "what 8 bits cost, by a hidden word" in printed
    assert re.search(r"^same guess +1\.0000 +[01]\.\d{4}$", printed, re.MULTILINE)
    assert "out is not empty: add --overwrite" in error(capsys, *argv)
    assert main([*argv[:-1], "--overwrite"]) == 0
    assert not (tmp_path / "out" / "onnx" / "model_quantized.onnx").exists()


def test_what_cannot_be_measured_is_no_error_unless_asked_for(
        finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("shards"))
    argv = ["export", "onnx", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--int8"]
    assert main(argv) == 0
    assert "was not measured: " in capsys.readouterr().out
    missing = [*argv, "--overwrite", "--evaluate", str(tmp_path / "no.txt")]
    assert "no such file, folder or corpus" in error(capsys, *missing)
    assert "add --int8" in error(capsys, *argv[:-1], "--evaluate", "text.txt")
    (tmp_path / "short.txt").write_text("ba\n")
    assert "no sentence of 4 tokens" in error(capsys, *missing[:-1], str(tmp_path / "short.txt"))


# --- mistakes


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        export_onnx(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mistakes(finished: Path, reviews: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "lacks 'qa_outputs.weight'" in refused(finished, out, task="question-answering")
    assert "lacks 'predictions" in refused(reviews, out, task="fill-mask")
    assert "unknown task 'ner': known are fill-mask" in refused(finished, out, task="ner")
    assert "opset 12 is not among those that can be written: 13 to 20" in refused(finished, out,
                                                                                 opset=12)
    assert "no such directory" in refused(tmp_path / "nowhere", out)
    assert not out.exists()
    (tmp_path / "file").touch()
    assert "is a file: give a folder" in refused(finished, tmp_path / "file")
    assert "cannot write" in refused(finished, tmp_path / "file" / "out")


def test_nothing_foreign_is_deleted(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "letter.txt").write_text("dear")
    (tmp_path / "config.json").write_text("{}")
    message = refused(finished, tmp_path, overwrite=True)
    assert "holds 'onnx/letter.txt', which is not of an exported model" in message
    assert (tmp_path / "config.json").read_text() == "{}"


def test_models_without_a_graph(tmp_path: Path) -> None:
    config = tiny_model("AlbertModel").config
    with pytest.raises(InputError, match="AlbertForSeq2SeqLM has no ONNX graph here: only Model"):
        build_graph(AlbertForSeq2SeqLM(config))
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["AlbertForSeq2SeqLM"]}))
    with pytest.raises(InputError, match="trained as AlbertForSeq2SeqLM, for which there is no"):
        trained_task(tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime.quantization"])
def test_a_missing_package(package: str, finished: Path, tmp_path: Path,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'tinyalbert[onnx]'" in refused(finished, tmp_path / "out", int8=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_opened(exported: Path, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(exported, tmp_path / "copy")
    (tmp_path / "copy" / "onnx" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(InputError, match="model.onnx cannot be opened: "):
        OnnxModel(tmp_path / "copy")
    with pytest.raises(InputError, match="model_fp16.onnx is not there"):
        OnnxModel(exported, file="model_fp16.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install 'tinyalbert"):
        OnnxModel(exported)


def test_every_task_has_a_class_and_a_head() -> None:
    assert {f"Albert{kind}" for kind in TASKS.values()} == {
        name for name in CLASSES if name.startswith("Albert")}
    assert all(hasattr(tinyalbert, f"Bert{kind}") for kind in TASKS.values())
    assert task_of(AlbertForMultipleChoice(tiny_model("AlbertModel").config)) == "ForMultipleChoice"
    assert encoder_of(tiny_model("AlbertModel")).pooler
