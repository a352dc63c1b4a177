"""Make the golden files in google/ by running Google's own models in TensorFlow:

    python tests/golden/make_google.py ALBERT BERT

ALBERT is a checkout of github.com/google-research/albert (made with b772393), BERT one of
github.com/google-research/bert from before its GELU became the tanh form (made with c74caa3, which
is younger than the released models). Their modeling.py and the heads in run_pretraining.py are
executed as they are, with stand-ins for the two layers that TensorFlow has dropped since.

Each file holds one tiny model: its configuration as Google writes it (JSON), variables/* by
Google's names, inputs/*, and outputs/*: log-probabilities for every token and for the pair.
"""

from __future__ import annotations

import ast
import collections
import copy
import json
import math
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import six
import tensorflow.compat.v1 as tf1

HERE = Path(__file__).parent
SIZES = {"vocab_size": 30, "hidden_size": 6, "num_hidden_layers": 4, "num_attention_heads": 2,
         "intermediate_size": 10, "max_position_embeddings": 9, "type_vocab_size": 2,
         "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
         "initializer_range": 0.02}
ALBERT = {**SIZES, "embedding_size": 4, "num_hidden_groups": 1, "inner_group_num": 1}
MODELS = {"albert_inner_groups": {**ALBERT, "num_hidden_groups": 2, "inner_group_num": 2},
          "albert_same_width": {**ALBERT, "embedding_size": 6}, "bert": SIZES}


def dense(x: Any, units: int, activation: Any = None, name: str | None = None,
          kernel_initializer: Any = None) -> Any:
    """tf.layers.dense"""
    with tf1.variable_scope(name, "dense"):
        kernel = tf1.get_variable("kernel", [x.shape[-1], units], initializer=kernel_initializer)
        bias = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer())
    y = tf1.matmul(x, kernel) + bias
    return activation(y) if activation else y


def layer_norm(inputs: Any, begin_norm_axis: int, begin_params_axis: int,
               scope: str | None = None) -> Any:
    """tf.contrib.layers.layer_norm"""
    with tf1.variable_scope(scope, "LayerNorm"):
        beta = tf1.get_variable("beta", inputs.shape[-1:], initializer=tf1.zeros_initializer())
        gamma = tf1.get_variable("gamma", inputs.shape[-1:], initializer=tf1.ones_initializer())
    mean, variance = tf1.nn.moments(inputs, [-1], keepdims=True)
    return (inputs - mean) * tf1.rsqrt(variance + 1e-12) * gamma + beta


class TensorFlow1:
    """TensorFlow 1, as far as Google's files use it."""

    contrib = types.SimpleNamespace(layers=types.SimpleNamespace(layer_norm=layer_norm))
    layers = types.SimpleNamespace(dense=dense)

    def __getattr__(self, name: str) -> Any:
        return getattr(tf1, name)


def load(path: Path, **names: Any) -> types.SimpleNamespace:
    """The functions and classes of a file of Google's; names: what it imports."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    names |= {"tf": TensorFlow1(), "contrib_layers": TensorFlow1.contrib.layers, "np": np, "re": re,
              "collections": collections, "copy": copy, "json": json, "math": math, "six": six}
    exec(compile(tree, str(path), "exec"), names)
    return types.SimpleNamespace(**names)


def run(checkout: Path, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """One model with random variables, and what it computes from random tokens."""
    modeling = load(checkout / "modeling.py")
    heads = load(checkout / "run_pretraining.py", modeling=modeling)
    albert = "embedding_size" in values
    model_class, config_class, pair_head = (
        (modeling.AlbertModel, modeling.AlbertConfig, heads.get_sentence_order_output) if albert
        else (modeling.BertModel, modeling.BertConfig, heads.get_next_sentence_output))

    rng = np.random.default_rng(0)
    batch, tokens = 3, 7
    inputs = {"input_ids": rng.integers(5, 30, (batch, tokens)),
              "token_type_ids": rng.integers(0, 2, (batch, tokens)),
              "attention_mask": np.arange(tokens) < np.array([[7], [5], [2]])}
    with tf1.Graph().as_default(), tf1.Session() as session:
        ids, types_, mask = (tf1.constant(value, tf1.int32) for value in inputs.values())
        config = config_class.from_dict(values)
        model = model_class(config, False, ids, mask, types_, use_one_hot_embeddings=False)
        everywhere = tf1.tile(tf1.range(tokens)[None], [batch, 1])
        labels = tf1.zeros([batch * tokens], tf1.int32)
        _, _, words = heads.get_masked_lm_output(
            config, model.get_sequence_output(), model.get_embedding_table(), everywhere, labels,
            tf1.ones([batch * tokens]))
        _, _, pairs = pair_head(config, model.get_pooled_output(), labels[:batch])
        variables = {}
        for variable in tf1.global_variables():
            value = rng.normal(scale=0.5, size=variable.shape).astype(np.float32)
            session.run(variable.assign(value))
            variables[f"variables/{variable.op.name}"] = value
        words, pairs = session.run([words, pairs])
    return {"config": np.array(json.dumps(values)), **variables,
            **{f"inputs/{name}": value for name, value in inputs.items()},
            "outputs/words": words.reshape(batch, tokens, -1), "outputs/pairs": pairs}


def main(albert: str, bert: str) -> None:
    tf1.disable_v2_behavior()
    for name, values in MODELS.items():
        golden = run(Path(bert if name == "bert" else albert), values)
        np.savez_compressed(HERE / "google" / f"{name}.npz", **golden)
        print(name, {key: value.shape for key, value in golden.items() if "outputs" in key})


if __name__ == "__main__":
    main(*sys.argv[1:])
