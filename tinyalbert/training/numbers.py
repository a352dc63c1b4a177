"""When the numbers go wrong."""

from __future__ import annotations

from ..backend import array_module
from ..layer import Parameter


class TrainingError(RuntimeError):
    """The numbers went wrong. The message names the step, the tensor and what to do."""


def not_finite(parameters: dict[str, Parameter]) -> str | None:
    """Which weight, or failing that which gradient, is no longer a finite number: of several the
    one nearest to the loss."""
    for kind, of in (("data", ""), ("grad", "the gradient of ")):
        for name, parameter in reversed(parameters.items()):
            values = getattr(parameter, kind)
            if not array_module(values).isfinite(values).all():
                return of + name
    return None
