"""Training on the GPU, from the embeddings to the optimizer: in CuPy where there is a GPU, and
everywhere in its double that runs the same kernels on the CPU (gpu_double.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_double import KernelArray, KernelBackend, RawKernel, open_backend
from tiny import assert_close, assert_gradients_close, gradients, make_batch, randomize, tiny_config
from toy_run import MODEL, STEPS, quiet, settings

from tinyalbert import AlbertForPreTraining
from tinyalbert.backend import Backend, get_backend
from tinyalbert.config import AlbertConfig
from tinyalbert.errors import InputError
from tinyalbert.fast import gpu_kernels, textbook
from tinyalbert.optim import OPTIMIZERS, clip_by_global_norm
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.training.metrics_log import read_metrics

DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3,
           "classifier_dropout_prob": 0.4}
MODELS: dict[str, dict[str, Any]] = {
    "gelu_new": {},
    "gelu": {"hidden_act": "gelu"},
    "relu": {"hidden_act": "relu"},
    "nothing shared": {"sharing": "none"},
    "checkpointing": {"gradient_checkpointing": True},
    "wide": {"hidden_size": 320, "intermediate_size": 600, "embedding_size": 130,
             "num_hidden_layers": 2},
}


@pytest.fixture(params=["double", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    monkeypatch.setattr(RawKernel, "orders", [0])       # test_gpu_kernels.py tries them all
    backend = open_backend(request.param)
    yield backend
    backend.set_precision("float32")


def make_model(config: AlbertConfig, backend: Backend | str = "numpy",
               dtype: str = "float32") -> AlbertForPreTraining:
    """Every parameter drawn; the wider, the smaller, or rounding would grow from layer to layer."""
    model = randomize(AlbertForPreTraining(config, backend=backend, dtype=dtype))
    for parameter in model.named_parameters().values():
        if parameter.data.ndim == 2:
            parameter.data *= (8 / config.hidden_size) ** 0.5
    return model


def train(model: AlbertForPreTraining, optimizer: str, steps: int = 3) -> None:
    """With dropout where the model has it."""
    optimize = OPTIMIZERS[optimizer](model.named_parameters())
    rng = np.random.default_rng(7)
    for seed in range(steps):
        _, cache = model.forward(**make_batch(model.config, seed=seed), rng=rng)
        model.backward(cache)
        clip_by_global_norm(model.named_parameters(), 1.0)
        optimize.step(1e-2)
        model.zero_grad()


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS.keys())
def test_the_loss_and_every_gradient(backend: Backend, changes: dict[str, Any]) -> None:
    """Against the textbook in float64."""
    config = tiny_config(**changes)
    model, exact = make_model(config, backend), make_model(config, dtype="float64")
    batch = make_batch(config)
    out, cache = model.forward(**batch)
    model.backward(cache)
    with textbook():
        expected, cache = exact.forward(**batch)
        exact.backward(cache)
    for name in ("loss", "masked_lm_loss", "sop_loss", "prediction_logits"):
        assert_close(backend.to_numpy(out[name]), expected[name], 3e-6, name)
    assert_gradients_close(gradients(model), gradients(exact), 1e-5)


@pytest.mark.parametrize("changes", [DROPOUT, {**DROPOUT, "gradient_checkpointing": True}], ids=len)
def test_dropout_is_the_textbooks(backend: Backend, changes: dict[str, Any]) -> None:
    """Which draws the same random numbers and keeps them."""
    model, expected = (make_model(tiny_config(**changes), backend) for _ in range(2))
    batch = make_batch(model.config)
    _, cache = model.forward(**batch, rng=np.random.default_rng(3))
    model.backward(cache)
    with textbook():
        _, cache = expected.forward(**batch, rng=np.random.default_rng(3))
        expected.backward(cache)
    assert_gradients_close(gradients(model), gradients(expected), 1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_steps_lead_where_numpys_lead(backend: Backend, optimizer: str) -> None:
    model, exact = make_model(tiny_config(), backend), make_model(tiny_config(), dtype="float64")
    before = {name: value.copy() for name, value in exact.state_dict().items()}
    train(model, optimizer)
    with textbook():
        train(exact, optimizer)
    for name, expected in exact.state_dict().items():
        step = float(np.abs(expected - before[name]).max())
        # The bias of the keys has no gradient but rounding, and Adam makes every gradient count.
        if step and not name.endswith("key.bias"):
            assert_close(model.state_dict()[name], expected, 2e-3, name, scale=step)


def test_two_runs_are_the_same_to_the_last_bit(backend: Backend) -> None:
    one, other = (make_model(tiny_config(**DROPOUT), backend) for _ in range(2))
    train(one, "lamb")
    train(other, "lamb")
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], name)


def test_a_step_waits_for_nothing(backend: Backend) -> None:
    """The device may be steps behind. CuPy tells when it would wait, and so does the double."""
    model = make_model(tiny_config(**DROPOUT), backend)
    train(model, "lamb", steps=1)           # kernels are compiled
    waits = KernelArray.waits
    with backend._cupyx.allow_synchronize(False):       # type: ignore[attr-defined]
        train(model, "lamb", steps=1)
    assert KernelArray.waits == waits


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_a_lower_precision_costs_so_much_and_no_more(backend: Backend, precision: Any) -> None:
    model, exact = make_model(tiny_config(), backend), make_model(tiny_config())
    batch = make_batch(model.config)
    backend.set_precision(precision)
    out, cache = model.forward(**batch)
    model.backward(cache)
    expected, cache = exact.forward(**batch)
    exact.backward(cache)
    error = abs(float(out.loss) - expected.loss) / expected.loss
    assert error < {"tf32": 1e-3, "bfloat16": 1e-2}[precision]
    if isinstance(backend, KernelBackend):      # cuBLAS may do so small ones in full precision
        assert error > 1e-7
    assert_gradients_close(gradients(model), gradients(exact),
                           {"tf32": 1e-2, "bfloat16": 1e-1}[precision])
    assert all(p.data.dtype == p.grad.dtype == np.float32
               for p in model.named_parameters().values())


def test_float64_is_left_to_the_textbook(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_kernels, "kernel", None)        # no kernel may be asked for
    backend.set_precision("bfloat16")
    model, exact = (make_model(tiny_config(hidden_act="gelu"), where, "float64")
                    for where in (backend, "numpy"))
    for m in (model, exact):
        m.backward(m.forward(**make_batch(m.config))[1])
    assert_gradients_close(gradients(model), gradients(exact), 1e-12)


def test_which_products_are_in_which_precision() -> None:
    """Under bfloat16 the batched ones of attention are in TF32. (0, 14: float32, bfloat16 inputs;
    68, 77: sums in float32, inputs rounded to TF32.)"""
    backend = KernelBackend()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinyalbert.backend._known", {KernelArray: backend})
        model = make_model(tiny_config(), open_backend("double"))
        for precision, kinds in (("float32", {(0, 68)}), ("tf32", {(0, 77)}),
                                 ("bfloat16", {(14, 68), (0, 77)})):
            backend.xp.cuda.cublas.calls.clear()
            backend.set_precision(precision)        # type: ignore[arg-type]
            _, cache = model.forward(**make_batch(model.config))
            model.backward(cache)
            assert set(backend.xp.cuda.cublas.calls) == kinds


def test_memory_is_reported(backend: Backend) -> None:
    x = backend.xp.empty((1000,), np.float32)
    memory = backend.memory()
    assert memory is not None and 0 < memory.used <= memory.held
    assert len(x) == 1000 and Backend().memory() is None


def test_pretraining_goes_as_on_the_cpu(backend: Backend, corpus: Path, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The same commands, the same numbers in the log. Without dropout: the random streams differ.
    """
    if isinstance(backend, KernelBackend):
        monkeypatch.setattr("tinyalbert.backend.CupyBackend", KernelBackend)
    config = MODEL.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    logs = []
    for name in ("numpy", "cupy"):
        pretrain(tmp_path / name, config, settings(corpus, backend=name, log_every=1), log=quiet)
        logs.append(read_metrics(tmp_path / name))
    expected, ours = logs
    assert len(ours) == len(expected) > STEPS and ours[-1]["step"] == STEPS
    for line, other in zip(ours, expected, strict=True):
        for key in ("loss", "masked_lm_loss", "reference_loss", "grad_norm"):
            if key in other:
                assert line[key] == pytest.approx(other[key], rel=2e-3), (line["step"], key)


def test_the_benchmark_says_what_it_needs() -> None:
    try:
        get_backend("cupy")
    except InputError:
        script = Path(__file__).parents[1] / "benchmarks" / "gpu_step.py"
        ended = subprocess.run([sys.executable, script], capture_output=True, text=True)
        assert ended.returncode == 1 and ended.stdout == ""
        assert ended.stderr.startswith("gpu_step.py needs a GPU, CuPy, PyTorch and Transformers: ")
        assert ended.stderr.count("\n") == 1
    else:
        pytest.skip("there is a GPU: it would begin")
