"""Expected values are by hand, from Hugging Face's own tests of the released vocabulary (golden),
or from SentencePiece's documented flags; properties hold for any text hypothesis comes up with."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY, SURROGATES
from nonsense import sentences

from tinyalbert.errors import InputError
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.batch_encoding import truncate
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.normalization import Normalizer
from tinyalbert.tokenization.training import train_tokenizer

VOCAB_SIZE = 120


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(sentences(), path, vocab_size=VOCAB_SIZE)
    return path


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> AlbertTokenizer:
    return AlbertTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def released(shared_data: Path) -> AlbertTokenizer:
    return AlbertTokenizer(shared_data / "albert-spiece" / "spiece.model")


# ---- the released vocabulary


def test_golden_ids_of_hugging_face(shared_data, released):
    assert released.tokenize("This is a test") == ["▁this", "▁is", "▁a", "▁test"]
    assert released.encode("This is a test") == [2, 48, 25, 21, 1289, 3]

    accented = AlbertTokenizer(shared_data / "albert-spiece" / "spiece.model", keep_accents=True)
    text = "I was born in 92000, and this is falsé."
    assert accented.tokenize(text) == ["▁i", "▁was", "▁born", "▁in", "▁9", "2000", ",", "▁and",
                                       "▁this", "▁is", "▁fal", "s", "é", "."]
    assert accented.encode(text, add_special_tokens=False) == [
        31, 23, 386, 19, 561, 3050, 15, 17, 48, 25, 8256, 18, 1, 9]
    assert released.tokenize(text)[-2:] == ["▁false", "."]
    assert len(released) == released.vocab_size == 30000
    assert released.convert_ids_to_tokens(29999) == "▁eloquent"


def test_a_number_is_one_token_whatever_follows_it(released):
    assert "▁2000," in released.get_vocab()
    assert released.tokenize("in 2000, 9,9") == ["▁in", "▁2000", ",", "▁9", ",", "9"]


def test_masking_units_of_the_released_vocabulary(released):
    starts = released.word_start_table()
    assert starts.shape == (30000,) and starts.dtype == bool
    pieces = np.array(released.convert_ids_to_tokens(range(30000)))
    assert starts[np.char.startswith(pieces, "▁")].all()
    assert starts[released.convert_tokens_to_ids(["<unk>", "-", "é", "2000"])].all()
    assert not starts[released.convert_tokens_to_ids(["ing", "s"])].any()


def test_digits_and_comma_of_a_trained_model(tmp_path):
    corpus = ["ba 200, do", "200, 200,", "ki 200,"] * 20
    numbers = train_tokenizer(corpus, tmp_path, vocab_size=24)    # room for one piece of several
    assert numbers.convert_ids_to_tokens(13) == "▁200,"
    assert numbers.tokenize("200, 200,") == [*"▁200,", *"▁200,"]


# ---- special tokens in the text


def test_special_tokens_in_the_text(tokenizer):
    a, b = (tokenizer.tokenize(word) for word in ("ba", "do"))
    for text in ("ba[MASK]do", "ba [MASK] do", "ba  [MASK]do"):
        assert tokenizer.tokenize(text) == [*a, "[MASK]", *b]
    assert tokenizer.encode("[CLS]<unk><pad> [SEP]", add_special_tokens=False) == [2, 1, 0, 3]
    assert tokenizer.mask_token_id not in tokenizer.encode("[mask]")
    encoding = tokenizer("ba [MASK]", return_offsets_mapping=True, return_special_tokens_mask=True)
    assert encoding.offset_mapping[-2:] == [(3, 9), (0, 0)]
    assert encoding.special_tokens_mask == [1, *[0] * len(a), 0, 1]


def test_special_token_attributes(tokenizer):
    names = ("pad", "unk", "cls", "sep", "mask")
    assert [getattr(tokenizer, f"{name}_token") for name in names] == [
        "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert [getattr(tokenizer, f"{name}_token_id") for name in names] == [0, 1, 2, 3, 4]
    assert tokenizer.all_special_ids == [0, 1, 2, 3, 4]


# ---- calls


def test_single_text_and_pair(tokenizer):
    a, b = (tokenizer.encode(text, add_special_tokens=False) for text in ("ba kido", "la"))
    single, pair = tokenizer("ba kido"), tokenizer("ba kido", "la")
    assert single == {"input_ids": [2, *a, 3], "token_type_ids": [0] * (len(a) + 2),
                      "attention_mask": [1] * (len(a) + 2)}
    assert pair.input_ids == [2, *a, 3, *b, 3]
    assert pair.token_type_ids == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    assert len(single.input_ids) - len(a) == tokenizer.num_special_tokens_to_add()
    assert len(pair.input_ids) - len(a + b) == tokenizer.num_special_tokens_to_add(pair=True)
    assert dict(**pair) == pair and pickle.loads(pickle.dumps(pair)) == pair
    with pytest.raises(AttributeError, match="offset_mapping"):
        _ = pair.offset_mapping


def test_a_batch_is_its_rows_padded(tokenizer):
    texts, pairs = ["ba", "ba do ki la"], ["la", "ba do"]
    short = tokenizer(texts[0], pairs[0], return_offsets_mapping=True)
    long = tokenizer(texts[1], pairs[1], return_offsets_mapping=True)
    batch = tokenizer(texts, pairs, padding=True, return_offsets_mapping=True,
                      return_special_tokens_mask=True)
    missing = len(long.input_ids) - len(short.input_ids)
    assert missing > 0
    assert batch.input_ids == [short.input_ids + [0] * missing, long.input_ids]
    assert batch.attention_mask[0] == short.attention_mask + [0] * missing
    assert batch.token_type_ids[0] == short.token_type_ids + [0] * missing
    assert batch.offset_mapping[0] == short.offset_mapping + [(0, 0)] * missing
    assert batch.special_tokens_mask[0][-missing:] == [1] * missing
    assert tokenizer(texts, pairs, padding="longest").input_ids == batch.input_ids
    assert tokenizer(texts, pairs).input_ids == [short.input_ids, long.input_ids]


def test_arrays(tokenizer):
    batch = tokenizer(["ba", "ba do ki la"], padding="max_length", max_length=16,
                      return_offsets_mapping=True, return_tensors="np")
    assert batch.input_ids.shape == batch.attention_mask.shape == (2, 16)
    assert batch.offset_mapping.shape == (2, 16, 2)
    assert batch.input_ids.dtype == np.int64
    assert tokenizer("ba", return_tensors="np").input_ids.shape[0] == 1
    assert tokenizer("ba", padding="max_length", return_tensors="np").input_ids.shape == (1, 512)


@pytest.mark.parametrize(("lengths", "room", "truncation", "expected"), [
    ((7, 3), 6, True, (3, 3)),
    ((5, 5), 5, "longest_first", (3, 2)),     # on a tie the second text loses
    ((2, 9), 6, "longest_first", (2, 4)),
    ((7, 3), 6, "only_first", (3, 3)),
    ((7, 3), 8, "only_second", (7, 1)),
    ((7, 3), 6, False, (7, 3)),
    ((7, 3), 10, True, (7, 3)),
    ((7, 3), 0, True, (0, 0)),
    ((9,), 4, True, (4,)),
])
def test_truncate(lengths, room, truncation, expected):
    segments = [(list(range(n)), [(i, i + 1) for i in range(n)], [i // 2 for i in range(n)])
                for n in lengths]
    assert truncate(segments, room, truncation) == [
        (ids[:n], spans[:n], words[:n])
        for (ids, spans, words), n in zip(segments, expected, strict=True)]


def test_truncation_of_a_call(tokenizer):
    a, b = (tokenizer.encode(text, add_special_tokens=False) for text in ("ba do ki", "la mu ne"))
    encoding = tokenizer("ba do ki", "la mu ne", truncation="only_first",
                         max_length=len(b) + 4, return_offsets_mapping=True)
    assert encoding.input_ids == [2, a[0], 3, *b, 3]
    assert [len(column) for column in encoding.values()] == [len(b) + 4] * 4
    assert tokenizer("ba " * 1000, truncation=True).input_ids[-1] == 3
    assert len(tokenizer.encode("ba " * 1000, truncation=True)) == 512
    assert tokenizer.encode("ba", truncation=True, max_length=2) == [2, 3]
    assert tokenizer.encode("ba do", truncation=True, max_length=1,
                            add_special_tokens=False) == a[:1]


# ---- offsets


def test_offsets_by_hand(released):
    #       0123456789012345678901234
    text = "  BORN, ``test'' 2000,\u00a0(Is\u0301)"
    encoding = released("a test", text, return_offsets_mapping=True)
    pieces = ["▁born", ",", "▁", '"', "test", '"', "▁2000", ",", "▁", "(", "is", ")", "[SEP]"]
    assert released.convert_ids_to_tokens(encoding.input_ids) == [
        "[CLS]", "▁a", "▁test", "[SEP]", *pieces]
    assert encoding.offset_mapping == [
        (0, 0), (0, 1), (2, 6), (0, 0),
        (2, 6), (6, 7), (8, 10), (8, 10), (10, 14), (14, 16), (17, 21), (21, 22), (23, 24),
        (23, 24), (24, 27), (27, 28), (0, 0)]


def test_offsets_where_sentencepiece_itself_composes_an_accent(directory):
    keeping = AlbertTokenizer(directory / "spiece.model", keep_accents=True)
    encoding = keeping("e\u0301b", add_special_tokens=False, return_offsets_mapping=True)
    assert keeping.tokenize("e\u0301b") == ["▁", "\u00e9", "b"]
    assert encoding.offset_mapping == [(0, 2), (0, 2), (2, 3)]


@settings(deadline=None)
@given(st.text(alphabet="badoBÁÓ\u0301\u00a0 20,.'`\"("))
def test_the_text_at_an_offset_is_the_piece(tokenizer, text):
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    for piece, (start, end) in zip(tokenizer.tokenize(text), encoding.offset_mapping, strict=True):
        if piece != "▁":
            assert tokenizer.normalizer.normalize(text[start:end]) == piece.removeprefix("▁")


@settings(deadline=None)
@given(st.one_of(st.text(), st.sampled_from(NASTY + SURROGATES),
                 st.text(alphabet="ab 12,.'`\u0301\u00c9[MASK]🙂中▁\n\u200b\ud83d")))
def test_any_text_gives_valid_ids_and_ordered_offsets(tokenizer, text):
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoding.input_ids, encoding.offset_mapping
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert ids == tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))
    assert len(ids) == len(offsets)
    assert all(0 <= i < VOCAB_SIZE for i in ids)
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    assert offsets == sorted(offsets) and offsets == sorted(offsets, key=lambda span: span[1])


@pytest.mark.parametrize("text", NASTY + SURROGATES)
def test_nasty_text_with_the_released_vocabulary(released, text):
    encoding = released(text, return_offsets_mapping=True)
    assert all(0 <= i < 30000 for i in encoding.input_ids)
    assert all(0 <= start <= end <= len(text) for start, end in encoding.offset_mapping)


# ---- ids to text


def test_decode_is_the_inverse_of_encode_up_to_normalization(tokenizer):
    text = 'ba (dokila) "mu - ne" 200, 200.'
    assert tokenizer.decode(tokenizer.encode(text)) == f"[CLS] {text}[SEP]"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    rows = np.array([tokenizer.encode("ba ba"), tokenizer.encode("ba ba")])
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == ["ba ba", "ba ba"]
    assert tokenizer.decode(tokenizer.encode("ba [MASK] ba")) == "[CLS] ba[MASK] ba[SEP]"


def test_tokens_and_ids(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == len(tokenizer) == VOCAB_SIZE
    assert tokenizer.convert_ids_to_tokens(range(VOCAB_SIZE)) == sorted(vocabulary,
                                                                        key=vocabulary.get)
    assert tokenizer.convert_tokens_to_ids("[SEP]") == 3
    assert tokenizer.convert_tokens_to_ids(["[SEP]", "never seen"]) == [3, 1]
    assert tokenizer.convert_ids_to_tokens(np.int64(3)) == "[SEP]"
    assert tokenizer.convert_ids_to_tokens([2, 5, 1], skip_special_tokens=True) == ["("]
    assert repr(tokenizer) == (
        f"AlbertTokenizer(vocab_size={VOCAB_SIZE}, do_lower_case=True, keep_accents=False, "
        f"remove_space=True, model_max_length=512)")


# ---- bad input


@pytest.mark.parametrize(("call", "message"), [
    (lambda t: t(3), "text must be a string or a list of strings, not 3"),
    (lambda t: t([]), "text must be a string or a list"),
    (lambda t: t(["a", None]), r"text\[1\] must be a string, not None"),
    (lambda t: t("a", 3), "text_pair must be"),
    (lambda t: t(["a", "b"], ["a"]), "of the same length"),
    (lambda t: t("a", ["a"]), "text and text_pair must both be"),
    (lambda t: t.tokenize(["a"]), "tokenize takes one string"),
    (lambda t: t("a", padding="left"), "padding must be one of"),
    (lambda t: t("a", truncation="first"), "truncation must be one of"),
    (lambda t: t("a", return_tensors="pt"), "return_tensors must be one of"),
    (lambda t: t("a", truncation="only_second"), "needs a text_pair"),
    (lambda t: t("a", truncation=True, max_length=1), "max_length 1 is too small"),
    (lambda t: t("a", "b", truncation=True, max_length=2), "max_length 2 is too small"),
    (lambda t: t("a", truncation=True, max_length="9"), "max_length must be a whole number"),
    (lambda t: t("a", max_length=9), "no effect without truncation"),
    (lambda t: t("ba", "la " * 50, truncation="only_first", max_length=9), "other text alone"),
    (lambda t: t("la " * 50, "ba", truncation="only_second", max_length=9), "other text alone"),
    (lambda t: t(["ba", "ba do ki"], return_tensors="np"), "pass padding=True"),
    (lambda t: t.decode([0, VOCAB_SIZE]), f"id {VOCAB_SIZE} is outside the vocabulary"),
    (lambda t: t.decode([-1]), "id -1 is outside"),
    (lambda t: t.convert_ids_to_tokens(-100), "id -100 is outside"),
    (lambda t: t.decode([0.5]), "id 0.5 is not a whole number"),
])
def test_bad_calls(tokenizer, call, message):
    with pytest.raises(InputError, match=message):
        call(tokenizer)


def test_bad_files(tmp_path, tokenizer):
    with pytest.raises(InputError, match="no such directory: .*nowhere"):
        AlbertTokenizer.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no tokenizer in .*: looked for spiece.model, tokenizer"):
        AlbertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"cannot read .*spiece.model: No such file"):
        AlbertTokenizer(tmp_path / "spiece.model")
    for content in (b"", b"not a model", tokenizer.model.content[:1000]):
        (tmp_path / "spiece.model").write_bytes(content)
        with pytest.raises(InputError, match=r"spiece.model is not a SentencePiece model"):
            AlbertTokenizer.from_pretrained(tmp_path)
    # [CLS] renamed in place: the file stays a valid SentencePiece model
    (tmp_path / "spiece.model").write_bytes(tokenizer.model.content.replace(b"[CLS]", b"[BOS]"))
    with pytest.raises(InputError, match=r"has no \[CLS\]"):
        AlbertTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(("config", "message"), [
    ("{", "is not valid JSON"),
    ("[]", "must hold a JSON object, not a list"),
    ('{"do_lower_case": "yes"}', "do_lower_case in .* must be of type bool, not 'yes'"),
    ('{"model_max_length": true}', "model_max_length in .* must be of type int"),
])
def test_bad_configuration(tmp_path, tokenizer, config, message):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(InputError, match=message):
        AlbertTokenizer.from_pretrained(tmp_path)


# ---- saving


def test_saved_and_loaded(tmp_path, directory):
    first = AlbertTokenizer(directory / "spiece.model", keep_accents=True, model_max_length=64)
    first.save_pretrained(tmp_path / "new" / "folder")
    second = AlbertTokenizer.from_pretrained(str(tmp_path / "new" / "folder"))
    assert repr(second) == repr(first) and "keep_accents=True" in repr(first)
    assert second.get_vocab() == first.get_vocab()
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "special_tokens_map.json", "spiece.model", "tokenizer_config.json"]
    copy = pickle.loads(pickle.dumps(first))
    assert copy("ba 200, do") == first("ba 200, do")


def test_configuration_is_optional_and_hugging_faces_no_limit_is_none(tmp_path, tokenizer):
    (tmp_path / "spiece.model").write_bytes(tokenizer.model.content)
    assert AlbertTokenizer.from_pretrained(tmp_path).model_max_length == 512
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(
        {"do_lower_case": False, "keep_accents": None, "model_max_length": int(1e30)}))
    loaded = AlbertTokenizer.from_pretrained(tmp_path)
    assert loaded.model_max_length == 512
    assert loaded.normalizer == Normalizer(do_lower_case=False)


def test_saving_below_a_file(tmp_path, tokenizer):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*tokenizer_config.json"):
        tokenizer.save_pretrained(tmp_path / "file")


def test_a_failed_save_leaves_the_old_files_and_no_others(tmp_path, tokenizer, monkeypatch):
    tokenizer.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def no_space(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(InputError, match="cannot write .*: No space left on device"):
        tokenizer.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_importing_the_tokenizer_does_not_import_sentencepiece():
    code = "import sys, tinyalbert.tokenization.training; sys.exit('sentencepiece' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- tokenizer.json, and words


def tokenizer_json(**changes: object) -> dict:
    """In the layout of albert-base-v2's; "▁ab" beats "▁" "a" "b" by its score."""
    vocabulary = {"<pad>": 0, "<unk>": 0, "[CLS]": 0, "[SEP]": 0, "[MASK]": 0, "(": 0, "▁": -2,
                  "a": -3, "b": -3, "▁ab": -4, "▁2,": -1, "2": -5, ",": -5, "É": -6, "e": -6}
    return {
        "added_tokens": [{"id": i, "special": True, "content": token, "normalized": False}
                         for i, token in enumerate(list(vocabulary)[:5])],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"String": "``"}, "content": '"'},
            {"type": "Replace", "pattern": {"String": "''"}, "content": '"'},
            {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "model": {"type": "Unigram", "unk_id": 1,
                  "vocab": [list(item) for item in vocabulary.items()]}} | changes


def test_tokenizer_json_alone(tmp_path):
    content = tokenizer_json()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    loaded = load_tokenizer(tmp_path)
    assert isinstance(loaded, AlbertTokenizer)
    assert loaded.tokenize("AB [MASK] bá(2, É中") == [
        "▁ab", "[MASK]", "▁", "b", "a", "(", "2", ",", "▁", "e", "中"]
    assert loaded.encode("ab 中") == [2, 9, 6, 1, 3]
    assert repr(loaded) == repr(AlbertTokenizer(tmp_path / "tokenizer.json"))
    del content["normalizer"]["normalizers"][2:5]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).normalizer == Normalizer(False, True)
    loaded.save_pretrained(tmp_path)                    # spiece.model comes before tokenizer.json
    again = load_tokenizer(tmp_path)
    assert again.normalizer == Normalizer() and again.model.content == loaded.model.content


@pytest.mark.parametrize(("changes", "message"), [
    ({"model": {"type": "Unigram", "vocab": {}}}, "not a SentencePiece model"),
    ({"model": {"type": "Unigram", "vocab": [["a"]]}}, "must be a list of pieces with scores"),
    ({"model": {"type": "Unigram", "vocab": [["a", "b"]]}}, "must be a list of pieces with scores"),
    ({"model": {"type": "Unigram", "vocab": [["a", 1e999]]}}, "must be a list of pieces with"),
    ({"model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["▁", -1]]},
      "added_tokens": []}, "has no <pad>: it is no vocabulary of this kind"),
    ({"normalizer": {"type": "NFC"}}, "normalizes text by 'NFC', which ALBERT does not"),
    ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "?"}}, "is not base64"),
    ({"normalizer": {"type": "Replace", "pattern": {"String": "a"}}}, "text by 'Replace'"),
])
def test_bad_tokenizer_json(tmp_path, changes, message):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(**changes)))
    with pytest.raises(InputError, match=message):
        load_tokenizer(tmp_path)


def test_the_wrong_kind_of_tokenizer(tmp_path, directory):
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    with pytest.raises(InputError, match="holds a Unigram tokenizer, not WordPiece"):
        BertTokenizer.from_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"looked for vocab.txt, tokenizer.json"):
        BertTokenizer.from_pretrained(directory)
    assert isinstance(load_tokenizer(directory), AlbertTokenizer)


def test_word_ids(released):
    encoding = released("I can't [MASK] 2000, 中文", "so, what", padding="max_length",
                        max_length=20)
    tokens = released.convert_ids_to_tokens(encoding.input_ids)
    assert tokens == ["[CLS]", "▁i", "▁can", "'", "t", "[MASK]", "▁2000", ",", "▁", "<unk>",
                      "[SEP]", "▁so", ",", "▁what", "[SEP]", *["<pad>"] * 5]
    assert encoding.word_ids() == [None, 0, 1, 1, 1, 2, 3, 3, 4, 4, None, 0, 0, 1, *[None] * 6]
