"""AdamW against torch.optim.AdamW: alone, and as the training of a whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hugging_face import loss, tensors, twin
from tiny import assert_close, make_batch, randomize, tiny_config

from tinyalbert import AlbertForPreTraining
from tinyalbert.layer import Parameter
from tinyalbert.optim import AdamW, clip_by_global_norm, learning_rate

torch.set_num_threads(1)
STEPS = 20
PYTORCH = {"bias_correction": True, "eps": 1e-8, "exclude": None}


def test_twenty_steps() -> None:
    rng = np.random.default_rng(0)
    ours = {name: Parameter(rng.standard_normal(shape))
            for name, shape in (("weight", (3, 4)), ("bias", (4,)))}
    theirs = {name: torch.tensor(p.data.copy(), requires_grad=True) for name, p in ours.items()}
    optimizer = AdamW(ours, betas=(0.8, 0.99), weight_decay=0.1, **PYTORCH)
    their_optimizer = torch.optim.AdamW(theirs.values(), betas=(0.8, 0.99), weight_decay=0.1)
    for step in range(STEPS):
        lr = 0.1 / (step + 1)
        for name, p in ours.items():
            p.grad[...] = rng.standard_normal(p.grad.shape) * 10.0 ** rng.integers(-3, 3)
            theirs[name].grad = torch.tensor(p.grad.copy())
        optimizer.step(lr)
        their_optimizer.param_groups[0]["lr"] = lr
        their_optimizer.step()
        for name, p in ours.items():
            assert_close(p.data, theirs[name].detach(), 1e-12, f"{name}, step {step}")


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-10), ("float32", 1e-4)])
def test_a_training_of_twenty_steps(dtype: str, tolerance: float) -> None:
    """Same weights, batches and rates, clipping on: the same losses and the same weights."""
    model = randomize(AlbertForPreTraining(tiny_config(), dtype=dtype))
    theirs = twin(model)
    optimizer = AdamW(model.named_parameters(), **PYTORCH)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), weight_decay=0.01)
    losses = []
    for step in range(STEPS):
        batch, lr = make_batch(model.config, seed=step % 4), learning_rate(step, STEPS, 4, 1e-2)
        out, cache = model.forward(**batch)
        model.backward(cache)
        norm = clip_by_global_norm(optimizer.parameters, 1.0)
        optimizer.step(lr)
        model.zero_grad()

        expected, _ = loss(theirs, batch)
        expected.backward()
        gradients = [p.grad for p in theirs.parameters()]
        their_norm = torch.nn.utils.get_total_norm(gradients)
        for gradient in gradients:      # torch's clip_grad_norm_ divides by the length + 1e-6
            gradient /= max(their_norm, 1.0)
        their_optimizer.param_groups[0]["lr"] = lr
        their_optimizer.step()
        their_optimizer.zero_grad()
        assert_close(out.loss, expected.item(), tolerance, f"loss of step {step}")
        assert_close(norm, their_norm, tolerance, f"gradient of step {step}")
        losses.append(float(out.loss))
    assert losses[-1] < losses[0] - 0.1                     # and it was a training
    for name, weight in tensors(model.state_dict()).items():
        # The gradient of a key bias is 0 in exact arithmetic. Adam divides by its size, so in
        # float32 it makes steps of the rounding; no loss depends on them.
        if dtype == "float32" and name.endswith("key.bias"):
            continue
        assert_close(weight, theirs.get_parameter(name).detach(), tolerance, name)
