"""AdamW and LAMB, the clipping before them and the learning rate above them.

Both follow Google's code: no bias correction, epsilon outside the root, decay added to the step
and not to the gradient, biases and LayerNorm neither decayed nor (LAMB) rescaled. PyTorch's AdamW
is `bias_correction=True, eps=1e-8, exclude=None`. A shared tensor is one parameter with one
gradient, the sum over its uses: it takes one step, and in LAMB it has one trust ratio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from .backend import Array, array_module, backend_of
from .fast import accelerated
from .layer import Parameter

EXCLUDED = r"LayerNorm|layer_norm|bias"      # from weight decay and LAMB's trust ratio
Schedule = Literal["linear", "cosine", "constant"]


@accelerated
def adam_step(grad: Array, m: Array, v: Array, beta1: float, beta2: float, eps: float,
              correction1: float, correction2: float) -> Array:
    """m ← β1 m + (1-β1) g,  v ← β2 v + (1-β2) g², in place; the step is (m/c1) / (√(v/c2) + ε)."""
    m *= beta1
    m += (1 - beta1) * grad
    v *= beta2
    v += (1 - beta2) * grad * grad
    return m / correction1 / (array_module(v).sqrt(v / correction2) + eps)


class AdamW:
    """θ ← θ - lr (u + λ θ), with u Adam's step (Loshchilov & Hutter 2019).

    parameters: `model.named_parameters()`. weight_decay: λ. exclude: a regular expression; the
    parameters whose name matches are not decayed. bias_correction: divide m and v by 1 - βᵗ.
    rates: what to multiply lr by for a parameter, by name; 1 for those that are not named.
    """

    def __init__(self, parameters: Mapping[str, Parameter], *,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
                 weight_decay: float = 0.01, bias_correction: bool = False,
                 exclude: str | None = EXCLUDED,
                 rates: Mapping[str, float] | None = None) -> None:
        self.parameters = dict(parameters)
        self.rates = rates or {}
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.bias_correction = bias_correction
        self.excluded = {name for name in self.parameters if exclude and re.search(exclude, name)}
        self.steps = 0
        self.m, self.v = ({name: array_module(p.data).zeros_like(p.data)
                           for name, p in self.parameters.items()} for _ in range(2))

    def step(self, lr: float) -> None:
        """Move every parameter by its gradient; the gradients are left as they are."""
        self.steps += 1
        correction1, correction2 = (1 - beta**self.steps if self.bias_correction else 1.0
                                    for beta in self.betas)
        for name, p in self.parameters.items():
            update = adam_step(p.grad, self.m[name], self.v[name], *self.betas, self.eps,
                               correction1, correction2)
            if self.weight_decay and name not in self.excluded:
                update += self.weight_decay * p.data
            update *= lr * self.rates.get(name, 1.0) * self.trust_ratio(name, p.data, update)
            p.data -= update

    def trust_ratio(self, name: str, data: Array, update: Array) -> Array | float:
        return 1.0

    def state_dict(self) -> dict[str, np.ndarray]:
        """m and v of every parameter, on the host. `steps` is the caller's to save."""
        return {f"{kind}.{name}": backend_of(array).to_numpy(array)
                for kind, moments in (("m", self.m), ("v", self.v))
                for name, array in moments.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray], steps: int) -> None:
        self.steps = steps
        for kind, moments in (("m", self.m), ("v", self.v)):
            for name, array in moments.items():
                array[...] = backend_of(array).asarray(state[f"{kind}.{name}"])


class LAMB(AdamW):
    """AdamW with every tensor's step rescaled to the tensor's own length (You et al. 2020):
    θ ← θ - lr (‖θ‖/‖u‖) u, so that one rate serves tensors of all sizes and batches of all sizes.
    """

    def trust_ratio(self, name: str, data: Array, update: Array) -> Array | float:
        if name in self.excluded:
            return 1.0
        xp = array_module(data)
        data_norm, update_norm = norm(data), norm(update)
        usable = (data_norm > 0) & (update_norm > 0)
        return xp.where(usable, data_norm / xp.where(usable, update_norm, 1), 1).astype(data.dtype)


OPTIMIZERS = {"adamw": AdamW, "lamb": LAMB}


def norm(x: Array) -> Array:
    """‖x‖₂ over the whole tensor, as a number on the device."""
    return array_module(x).sqrt((x * x).sum())


def clip_by_global_norm(parameters: Mapping[str, Parameter], max_norm: float) -> Array:
    """Scale all gradients by one factor so that their joint length is at most max_norm.

    Returns the length before clipping, on the device. max_norm 0 only measures. A length that is
    not finite changes nothing either, so that its cause can still be found.
    """
    grads = [p.grad for p in parameters.values()]
    xp = array_module(grads[0])
    length = xp.sqrt(sum((grad * grad).sum() for grad in grads))
    if max_norm:
        factor = xp.where(length < math.inf, max_norm / xp.maximum(length, max_norm), 1)
        for grad in grads:
            grad *= factor
    return length


def learning_rate(step: int, total: int, warmup: int, peak: float,
                  schedule: Schedule = "linear") -> float:
    """The rate for step 0, 1, ..., total-1: up in a line during warmup, then down.

    `linear` is Google's: the decay counts from step 0, not from the end of the warmup, so the rate
    drops a little where they meet; and step 0 has rate 0.
    """
    if step < warmup:
        return peak * step / warmup
    if schedule == "linear":
        return peak * (1 - step / total)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    return peak
