"""The page of the block: its lines compute what the package's layer does, gradient for gradient."""

from __future__ import annotations

import json
import re

import numpy as np

from tinyalbert.course.block_view import LINES, TOKENS, block, page, run
from tinyalbert.inputs import attention_bias


def test_the_lines_are_the_layer() -> None:
    layer, tensors = block(), run(block())
    mask = np.array([[token != "[PAD]" for token in TOKENS]])
    y, cache = layer.forward(tensors["x"][None], attention_bias(mask, np.float64))
    np.testing.assert_allclose(tensors["y"], y[0], rtol=1e-12)
    np.testing.assert_allclose(tensors["probs"], cache.attention.attention.probs[0], atol=1e-15)
    np.testing.assert_allclose(tensors["a"], cache.feed_forward.x[0], rtol=1e-12)
    dx = layer.backward(tensors["d_y"][None], cache)
    np.testing.assert_allclose(tensors["d_x"], dx[0], rtol=1e-9, atol=1e-12)
    grads = layer.named_parameters()
    np.testing.assert_allclose(tensors["x"].T @ tensors["d_query"],
                               grads["attention.query.weight"].grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(tensors["a"].T @ tensors["d_widened"],
                               grads["feed_forward.ffn.weight"].grad, rtol=1e-9, atol=1e-12)


def test_the_page_is_whole_and_needs_no_network() -> None:
    text = page()
    assert "{{" not in text.replace("${{", "")
    assert "http" not in text.replace("http://www.w3.org", "")
    data = json.loads(re.search(r"const lines = (.*?), tokens = ", text)[1])      # type: ignore
    assert [line["name"] for line in data] == [line.name for line in LINES]
    for line in data:
        assert np.shape(line["value"]) == np.shape(line["gradient"]) == tuple(line["shape"])
    assert {line["name"]: line["from"] for line in data}["sum1"] == ["attended", "x"]
