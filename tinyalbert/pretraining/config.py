"""Everything a pretraining run depends on besides the model's shape, and the presets.

Each field is a flag of `tinyalbert pretrain` and a key of a config file.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from ..backend import Precision
from ..config import AlbertConfig
from ..config_checks import check_keys
from ..data.masking import Masking, Strategy
from ..data.segments import Objective, Segments
from ..errors import InputError
from ..optim import Schedule
from ..published import PUBLISHED
from ..training.settings import setting

Optimizer = Literal["adamw", "lamb"]


@dataclass(frozen=True)
class PretrainConfig:
    """How an ALBERT is pretrained. Raises InputError when a value is impossible."""

    corpus: str = setting("sotu", "sotu, shakespeare (built in), .txt, .jsonl, .gz, folder or glob")
    held_out: int | None = setting(None, "documents kept for evaluation (default: one in twenty)")
    one_sentence_per_line: bool | None = setting(
        None, "the .txt has a sentence per line, a blank line between documents (default: guess)")
    max_seq_length: int = setting(512, "tokens per sequence, [CLS] and [SEP] included")
    objective: Objective = setting("sop", "sentence task beside masked words: sop, nsp or none")
    sop_strict: bool = setting(True, "never turn a single-sentence chunk into an NSP negative")
    first_seq_length: int | None = setting(
        None, "begin with sequences so short, and double them until max_seq_length")
    growing_ratio: float = setting(0.5, "share of the steps in which they are shorter than that")
    short_seq_prob: float = setting(0.1, "share of documents cut into shorter sequences")
    masking: Strategy = setting("ngram", "what is hidden together: ngram, whole_word or token")
    masked_lm_prob: float = setting(0.15, "share of the tokens that is hidden")
    max_predictions_per_seq: int | None = setting(None, "at most this many hidden (Google: 20)")

    batch_size: int = setting(32, "sequences per forward pass")
    gradient_accumulation_steps: int = setting(1, "forward passes per update")
    max_steps: int | None = setting(None, "updates (default: as many as fit into --minutes)")
    minutes: float = setting(5.0, "length of the training when max_steps is not given")
    optimizer: Optimizer = setting("adamw", "adamw or lamb")
    learning_rate: float = setting(1e-3, "peak rate")
    warmup_ratio: float = setting(0.1, "share of the steps in which the rate rises")
    schedule: Schedule = setting("linear", "how the rate falls: linear, cosine, constant")
    adam_beta1: float = setting(0.9, "decay of the mean of the gradients")
    adam_beta2: float = setting(0.999, "decay of the mean of their squares")
    adam_epsilon: float = setting(1e-6, "added to the root of the mean square")
    bias_correction: bool = setting(False, "divide both means by 1 - beta^t, as PyTorch does")
    weight_decay: float = setting(0.01, "decoupled; biases and LayerNorm are never decayed")
    max_grad_norm: float = setting(1.0, "joint length the gradients are clipped to (0: never)")
    unigram_bias: bool = setting(False, "start the output bias at the log frequency of each piece")

    seed: int = setting(12345, "of the weights, the text order, the masks and the dropout")
    backend: Literal["numpy", "cupy"] = setting("numpy", "array library: numpy, or cupy on a GPU")
    precision: Precision = setting(
        "float32", "of matrix products: float32, and on a GPU tf32 or bfloat16")
    log_every: int = setting(20, "steps between lines of metrics.jsonl")
    eval_every: int = setting(200, "steps between evaluations on held-out text")
    eval_batches: int = setting(20, "batches of an evaluation during training (the last: all)")
    save_every: int = setting(200, "steps between checkpoints")
    keep_checkpoints: int = setting(2, "checkpoints kept; the older ones are deleted")
    tensorboard: bool = setting(False, "also write TensorBoard events (pip install tensorboardX)")

    def __post_init__(self) -> None:
        self.segments(), self.masked_lm()        # they check their own part
        first = self.first_seq_length
        if first is not None and not 8 <= first <= self.max_seq_length:
            raise InputError(f"first_seq_length must be between 8 and max_seq_length "
                             f"{self.max_seq_length}, not {first}")
        for name, choices in (("optimizer", Optimizer), ("schedule", Schedule),
                              ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be one of {', '.join(get_args(choices))}, "
                                 f"not {getattr(self, name)!r}")
        for name in ("batch_size", "gradient_accumulation_steps", "log_every", "eval_every",
                     "eval_batches", "save_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_steps", "held_out"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        for name in ("minutes", "learning_rate", "adam_epsilon"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be greater than 0, not {getattr(self, name)}")
        for name in ("warmup_ratio", "growing_ratio", "adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("weight_decay", "max_grad_norm", "seed"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")

    def seq_lengths(self) -> list[int]:
        """The lengths of the sequences in the order of the training, each twice the one before."""
        length, lengths = self.first_seq_length or self.max_seq_length, []
        while length < self.max_seq_length:
            lengths.append(length)
            length *= 2
        return [*lengths, self.max_seq_length]

    def stage(self, step: int) -> int:
        """Which of seq_lengths a step has: the shorter ones share growing_ratio equally."""
        shorter = len(self.seq_lengths()) - 1
        growing = round(self.growing_ratio * (self.max_steps or 0))
        return step * shorter // growing if step < growing else shorter

    def segments(self, seq_length: int | None = None) -> Segments:
        return Segments(seq_length or self.max_seq_length, self.objective, self.short_seq_prob,
                        self.sop_strict)

    def masked_lm(self) -> Masking:
        return Masking(self.masking, self.masked_lm_prob, self.max_predictions_per_seq)

    def replace(self, **changes: Any) -> PretrainConfig:
        """A copy with some fields changed; an unknown name is an InputError."""
        check_keys(changes, [f.name for f in fields(self)], "PretrainConfig")
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PretrainConfig:
        check_keys(values, [f.name for f in fields(cls)], "PretrainConfig")
        return cls(**values)


# (model, training) by name. Why the demo is as it is: docs/learning.md. The published sizes train
# as in the paper, the batch of 4096 in parts of 16.
_DEMO = (
    AlbertConfig(vocab_size=4096, embedding_size=128, hidden_size=128, num_hidden_layers=2,
                 num_attention_heads=4, intermediate_size=512, max_position_embeddings=64,
                 initializer_range=0.09),
    PretrainConfig(max_seq_length=64, first_seq_length=12, masked_lm_prob=0.2, batch_size=64,
                   learning_rate=2e-3, adam_beta2=0.98, unigram_bias=True, eval_every=300),
)
_SMALL = (
    AlbertConfig(vocab_size=8000, embedding_size=128, hidden_size=256, num_hidden_layers=6,
                 num_attention_heads=4, intermediate_size=1024, initializer_range=0.06),
    PretrainConfig(max_seq_length=128, first_seq_length=16, masked_lm_prob=0.2, minutes=60,
                   adam_beta2=0.98, unigram_bias=True),
)
PRESETS: dict[str, tuple[AlbertConfig, PretrainConfig]] = {
    "demo": _DEMO,
    "small": _SMALL,
    **{name: (model, PretrainConfig(optimizer="lamb", learning_rate=1.76e-3, batch_size=16,
                                    gradient_accumulation_steps=256, warmup_ratio=1 / 40,
                                    max_predictions_per_seq=20, max_steps=125_000))
       for name, model in PUBLISHED.items() if isinstance(model, AlbertConfig)},
}
