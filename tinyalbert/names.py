"""What each tensor is called in Hugging Face's files, where that is not our own path to it.

Their tree of modules differs from ours in a few places, and BERT's from ALBERT's in most: for the
same tensor of the same block

    here     albert.encoder.albert_layer_groups.0.albert_layers.0.feed_forward.ffn.weight
    ALBERT   albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight
    BERT     bert.encoder.layer.0.intermediate.dense.weight
"""

from __future__ import annotations

import re
from typing import Any

# Our text -> theirs, applied in this order.
RENAMED: dict[str, list[tuple[str, str]]] = {
    "albert": [
        ("feed_forward.LayerNorm.", "full_layer_layer_norm."),
        ("feed_forward.", ""),
        ("pooler.dense.", "pooler."),
        ("sop_classifier.", "sop_classifier.classifier."),
    ],
    "bert": [
        ("albert.", "bert."),
        ("albert_layer_groups.", "layer."),
        (".albert_layers.0.", "."),
        ("attention.query.", "attention.self.query."),
        ("attention.key.", "attention.self.key."),
        ("attention.value.", "attention.self.value."),
        ("attention.dense.", "attention.output.dense."),
        ("attention.LayerNorm.", "attention.output.LayerNorm."),
        ("feed_forward.ffn.", "intermediate.dense."),
        ("feed_forward.ffn_output.", "output.dense."),
        ("feed_forward.LayerNorm.", "output.LayerNorm."),
        ("predictions.", "cls.predictions."),
        ("predictions.dense.", "predictions.transform.dense."),
        ("predictions.LayerNorm.", "predictions.transform.LayerNorm."),
        ("sop_classifier.", "cls.seq_relationship."),
    ],
}
# Files made from TensorFlow's before 2019 say gamma and beta.
OLD_NAMES = [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")]
# Not parameters: tables of 0, 1, 2, ... that older versions of Transformers saved.
BUFFER = re.compile(r"(^|\.)embeddings\.(position_ids|token_type_ids)$")


def hugging_face_name(name: str, family: str) -> str:
    """The name in a file of the parameter that `walk` calls `name`."""
    for ours, theirs in RENAMED[family]:
        name = name.replace(ours, theirs)
    return name


def without_prefix(name: str) -> str:
    """An encoder's own files say `embeddings...`, those with a head on it `albert.embeddings...`;
    and older files have older names. This is what they agree on."""
    for old, new in OLD_NAMES:
        name = name.replace(old, new)
    return name.removeprefix("albert.").removeprefix("bert.")


def to_hugging_face(name: str, array: Any) -> Any:
    """Linear weights are [out, in] in files and [in, out] here, so they are transposed; tables, and
    the decoder that is tied to one, are not. Also the way back."""
    is_table = name.endswith(("embeddings.weight", "decoder.weight"))
    return array.T if array.ndim == 2 and not is_table else array
