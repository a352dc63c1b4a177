"""One forward and one backward pass through ALBERT's block, as a page to look into.

    python -m tinyalbert.course.block_view block.html

Every tensor of the pass is drawn with its values and its gradient. Point at one (or go to it with
the tab key) to see its shape, its numbers and the two lines of code that made them. The lines are
those that run here, on a block so small that all its numbers fit on a page: one sentence of five
tokens, the last of them padding, H = 8, two heads, F = 16. The page is one file, without network.
"""

from __future__ import annotations

import json
import math
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from ..config import AlbertConfig
from ..encoder import AlbertEncoder, AlbertLayer
from ..files import write_atomically
from ..inputs import MASKED
from ..model import AlbertModel

TOKENS = ["[CLS]", "the", "duke", "[SEP]", "[PAD]"]
CONFIG = AlbertConfig(vocab_size=5, embedding_size=8, hidden_size=8, num_hidden_layers=1,
                      num_attention_heads=2, intermediate_size=16, max_position_embeddings=8,
                      initializer_range=0.5)


class Line(NamedTuple):
    """A tensor: how it comes about, what brings its gradient, and where it is drawn."""

    name: str
    forward: str
    backward: str
    says: str
    row: int
    column: float = 1


LINES = [
    Line("x", "x", "d_query @ Wq.T + d_key @ Wk.T + d_value @ Wv.T + d_sum1",
         "Five tokens, a row each. Four ways lead on from here, so four gradients come back.", 0),
    Line("query", "linear(x, Wq, bq)", "merge(d_scores @ split(key)) / sqrt(D)",
         "What each token asks for.", 1, 0),
    Line("key", "linear(x, Wk, bk)", "merge(swap(d_scores) @ split(query)) / sqrt(D)",
         "What each token offers to be found by.", 1, 1),
    Line("value", "linear(x, Wv, bv)", "merge(swap(probs) @ split(d_context))",
         "What each token says if it is looked at.", 1, 2),
    Line("scores", "split(query) @ swap(split(key)) / sqrt(D) + bias",
         "softmax_backward(d_probs, probs)",
         "How well questions and offers fit, for both heads, one below the other. The bias takes "
         "10000 from the padding's column.", 2, 0.5),
    Line("probs", "softmax(scores)", "split(d_context) @ swap(split(value))",
         "How each token divides its attention: every row adds up to 1, and padding gets none.",
         3, 0.5),
    Line("context", "merge(probs @ split(value))", "d_attended @ Wo.T",
         "What the others say, averaged with these weights.", 4, 1),
    Line("attended", "linear(context, Wo, bo)", "d_sum1", "What both heads found, mixed.", 5),
    Line("sum1", "x + attended", "norm_backward(d_a, sum1, gain1)",
         "The residual: what the token was, plus what it heard. Its whole gradient goes to both.",
         6),
    Line("a", "norm(sum1, gain1, shift1)", "d_widened @ W1.T + d_sum2",
         "Every token to mean 0 and deviation 1. Here the block's first half ends.", 7),
    Line("widened", "linear(a, W1, c1)", "gelu_backward(d_activated, widened)",
         "H becomes F: twice as wide here, four times in published models.", 8),
    Line("activated", "gelu(widened)", "d_narrowed @ W2.T",
         "What is small or negative is held back.", 9),
    Line("narrowed", "linear(activated, W2, c2)", "d_sum2", "F becomes H again.", 10),
    Line("sum2", "a + narrowed", "norm_backward(d_y, sum2, gain2)", "The second residual.", 11),
    Line("y", "norm(sum2, gain2, shift2)", "d_y",
         "What the same block gets as its x when it is applied again. Its gradient comes from "
         "there, or from the loss; here it is random.", 12),
]
WEIGHTS = {"Wq": "attention.query.weight", "bq": "attention.query.bias",
           "Wk": "attention.key.weight", "bk": "attention.key.bias",
           "Wv": "attention.value.weight", "bv": "attention.value.bias",
           "Wo": "attention.dense.weight", "bo": "attention.dense.bias",
           "gain1": "attention.LayerNorm.weight", "shift1": "attention.LayerNorm.bias",
           "W1": "feed_forward.ffn.weight", "c1": "feed_forward.ffn.bias",
           "W2": "feed_forward.ffn_output.weight", "c2": "feed_forward.ffn_output.bias",
           "gain2": "feed_forward.LayerNorm.weight", "shift2": "feed_forward.LayerNorm.bias"}


def block() -> AlbertLayer:
    """A small layer of the package, of which this page shows every step."""
    encoder: AlbertEncoder = AlbertModel(CONFIG, dtype="float64", seed=3).encoder
    return encoder.applications()[0]


def split(x: np.ndarray) -> np.ndarray:
    """[T, H] -> [N, T, D]"""
    return x.reshape(len(x), CONFIG.num_attention_heads, -1).swapaxes(0, 1)


def merge(x: np.ndarray) -> np.ndarray:
    """[N, T, D] -> [T, H]"""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def norm_backward(dy: np.ndarray, x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    cache = F.layer_norm(x, gain, 0 * gain, CONFIG.layer_norm_eps)[1]
    return F.layer_norm_backward(dy, cache)[0]


def run(layer: AlbertLayer) -> dict[str, np.ndarray]:
    """Every tensor [T, ...] and, as d_..., its gradient: the lines from the first to the last, then
    from the last to the first."""
    parameters = layer.named_parameters()
    rng = np.random.default_rng(0)
    bias = np.where([token == "[PAD]" for token in TOKENS], MASKED, 0.0)        # [T], of the keys
    names: dict[str, Any] = {
        **{name: parameters[path].data for name, path in WEIGHTS.items()},
        "x": rng.standard_normal((len(TOKENS), CONFIG.hidden_size)), "bias": bias,
        "d_y": rng.standard_normal((len(TOKENS), CONFIG.hidden_size)),
        "D": CONFIG.head_size, "sqrt": math.sqrt, "split": split, "merge": merge,
        "swap": lambda x: x.swapaxes(-1, -2), "linear": F.linear, "softmax": F.softmax,
        "softmax_backward": F.softmax_backward, "gelu": lambda x: F.gelu_new(x)[0],
        "gelu_backward": lambda dy, x: F.gelu_new_backward(dy, F.gelu_new(x)[1]),
        "norm": lambda x, gain, shift: F.layer_norm(x, gain, shift, CONFIG.layer_norm_eps)[0],
        "norm_backward": norm_backward}
    for line in LINES:
        names[line.name] = eval(line.forward, names)
    for line in reversed(LINES):
        names[f"d_{line.name}"] = eval(line.backward, names)
    return {name: names[name] for line in LINES for name in (line.name, f"d_{line.name}")}


def page() -> str:
    """The page as HTML."""
    tensors = run(block())
    data = [{**line._asdict(), "value": tensors[line.name].tolist(),
             "gradient": tensors[f"d_{line.name}"].tolist(),
             "shape": list(tensors[line.name].shape), "from": sources(line)} for line in LINES]
    template = files(__package__).joinpath("block_view.html").read_text(encoding="utf-8")
    return (template.replace("{{lines}}", json.dumps(data, allow_nan=False))
            .replace("{{tokens}}", json.dumps(TOKENS)))


def sources(line: Line) -> list[str]:
    """The tensors that it is made of."""
    known = {other.name for other in LINES} - {line.name}
    words = "".join(c if c.isalnum() else " " for c in line.forward).split()
    return sorted(known.intersection(words))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tinyalbert.course.block_view FILE.html")
    write_atomically(Path(sys.argv[1]), page().encode())


if __name__ == "__main__":
    main()
