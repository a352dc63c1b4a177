"""What the vocabulary must contain is from the README of google-research/albert."""

from __future__ import annotations

import pytest
from nonsense import sentences

from tinyalbert.errors import InputError
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

VOCAB_SIZE = 120


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> AlbertTokenizer:
    return train_tokenizer(sentences(), tmp_path_factory.mktemp("tokenizer"),
                           vocab_size=VOCAB_SIZE)


def test_training_gives_alberts_first_thirteen_pieces(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(13)) == [
        "<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "(", ")", '"', "-", ".", "–", "£", "€"]
    assert tokenizer.vocab_size == VOCAB_SIZE


def test_training_is_deterministic_quiet_and_lazy(tmp_path, tokenizer, capfd):
    again = train_tokenizer((s for s in sentences()), tmp_path, vocab_size=VOCAB_SIZE)
    assert again.model.content == tokenizer.model.content
    assert capfd.readouterr() == ("", "")


def test_training_normalizes(tmp_path):
    text = [s.replace("ba", "BÁ") for s in sentences()]
    plain = train_tokenizer(text, tmp_path / "a", vocab_size=60)
    kept = train_tokenizer(text, tmp_path / "b", vocab_size=60, do_lower_case=False,
                           keep_accents=True)
    assert {"á", "Á", "B"}.isdisjoint("".join(plain.get_vocab()))
    assert {"Á", "B"} <= set("".join(kept.get_vocab()))
    assert AlbertTokenizer.from_pretrained(tmp_path / "b").normalizer == kept.normalizer
    assert plain.unk_token_id not in plain.encode(text[0])


def test_no_sentence_is_dropped(tmp_path):
    """SentencePiece alone drops lines of more than 4192 bytes, and lines that hold U+2585."""
    long = " ".join(sentences()) + " zebra" * 50
    assert len(long) > 4192
    marked = ["quartz \u2585 quartz"] * 50
    trained = train_tokenizer([long, *marked], tmp_path, vocab_size=100)
    assert trained.unk_token_id not in trained.encode("zebra quartz")


@pytest.mark.parametrize("empty", [[], ["", " \n"], ["\x01", "\u2585", "\ufffd"]])
def test_training_on_nothing(tmp_path, empty):
    with pytest.raises(InputError, match="there is no text to train a tokenizer on"):
        train_tokenizer(empty, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_vocabulary_says_what_is_possible(tmp_path):
    with pytest.raises(InputError, match="vocab_size 30000 is too large") as caught:
        train_tokenizer(sentences(), tmp_path)
    possible = int(str(caught.value).split("at most ")[1].split()[0])
    assert train_tokenizer(sentences(), tmp_path, vocab_size=possible).vocab_size == possible
    with pytest.raises(InputError, match=f"vocab_size {possible + 1} is too large"):
        train_tokenizer(sentences(), tmp_path, vocab_size=possible + 1)


def test_too_small_a_vocabulary_says_what_is_needed(tmp_path):
    # 13 symbols, and of "▁bdkilmuneao20,." all but the symbol "."
    needed = 13 + len(set("▁" + "".join(sentences()).replace(" ", "")) - {"."})
    with pytest.raises(InputError, match=f"vocab_size 15 is too small: .* need {needed},"):
        train_tokenizer(sentences(), tmp_path, vocab_size=15)


def test_bad_training_input(tmp_path):
    with pytest.raises(InputError, match="sentence 2 must be a string, not None"):
        train_tokenizer(["ba", None], tmp_path, vocab_size=50)
    with pytest.raises(InputError, match="several strings, not one"):
        train_tokenizer("ba do", tmp_path)
    with pytest.raises(InputError, match="vocab_size must be a positive whole number, not 0"):
        train_tokenizer(["ba"], tmp_path, vocab_size=0)
    with pytest.raises(InputError, match=r"character_coverage must be in \[0.98, 1\], not 0.5"):
        train_tokenizer(["ba"], tmp_path, character_coverage=0.5)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the directory .*file"):
        train_tokenizer(sentences(), tmp_path / "file", vocab_size=50)


@pytest.mark.parametrize("failure", [InputError("line 7 is not UTF-8"), KeyboardInterrupt()])
def test_a_failing_corpus_fails_with_its_own_error(tmp_path, failure):
    def corpus():
        yield from sentences()
        raise failure

    with pytest.raises(type(failure)) as caught:
        train_tokenizer(corpus(), tmp_path, vocab_size=VOCAB_SIZE)
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []
