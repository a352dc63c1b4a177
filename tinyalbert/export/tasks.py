"""Whole graphs: three inputs, an encoder, a head, and outputs by Hugging Face's names.

Tasks have the names that Transformers.js and Optimum give them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..inputs import MASKED
from ..model import AlbertModel
from . import layers
from .graph import Graph, Value

if TYPE_CHECKING:
    from onnx import ModelProto

TASKS = {           # its name, and the class without its family that has the head
    "fill-mask": "ForMaskedLM",
    "feature-extraction": "Model",
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "multiple-choice": "ForMultipleChoice",
    "pretraining": "ForPreTraining",
}
OPSETS = range(13, 21)              # versions of ONNX's set of nodes
DEFAULT_OPSET = 20
BATCH, CHOICES, TOKENS = "batch_size", "num_choices", "sequence_length"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LARGEST = 2**31                     # bytes of a file: ONNX's format counts no further


def build_graph(model: Any, *, attentions: bool = False,
                opset: int = DEFAULT_OPSET) -> ModelProto:
    """The onnx.ModelProto of a model of any class but the ForSeq2SeqLM ones, which write a text in
    many steps.

    Inputs, int64 [B, T] (of multiple choice [B, C, T]): input_ids; attention_mask, 1 for a token
    and 0 for padding; token_type_ids. Both sizes may vary from call to call. Outputs, float32: as
    the model's, and with `attentions` one for each layer application, attentions.0 [B, N, T, T]...

    Raises InputError for another opset than OPSETS, another model, one of more than 2 GiB, or
    without the package onnx.
    """
    kind = checked_kind(model, opset)
    graph = Graph(model, opset)
    choices = kind == "ForMultipleChoice"
    shape = [BATCH, CHOICES, TOKENS] if choices else [BATCH, TOKENS]
    inputs = [graph.input(name, shape) for name in INPUTS]
    ids, mask, types = ([graph("Flatten", value, axis=2) for value in inputs] if choices
                        else inputs)                                            # [B*C, T]
    encoder: AlbertModel = getattr(model, "albert", model)
    act = model.config.hidden_act
    x = layers.embeddings(graph, encoder.embeddings, ids, types)                # [B, T, E]
    bias = layers.attention_bias(graph, mask)
    x, probs = layers.encoder(graph, encoder.encoder, x, bias, act)             # [B, T, H]
    HEADS[kind](graph, model, x)
    rows = f"{BATCH}*{CHOICES}" if choices else BATCH
    for i, value in enumerate(probs if attentions else []):
        graph.output(f"attentions.{i}", value,
                     [rows, model.config.num_attention_heads, TOKENS, TOKENS])
    return graph.proto()


def checked_kind(model: Any, opset: int) -> str:
    """The model's class without its family; InputError if it cannot be written, or not so."""
    if opset not in OPSETS:
        raise InputError(f"opset {opset} is not among those that can be written: "
                         f"{OPSETS[0]} to {OPSETS[-1]}")
    kind = type(model).__name__.removeprefix("Albert").removeprefix("Bert")
    if kind not in HEADS:
        raise InputError(f"{type(model).__name__} has no ONNX graph here: only "
                         f"{', '.join(HEADS)} have")
    if 4 * model.num_parameters() > LARGEST:
        raise InputError(f"{model.num_parameters():,} parameters are more than the 2 GiB of an "
                         "ONNX file can hold")
    return kind


# --- heads: each adds its nodes and declares its outputs ----------------------------------------


def features(graph: Graph, model: Any, x: Value) -> None:
    if model.pooler:        # before the output is named: the name changes what `x` is called
        graph.output("pooler_output", layers.pooler(graph, model.pooler, x),
                     [BATCH, model.config.hidden_size])
    graph.output("last_hidden_state", x, [BATCH, TOKENS, model.config.hidden_size])


def masked_lm(graph: Graph, model: Any, x: Value, name: str = "logits") -> None:
    logits = layers.mlm_head(graph, model.predictions, x, model.config)
    graph.output(name, logits, [BATCH, TOKENS, model.config.vocab_size])


def pretraining(graph: Graph, model: Any, x: Value) -> None:
    masked_lm(graph, model, x, "prediction_logits")
    bert = model.config.model_type == "bert"
    name = "seq_relationship_logits" if bert else "sop_logits"
    graph.output(name, classify_pooled(graph, "sop_classifier", model, x), [BATCH, 2])


def text_classification(graph: Graph, model: Any, x: Value) -> None:
    graph.output("logits", classify_pooled(graph, "classifier", model, x),
                 [BATCH, model.config.num_labels])


def multiple_choice(graph: Graph, model: Any, x: Value) -> None:
    """A choice without a token is none: MASKED is added to its score."""
    scores = classify_pooled(graph, "classifier", model, x)                     # [B*C, 1]
    with graph.scope("choices"):
        shape = graph("Slice", graph("Shape", "input_ids"), [0], [2])           # B, C
        tokens = graph("ReduceSum", "attention_mask", [-1], keepdims=0)         # [B, C]
        some = graph("Cast", graph("Min", tokens, 1), to=graph.onnx.TensorProto.FLOAT)
        missing = graph("Mul", graph("Sub", 1.0, some), MASKED)
        logits = graph("Add", graph("Reshape", scores, shape), missing)
    graph.output("logits", logits, [BATCH, CHOICES])


def token_classification(graph: Graph, model: Any, x: Value) -> None:
    graph.output("logits", layers.linear(graph, "classifier", model.classifier, x),
                 [BATCH, TOKENS, model.config.num_labels])


def question_answering(graph: Graph, model: Any, x: Value) -> None:
    logits = layers.linear(graph, "qa_outputs", model.qa_outputs, x)            # [B, T, 2]
    with graph.scope("qa_outputs"):
        for i, name in enumerate(("start_logits", "end_logits")):
            graph.output(name, graph("Gather", logits, i, axis=-1), [BATCH, TOKENS])


def classify_pooled(graph: Graph, name: str, model: Any, x: Value) -> Value:
    return layers.linear(graph, name, getattr(model, name),
                         layers.pooler(graph, model.albert.pooler, x))          # [B, K]


HEADS = {"Model": features, "ForPreTraining": pretraining, "ForMaskedLM": masked_lm,
         "ForSequenceClassification": text_classification, "ForMultipleChoice": multiple_choice,
         "ForTokenClassification": token_classification,
         "ForQuestionAnswering": question_answering}
