"""LAMB and AdamW against the update rules written out number by number, clipping, and the rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_batch, tiny_config

from tinyalbert import AlbertForPreTraining
from tinyalbert.backend import Backend, get_backend
from tinyalbert.layer import Parameter
from tinyalbert.optim import LAMB, OPTIMIZERS, AdamW, clip_by_global_norm, learning_rate

START = {"dense.weight": [[0.5, -1.0], [2.0, 0.25]], "dense.bias": [0.1, -0.3],
         "LayerNorm.weight": [1.0, 1.5], "empty.weight": [0.0, 0.0], "still.weight": [1.0, 2.0]}
GRADIENTS = [       # the first and the last are longer than 1
    {"dense.weight": [[0.9, -0.4], [0.3, 1.2]], "dense.bias": [0.5, -0.8],
     "LayerNorm.weight": [0.7, 0.1], "empty.weight": [0.2, -0.6], "still.weight": [0.0, 0.0]},
    {"dense.weight": [[0.1, 0.2], [-0.3, 0.05]], "dense.bias": [0.2, 0.1],
     "LayerNorm.weight": [-0.1, 0.3], "empty.weight": [0.0, 0.1], "still.weight": [0.0, 0.0]},
    {"dense.weight": [[-2.0, 0.7], [0.0, 0.4]], "dense.bias": [0.0, 3.0],
     "LayerNorm.weight": [0.2, -0.9], "empty.weight": [1.1, 0.3], "still.weight": [0.0, 0.0]},
]
RATES = [0.0, 0.1, 0.05]
DECAYED = {"dense.weight", "empty.weight", "still.weight"}


def flat(values: Any) -> list[float]:
    return [number for row in values for number in flat(row)] if isinstance(values, list) \
        else [values]


def length(numbers: list[float]) -> float:
    return math.sqrt(sum(x * x for x in numbers))


def by_hand(*, lamb: bool, torch: bool = False) -> dict[str, list[float]]:
    """The specification (Google's lamb_optimizer.py and optimization.py), one number at a time.
    torch: the conventions of torch.optim.AdamW instead."""
    theta = {name: flat(values) for name, values in START.items()}
    m = {name: [0.0] * len(values) for name, values in theta.items()}
    v = {name: [0.0] * len(values) for name, values in theta.items()}
    for t, (gradient, lr) in enumerate(zip(GRADIENTS, RATES, strict=True), 1):
        whole = length([x for values in gradient.values() for x in flat(values)])
        for name in theta:
            u = []
            for i, g in enumerate(flat(gradient[name])):
                g *= min(1, 1 / whole)
                m[name][i] = 0.9 * m[name][i] + 0.1 * g
                v[name][i] = 0.999 * v[name][i] + 0.001 * g * g
                if torch:
                    theta[name][i] *= 1 - lr * 0.01
                    u.append(m[name][i] / (1 - 0.9**t)
                             / (math.sqrt(v[name][i] / (1 - 0.999**t)) + 1e-8))
                else:
                    u.append(m[name][i] / (math.sqrt(v[name][i]) + 1e-6))
                    if name in DECAYED:
                        u[i] += 0.01 * theta[name][i]
            ratio = 1.0
            if lamb and name in DECAYED and length(theta[name]) > 0 and length(u) > 0:
                ratio = length(theta[name]) / length(u)
            theta[name] = [x - lr * ratio * step for x, step in zip(theta[name], u, strict=True)]
    return theta


def parameters(backend: Backend, dtype: str = "float64") -> dict[str, Parameter]:
    return {name: Parameter(backend.asarray(np.array(values, dtype)))
            for name, values in START.items()}


def give(ours: dict[str, Parameter], backend: Backend, gradient: dict[str, Any]) -> None:
    for name, parameter in ours.items():
        parameter.grad[...] = backend.asarray(np.array(gradient[name], parameter.data.dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options, hand", [
    ("lamb", {}, {"lamb": True}),
    ("adamw", {}, {"lamb": False}),
    ("adamw", {"bias_correction": True, "eps": 1e-8, "exclude": None},
     {"lamb": False, "torch": True}),
], ids=["lamb", "google's adamw", "pytorch's adamw"])
def test_three_steps_by_hand(name, options, hand, dtype, backend: Backend) -> None:
    ours = parameters(backend, dtype)
    optimizer = OPTIMIZERS[name](ours, **options)
    for gradient, lr in zip(GRADIENTS, RATES, strict=True):
        give(ours, backend, gradient)
        clip_by_global_norm(ours, 1.0)
        optimizer.step(lr)
    for key, expected in by_hand(**hand).items():
        got = backend.to_numpy(ours[key].data)
        assert got.dtype == dtype
        rtol = {"float32": 1e-5, "float64": 1e-13}[dtype]
        np.testing.assert_allclose(got.ravel(), expected, rtol)


def test_the_first_lamb_step_with_round_numbers() -> None:
    """θ = (3, 4), g = (1, -1): m = 0.1 g and √v = √0.001 |g|, so u = 3.162 (1, -1) whatever |g|;
    with decay u = (3.192, -3.122), and the step is as long as θ, that is 5."""
    ours = {name: Parameter(np.array([3.0, 4.0])) for name in ("dense.weight", "bias")}
    for parameter in ours.values():
        parameter.grad[...] = [1, -1]
    LAMB(ours).step(0.1)
    u = 0.1 / (math.sqrt(0.001) + 1e-6)
    w = np.array([u + 0.03, -u + 0.04])
    np.testing.assert_allclose(ours["dense.weight"].data, [3, 4] - 0.5 * w / np.hypot(*w))
    np.testing.assert_allclose(ours["bias"].data, [3 - 0.1 * u, 4 + 0.1 * u])


def test_what_is_excluded_from_decay() -> None:
    """In our own names: every bias, every LayerNorm gain, and nothing else."""
    names = AlbertForPreTraining(tiny_config()).named_parameters()
    excluded = AdamW(names).excluded
    assert {name.rsplit(".", 1)[-1] for name in set(names) - excluded} == {"weight"}
    assert all(name.endswith("bias") or "LayerNorm" in name for name in excluded)
    assert "predictions.bias" in excluded and "predictions.LayerNorm.weight" in excluded
    assert len(AdamW(names, exclude=None).excluded) == 0


def test_a_shared_tensor_takes_one_step() -> None:
    """The word table is input and, tied, output; the layer is applied four times."""
    model = AlbertForPreTraining(tiny_config(), dtype="float64")
    before = {name: array.copy() for name, array in model.state_dict().items()}
    _, cache = model.forward(**make_batch(model.config))
    model.backward(cache)
    AdamW(model.named_parameters(), weight_decay=0).step(0.1)
    after, gradients = model.state_dict(), model.state_dict(gradients=True)
    np.testing.assert_array_equal(after["predictions.decoder.weight"],
                                  after["albert.embeddings.word_embeddings.weight"])
    for name, g in gradients.items():
        step = 0.1 * 0.1 * g / (np.sqrt(0.001 * g * g) + 1e-6)
        np.testing.assert_allclose(after[name], before[name] - step, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_going_on_from_a_saved_state(name: str, backend: Backend) -> None:
    ours, copy = parameters(backend), parameters(backend)
    optimizer = OPTIMIZERS[name](ours, bias_correction=True)
    for gradient in GRADIENTS[:2]:
        give(ours, backend, gradient)
        optimizer.step(0.1)
    for key, parameter in ours.items():
        copy[key].data[...] = parameter.data
    resumed = OPTIMIZERS[name](copy, bias_correction=True)
    resumed.load_state_dict({key: array.copy() for key, array in optimizer.state_dict().items()},
                            steps=optimizer.steps)
    for both, which in ((ours, optimizer), (copy, resumed)):
        give(both, backend, GRADIENTS[2])
        which.step(0.1)
    for key in START:
        np.testing.assert_array_equal(backend.to_numpy(ours[key].data),
                                      backend.to_numpy(copy[key].data))
    assert resumed.steps == 3


def test_a_step_leaves_the_gradients() -> None:
    ours = parameters(get_backend("numpy"))
    give(ours, get_backend("numpy"), GRADIENTS[0])
    LAMB(ours).step(0.1)
    for name, parameter in ours.items():
        np.testing.assert_array_equal(parameter.grad, GRADIENTS[0][name])


# --- clipping -----------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-2, 1e2))
def test_clipping_keeps_the_direction(seed: int, scale: float, max_norm: float) -> None:
    rng = np.random.default_rng(seed)
    ours = {str(n): Parameter(np.zeros((n, 3))) for n in (1, 4)}
    for parameter in ours.values():
        parameter.grad[...] = scale * rng.standard_normal(parameter.grad.shape)
    before = np.concatenate([p.grad.ravel() for p in ours.values()])
    norm = clip_by_global_norm(ours, max_norm)
    after = np.concatenate([p.grad.ravel() for p in ours.values()])
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-12)
    np.testing.assert_allclose(after, before * min(1, max_norm / norm), rtol=1e-12)


@pytest.mark.parametrize("grad, norm", [([0.0, 0.0], 0), ([3.0, 4.0], 5), ([np.inf, 1.0], np.inf),
                                        ([np.nan, 1.0], np.nan)])
@pytest.mark.parametrize("max_norm", [0, 10])
def test_what_clipping_leaves_alone(grad, norm, max_norm, backend: Backend) -> None:
    """Short gradients, all of them when max_norm is 0, and those that are not finite: the cause
    must still be there to be found."""
    ours = {"a": Parameter(backend.asarray(np.zeros(2, np.float32)))}
    ours["a"].grad[...] = backend.asarray(np.array(grad, np.float32))
    np.testing.assert_equal(backend.to_numpy(clip_by_global_norm(ours, max_norm)), norm)
    np.testing.assert_array_equal(backend.to_numpy(ours["a"].grad), grad)


# --- the rate -----------------------------------------------------------------------------------


def test_the_rate_of_the_paper() -> None:
    """125,000 steps, of which 3,125 rise to 0.00176: Google's decay counts from step 0."""
    def rate(step: int) -> float:
        return learning_rate(step, 125_000, 3_125, 0.00176)

    assert rate(0) == 0
    assert rate(1) == pytest.approx(0.00176 / 3125)
    assert rate(3124) == pytest.approx(0.0017594, abs=5e-8)
    assert rate(3125) == pytest.approx(0.001716, abs=1e-12)
    assert rate(62_500) == pytest.approx(0.00088)
    assert rate(124_999) == pytest.approx(0.00176 / 125_000)


@pytest.mark.parametrize("schedule, expected", [
    ("linear", [0, 1, 1.6, 1.2, 0.8, 0.4]),             # 2 (1 - s/10)
    ("cosine", [0, 1, 2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5)]),
    ("constant", [0, 1, 2, 2, 2, 2]),
])
def test_schedules(schedule: Any, expected: list[float]) -> None:
    """Ten steps, two of them warmup, peak 2; the rates of steps 0, 1, 2, 4, 6, 8."""
    rates = [learning_rate(step, 10, 2, 2.0, schedule) for step in (0, 1, 2, 4, 6, 8)]
    np.testing.assert_allclose(rates, expected, atol=1e-15)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_without_warmup_the_first_step_has_the_peak_rate(schedule: Any) -> None:
    assert learning_rate(0, 1, 0, 2.0, schedule) == 2
