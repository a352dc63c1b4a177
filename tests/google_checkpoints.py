"""Small models under Google's names, and what they must be called in Hugging Face.

The names are those of variables in Google's modeling.py and run_pretraining.py, and of parameters
in Hugging Face's AlbertForPreTraining and BertForPreTraining, written out once more: the tests
compare them with the tables in `convert.py`, and tests/reference with Hugging Face itself.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from nonsense import sentences

from tinyalbert.tokenization.training import train_tokenizer

VOCAB_SIZE = 120
SIZES = {"vocab_size": VOCAB_SIZE, "hidden_size": 6, "num_hidden_layers": 4,
         "num_attention_heads": 2, "intermediate_size": 10, "max_position_embeddings": 9,
         "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
         "attention_probs_dropout_prob": 0.2, "initializer_range": 0.03}
# Keys that Google's own files have and no code of theirs reads.
ALBERT_DEAD = {"net_structure_type": 0, "gap_size": 0, "num_memory_blocks": 0,
               "down_scale_factor": 1, "layers_to_keep": []}
BERT_DEAD = {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_attention_heads": 12,
             "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
             "pooler_type": "first_token_transform"}


class Checkpoint(NamedTuple):
    config: dict[str, Any]                  # what the .json holds
    variables: dict[str, np.ndarray]        # Google's names and layout
    tensors: dict[str, np.ndarray]          # Hugging Face's


class Builder:
    """Draws the arrays of one module after the other, under both names."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.variables: dict[str, np.ndarray] = {}
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, google: str, hugging_face: str, *shape: int, transposed: bool = False) -> None:
        value = self.rng.normal(size=shape).astype(np.float32)
        self.variables[google] = value
        self.tensors[hugging_face] = value.T if transposed else value

    def dense(self, google: str, hugging_face: str, n_in: int, n_out: int) -> None:
        self.add(f"{google}/kernel", f"{hugging_face}.weight", n_in, n_out, transposed=True)
        self.add(f"{google}/bias", f"{hugging_face}.bias", n_out)

    def norm(self, google: str, hugging_face: str, width: int) -> None:
        self.add(f"{google}/gamma", f"{hugging_face}.weight", width)
        self.add(f"{google}/beta", f"{hugging_face}.bias", width)

    def embeddings(self, family: str, width: int) -> None:
        for table, rows in (("word", VOCAB_SIZE), ("position", 9), ("token_type", 2)):
            self.add(f"bert/embeddings/{table}_embeddings",
                     f"{family}.embeddings.{table}_embeddings.weight", rows, width)
        self.norm("bert/embeddings/LayerNorm", f"{family}.embeddings.LayerNorm", width)

    def heads(self, predictions: str, dense: str, norm: str, pair: str, width: int) -> None:
        self.dense("cls/predictions/transform/dense", dense, 6, width)
        self.norm("cls/predictions/transform/LayerNorm", norm, width)
        self.add("cls/predictions/output_bias", f"{predictions}.bias", VOCAB_SIZE)
        self.add("cls/seq_relationship/output_weights", f"{pair}.weight", 2, 6)
        self.add("cls/seq_relationship/output_bias", f"{pair}.bias", 2)


def albert(groups: int = 1, inner: int = 1, width: int = 4) -> Checkpoint:
    """An ALBERT; width: E, where H is 6."""
    b = Builder()
    b.embeddings("albert", width)
    if width != 6:
        b.dense("bert/encoder/embedding_hidden_mapping_in",
                "albert.encoder.embedding_hidden_mapping_in", width, 6)
    else:
        b.tensors["albert.encoder.embedding_hidden_mapping_in.weight"] = np.eye(6, dtype="f4")
        b.tensors["albert.encoder.embedding_hidden_mapping_in.bias"] = np.zeros(6, "f4")
    for group in range(groups):
        for i in range(inner):
            google = f"bert/encoder/transformer/group_{group}/inner_group_{i}"
            theirs = f"albert.encoder.albert_layer_groups.{group}.albert_layers.{i}"
            for part in ("query", "key", "value"):
                b.dense(f"{google}/attention_1/self/{part}", f"{theirs}.attention.{part}", 6, 6)
            b.dense(f"{google}/attention_1/output/dense", f"{theirs}.attention.dense", 6, 6)
            b.norm(f"{google}/LayerNorm", f"{theirs}.attention.LayerNorm", 6)
            b.dense(f"{google}/ffn_1/intermediate/dense", f"{theirs}.ffn", 6, 10)
            b.dense(f"{google}/ffn_1/intermediate/output/dense", f"{theirs}.ffn_output", 10, 6)
            b.norm(f"{google}/LayerNorm_1", f"{theirs}.full_layer_layer_norm", 6)
    b.dense("bert/pooler/dense", "albert.pooler", 6, 6)
    b.heads("predictions", "predictions.dense", "predictions.LayerNorm",
            "sop_classifier.classifier", width)
    config = {**SIZES, **ALBERT_DEAD, "embedding_size": width, "num_hidden_groups": groups,
              "inner_group_num": inner}
    return Checkpoint(config, b.variables, b.tensors)


def bert() -> Checkpoint:
    b = Builder()
    b.embeddings("bert", 6)
    for i in range(4):
        google, theirs = f"bert/encoder/layer_{i}", f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            b.dense(f"{google}/attention/self/{part}", f"{theirs}.attention.self.{part}", 6, 6)
        b.dense(f"{google}/attention/output/dense", f"{theirs}.attention.output.dense", 6, 6)
        b.norm(f"{google}/attention/output/LayerNorm", f"{theirs}.attention.output.LayerNorm", 6)
        b.dense(f"{google}/intermediate/dense", f"{theirs}.intermediate.dense", 6, 10)
        b.dense(f"{google}/output/dense", f"{theirs}.output.dense", 10, 6)
        b.norm(f"{google}/output/LayerNorm", f"{theirs}.output.LayerNorm", 6)
    b.dense("bert/pooler/dense", "bert.pooler.dense", 6, 6)
    b.heads("cls.predictions", "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm", "cls.seq_relationship", 6)
    return Checkpoint({**SIZES, **BERT_DEAD}, b.variables, b.tensors)


def optimizer_state(variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What Google's LAMB and AdamW leave in a checkpoint beside the model."""
    return {"global_step": np.int64(125000),
            **{f"{name}/adam_{slot}": np.full_like(value, 7)
               for name, value in variables.items() for slot in "mv"}}


def write_albert_files(folder: Path, config: Mapping[str, Any]) -> None:
    """All that stands beside an ALBERT checkpoint; the vocabulary has 120 pieces."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "albert_config.json").write_text(json.dumps(config))
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = train_tokenizer(sentences(), temporary, vocab_size=VOCAB_SIZE)
    (folder / "30k-clean.model").write_bytes(tokenizer.model.content)
    (folder / "30k-clean.vocab").write_text("\n".join(tokenizer.model.pieces))


def write_bert_files(folder: Path, config: Mapping[str, Any]) -> None:
    """All that stands beside a BERT checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bert_config.json").write_text(json.dumps(config))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "sat"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
