"""Our pipelines and scores against transformers', with the same random weights and vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from nonsense import SYLLABLES, sentences
from tiny import assert_close, randomize, tiny_config

from tinyalbert import AlbertForMaskedLM, BertConfig, BertForMaskedLM
from tinyalbert.pipelines import pipeline
from tinyalbert.scoring import pseudo_log_likelihood
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "a", *SYLLABLES,
          *(f"##{syllable}" for syllable in SYLLABLES)]
TEXTS = ["bado [MASK] kila.", "[MASK]", "Ba, [MASK] mune posi [MASK] ta  bado ki", "ba[MASK]ki."]


@pytest.fixture(scope="module", params=["albert", "bert"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer, saved by ours."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "albert":
        train_tokenizer(sentences(), folder, vocab_size=120)
        model = AlbertForMaskedLM(tiny_config(vocab_size=120, max_position_embeddings=32,
                                              type_vocab_size=2))
    else:
        (folder / "vocab.txt").write_text("\n".join(PIECES))
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        model = BertForMaskedLM(BertConfig(
            vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=32))
    randomize(model).save_pretrained(folder)
    return folder


def assert_same(ours: Any, theirs: Any) -> None:
    """The same nesting, keys and values; numbers within 1e-5."""
    assert type(ours) is type(theirs)
    if isinstance(ours, float):
        assert ours == pytest.approx(theirs, abs=1e-5)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert_same(value, theirs[key])
    elif isinstance(ours, list):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("texts", [*TEXTS, TEXTS, TEXTS[:1], TEXTS[2:3]])
@pytest.mark.parametrize("options", [{}, {"top_k": 1}, {"top_k": 24}, {"batch_size": 3}])
def test_fill_mask(directory, texts, options):
    theirs = transformers.pipeline("fill-mask", str(directory))
    assert_same(pipeline("fill-mask", directory)(texts, **options), theirs(texts, **options))


@pytest.mark.parametrize("targets", [".", ["ba", "ki", "do", "ba"], ["ba"], ["mu", ",", "a"]])
def test_targets(directory, targets):
    theirs = transformers.pipeline("fill-mask", str(directory), targets=targets)
    ours = pipeline("fill-mask", directory, targets=targets)
    assert_same(ours(TEXTS), theirs(TEXTS))
    assert_same(ours(TEXTS[0], top_k=1), theirs(TEXTS[0], top_k=1))


@pytest.mark.parametrize("texts", [TEXTS[0], TEXTS[:1], TEXTS])
def test_feature_extraction(directory, texts):
    theirs = transformers.pipeline("feature-extraction", str(directory))
    ours = pipeline("feature-extraction", directory)
    assert_same(ours(texts), theirs(texts))
    for mine, other in zip(ours(TEXTS, return_tensors=True), theirs(TEXTS, return_tensors=True),
                           strict=True):
        assert_close(mine, other.numpy(), 1e-5)


def test_pseudo_log_likelihood(directory):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()
    ours = pipeline("fill-mask", directory)
    texts = ["bado kila.", "ba", "Ba, mune posi, ta badokila"]
    for text, score in zip(texts, pseudo_log_likelihood(ours.model, ours.tokenizer, texts),
                           strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"][0]
        places = torch.arange(1, len(ids) - 1)
        masked = ids.repeat(len(places), 1)
        masked[torch.arange(len(places)), places] = tokenizer.mask_token_id
        with torch.no_grad():
            log_probs = model(masked).logits[torch.arange(len(places)), places].log_softmax(-1)
        expected = log_probs.gather(1, ids[places][:, None])[:, 0].numpy()
        assert score.tokens == tokenizer.convert_ids_to_tokens(ids[places])
        assert_close(score.log_probs, expected, 1e-5)
        assert score.total == pytest.approx(float(np.sum(expected)), rel=1e-5)
