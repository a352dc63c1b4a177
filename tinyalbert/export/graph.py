"""An ONNX graph under construction: nodes in the order in which they run, and what they read.

    graph = Graph(model, opset=20)
    with graph.scope("pooler"):
        y = graph("Tanh", graph("MatMul", x, layer.weight))     # nodes /pooler/MatMul, /pooler/Tanh

A value is the name of what a node computes, and that is the node's own name. Besides values, a node
may be given a Parameter or numbers. Both become initializers, and each is stored once, however many
nodes read it: twelve applications of a layer are twelve sets of nodes and one set of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from .. import __version__
from ..errors import InputError
from ..layer import Parameter
from ..pretrained import PreTrainedModel

Value: TypeAlias = str
Input: TypeAlias = Value | Parameter | float | Sequence[int]
Shape: TypeAlias = Sequence[int | str]          # a text is the name of a size that may vary


def import_onnx() -> ModuleType:
    """InputError if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise InputError("ONNX graphs need a package: pip install 'tinyalbert[onnx]'") from error
    return onnx


class Graph:
    def __init__(self, model: PreTrainedModel, opset: int) -> None:
        self.onnx = import_onnx()
        self.model, self.opset = model, opset
        self.names = {id(parameter): model.hugging_face_name(name)
                      for name, parameter in model.named_parameters().items()}
        self.path = ""
        self.nodes: dict[Value, Any] = {}
        self.initializers: dict[Value, np.ndarray] = {}
        self.inputs: dict[Value, Any] = {}
        self.outputs: dict[Value, Any] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is added inside is named /.../name/..."""
        outside, self.path = self.path, f"{self.path}/{name}"
        yield
        self.path = outside

    def __call__(self, op: str, *inputs: Input, **attributes: Any) -> Value:
        """Add a node of this type of the ONNX standard; returns its only output."""
        place = f"{self.path}/{op}"
        if place in self.nodes:                                     # as PyTorch does: Add, Add_1
            place = next(name for i in count(1) if (name := f"{place}_{i}") not in self.nodes)
        values = [given if isinstance(given, str) else self.initializer(given) for given in inputs]
        self.nodes[place] = self.onnx.helper.make_node(op, values, [place], place, **attributes)
        return place

    def initializer(self, given: Parameter | float | Sequence[int]) -> Value:
        """A weight by its name in Hugging Face's files, though in our layout, a linear map's [in,
        out]; numbers by what they are: "0.5" a float32, "1" and "[0, 0, -1]" int64."""
        if isinstance(given, Parameter):
            name = self.names[id(given)]
            array = np.asarray(self.model.backend.to_numpy(given.data), np.float32)
        else:
            dtype = np.float32 if isinstance(given, float) else np.int64
            name, array = str(given), np.array(given, dtype)
        self.initializers.setdefault(name, array)
        return name

    def input(self, name: str, shape: Shape) -> Value:
        """int64, of this shape."""
        self.inputs[name] = self.onnx.helper.make_tensor_value_info(
            name, self.onnx.TensorProto.INT64, shape)
        return name

    def output(self, name: str, value: Value, shape: Shape) -> None:
        """float32, of this shape. The value gets the name wherever it is read."""
        self.outputs[name] = self.onnx.helper.make_tensor_value_info(
            name, self.onnx.TensorProto.FLOAT, shape)
        for node in self.nodes.values():
            node.input[:] = [name if read == value else read for read in node.input]
            node.output[:] = [name if made == value else made for made in node.output]

    def proto(self) -> Any:
        """The onnx.ModelProto."""
        helper = self.onnx.helper
        weights = [self.onnx.numpy_helper.from_array(array, name)
                   for name, array in self.initializers.items()]
        graph = helper.make_graph(list(self.nodes.values()), type(self.model).__name__,
                                  list(self.inputs.values()), list(self.outputs.values()), weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, producer_name="tinyalbert",
                                 producer_version=__version__,
                                 ir_version=helper.find_min_ir_version_for(opsets))
