"""The peer that the benchmarks measure against: Hugging Face's ALBERT under PyTorch, on the same
threads, with the customary loop (clip to 1, AdamW). Needs `pip install 'tinyalbert[reference]'`."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from tinyalbert.config import AlbertConfig

OURS_ONLY = ("sharing", "dropout_sites", "gradient_checkpointing")


def huggingface_model(config: AlbertConfig, seed: int = 0) -> Any:
    """AlbertForPreTraining of the same shape, its own initial weights, in training mode."""
    torch.manual_seed(seed)
    values = {k: v for k, v in config.to_dict().items() if k not in OURS_ONLY}
    return transformers.AlbertForPreTraining(transformers.AlbertConfig(**values)).train()


class Peer:
    """`step(batch, rate)` is one update; `compiled` wraps the model in torch.compile."""

    def __init__(self, config: AlbertConfig, *, compiled: bool = False, seed: int = 0) -> None:
        self.model = huggingface_model(config, seed)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.01)
        self.forward = torch.compile(self.model) if compiled else self.model

    def step(self, batch: dict[str, Any], rate: float = 1e-4) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        out = self.forward(**{k: torch.from_numpy(v) for k, v in batch.items()})
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(out.loss.detach())

    @torch.no_grad()
    def masked_lm(self, batch: dict[str, Any]) -> tuple[float, int]:
        """Summed cross-entropy over the labelled positions, and their number."""
        self.model.eval()
        inputs = {k: torch.from_numpy(batch[k]) for k in
                  ("input_ids", "attention_mask", "token_type_ids")}
        logits = self.model(**inputs).prediction_logits
        labels = torch.from_numpy(batch["labels"])
        loss = torch.nn.functional.cross_entropy(logits[labels != -100], labels[labels != -100],
                                                 reduction="sum")
        self.model.train()
        return float(loss), int((labels != -100).sum())


def rate_at(step: int, total: int, warmup: int, peak: float) -> float:
    """Transformers' linear schedule with warmup."""
    if step < warmup:
        return peak * step / max(warmup, 1)
    return peak * max(0.0, (total - step) / max(total - warmup, 1))
