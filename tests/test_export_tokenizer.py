"""The library that runs tokenizer.json is asked for the ids; what it must say is what ours says."""

from __future__ import annotations

import io
import json
import random
import sys
import unicodedata
from itertools import product
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY
from nonsense import sentences
from tokenizers import Tokenizer
from word_tokenizer import WordTokenizer

from tinyalbert.errors import InputError
from tinyalbert.export.tokenizer_file import tokenizer_json, write_tokenizer_json
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.normalization import Normalizer
from tinyalbert.tokenization.training import SETTINGS, train_tokenizer
from tinyalbert.tokenization.vocabulary import AddedToken

ALBERT_OPTIONS = [{}, {"keep_accents": True}, {"do_lower_case": False}, {"remove_space": False}]
BERT_OPTIONS = [{}, {"do_lower_case": False}, {"strip_accents": False},
                {"do_lower_case": False, "strip_accents": True}, {"tokenize_chinese_chars": False}]
# Several ways to split have the same score, or a number stands before a comma: the known limits.
LONG = [text for text in NASTY if len(text) > 50]
NUMBERS = [text for text in NASTY if any(f"{digit}," in text for digit in range(10))]
TEXTS = [text for text in NASTY if text not in LONG + NUMBERS]
# Ends of words in Greek, and Chinese beyond U+FFFF.
MORE_FOR_BERT = ["ΟΔΟΣ ΑΣ.", "a\U0002f800b", "a\U00020000b", "a\U0002b820b"]
ADDED = [AddedToken("<e1>"), AddedToken("Covid", special=False, normalized=True),
         AddedToken("ab", special=False, single_word=True)]
WITH_ADDED = ["a <e1>Covid x<e1>y COVIDs", "a covid b Covid covid <e1>", "ab abc a.ab!",
              " covid  [MASK]ab", "[MASK] Covid"]


def exported(tokenizer) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json(tokenizer))


def differing(tokenizer, texts: list[str]) -> list[str]:
    other = exported(tokenizer)
    return [text for text in texts if other.encode(text).ids != tokenizer.encode(text)]


@pytest.fixture(scope="module")
def albert(tmp_path_factory) -> AlbertTokenizer:
    return train_on_nasty_texts(tmp_path_factory.mktemp("albert"))


def train_on_nasty_texts(folder: Path) -> AlbertTokenizer:
    """Every character of theirs is in the vocabulary: each has an id of its own."""
    texts = [text for text in TEXTS if text.isprintable() and text.strip()]
    prepared = [Normalizer().normalize(text) for text in texts]
    return train_tokenizer([*texts, *prepared, *sentences()], folder, vocab_size=350,
                           character_coverage=1.0, do_lower_case=False, keep_accents=True)


def with_settings(tokenizer, folder: Path, **options) -> AlbertTokenizer:
    """The same vocabulary in another tokenizer."""
    path = folder / "spiece.model"
    path.write_bytes(tokenizer.vocab_file_content())
    return AlbertTokenizer(path, **options)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Path:
    return write_vocabulary(tmp_path_factory.mktemp("bert") / "vocab.txt")


def write_vocabulary(path: Path) -> Path:
    """BERT's, of all the nasty characters."""
    characters = sorted({c for text in NASTY for c in text if c.isprintable() and c != " "}
                        | set("σςοδαιüéaeàu中丽"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text("\n".join([*special, *characters, *(f"##{c}" for c in characters)]))
    return path


@pytest.mark.parametrize("options", ALBERT_OPTIONS, ids=str)
def test_albert(albert, tmp_path, options):
    tokenizer = with_settings(albert, tmp_path, **options)
    assert differing(tokenizer, [*TEXTS, "［ＭＡＳＫ］ ＜unk＞"]) == []
    ends = [text for text in TEXTS[::9] if not (
        tokenizer.normalizer.keep_accents and unicodedata.combining(text[:1] or " "))]
    assert differing(tokenizer, [a + b for a, b in product(TEXTS, ends)]) == []


def test_albert_with_accents_where_it_differs(albert, tmp_path):
    tokenizer = with_settings(albert, tmp_path, keep_accents=True)
    known = ["a～b", "ç\u0301"]
    assert differing(tokenizer, known) == known


@pytest.mark.parametrize("options", BERT_OPTIONS, ids=str)
def test_bert(vocabulary, options):
    tokenizer = BertTokenizer(vocabulary, **options)
    assert differing(tokenizer, NASTY) == []
    assert differing(tokenizer, [a + b for a, b in product(NASTY, NASTY[::9])]) == []
    assert differing(tokenizer, MORE_FOR_BERT) == []


TEXT = st.text(st.characters(codec="utf-8", max_codepoint=0x3100, exclude_categories=["Cn"])
               | st.sampled_from("aΣσ [MASK]``''▁\u200d\u0301가ᄀ\u1161\u11a8～①Ａ½"), max_size=12)


@pytest.fixture(scope="module")
def plain(albert, tmp_path_factory) -> tuple[AlbertTokenizer, Tokenizer]:
    tokenizer = with_settings(albert, tmp_path_factory.mktemp("plain"))
    return tokenizer, exported(tokenizer)


@settings(deadline=None, max_examples=300)
@given(first=TEXT, second=TEXT)
def test_any_text(plain, first, second):
    """Characters of before 2012, which the tables of every library know."""
    tokenizer, other = plain
    mine, theirs = tokenizer(first, second), other.encode(first, second)
    assert (theirs.ids, theirs.type_ids) == (mine.input_ids, mine.token_type_ids)


@pytest.mark.parametrize("options", ALBERT_OPTIONS, ids=str)
def test_released_vocabulary(shared_data, options):
    released = AlbertTokenizer(shared_data / "albert-spiece" / "spiece.model", **options)
    tie = "ÀÉ" * 30
    assert set(differing(released, NASTY)) <= {tie}
    other = exported(released)
    assert other.encode("in 2000, a").tokens == ["[CLS]", "▁in", "▁2000", ",", "▁a", "[SEP]"]
    # The known difference, which is one of the format.
    assert released.tokenize("11,474") == ["▁11", ",", "47", "4"]
    assert other.encode("11,474", add_special_tokens=False).tokens == ["▁1", "1,4", "74"]
    rng = random.Random(0)
    numbers = [f"{rng.choice(['', '$', '(', 'in '])}{rng.randrange(10 ** rng.randint(1, 7)):,}, a"
               for _ in range(3000)]
    assert len(differing(released, numbers)) < 30


def test_pieces_of_digits_and_comma_are_never_used(tmp_path):
    tokenizer = train_tokenizer(["ba 200, do", "200, 200,", "ki 200,"] * 20, tmp_path,
                                vocab_size=24)
    assert "▁200," in tokenizer.get_vocab()
    assert "▁200," not in exported(tokenizer).encode("200, ba 200, do 200,").tokens


def test_symbols_of_the_user_win(tmp_path):
    """Longer ones too, which ALBERT has not."""
    path = sentencepiece_file(tmp_path, user_defined_symbols=["(", "foo", "ba do"])
    tokenizer = AlbertTokenizer(path)
    texts = ["ba do ki foo", "foobarfoo (foo", "(ba do) la", "la ba"]
    assert tokenizer.tokenize("ba do lafoo")[-1] == "foo"
    assert differing(tokenizer, texts) == []


# ---- what else is in the file


def test_special_tokens_pairs_and_decoding(albert):
    other = exported(albert)
    single, pair = albert("ba"), albert("ba do", "ki. la")
    assert other.encode("ba").type_ids == single.token_type_ids
    theirs = other.encode("ba do", "ki. la")
    assert (theirs.ids, theirs.type_ids) == (pair.input_ids, pair.token_type_ids)
    assert theirs.special_tokens_mask == albert("ba do", "ki. la", return_special_tokens_mask=True
                                                ).special_tokens_mask
    for skip in (False, True):
        assert other.decode(pair.input_ids, skip) == albert.decode(pair.input_ids, skip)
    assert other.padding is None and other.truncation is None
    assert other.get_vocab_size() == len(albert)
    assert len(other.encode("ba " * 1000).ids) > 1000


def test_bert_pairs_and_decoding(vocabulary):
    bert = BertTokenizer(vocabulary)
    other = exported(bert)
    pair = bert("a b, c.", "Don't! (e)")
    theirs = other.encode("a b, c.", "Don't! (e)")
    assert (theirs.ids, theirs.type_ids) == (pair.input_ids, pair.token_type_ids)
    for skip in (False, True):
        assert other.decode(pair.input_ids, skip) == bert.decode(pair.input_ids, skip)


def test_added_tokens(tmp_path, albert, vocabulary):
    for tokenizer in (BertTokenizer(vocabulary, added_tokens=ADDED),
                      with_settings(albert, tmp_path, added_tokens=ADDED)):
        assert differing(tokenizer, WITH_ADDED) == []
        for token in ADDED:
            assert exported(tokenizer).token_to_id(token.content) == (
                tokenizer.convert_tokens_to_ids(token.content))


def test_special_tokens_by_other_names(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("<p>\n<u>\n<c>\n<s>\n<m>\na\nb")
    tokenizer = BertTokenizer(path, pad_token="<p>", unk_token="<u>", cls_token="<c>",
                              sep_token="<s>", mask_token="<m>")
    assert exported(tokenizer).encode("a <m> x", "b").ids == [2, 5, 4, 1, 3, 6, 3]
    assert differing(tokenizer, ["a <m> x", "<c>"]) == []


def test_folder(tmp_path, albert):
    write_tokenizer_json(albert, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model"}
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "AlbertTokenizer"       # it gives pairs their types
    assert config["clean_up_tokenization_spaces"] is False
    again = load_tokenizer(tmp_path)
    assert repr(again) == repr(albert)
    assert all(again.encode(text) == albert.encode(text) for text in NASTY)


# ---- bad input


def sentencepiece_file(folder: Path, **changes) -> Path:
    model = io.BytesIO()
    options = {**SETTINGS, "vocab_size": 60, "hard_vocab_limit": False} | changes
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ba do ki foo", "la mu ne foobar", "ba do la (x"] * 30),
        model_writer=model, **options)
    path = folder / "spiece.model"
    path.write_bytes(model.getvalue())
    return path


@pytest.mark.parametrize(("changes", "message"), [
    ({"model_type": "bpe"}, "not of the unigram kind"),
    ({"byte_fallback": True, "vocab_size": 320}, "writes unknown characters as bytes"),
    ({"normalization_rule_name": "nmt_nfkc_cf"}, "prepares text in a way of its own"),
    ({"normalization_rule_name": "identity"}, "prepares text in a way of its own"),
    ({"remove_extra_whitespaces": False}, "prepares text in a way of its own"),
    ({"add_dummy_prefix": False}, "prepares text in a way of its own"),
])
def test_a_model_that_cannot_be_expressed(tmp_path, changes, message):
    tokenizer = AlbertTokenizer(sentencepiece_file(tmp_path, **changes))
    with pytest.raises(InputError, match=rf"tokenizer.json cannot be written.* {message}"):
        write_tokenizer_json(tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_kind_of_tokenizer(tmp_path):
    with pytest.raises(InputError, match="only an AlbertTokenizer or a BertTokenizer can"):
        write_tokenizer_json(WordTokenizer(), tmp_path)


def test_without_the_library(monkeypatch, tmp_path, albert):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"pip install 'tinyalbert\[onnx\]'"):
        write_tokenizer_json(albert, tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path, albert):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_tokenizer_json(albert, tmp_path / "file")
