"""A run's folder: what pretraining leaves behind, and how to load it.

    RUN/config.json, model.safetensors     the model, as Hugging Face Transformers reads it
        spiece.model, tokenizer_config.json, special_tokens_map.json
        pretrain.json                      every setting of the training
        metrics.jsonl                      one JSON object a line
        checkpoints/, shards/              to go on from; the tokenized corpus
        report.html, figures/              made by `tinyalbert report`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config import AlbertConfig
from ..errors import InputError
from ..tasks import AlbertForPreTraining

if TYPE_CHECKING:
    from ..tokenization.albert import AlbertTokenizer


def save_config(run: Path, config: AlbertConfig) -> None:
    """Write config.json."""
    config.save_pretrained(run, architectures=["AlbertForPreTraining"], dtype="float32")


def save_model(run: Path, model: AlbertForPreTraining) -> None:
    """Write model.safetensors and config.json."""
    model.save_pretrained(run)


def load_run(run: str | Path, *,
             backend: str = "numpy") -> tuple[AlbertForPreTraining, AlbertTokenizer]:
    """The model and the tokenizer of a run; InputError if the folder is not one, or damaged."""
    from ..tokenization.albert import AlbertTokenizer

    run = Path(run)
    if not (run / "config.json").exists():
        raise InputError(f"{run} is not a run: it holds no config.json (tinyalbert pretrain --out "
                         f"{run} makes one)")
    if not (run / "model.safetensors").exists():
        raise InputError(f"{run} holds no model.safetensors: its training has not saved one yet")
    return (AlbertForPreTraining.from_pretrained(run, backend=backend),
            AlbertTokenizer.from_pretrained(run))
