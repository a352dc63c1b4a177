"""Our tokenizer against transformers', on the released vocabulary and on one of our own.

Where theirs differs on purpose, the texts here stay away: it drops vowel signs of Indic scripts
with the accents, knows no final sigma, takes "<PAD>" for a special token, and gives a combining
accent and the first half of '' no place in the offsets.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece
from nonsense import sentences
from transformers import AlbertTokenizer as TheirTokenizer

from tinyalbert.tokenization.tokenizer import AlbertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

TEXTS = [
    "This is a test", "", "   ", "I was born in 92000, and this is falsé.", "(in 1999,) 'tis",
    "9,9", "1,000,000, and 2,000, x2000, y", "U.S.A. e.g. 3.14, 2.5%, $4,000.50",
    "£5 €6 5£, a–b - c",
    "``quoted'' it''s", "don't -- stop... «hi» “x” ‘y’", "http://example.com/a?b=c&d=e_f",
    "a [MASK] b", "a[MASK]b", "[MASK][MASK] x", "[CLS] x [SEP] y", "xx<unk>yy <pad> z", "[mask]",
    "\n\t a \r\n b\u00a0c\u2003d", "Ünïcödé ÀÉÎ ñ ß İ I", "ﬁ ﬂ ½ ① Ⅳ", "中文 🙂 x", "שלום עולם",
    "مرحبا بالعالم, x", "antidisestablishmentarianism" * 20, "12," * 30]
PAIRS = [("this is a test", "it is"), ("this " * 30, "no"), ("no", "this " * 30), ("", "")]


@pytest.fixture(scope="module")
def model_file(shared_data: Path) -> Path:
    return shared_data / "albert-spiece" / "spiece.model"


@pytest.fixture(scope="module")
def ours(model_file: Path) -> AlbertTokenizer:
    return AlbertTokenizer(model_file)


@pytest.fixture(scope="module")
def theirs(model_file: Path) -> TheirTokenizer:
    """With the scores of the tokenizer.json on their hub: pieces like "2000," are out of reach."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    vocabulary = []
    for i, piece in enumerate(model.id_to_piece(list(range(len(model))))):
        penalty = 100 if piece.endswith(",") and piece[-2:-1].isdigit() else 0
        vocabulary.append((piece, model.get_score(i) - penalty))
    return TheirTokenizer(vocab=vocabulary)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_text_and_special_tokens(ours, theirs, text):
    ids = ours.encode(text)
    assert ids == theirs(text)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids,
                                                                       skip_special_tokens=True)


@pytest.mark.parametrize("text", [text for text in TEXTS if "''" not in text])
def test_offsets(ours, theirs, text):
    expected = theirs(text, return_offsets_mapping=True)["offset_mapping"]
    assert ours(text, return_offsets_mapping=True)["offset_mapping"] == expected


@pytest.mark.parametrize("options", [
    {}, {"padding": True}, {"padding": "max_length", "truncation": True, "max_length": 13},
    {"truncation": "longest_first", "max_length": 8}, {"add_special_tokens": False}])
def test_batches_of_pairs(ours, theirs, options):
    first, second = map(list, zip(*PAIRS, strict=True))
    options = {**options, "return_special_tokens_mask": True}
    encoding = ours(first, second, **options)
    assert encoding == dict(theirs(first, second, return_token_type_ids=True, **options))


def test_theirs_loads_what_ours_saved(tmp_path):
    mine = train_tokenizer(sentences(), tmp_path, vocab_size=120, keep_accents=True)
    loaded = TheirTokenizer.from_pretrained(tmp_path)
    assert loaded.model_max_length == 512 and loaded.keep_accents
    for text in [*sentences(10, seed=1), 'ba (do) "ki" 3.0 - [MASK] É la', "(ba) é"]:
        assert loaded(text)["input_ids"] == mine.encode(text)
