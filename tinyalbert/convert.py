"""Google's TensorFlow checkpoints of ALBERT and BERT, written as Hugging Face keeps a model.

What becomes of each variable is in the two tables; compare them with the scopes in Google's
modeling.py and run_pretraining.py. Finding and reading the files is in `google_files.py`.

Left out: the classifier of a fine-tuned checkpoint, which does not say what its task was, and
checkpoints of TensorFlow 2, whose variables have other names.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .config import AnyConfig
from .errors import InputError
from .google_files import find_checkpoint, read_config, read_tokenizer, read_variables

# Google's scope, Hugging Face's module, what is in it, and its sizes by letter (P: positions, Y:
# types of token). "block" is one layer, and stands for its full name in BLOCKS.
ALBERT = """
bert/embeddings/word_embeddings           albert.embeddings.word_embeddings              table V E
bert/embeddings/position_embeddings       albert.embeddings.position_embeddings          table P E
bert/embeddings/token_type_embeddings     albert.embeddings.token_type_embeddings        table Y E
bert/embeddings/LayerNorm                 albert.embeddings.LayerNorm                    norm E
bert/encoder/embedding_hidden_mapping_in  albert.encoder.embedding_hidden_mapping_in     dense E H
block/attention_1/self/query              block.attention.query                          dense H H
block/attention_1/self/key                block.attention.key                            dense H H
block/attention_1/self/value              block.attention.value                          dense H H
block/attention_1/output/dense            block.attention.dense                          dense H H
block/LayerNorm                           block.attention.LayerNorm                      norm H
block/ffn_1/intermediate/dense            block.ffn                                      dense H F
block/ffn_1/intermediate/output/dense     block.ffn_output                               dense F H
block/LayerNorm_1                         block.full_layer_layer_norm                    norm H
bert/pooler/dense                         albert.pooler                                  dense H H
cls/predictions/transform/dense           predictions.dense                              dense H E
cls/predictions/transform/LayerNorm       predictions.LayerNorm                          norm E
cls/predictions                           predictions                                    bias V
cls/seq_relationship                      sop_classifier.classifier                      output 2 H
"""
BERT = """
bert/embeddings/word_embeddings           bert.embeddings.word_embeddings                table V H
bert/embeddings/position_embeddings       bert.embeddings.position_embeddings            table P H
bert/embeddings/token_type_embeddings     bert.embeddings.token_type_embeddings          table Y H
bert/embeddings/LayerNorm                 bert.embeddings.LayerNorm                      norm H
block/attention/self/query                block.attention.self.query                     dense H H
block/attention/self/key                  block.attention.self.key                       dense H H
block/attention/self/value                block.attention.self.value                     dense H H
block/attention/output/dense              block.attention.output.dense                   dense H H
block/attention/output/LayerNorm          block.attention.output.LayerNorm               norm H
block/intermediate/dense                  block.intermediate.dense                       dense H F
block/output/dense                        block.output.dense                             dense F H
block/output/LayerNorm                    block.output.LayerNorm                         norm H
bert/pooler/dense                         bert.pooler.dense                              dense H H
cls/predictions/transform/dense           cls.predictions.transform.dense                dense H H
cls/predictions/transform/LayerNorm       cls.predictions.transform.LayerNorm            norm H
cls/predictions                           cls.predictions                                bias V
cls/seq_relationship                      cls.seq_relationship                           output 2 H
"""
TABLES = {"albert": ALBERT, "bert": BERT}
BLOCKS = {"albert": ("bert/encoder/transformer/group_{0}/inner_group_{1}/",
                     "albert.encoder.albert_layer_groups.{0}.albert_layers.{1}."),
          "bert": ("bert/encoder/layer_{0}/", "bert.encoder.layer.{0}.")}
# Google's variable, Hugging Face's tensor, and which of the sizes it has. Google keeps a kernel
# [in, out] and Hugging Face [out, in]; tables and `output_weights` are alike in both.
ALL, FIRST, LAST = slice(None), slice(1), slice(-1, None)
KINDS = {"table": [("", ".weight", ALL)],
         "dense": [("/kernel", ".weight", ALL), ("/bias", ".bias", LAST)],
         "norm": [("/gamma", ".weight", ALL), ("/beta", ".bias", ALL)],
         "bias": [("/output_bias", ".bias", ALL)],
         "output": [("/output_weights", ".weight", ALL), ("/output_bias", ".bias", FIRST)]}

MAP = "bert/encoder/embedding_hidden_mapping_in/"
HEADS = {"cls/predictions/": "masked words", "cls/seq_relationship/": "pairs of segments"}
# All that a conversion writes, and therefore all that overwrite may delete.
WRITTEN = ("config.json", "model.safetensors", "spiece.model", "vocab.txt",
           "tokenizer_config.json", "special_tokens_map.json")


class Row(NamedTuple):
    variable: str                   # Google's name
    tensor: str                     # Hugging Face's
    shape: tuple[int, ...]          # of the variable


@dataclass(frozen=True)
class Converted:
    """What a conversion has done.

    architecture: the Hugging Face class that has all these tensors.
    shapes: of the tensors, by name.
    notes: what was done besides copying, in sentences.
    ignored: the variables that have no place in the model.
    """

    architecture: str
    shapes: dict[str, tuple[int, ...]]
    notes: list[str]
    ignored: list[str]

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())


def convert_checkpoint(source: str | Path, directory: str | Path, *,
                       do_lower_case: bool | None = None, overwrite: bool = False) -> Converted:
    """Write Google's model in `source` to `directory`, as `from_pretrained` reads it.

    source: its folder, a .tar.gz or .zip of that, or the checkpoint itself (`.../model.ckpt-best`).
    do_lower_case: for the tokenizer. None: True for SentencePiece, as in ALBERT's English models;
        for WordPiece what the model's name says (uncased, cased), since none of its files does.
    overwrite: replace the model that is in `directory`.

    Nothing is written or deleted before everything is read and fits the configuration. InputError
    if it does not, if a file is missing or damaged, or without TensorFlow.
    """
    from .weights import write_tensors
    source, directory = Path(source), Path(directory)
    replaced = files_to_replace(directory, overwrite)
    with tempfile.TemporaryDirectory() as temporary:
        prefix, folder = find_checkpoint(source, Path(temporary))
        config = read_config(folder)
        tokenizer = read_tokenizer(folder, f"{source.name} {prefix.resolve().parent.name}",
                                   do_lower_case)
        if tokenizer and len(tokenizer) > config.vocab_size:
            raise InputError(f"the vocabulary beside {prefix} has {len(tokenizer)} entries, the "
                             f"configuration {config.vocab_size}: they are of different models")
        variables = read_variables(prefix)
        tensors, notes = to_hugging_face(variables, config)
        architecture = architecture_of(tensors, config)

        delete(replaced)
        config.save_pretrained(directory, architectures=[architecture], dtype="float32")
        if tokenizer:
            tokenizer.save_pretrained(directory)
        else:
            notes.append("no vocabulary is beside the checkpoint, so no tokenizer was written")
        write_tensors(directory, tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    return Converted(architecture, shapes, notes, ignored=sorted(variables))


def files_to_replace(directory: Path, overwrite: bool) -> list[Path]:
    """What is in the directory; InputError if it may not be deleted."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file: give a directory to write to")
    try:
        held = sorted(directory.iterdir()) if directory.exists() else []
    except OSError as error:
        raise InputError(f"cannot read the directory {directory}: {error.strerror}") from error
    if held and not overwrite:
        raise InputError(f"{directory} is not empty: add --overwrite to replace the model in it, "
                         "or give another --out")
    if foreign := [path.name for path in held if path.name not in WRITTEN or path.is_dir()]:
        raise InputError(f"{directory} holds {foreign[0]!r}, which is not of a converted model: "
                         "nothing was deleted, give another --out")
    return held


def delete(files: list[Path]) -> None:
    for path in files:
        try:
            path.unlink()
        except OSError as error:
            raise InputError(f"cannot replace {path}: {error.strerror}") from error


def rows(config: AnyConfig) -> Iterator[Row]:
    """The table of the family, with its blocks written out and its sizes filled in."""
    sizes = {"V": config.vocab_size, "E": config.embedding_size, "H": config.hidden_size,
             "F": config.intermediate_size, "P": config.max_position_embeddings,
             "Y": config.type_vocab_size, "2": 2}
    theirs, ours = BLOCKS[config.model_type]
    places = ((group, inner) for group in range(config.num_hidden_groups)
              for inner in range(config.inner_group_num))
    for place in places:
        for line in TABLES[config.model_type].strip().splitlines():
            if line.startswith("block/") or place == (0, 0):    # what is no block is there once
                scope, module, kind, *letters = line.replace("block/", theirs).replace(
                    "block.", ours).format(*place).split()
                shape = tuple(sizes[letter] for letter in letters)
                for variable, tensor, part in KINDS[kind]:
                    yield Row(scope + variable, module + tensor, shape[part])


def to_hugging_face(variables: dict[str, np.ndarray],
                    config: AnyConfig) -> tuple[dict[str, np.ndarray], list[str]]:
    """Hugging Face's tensors by name, and notes. Takes what it uses out of `variables`, so that
    what is left has no place in the model; InputError if part of the encoder is left."""
    def has(scope: str) -> bool:
        return any(name.startswith(scope) for name in variables)

    absent = tuple(scope for scope in HEADS if not has(scope))
    notes = [f"the checkpoint has no head for {HEADS[scope]}, so none was written"
             for scope in absent]
    unmapped = (config.maps_embeddings and config.embedding_size == config.hidden_size
                and not has(MAP))
    if unmapped:
        notes.append("Google has no map from embeddings to the encoder where E = H and Hugging "
                     "Face always has one, so the identity was written")
    tensors = {}
    for name, tensor, shape in rows(config):
        if name.startswith(absent):
            continue
        if unmapped and name.startswith(MAP):
            value = np.eye(*shape, dtype="f4") if len(shape) == 2 else np.zeros(shape, "f4")
        elif name in variables:
            value = variables.pop(name)
        else:
            raise InputError(f"the checkpoint has no variable {name!r}, which the configuration "
                             "asks for: they are of different models")
        if value.shape != shape:
            raise InputError(f"variable {name!r} has shape {list(value.shape)}, the configuration "
                             f"asks for {list(shape)}: they are of different models")
        tensors[tensor] = np.ascontiguousarray(value.T if name.endswith("/kernel") else value)
    if extra := sorted(name for name in variables if name.startswith("bert/")):
        raise InputError(f"the checkpoint has a variable {extra[0]!r}, for which the configuration "
                         "has no place: they are of different models")
    return tensors, notes


def architecture_of(tensors: Iterable[str], config: AnyConfig) -> str:
    """The Hugging Face class that has the heads among these tensors."""
    names = " ".join(tensors)
    heads = ("ForPreTraining" if "sop_classifier" in names or "seq_relationship" in names
             else "ForMaskedLM" if "predictions" in names else "Model")
    return config.model_type.capitalize() + heads
