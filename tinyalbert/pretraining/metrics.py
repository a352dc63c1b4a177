"""Means over a few steps: what a line of metrics.jsonl says about them.

They are added up where they arise, on a GPU without waiting for it, until somebody asks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import array_module, on_host, scalar
from ..data.batches import Batch
from ..functional import IGNORED
from ..training.ranks import Ranks


class Means:
    """Running means since the last `take`: of losses and gradient norms per step, of accuracies
    per prediction."""

    def __init__(self) -> None:
        self.restore({})

    def state(self) -> dict[str, dict[str, float]]:
        """What a checkpoint must hold for the next line to be the same."""
        return {"sums": {name: on_host(total) for name, total in self.sums.items()},
                "counts": dict(self.counts)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from such a state; {} starts over."""
        self.sums = defaultdict(float, state.get("sums", {}))
        self.counts = defaultdict(float, state.get("counts", {}))
        self.tokens, self.seconds = 0, 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of this block, for the tokens per second."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def over(self, ranks: Ranks) -> Means:
        """Those of all ranks together; the seconds are one's own."""
        together = Means()
        for state, tokens in ranks.gather((self.state(), self.tokens)):
            for name, total in state["sums"].items():
                together.sums[name] += total
                together.counts[name] += state["counts"][name]
            together.tokens += tokens
        together.seconds = self.seconds
        return together

    def add(self, weight: float = 1, **values: Any) -> None:
        for name, value in values.items():
            self.sums[name] += weight * value
            self.counts[name] += weight

    def add_output(self, out: Any, batch: Batch, part: float = 1,
                   shares: tuple[float, float] = (1, 1)) -> None:
        """The losses and accuracies of one forward pass with labels; words weigh by their number,
        so the mean over batches is the mean over predictions.

        part: which part of a batch it was, by sequences; shares: of its words, and of its pairs.
        """
        words = batch.labels[batch.labels != IGNORED]                       # [M]
        orders = batch.sentence_order_label                                 # [B]
        pairs = int((orders != IGNORED).sum())
        losses = zip(shares, (out.masked_lm_loss, out.sop_loss), strict=True)
        loss = sum(share * scalar(loss) for share, loss in losses if loss is not None)
        self.add(part, loss=loss / part)
        if len(words):
            self.add(len(words), masked_lm_loss=scalar(out.masked_lm_loss),
                     masked_lm_accuracy=accuracy(out.prediction_logits, words))
        if pairs:
            self.add(pairs, sop_loss=scalar(out.sop_loss),
                     sentence_order_accuracy=accuracy(out.sop_logits, orders))
        self.tokens += int(batch.attention_mask.sum())

    def take(self) -> dict[str, Any]:
        """The means, tokens per second, and the number of sentence pairs; then start over."""
        means: dict[str, Any] = {name: on_host(total) / self.counts[name]
                                 for name, total in self.sums.items()}
        means["tokens_per_second"] = round(self.tokens / max(self.seconds, 1e-9), 1)
        if "sop_loss" in means:
            means["pairs"] = int(self.counts["sop_loss"])
        self.restore({})
        return means


def accuracy(logits: Any, labels: np.ndarray) -> Any:
    """The share of rows whose largest logit is the label's, among the labels that are asked for."""
    xp = array_module(logits)
    asked = labels != IGNORED
    right = logits.argmax(-1) == xp.asarray(labels)
    return scalar((right & xp.asarray(asked)).sum()) / max(int(asked.sum()), 1)
