"""The same graph with its weights in 8 bits: ONNX Runtime's dynamic quantisation.

A matrix becomes whole numbers of 8 bits and a scale for each of its columns. What is multiplied
with it is rounded to 8 bits too, at run time, with a scale of its own in each call (hence
"dynamic": nothing has to be measured beforehand). Embedding tables have one scale. Biases, norms,
softmax, and the products of attention, in which no weight takes part, stay float32.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .graph import import_onnx

if TYPE_CHECKING:
    from onnx import ModelProto


def quantize(model: ModelProto) -> ModelProto:
    """A copy in 8 bits; InputError without the package onnxruntime."""
    onnx = import_onnx()
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise InputError("8 bits need ONNX Runtime: pip install 'tinyalbert[onnx]'") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        logging.disable(logging.WARNING)        # it advises a preparation that ours does not need
        try:
            # reduce_range: 7 bits of the 8, since x86 processors before VNNI add two products in
            # 16 bits, and with 8 the sums would overflow there without a word.
            # MatMulConstBOnly would leave out the decoder, whose matrix is the word table behind a
            # Transpose, and then the table would be stored twice, in 8 bits and in 32.
            quantize_dynamic(model, path, per_channel=True, reduce_range=True,
                             weight_type=QuantType.QInt8, nodes_to_quantize=reads_weights(model),
                             extra_options={"MatMulConstBOnly": False})
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(path)


def reads_weights(model: ModelProto) -> list[str]:
    """The names of the nodes that read a matrix of the file, or the decoder's turned one."""
    matrices = {weight.name for weight in model.graph.initializer if len(weight.dims) == 2}
    nodes: list[str] = []
    for node in model.graph.node:
        if node.op_type in ("Gather", "MatMul", "Transpose") and matrices & set(node.input):
            nodes.append(node.name)
            matrices.update(node.output if node.op_type == "Transpose" else ())
    return nodes
