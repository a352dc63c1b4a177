"""Everything a fine-tuning depends on besides the data, and the recipes of the paper.

Each field is a flag of `tinyalbert finetune`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from ..config_checks import check_keys
from ..errors import InputError
from ..optim import Schedule
from ..training.settings import setting

ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class FinetuneConfig:
    """How a pretrained model is fine-tuned. Raises InputError when a value is impossible."""

    max_seq_length: int | None = setting(None, "tokens per input; longer ones are cut (default: "
                                               "as many as the model has positions)")
    epochs: float = setting(3.0, "passes through the training examples")
    max_steps: int | None = setting(None, "updates, instead of epochs")
    batch_size: int = setting(32, "examples per forward pass; below 16 ALBERT often fails")
    gradient_accumulation_steps: int = setting(1, "forward passes per update")
    learning_rate: float | None = setting(None, "peak rate (default: by the width of the model, "
                                                "3e-5 for base)")
    warmup_ratio: float = setting(0.1, "share of the updates in which the rate rises")
    schedule: Schedule = setting("linear", "how the rate falls: linear, cosine, constant")
    layer_decay: float = setting(1.0, "each layer's rate relative to that of the layer above it")
    freeze_encoder: bool = setting(False, "train the head alone, on the encoder as it is")
    hidden_dropout: float | None = setting(None, "in the encoder (default: as the model has it)")
    classifier_dropout: float | None = setting(None, "before the head (default: likewise)")
    class_weights: ClassWeights = setting("none", "balanced: rare labels weigh more in the loss")
    adam_epsilon: float = setting(1e-6, "added to the root of the mean square")
    bias_correction: bool = setting(True, "Adam's; without it small data sets often fail")
    weight_decay: float = setting(0.01, "decoupled; biases and LayerNorm are never decayed")
    max_grad_norm: float = setting(1.0, "joint length the gradients are clipped to (0: never)")

    eval_every: int | None = setting(None, "updates between evaluations (default: an epoch)")
    patience: int = setting(0, "stop after so many evaluations without improvement (0: never)")
    held_out: float = setting(0.1, "share of the training examples that is kept for evaluation "
                                   "when there is no --dev")
    seed: int = setting(12345, "of the head, the order of the examples and the dropout")
    backend: Literal["numpy", "cupy"] = setting("numpy", "array library: numpy, or cupy on a GPU")
    log_every: int = setting(10, "updates between lines of metrics.jsonl")

    def __post_init__(self) -> None:
        for name, choices in (("schedule", Schedule), ("class_weights", ClassWeights)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, "
                                 f"not {getattr(self, name)!r}")
        for name in ("batch_size", "gradient_accumulation_steps", "log_every", "max_steps",
                     "eval_every"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if self.max_seq_length is not None and self.max_seq_length < 8:
            raise InputError(f"max_seq_length must be at least 8, not {self.max_seq_length}")
        for name in ("epochs", "learning_rate", "layer_decay", "adam_epsilon"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise InputError(f"{name} must be greater than 0 and finite, not {value}")
        for name in ("warmup_ratio", "hidden_dropout", "classifier_dropout", "held_out"):
            if (value := getattr(self, name)) is not None and not 0 <= value < 1:
                raise InputError(f"{name} must be in [0, 1), not {value}")
        for name in ("weight_decay", "max_grad_norm", "seed", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0 and finite, not {getattr(self, name)}")

    def peak_rate(self, hidden_size: int) -> float:
        """Without learning_rate: 3e-5 (768/H)^1.5, and at least 5e-6. Wide models stay at chance
        with the rates of BERT-base (their authors advise 5e-6 to 1e-5 where that happens), narrow
        ones learn too slowly: of 2e-4, 5e-4 and 1e-3 the middle one was best for H = 128."""
        return self.learning_rate or max(3e-5 * (768 / hidden_size) ** 1.5, 5e-6)

    def replace(self, **changes: Any) -> FinetuneConfig:
        """A copy with some fields changed; an unknown name is an InputError."""
        check_keys(changes, [f.name for f in fields(self)], "FinetuneConfig")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def paper(learning_rate: float, batch_size: int, hidden_dropout: float, max_steps: int,
          warmup_steps: int, max_seq_length: int = 512) -> FinetuneConfig:
    """A row of Table 14. Google's AdamW has no bias correction."""
    return FinetuneConfig(
        learning_rate=learning_rate, batch_size=batch_size, hidden_dropout=hidden_dropout,
        classifier_dropout=0.1, max_steps=max_steps, warmup_ratio=warmup_steps / max_steps,
        max_seq_length=max_seq_length, bias_correction=False)


RECIPES = {
    "default": FinetuneConfig(),
    # The advice for large models that stay at chance: slower, warmer, nothing dropped in the
    # encoder (the published v2 configurations have no dropout either).
    "careful": FinetuneConfig(learning_rate=5e-6, warmup_ratio=0.2, hidden_dropout=0.0,
                              batch_size=32, epochs=5),
    "cola": paper(1e-5, 16, 0.0, 5336, 320),
    "sts-b": paper(2e-5, 16, 0.0, 3598, 214),
    "sst-2": paper(1e-5, 32, 0.0, 20935, 1256),
    "mnli": paper(3e-5, 128, 0.0, 10000, 1000),
    "qnli": paper(1e-5, 32, 0.0, 33112, 1986),
    "qqp": paper(5e-5, 128, 0.1, 14000, 1000),
    "rte": paper(3e-5, 32, 0.1, 800, 200),
    "mrpc": paper(2e-5, 32, 0.0, 800, 200),
    "wnli": paper(2e-5, 16, 0.1, 2000, 250),
    "squad-v1.1": paper(5e-5, 48, 0.0, 3649, 365, 384),
    "squad-v2.0": paper(3e-5, 48, 0.0, 8144, 814),
    "race": paper(2e-5, 32, 0.1, 12000, 1000),
}
