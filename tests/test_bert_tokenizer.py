"""Expected values are those of google-research/bert's own tests, or by hand; properties hold for
any text hypothesis comes up with."""

from __future__ import annotations

import json
import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY, SURROGATES

from tinyalbert.errors import InputError
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.wordpiece import BasicTokenizer, WordPiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "play", "##ing", ",",
          ".", "'", "naive", "中", "文", "x", "##x", "The", "é", "b", "##b", "a", "##a", "1", "[",
          "]", "-", "e", "?"]
UNCASED = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": True}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in PIECES))
    return folder


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> BertTokenizer:
    return BertTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def cased(directory: Path) -> BertTokenizer:
    return BertTokenizer(directory / "vocab.txt", do_lower_case=False)


# ---- the two steps


@pytest.mark.parametrize(("text", "options", "words"), [
    (" \tHeLLo!how  \n Are yoU?  ", {}, ["hello", "!", "how", "are", "you", "?"]),
    ("H\u00e9llo", {}, ["hello"]),
    (" \tHeLLo!how  \n Are yoU?  ", {"do_lower_case": False, "strip_accents": False},
     ["HeLLo", "!", "how", "Are", "yoU", "?"]),
    ("HéLLo", {"strip_accents": False}, ["héllo"]),
    ("HéLLo", {"do_lower_case": False}, ["HeLLo"]),
    ("ah\u535a\u63a8zz", {}, ["ah", "\u535a", "\u63a8", "zz"]),
    ("ah\u535a\u63a8zz", {"tokenize_chinese_chars": False}, ["ah\u535a\u63a8zz"]),
    ("ひらがな 한국", {"strip_accents": False}, ["ひらがな", "한국"]),
    ("a\x00b\ufffdc\u200bd\x0be", {}, ["abcde"]),
    ("a\u00a0b\u2028c\u3000d", {}, ["a", "b", "c", "d"]),
    ("$1,000.5 a_b ^ «x»", {}, ["$", "1", ",", "000", ".", "5", "a", "_", "b", "^", "«", "x", "»"]),
    ("≠", {}, ["="]),                   # decomposes to "=" and a stroke
    ("ΟΔΟΣ", {}, ["οδοσ"]),
])
def test_basic_tokenizer(text, options, words):
    basic = BasicTokenizer(**UNCASED | options)
    assert basic.words(text) == words
    assert [word for word, _ in basic.words_with_origins(text)] == words


@pytest.mark.parametrize(("word", "pieces"), [
    ("", []),
    ("unwanted", ["un", "##want", "##ed"]),
    ("running", ["runn", "##ing"]),
    ("unwantedX", ["[UNK]"]),
    ("wax", ["wa", "##x"]),             # the longest piece first, or "w" would do too
    ("w" * 100, ["w", *["##w"] * 99]),
    ("w" * 101, ["[UNK]"]),
])
def test_wordpiece(word, pieces):
    vocabulary = {"want", "##want", "##ed", "wa", "un", "runn", "##ing", "##x", "w", "##w", "##ax"}
    assert WordPiece(vocabulary, "[UNK]")[word] == pieces


def test_googles_example(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([
        "[UNK]", "[CLS]", "[SEP]", "want", "##want", "##ed", "wa", "un", "runn", "##ing", ",",
        "[PAD]", "[MASK]"]))
    google = BertTokenizer(tmp_path / "vocab.txt")
    assert google.tokenize("UNwant\u00e9d,running") == ["un", "##want", "##ed", ",", "runn",
                                                        "##ing"]
    assert google.encode("UNwant\u00e9d,running", add_special_tokens=False) == [7, 4, 5, 10, 8, 9]


# ---- calls


def test_a_call(tokenizer):
    #                    0123456789012345678
    encoding = tokenizer("The CATS, ñx", "na\u00efve [MASK]中.", return_offsets_mapping=True)
    assert tokenizer.convert_ids_to_tokens(encoding.input_ids) == [
        "[CLS]", "the", "cat", "##s", ",", "[UNK]", "[SEP]", "naive", "[MASK]", "中", ".", "[SEP]"]
    assert encoding.token_type_ids == [0] * 7 + [1] * 5
    assert encoding.offset_mapping == [
        (0, 0), (0, 3), (4, 7), (7, 8), (8, 9), (10, 12), (0, 0),
        (0, 5), (6, 12), (12, 13), (13, 14), (0, 0)]
    assert encoding.word_ids() == [None, 0, 1, 1, 2, 3, None, 0, 1, 2, 3, None]


def test_word_ids_of_a_batch(tokenizer):
    batch = tokenizer(["cats", "the cats play"], padding=True)
    assert batch.word_ids(0) == [None, 0, 0, None, None, None]
    assert batch.word_ids(1) == [None, 0, 1, 1, 2, None]
    assert pickle.loads(pickle.dumps(batch)).word_ids(1) == batch.word_ids(1)


def test_cased(cased):
    assert cased.tokenize("The the THE é e\u0301") == ["The", "the", "[UNK]", "é", "[UNK]"]
    assert cased.tokenize("[MASK]中文") == ["[MASK]", "中", "文"]


def test_special_tokens(tokenizer):
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token") for name in names] == PIECES[:5]
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4]
    assert tokenizer.all_special_ids == [0, 1, 2, 3, 4]
    assert tokenizer.encode("[PAD][UNK][CLS] [SEP]", add_special_tokens=False) == [0, 1, 2, 3]
    assert tokenizer.tokenize("[mask]") == ["[", "[UNK]", "]"]


def test_decode(tokenizer):
    ids = tokenizer.encode("The cats, playing. 中x [MASK]?")
    assert tokenizer.decode(ids) == "[CLS] the cats, playing. 中 x [MASK]? [SEP]"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the cats, playing. 中 x?"


def test_whole_words(tokenizer):
    starts = tokenizer.word_start_table()
    assert starts.shape == (len(PIECES),) and starts.dtype == bool
    assert [piece for piece, start in zip(PIECES, starts, strict=True) if not start] == [
        "##s", "##ing", "##x", "##b", "##a"]


@pytest.mark.parametrize("text", NASTY + SURROGATES)
def test_nasty_text(tokenizer, cased, text):
    for t in (tokenizer, cased):
        check_offsets(t, text)
        assert t.encode(text) == t.convert_tokens_to_ids(["[CLS]", *t.tokenize(text), "[SEP]"])


@settings(deadline=None)
@given(st.one_of(st.text(), st.text(alphabet="abxs the1,.'\u0301\u00c9[MASK]-#中🙂\n\u200b\ud83d")))
def test_any_text(tokenizer, text):
    check_offsets(tokenizer, text)


def check_offsets(tokenizer: BertTokenizer, text: str) -> None:
    """They are in the text and in order, and what lies there is the piece."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pieces, offsets = tokenizer.tokenize(text), encoding.offset_mapping
    assert len(pieces) == len(offsets) == len(encoding.word_ids())
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert all(a <= c and b <= d for (a, b), (c, d) in zip(offsets, offsets[1:], strict=False))
    for piece, (start, end) in zip(pieces, offsets, strict=True):
        covered = text[start:end]
        becomes = [tokenizer.basic[ord(c)].replace(" ", "") for c in covered]
        if piece not in tokenizer.special_tokens.values() and max(map(len, becomes)) == 1:
            assert "".join(becomes) == piece.removeprefix("##")


def test_a_character_that_becomes_several(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*PIECES[:5], "=", "i", "##\u0307"]))
    keeping = BertTokenizer(tmp_path / "vocab.txt", strip_accents=False)
    assert unicodedata.normalize("NFD", "İ".lower()) == "i\u0307"
    encoding = keeping("İ", add_special_tokens=False, return_offsets_mapping=True)
    assert keeping.tokenize("İ") == ["i", "##\u0307"]
    assert encoding.offset_mapping == [(0, 1), (0, 1)]


def test_pickle(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy("The cats", "x") == tokenizer("The cats", "x")


# ---- files


def tokenizer_json(**changes: object) -> dict:
    """In the layout of the tokenizer.json of bert-base-uncased."""
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "special": True, "content": PIECES[i], "single_word": False,
                          "lstrip": False, "rstrip": False, "normalized": False}
                         for i in range(5)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100,
                  "vocab": {piece: i for i, piece in enumerate(PIECES)}}} | changes


def test_saved_and_loaded(tmp_path, directory):
    first = BertTokenizer(directory / "vocab.txt", do_lower_case=False, strip_accents=True,
                          tokenize_chinese_chars=False, model_max_length=64)
    first.save_pretrained(tmp_path)
    second = load_tokenizer(tmp_path)
    assert isinstance(second, BertTokenizer)
    assert repr(second) == repr(first) == (
        f"BertTokenizer(vocab_size={len(PIECES)}, do_lower_case=False, strip_accents=True, "
        "tokenize_chinese_chars=False, model_max_length=64)")
    assert second.tokenize("Thé 中文") == first.tokenize("Thé 中文") == ["The", "[UNK]"]
    assert (tmp_path / "vocab.txt").read_bytes() == (directory / "vocab.txt").read_bytes()


def test_windows_line_ends(tmp_path, tokenizer):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(PIECES).encode())
    assert BertTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


def test_tokenizer_json_alone(tmp_path, tokenizer):
    content = tokenizer_json()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    loaded = load_tokenizer(tmp_path)
    assert repr(loaded) == repr(BertTokenizer(tmp_path / "tokenizer.json"))
    assert loaded("The cats [MASK]") == tokenizer("The cats [MASK]")
    content["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).tokenize("The Cat") == ["The", "[UNK]"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(         # the last word
        {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True}))
    assert load_tokenizer(tmp_path).tokenize("The Cat") == ["the", "cat"]
    load_tokenizer(tmp_path).save_pretrained(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").get_vocab() == tokenizer.get_vocab()


def test_special_tokens_by_other_names(tmp_path):
    renamed = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "a", "b"]
    names = dict(zip(BertTokenizer.default_special_tokens, renamed, strict=False))
    (tmp_path / "vocab.txt").write_text("\n".join(renamed))
    with pytest.raises(InputError, match=r"vocab.txt has no \[PAD\]"):
        BertTokenizer.from_pretrained(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(
        names | {"mask_token": {"content": "<mask>", "lstrip": True}}))
    loaded = BertTokenizer.from_pretrained(tmp_path)
    assert loaded.tokenize("a <mask>b c") == ["a", "<mask>", "b", "<unk>"]
    assert loaded.encode("a") == [2, 5, 3]
    loaded.save_pretrained(tmp_path / "saved")
    again = BertTokenizer.from_pretrained(tmp_path / "saved")
    assert again.special_tokens == loaded.special_tokens == names


def added(content: str, **changes: object) -> dict:
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False, "special": False} | changes


def test_added_tokens(tmp_path, tokenizer):
    n = len(PIECES)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {
        "4": added("[MASK]", special=True, lstrip=True), "16": added("x", single_word=True),
        str(n): added("<e>", special=True), str(n + 1): added("Covid", normalized=True)}}))
    loaded = BertTokenizer.from_pretrained(tmp_path)
    assert loaded.vocab_size == n and len(loaded) == n + 2
    assert len(loaded.word_start_table()) == n + 2
    text = "the<e>cats covid COVID <E> x xx"
    assert loaded.tokenize(text) == ["the", "<e>", "cat", "##s", "Covid", "Covid", "[UNK]", "e",
                                     "[UNK]", "x", "x", "##x"]
    assert loaded.decode([5, n, n + 1], skip_special_tokens=True) == "the Covid"
    assert loaded("a<e>b").word_ids() == [None, 0, 1, 2, None]
    loaded.save_pretrained(tmp_path / "saved")
    assert BertTokenizer.from_pretrained(tmp_path / "saved")(text) == loaded(text)


def test_added_tokens_of_old_directories(tmp_path):
    n = len(PIECES)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<b>": n + 1, "<a>": n}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(
        {"additional_special_tokens": ["<a>", "x", "<c>"]}))
    loaded = BertTokenizer.from_pretrained(tmp_path)
    assert loaded.encode("<c><b>x<a>", add_special_tokens=False) == [n + 2, n + 1, 16, n]


# ---- bad input


@pytest.mark.parametrize(("content", "message"), [
    (b"", r"vocab.txt has no \[PAD\]"),
    ("\n".join(PIECES[:4]).encode(), r"vocab.txt has no \[MASK\]"),
    ("\n".join([*PIECES, "cat"]).encode(), f"line {len(PIECES) + 1} of .*vocab.txt repeats line 7, "
                                           "'cat'"),
    (b"[PAD]\n\xff\xfe", "vocab.txt is not UTF-8 text"),
])
def test_bad_vocabulary(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        BertTokenizer.from_pretrained(tmp_path)


def test_no_tokenizer(tmp_path, directory):
    with pytest.raises(InputError, match="looked for spiece.model, vocab.txt, tokenizer.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(InputError, match="looked for vocab.txt, tokenizer.json"):
        BertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="cannot read .*vocab.txt: No such file"):
        BertTokenizer(tmp_path / "vocab.txt")
    with pytest.raises(InputError, match="takes no argument 'lower'"):
        BertTokenizer(directory / "vocab.txt", lower="x")


@pytest.mark.parametrize(("config", "message"), [
    ({"tokenizer_class": "RobertaTokenizer"}, "asks for a RobertaTokenizer: only AlbertTokenizer"),
    ({"strip_accents": "no"}, "strip_accents in .* must be of type bool, not 'no'"),
    ({"mask_token": 4}, "mask_token in .* must be a string, not 4"),
    ({"mask_token": "<mask>"}, "vocab.txt has no <mask>"),
    ({"added_tokens_decoder": [1]}, "added_tokens_decoder in .* must be a JSON object"),
    ({"added_tokens_decoder": {"9" * 5000: {}}}, "must give each id a token"),
    ({"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder in .* must give each id a token"),
    ({"added_tokens_decoder": {"99": added("<e>")}}, "'<e>' .* has id 99, .* asks for 30"),
    ({"added_tokens_decoder": {"5": added("cat")}}, "'cat' .* has id 5, .* asks for 6"),
    ({"added_tokens_decoder": {"30": added("")}}, "an added token in .* must be a string, not"),
    ({"additional_special_tokens": 7}, "additional special tokens in .* must be a list"),
])
def test_bad_configuration(tmp_path, directory, config, message):
    (tmp_path / "vocab.txt").write_bytes((directory / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


MODEL = tokenizer_json()["model"]
BPE = {"type": "BPE", "vocab": {"a": 0}, "merges": []}


@pytest.mark.parametrize(("changes", "message"), [
    ({"model": BPE}, "tokenizer.json holds a BPE tokenizer: only WordPiece .BERT. and Unigram"),
    ({"model": {k: BPE[k] for k in ("vocab", "merges")}}, "holds a BPE tokenizer"),
    ({"model": None}, "has no vocabulary"),
    ({"model": {"type": "WordPiece"}}, "has no vocabulary"),
    ({"model": MODEL | {"vocab": []}}, "must give each piece a whole number"),
    ({"model": MODEL | {"vocab": {"a": 0, "b": "1"}}}, "must give each piece a whole number"),
    ({"model": MODEL | {"vocab": {"a": 0, "b": 2}}}, "from 0 without gaps"),
    ({"model": MODEL | {"vocab": {"a": 0, "b": 0}}}, "from 0 without gaps"),
    ({"model": MODEL | {"vocab": {"a\n": 0}}}, "in a piece, which no vocab.txt can hold"),
    ({"model": MODEL | {"vocab": {"\ud83d": 0}}}, "in a piece, which no vocab.txt can hold"),
    ({"model": MODEL | {"vocab": {"a": 0}}}, r"added token '\[PAD\]' .* has id 0, .* asks for 1"),
    ({"model": MODEL | {"vocab": {"a": 0}}, "added_tokens": None}, r"has no \[PAD\]"),
    ({"model": MODEL | {"continuing_subword_prefix": "@@"}}, "is not BERT's WordPiece"),
    ({"model": MODEL | {"unk_token": 1}}, "unk_token cannot be 1"),
    ({"normalizer": None}, "has None where BERT has its BertNormalizer"),
    ({"normalizer": {"type": "Lowercase"}}, "has 'Lowercase' where BERT has its BertNormalizer"),
    ({"normalizer": {"type": "BertNormalizer", "lowercase": 1}}, "do_lower_case cannot be 1"),
    ({"pre_tokenizer": {"type": "Whitespace"}}, "has 'Whitespace' where BERT"),
    ({"added_tokens": 3}, "added_tokens in .* must be a list"),
    ({"added_tokens": [3]}, "an added token in .* has no id"),
])
def test_bad_tokenizer_json(tmp_path, changes, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(**changes)))
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_truncated_tokenizer_json(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json())[:500])
    with pytest.raises(InputError, match="tokenizer.json is not valid JSON"):
        load_tokenizer(tmp_path)


@settings(deadline=None)
@given(st.data())
def test_a_mutated_tokenizer_json_loads_or_is_refused(tmp_path_factory, data):
    content = tokenizer_json(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}]}
                             if data.draw(st.booleans()) else tokenizer_json()["normalizer"])
    if data.draw(st.booleans()):
        content["model"] = {"type": "Unigram", "unk_id": 1, "vocab": [
            [piece, 0.0] for piece in ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "▁", "a"]]}
    junk = st.sampled_from([None, 0, -1, 10**20, 1e300, "", "x", "\ud800", [], [1], {}, {"a": 1},
                            True, [["a", 1]]])
    place, key = content, data.draw(st.sampled_from(list(content)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict)
                                        else range(len(place))))
    place[key] = data.draw(junk)
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    try:
        loaded = load_tokenizer(folder)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert loaded.encode("a [MASK]")
