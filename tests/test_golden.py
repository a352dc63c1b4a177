"""Outputs, losses and every gradient against numbers that PyTorch computed. Needs no PyTorch.

`golden/make_golden.py` says what the files hold and how they were made.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TOLERANCE, assert_close, assert_gradients_close, gradients

from tinyalbert import AlbertConfig, AlbertForPreTraining
from tinyalbert.fast import textbook

FILES = sorted((Path(__file__).parent / "golden").glob("*.npz"))
Golden = dict[str, np.ndarray]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> Golden:
    with np.load(request.param) as file:
        return dict(file)


def part(golden: Golden, name: str) -> Golden:
    return {key.removeprefix(f"{name}/"): value for key, value in golden.items()
            if key.startswith(f"{name}/")}


def make_model(golden: Golden, dtype: str) -> AlbertForPreTraining:
    config = AlbertConfig.from_dict(json.loads(str(golden["config"])))
    model = AlbertForPreTraining(config, dtype=dtype)
    model.load_state_dict(part(golden, "weights"))
    return model


def test_there_are_golden_files() -> None:
    assert len(FILES) == 6
    assert all(path.stat().st_size < 100_000 for path in FILES)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_evaluation(golden: Golden, dtype: str) -> None:
    model = make_model(golden, dtype)
    out = model(**part(golden, "inputs"), output_hidden_states=True, output_attentions=True)
    for name, expected in part(golden, "outputs").items():
        assert_close(out[name], expected, TOLERANCE[dtype], name)


@pytest.mark.parametrize("version", [nullcontext, textbook], ids=["fast", "textbook"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_training(golden: Golden, dtype: str, version: Callable[[], Any]) -> None:
    rng = np.random.default_rng(int(golden["dropout_seed"]))
    probe = np.random.default_rng(int(golden["dropout_seed"]))
    draws = [*probe.random(3, dtype=np.float32), float(probe.integers(2**63))]
    assert np.array_equal(draws, golden["first_draws"]), \
        "this NumPy draws other numbers from the same seed: run golden/make_golden.py again"
    model, expected = make_model(golden, dtype), part(golden, "training")
    with version():
        out, cache = model.forward(**part(golden, "inputs"), rng=rng)
        model.backward(cache)
    assert_close(out.loss, expected["loss"], TOLERANCE[dtype], "loss")
    assert_close(out.sop_logits, expected["sop_logits"], TOLERANCE[dtype], "sop_logits")
    assert_gradients_close(gradients(model), part(golden, "gradients"), TOLERANCE[dtype])
