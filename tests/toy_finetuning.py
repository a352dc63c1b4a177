"""A small encoder of random weights with its tokenizer, and texts that it learns in a second."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from nonsense import sentences

from tinyalbert import AlbertConfig, AlbertModel
from tinyalbert.finetuning.config import FinetuneConfig
from tinyalbert.tokenization.training import train_tokenizer

CONFIG = AlbertConfig(
    vocab_size=120, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=32, initializer_range=0.1,
    hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
FAST = FinetuneConfig(learning_rate=1e-2, batch_size=8, epochs=3, log_every=1, seed=3)
VOICES = {"low": ["ba", "do", "ki"], "high": ["mu", "ne", "po"]}
SHARED = ["la", "ru", "si", "ta"]


def pretrained(folder: Path, **changes: Any) -> Path:
    """A folder with a model and its tokenizer. No head: its weights are those of the encoder."""
    train_tokenizer(sentences(), folder, vocab_size=120)
    AlbertModel(CONFIG.replace(**changes), seed=1).save_pretrained(folder)
    return folder


def voices(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts and their labels, low and high in turn: each has words that the other never has."""
    rng = random.Random(seed)
    return [(" ".join(rng.choices(VOICES[label], k=2) + rng.choices(SHARED, k=2)), label)
            for label in [*VOICES] * (count // 2)]


def quiet(message: str) -> None:
    pass
