"""The layers that everything else is made of: Linear, Classifier, Identity, TiedLinear, Embedding,
LayerNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import functional as F
from .backend import Array, backend_of
from .layer import Initializer, Layer, Parameter


class Linear(Layer):
    """y = x W + b. The weight is [in, out], as on a blackboard (PyTorch keeps [out, in])."""

    def __init__(self, in_features: int, out_features: int, init: Initializer) -> None:
        self.weight = init.normal(in_features, out_features)
        self.bias = init.zeros(out_features)

    def forward(self, x: Array) -> tuple[Array, Array]:
        return F.linear(x, self.weight.data, self.bias.data), x          # [..., out]

    def backward(self, dy: Array, x: Array) -> Array:
        dx, d_weight, d_bias = F.linear_backward(dy, x, self.weight.data)
        self.weight.grad += d_weight
        self.bias.grad += d_bias
        return dx                                                        # [..., in]


class Classifier(Linear):
    """Dropout, then one linear map to the scores (logits) of K labels."""

    def __init__(self, hidden: int, num_labels: int, dropout_prob: float,
                 init: Initializer) -> None:
        super().__init__(hidden, num_labels, init)
        self.dropout_prob = dropout_prob

    def forward(self, x: Array, *, rng: np.random.Generator | None = None) -> tuple[Array, Any]:
        x, dropped = F.dropout(x, self.dropout_prob, rng)                # [..., H]
        return F.linear(x, self.weight.data, self.bias.data), (x, dropped)      # [..., K]

    def backward(self, dy: Array, cache: Any) -> Array:
        x, dropped = cache
        return F.dropout_backward(super().backward(dy, x), dropped)      # [..., H]


class Identity(Layer):
    """y = x: where BERT has nothing and ALBERT something."""

    def forward(self, x: Array) -> tuple[Array, None]:
        return x, None

    def backward(self, dy: Array, cache: None) -> Array:
        return dy


class TiedLinear(Layer):
    """y = x Wᵀ + b, with W [out, in] a table that somebody else owns too.

    The table then has two uses and one gradient: this product's share is added to the lookup's.
    """

    def __init__(self, weight: Parameter, bias: Parameter) -> None:
        self.weight = weight
        self.bias = bias

    def forward(self, x: Array) -> tuple[Array, Array]:
        return F.linear(x, self.weight.data.T, self.bias.data), x        # [..., out]

    def backward(self, dy: Array, x: Array) -> Array:
        dx, d_weight, d_bias = F.linear_backward(dy, x, self.weight.data.T)
        self.weight.grad += d_weight.T
        self.bias.grad += d_bias
        return dx                                                        # [..., in]


class Embedding(Layer):
    """A table of rows, looked up by id. Its gradient is the lookup in reverse: rows are added."""

    def __init__(self, rows: int, size: int, init: Initializer) -> None:
        self.weight = init.normal(rows, size)

    def forward(self, ids: Array) -> tuple[Array, Array]:
        return self.weight.data[ids], ids                                # [..., E]

    def backward(self, dy: Array, ids: Array) -> None:
        backend_of(dy).scatter_add(self.weight.grad, ids.reshape(-1), dy.reshape(-1, dy.shape[-1]))


class LayerNorm(Layer):
    """Every row of H to mean 0 and deviation 1, then a learned gain (weight, γ) and shift (β)."""

    def __init__(self, size: int, eps: float, init: Initializer) -> None:
        self.weight = init.ones(size)
        self.bias = init.zeros(size)
        self.eps = eps

    def forward(self, x: Array, residual: Array | None = None) -> tuple[Array, F.LayerNormCache]:
        """norm(x), or norm(x + residual), whose gradients are one and the same."""
        if residual is None:
            return F.layer_norm(x, self.weight.data, self.bias.data, self.eps)
        return F.add_norm(x, residual, self.weight.data, self.bias.data, self.eps)

    def backward(self, dy: Array, cache: F.LayerNormCache) -> Array:
        dx, d_weight, d_bias = F.layer_norm_backward(dy, cache)
        self.weight.grad += d_weight
        self.bias.grad += d_bias
        return dx
