"""The convergence doctor: says in words how the training is doing, and what to change.

The yardstick is the entropy of single pieces, H = -Σ p(w) log p(w), in nats: the loss of a model
that knows how frequent every piece is and ignores the context. A masked-LM loss near H means that
nothing has been learned from context yet. Most reports of "the loss will not fall" are models
that stay on this plateau.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

MARGIN = 0.15          # nats below H that count as having left the plateau
PATIENCE = 0.25        # share of the steps after which the plateau is worth a word


def unigram_entropy(counts: np.ndarray) -> float:
    """H in nats of pieces that occurred `counts` [V] times; 0 for an empty corpus."""
    p = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(p * np.log(p)).sum())


class ConvergenceDoctor:
    """Looks at the lines of metrics.jsonl as they are written; each finding is reported once."""

    def __init__(self, entropy: float, total_steps: int) -> None:
        self.entropy, self.total_steps = entropy, total_steps
        self.said: set[str] = set()
        self.grad_norms: deque[float] = deque(maxlen=20)
        self.lowest = math.inf
        self.length: int | None = None

    def examine(self, line: Mapping[str, Any]) -> list[str]:
        """What there is to say about a line, [] if nothing new."""
        if (length := line.get("max_seq_length")) not in (None, self.length):
            self.lowest, self.length = math.inf, length     # another task: longer sequences
            self.said -= {"order", "chance"}
        look = {"train": self._training, "eval": self._held_out}.get(line["kind"])
        findings = look(line) if look else []
        new = [(topic, text) for topic, text in findings if topic not in self.said]
        self.said.update(topic for topic, _ in new)
        return [text for _, text in new]

    def _training(self, line: Mapping[str, Any]) -> list[tuple[str, str]]:
        loss, norm, findings = line["masked_lm_loss"], line["grad_norm"], []
        if loss < self.entropy - MARGIN:
            findings.append(("context", f"the masked-word loss {loss:.2f} is below the unigram "
                             f"level {self.entropy:.2f}: the model has begun to use context"))
        elif line["step"] >= PATIENCE * self.total_steps and "context" not in self.said:
            findings.append(("plateau", f"the masked-word loss {loss:.2f} is still at the unigram "
                             f"level {self.entropy:.2f}: the model knows how frequent words are "
                             "and ignores context. If it stays there: give it more steps, shorter "
                             "sequences or smaller batches first; then try another learning_rate "
                             "(lower if the loss is jumpy) or a larger initializer_range"))
        if loss > self.lowest + 1 and loss > self.entropy:
            findings.append(("jump", f"the masked-word loss jumped from {self.lowest:.2f} to "
                             f"{loss:.2f}: lower learning_rate, or raise warmup_ratio"))
        if len(self.grad_norms) >= 5 and norm > 20 * float(np.median(self.grad_norms)):
            findings.append(("explosion", f"the gradient norm rose to {norm:.1f}, usually it is "
                             f"{np.median(self.grad_norms):.2f}: lower learning_rate, raise "
                             "warmup_ratio, or set max_grad_norm 1"))
        self.grad_norms.append(norm)
        self.lowest = min(self.lowest, loss)
        return findings

    def _held_out(self, line: Mapping[str, Any]) -> list[tuple[str, str]]:
        findings = []
        accuracy, pairs = line.get("sentence_order_accuracy", 0.0), line.get("pairs", 0)
        if pairs:
            noise = 2 * 0.5 / math.sqrt(pairs)          # two standard errors of a fair coin
            if accuracy > 0.5 + noise:
                findings.append(("order", f"held-out sentence order is right {accuracy:.0%} of the "
                                 f"time (chance: 50 %, {pairs} pairs): above chance"))
            elif line["step"] >= 0.5 * self.total_steps and "order" not in self.said:
                findings.append(("chance", f"held-out sentence order is right {accuracy:.0%} of "
                                 f"the time, which is chance ({pairs} pairs): this comes later "
                                 "than words, and needs longer sequences and more steps"))
        if line["step"] > 0 and line["masked_lm_loss"] > self.lowest + 1:
            findings.append(("overfit", f"the held-out loss {line['masked_lm_loss']:.2f} is more "
                             f"than 1 nat above the training loss {self.lowest:.2f}: the model "
                             "learns the training text by heart; give it more text, fewer steps, "
                             "or dropout"))
        return findings
