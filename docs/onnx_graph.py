"""Draw docs/onnx_graph.svg: what is in an exported albert-base, and which nodes read which weights.

    python docs/onnx_graph.py

Every arrow is a fact about the graph: somewhere in that box a node reads one of those weights.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from onnx import numpy_helper

from tinyalbert import AlbertForMaskedLM
from tinyalbert.export.tasks import build_graph
from tinyalbert.published import PUBLISHED
from tinyalbert.report.figures import BLUE, INK, MUTED, ORANGE, new_figure

WEIGHTS = {             # the beginning of a weight's name, and what to call it
    "albert.embeddings.word_embeddings": "word table",
    "albert.embeddings.": "positions, segments, norm",
    "albert.encoder.embedding_hidden_mapping_in": "map from E to H",
    "albert.encoder.albert_layer_groups": "the layer",
    "predictions.": "masked-word head",
}
LEFT, RIGHT, HALF = 0, 7.4, 2.2         # the middles of both columns, half the width of a box


def weight_of(name: str) -> str | None:
    return next((text for start, text in WEIGHTS.items() if name.startswith(start)), None)


def block_of(node: str) -> str:
    """/encoder/layer_3/attention/query/MatMul -> layer_3"""
    parts = node.split("/")[1:]
    return parts[1] if parts[0] == "encoder" else parts[0]


def box(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    height = 0.5 if "\n" not in text else 0.95
    axes.add_patch(FancyBboxPatch((x - HALF, y - height / 2), 2 * HALF, height, facecolor="white",
                                  boxstyle="round,pad=0.08", edgecolor=color))
    axes.text(x, y, text, ha="center", va="center", fontsize=9, color=INK, linespacing=1.3)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 0.9,
                                              "shrinkA": 0, "shrinkB": 0})


def draw(graph: Any, path: Path) -> None:
    sizes: Counter[str] = Counter()
    for tensor in graph.initializer:
        if name := weight_of(tensor.name):
            sizes[name] += numpy_helper.to_array(tensor).size
    nodes = Counter(block_of(node.name) for node in graph.node)
    reads = sorted({(weight, block_of(node.name)) for node in graph.node for name in node.input
                    if (weight := weight_of(name))})
    blocks = [block for block in nodes if block != "attention_bias"]
    height = {block: -i for i, block in enumerate(["input_ids", *blocks, "logits"])}
    middle = {"word table": -0.2, "positions, segments, norm": -1.9, "map from E to H": -3.4,
              "the layer": -8.5, "masked-word head": -len(blocks)}
    figure = new_figure(7.4, 7.2)
    axes = figure.subplots()
    for weight, block in reads:
        arrow(axes, (LEFT + HALF + 0.1, middle[weight]), (RIGHT - HALF - 0.1, height[block]),
              ORANGE if weight == "the layer" else BLUE)
    for weight, y in middle.items():
        box(axes, LEFT, y, f"{weight}\n{sizes[weight]:,} numbers",
            ORANGE if weight == "the layer" else BLUE)
    for block, y in height.items():
        box(axes, RIGHT, y, f"{block}   {nodes[block]} nodes" if block in nodes else block, MUTED)
        if block != "logits":
            arrow(axes, (RIGHT, y - 0.33), (RIGHT, y - 0.67), MUTED)
    axes.set_title("weights, each stored once", loc="left", fontsize=10, color=INK)
    axes.set_title("nodes, in the order in which they run", loc="right", fontsize=10, color=INK)
    axes.set(xlim=(LEFT - HALF - 0.1, RIGHT + HALF + 0.1), ylim=(-len(blocks) - 1.4, 0.5))
    axes.axis("off")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    matplotlib.rcParams["svg.hashsalt"] = "the same file every time"
    model = AlbertForMaskedLM(PUBLISHED["albert-base-v2"])
    draw(build_graph(model).graph, Path(__file__).with_name("onnx_graph.svg"))
