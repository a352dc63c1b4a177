import json

import numpy as np
import pytest
from word_tokenizer import WordTokenizer

from tinyalbert.data import tokenizing
from tinyalbert.data.corpus import read_documents
from tinyalbert.data.shards import Shards
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.errors import InputError

TEXT = "\n\n\n".join(
    "\n\n".join(f"Document {d} says sentence {s} considerably." for s in range(d % 4 + 1))
    for d in range(40)
)
TOKENIZER = WordTokenizer()


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text(TEXT)
    return tmp_path / "corpus.txt"


def as_ids(shards: Shards) -> list[list[list[int]]]:
    """Every document as its sentences' ids, read back through the public interface."""
    documents = []
    for shard in shards:
        for document in shard.documents:
            bounds = shard.sentence_bounds(document)
            documents.append([shard.tokens[a:b].tolist() for a, b in zip(bounds, bounds[1:])])  # noqa: B905
    return documents


def encoded(corpus) -> list[list[list[int]]]:
    return [
        [TOKENIZER.encode(sentence, add_special_tokens=False) for sentence in document]
        for document in read_documents(corpus)
    ]


@pytest.mark.parametrize("size", [1, 100, 1 << 22])
def test_shards_hold_the_tokens_of_the_corpus_in_order(tmp_path, corpus, monkeypatch, size):
    monkeypatch.setattr(tokenizing, "SHARD_CHARACTERS", size)
    shards = build_shards(corpus, TOKENIZER, tmp_path / "data")
    assert as_ids(shards) == encoded(corpus)
    assert shards.num_documents == 40
    assert len(shards) == {1: 40, 1 << 22: 1}.get(size, len(shards))
    for shard in shards:
        last = shard.sentence_bounds(shard.documents[-1])
        assert len(shard.tokens) - (last[-1] - last[0]) < size  # closed when full
        assert isinstance(shard.tokens, np.memmap) and shard.tokens.dtype == np.uint16


def test_a_large_vocabulary_needs_wider_tokens(tmp_path, corpus):
    shards = build_shards(corpus, WordTokenizer(70_005), tmp_path / "data")
    assert shards[0].tokens.dtype == np.uint32
    assert shards[0].tokens.max() > 1 << 16


def test_a_second_run_reuses_and_a_change_is_noticed(tmp_path, corpus, monkeypatch):
    first = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    other_tokenizer = build_shards(corpus, WordTokenizer(305), tmp_path / "data").folder
    other_format = build_shards(
        corpus, TOKENIZER, tmp_path / "data", one_sentence_per_line=True
    ).folder
    corpus.write_text(TEXT + " More.")
    other_text = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    assert len({first, other_tokenizer, other_format, other_text}) == 4

    corpus.write_text(TEXT)
    monkeypatch.setattr(TOKENIZER, "encode", None)  # would fail if anything were tokenized
    assert build_shards(corpus, TOKENIZER, tmp_path / "data").folder == first


def test_interrupted_tokenizing_leaves_nothing_behind(tmp_path, corpus, monkeypatch):
    def interrupt(text, *, add_special_tokens):
        if "35" in text:
            raise KeyboardInterrupt
        return TOKENIZER.encode(text, add_special_tokens=False)

    tokenizer = WordTokenizer()
    monkeypatch.setattr(tokenizer, "encode", interrupt)
    monkeypatch.setattr(tokenizing, "SHARD_CHARACTERS", 50)
    with pytest.raises(KeyboardInterrupt):
        build_shards(corpus, tokenizer, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
    assert as_ids(build_shards(corpus, TOKENIZER, tmp_path / "data")) == encoded(corpus)


def test_unigram_counts_are_those_of_the_split(tmp_path, corpus):
    shards = build_shards(corpus, TOKENIZER, tmp_path / "data")
    everything = np.concatenate([np.concatenate(d) for d in encoded(corpus)])
    train, held_out = shards.split(7)
    np.testing.assert_array_equal(shards.unigram_counts(), np.bincount(everything, minlength=205))
    held_out_ids = np.concatenate([np.concatenate(d) for d in as_ids(held_out)])
    np.testing.assert_array_equal(
        held_out.unigram_counts(), np.bincount(held_out_ids, minlength=205)
    )
    np.testing.assert_array_equal(
        train.unigram_counts() + held_out.unigram_counts(), shards.unigram_counts()
    )


def test_the_split_is_even_whatever_the_shards(tmp_path, corpus, monkeypatch):
    documents = encoded(corpus)
    for size in (100, 1 << 22):
        monkeypatch.setattr(tokenizing, "SHARD_CHARACTERS", size)
        shards = build_shards(corpus, TOKENIZER, tmp_path / f"data{size}")
        train, held_out = shards.split(4)
        assert as_ids(held_out) == [documents[i] for i in (5, 15, 25, 35)]
        assert as_ids(train) == [d for i, d in enumerate(documents) if i not in (5, 15, 25, 35)]
    assert shards.split()[1].num_documents == 2  # one in twenty
    assert shards.split(0)[0].num_documents == 40


@pytest.mark.parametrize("held_out", [-1, 40, 41])
def test_a_split_must_leave_training_documents(tmp_path, corpus, held_out):
    shards = build_shards(corpus, TOKENIZER, tmp_path / "data")
    with pytest.raises(InputError, match=f"cannot hold out {held_out} of 40 documents"):
        shards.split(held_out)


def test_one_document_cannot_be_split(tmp_path):
    (tmp_path / "a.txt").write_text("Only one.")
    shards = build_shards(tmp_path / "a.txt", TOKENIZER, tmp_path / "data")
    with pytest.raises(InputError, match="cannot hold out 1 of 1 document: hold out"):
        shards.split()


@pytest.mark.parametrize("name", ["tokens", "sentences", "documents"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_a_damaged_shard_is_named(tmp_path, corpus, name, damage):
    shards = build_shards(corpus, TOKENIZER, tmp_path / "data")
    path = shards.folder / f"00000.{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    if damage != "remove":
        path.write_bytes({"truncate": content[:-9], "flip": content, "empty": b""}[damage])
    with pytest.raises(InputError, match=f"{shards.folder}: shard 00000 .*; delete this folder"):
        Shards(shards.folder)[0]


def test_a_flipped_bit_of_the_word_starts_is_found(tmp_path, corpus):
    folder = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    content = bytearray((folder / "word_starts.npy").read_bytes())
    content[-1] ^= 1
    (folder / "word_starts.npy").write_bytes(content)
    with pytest.raises(InputError, match=f"{folder}: word_starts.npy is not what was written"):
        Shards(folder)


@pytest.mark.parametrize("name", ["vocab_size", "documents", "crc32"])
def test_a_wrong_number_in_the_index_is_found(tmp_path, corpus, name):
    folder = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    index = json.loads((folder / "index.json").read_text())
    (index["shards"][0] if name != "vocab_size" else index)[name] += 1
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=f"{folder}: .*; delete this folder"):
        Shards(folder)[0]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"vocab_size": 3'])
def test_a_damaged_index_is_named(tmp_path, corpus, content):
    folder = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    (folder / "index.json").write_text(content)
    with pytest.raises(InputError, match=f"{folder}: its index cannot be read"):
        build_shards(corpus, TOKENIZER, tmp_path / "data")


def test_the_index_is_small_and_readable(tmp_path, corpus):
    folder = build_shards(corpus, TOKENIZER, tmp_path / "data").folder
    index = json.loads((folder / "index.json").read_text())
    assert index["source"] == str(corpus) and index["vocab_size"] == 205
    assert [entry["documents"] for entry in index["shards"]] == [40]


def test_a_directory_that_cannot_be_written(tmp_path, corpus):
    (tmp_path / "data").write_text("a file is in the way")
    with pytest.raises(InputError, match="cannot write shards to .*data: (File exists|Not a dir)"):
        build_shards(corpus, TOKENIZER, tmp_path / "data")


def test_text_that_the_tokenizer_drops(tmp_path, corpus, monkeypatch):
    tokenizer = WordTokenizer()
    monkeypatch.setattr(tokenizer, "encode", lambda text, add_special_tokens: [])
    with pytest.raises(InputError, match="corpus.txt: nothing is left of its text"):
        build_shards(corpus, tokenizer, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_progress_is_shown_on_request(tmp_path, corpus, capsys):
    build_shards(corpus, TOKENIZER, tmp_path / "silent")
    assert capsys.readouterr().err == ""
    build_shards(corpus, TOKENIZER, tmp_path / "shown", progress=True)
    assert "tokenizing" in capsys.readouterr().err
