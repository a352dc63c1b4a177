"""Expected values: by hand from models that give every token a known probability whatever is around
it, and from a slow loop over sentences and tokens, one row at a time, all logits."""

from __future__ import annotations

import json
from itertools import product
from math import log
from pathlib import Path

import numpy as np
import pytest
from command_line import error
from hypothesis import given, settings
from hypothesis import strategies as st
from nonsense import sentences
from tiny import assert_close, randomize, tiny_config

from tinyalbert import AlbertForMaskedLM, BertConfig, BertForMaskedLM
from tinyalbert.cli import main
from tinyalbert.errors import InputError
from tinyalbert.scoring import (
    MinimalPair,
    accuracy,
    hide,
    prefers_good,
    pseudo_log_likelihood,
    read_blimp,
)
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

# Probabilities of the unigram model; what the pieces share is 1 - 5/16 - 1/8 - 1/16 = 1/2.
KNOWN = {"ba": 1 / 4, "##do": 1 / 16, "ki": 1 / 8, ".": 1 / 16}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *KNOWN, "la", "##la"]
BERT = BertConfig(vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2,
                  num_attention_heads=2, intermediate_size=12, max_position_embeddings=12)
TEXTS = ["bado ki.", "ba", "ki la bado badola ki.", "labado"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def unigram() -> BertForMaskedLM:
    """A BERT without word vectors: only the bias of its head is left to speak."""
    model = randomize(BertForMaskedLM(BERT))
    model.albert.embeddings.word_embeddings.weight.data[...] = 0
    rest = (1 - sum(KNOWN.values())) / (len(PIECES) - len(KNOWN))
    model.predictions.bias.data[...] = np.log([KNOWN.get(piece, rest) for piece in PIECES])
    return model


@pytest.fixture(scope="module")
def model() -> BertForMaskedLM:
    return randomize(BertForMaskedLM(BERT))


def slow_log_probs(model, tokenizer, text, whole_words=False) -> list[float]:
    """By the definition."""
    ids = tokenizer.encode(text)
    pieces = tokenizer.convert_ids_to_tokens(ids)
    found = []
    for place in range(1, len(ids) - 1):
        masked = list(ids)
        masked[place] = tokenizer.mask_token_id
        for later in range(place + 1, len(ids) - 1):
            if not whole_words or not pieces[later].startswith("##"):
                break
            masked[later] = tokenizer.mask_token_id
        logits = model(np.array([masked])).logits[0, place].astype(np.float64)
        found.append(logits[ids[place]] - np.log(np.exp(logits).sum()))
    return found


# ---- pseudo-log-likelihood


def test_a_sentence_by_hand(unigram, tokenizer):
    score = pseudo_log_likelihood(unigram, tokenizer, "bado ki.")
    assert score.tokens == ["ba", "##do", "ki", "."]
    by_hand = [log(1 / 4), log(1 / 16), log(1 / 8), log(1 / 16)]
    assert score.log_probs == pytest.approx(by_hand, abs=1e-5)
    assert score.total == pytest.approx(-13 * log(2), abs=1e-5)
    assert score.per_token == pytest.approx(-13 / 4 * log(2), abs=1e-5)


@pytest.mark.parametrize("whole_words", [False, True])
@settings(max_examples=10, deadline=None)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=5),
       batch_size=st.integers(1, 40))
def test_the_slow_loop(model, tokenizer, whole_words, texts, batch_size):
    scores = pseudo_log_likelihood(model, tokenizer, texts, whole_words=whole_words,
                                   batch_size=batch_size)
    assert len(scores) == len(texts)
    for text, score in zip(texts, scores, strict=True):
        assert score.tokens == tokenizer.tokenize(text)
        assert_close(score.log_probs, slow_log_probs(model, tokenizer, text, whole_words), 1e-5)


def test_whole_words_change_pieces_that_others_of_their_word_follow(model, tokenizer):
    scores = [pseudo_log_likelihood(model, tokenizer, "ki badola.", whole_words=whole)
              for whole in (False, True)]
    assert scores[0].tokens == ["ki", "ba", "##do", "##la", "."]
    differ = abs(scores[0].log_probs - scores[1].log_probs) > 1e-3
    assert differ.tolist() == [False, True, True, False, False]


def test_what_is_hidden():
    starts = np.array([True, True, False, False, True])
    ids = np.array([0, 1, 2, 3, 2, 4, 0])
    hidden = [hide(ids, place, starts, 9).tolist() for place in range(1, 6)]
    assert hidden == [[0, 9, 9, 9, 9, 4, 0], [0, 1, 9, 9, 9, 4, 0], [0, 1, 2, 9, 9, 4, 0],
                      [0, 1, 2, 3, 9, 4, 0], [0, 1, 2, 3, 2, 9, 0]]
    assert ids.tolist() == [0, 1, 2, 3, 2, 4, 0]


def test_whole_words_of_an_albert(tmp_path, backend):
    """As pretraining masks them: up to the next piece with "▁", or punctuation mark."""
    tokenizer = train_tokenizer(sentences(), tmp_path, vocab_size=60)
    model = randomize(AlbertForMaskedLM(tiny_config(vocab_size=60, max_position_embeddings=32),
                                        backend=backend))
    text = "badokila mu."
    pieces = tokenizer.tokenize(text)
    begins = [piece[0] in "▁." for piece in pieces]
    assert sum(begins) == 3 and pieces[-1] == "." and not all(begins)
    score = pseudo_log_likelihood(model, tokenizer, text, whole_words=True)
    ids = np.array(tokenizer.encode(text))
    for i, found in enumerate(score.log_probs):
        end = next((j for j in range(i + 1, len(pieces)) if begins[j]), len(pieces))
        masked = ids.copy()
        masked[i + 1:end + 1] = tokenizer.mask_token_id
        logits = backend.to_numpy(model(masked[None]).logits)[0, i + 1].astype(np.float64)
        assert found == pytest.approx(logits[ids[i + 1]] - np.log(np.exp(logits).sum()), rel=1e-5)


def test_impossible_sentences(model, tokenizer):
    for texts, message in ((["ba", " "], "there is nothing to score in ' '"),
                           ("ba [MASK]", r"there is a \[MASK\] in 'ba \[MASK\]': scoring hides"),
                           (["ba", "ki " * 11], "13 tokens and the model 12 positions"),
                           ([], "text must be a string or a list of strings")):
        with pytest.raises(InputError, match=message):
            pseudo_log_likelihood(model, tokenizer, texts)
    with pytest.raises(InputError, match="no masked-LM head"):
        pseudo_log_likelihood(model.albert, tokenizer, "ba")


# ---- minimal pairs


def pair(good: str, bad: str, paradigm: str = "p", phenomenon: str = "h") -> MinimalPair:
    return MinimalPair(good, bad, paradigm, phenomenon, "syntax")


def test_which_sentence_is_preferred(unigram, tokenizer):
    pairs = [pair("ba", "ki"),              # 1/4 > 1/8
             pair("bado", "ki"),            # 1/64 < 1/8
             pair("ba ki", "ki ba"),        # the same product
             pair("ki ki.", "bado.")]       # 1/64 = 1/4 · 1/16: equal sums of unequal terms
    assert prefers_good(unigram, tokenizer, pairs).tolist() == [1, 0, 0.5, 0.5]


def test_accuracy():
    """The values less their mean 5/8 are 3/8, 3/8, -5/8, -1/8: variance 11/64, of four."""
    result = accuracy(np.array([1, 1, 0, 0.5]))
    assert (result.pairs, result.accuracy) == (4, 0.625)
    assert result.standard_error == pytest.approx((11 / 64 / 4) ** 0.5)


def blimp_line(values: MinimalPair) -> str:
    keys = ("sentence_good", "sentence_bad", "UID", "linguistics_term", "field")
    return json.dumps({**dict(zip(keys, values, strict=True)), "pairID": "0"}) + "\n"


def write(path: Path, pairs: list[MinimalPair]) -> Path:
    path.write_text("".join(map(blimp_line, pairs)))
    return path


def test_reading(tmp_path):
    pairs = [pair("a", "b"), pair("c\u2028", "d"), pair("e", "f")]
    path = write(tmp_path / "p.jsonl", pairs)
    assert read_blimp(path) == pairs
    assert read_blimp(path, limit=2) == pairs[:2]


@pytest.mark.parametrize(("line", "message"), [
    ('{"sentence_good": "a', "line 2 of {} is not valid JSON: Unterminated string"),
    ("\n", "line 2 of {} is not valid JSON: Expecting value"),
    ("[" * 100_000, "line 2 of {} is not valid JSON: "),
    ("[1]", "line 2 of {} has no text as 'sentence_good'"),
    ('{"sentence_good": "a", "sentence_bad": 3}', "line 2 of {} has no text as 'sentence_bad'"),
    ('{"sentence_good": "a", "sentence_bad": "b"}', "line 2 of {} has no text as 'UID'"),
])
def test_garbled_lines(tmp_path, line, message):
    path = tmp_path / "p.jsonl"
    path.write_text(blimp_line(pair("a", "b")) + line)
    with pytest.raises(InputError) as caught:
        read_blimp(path)
    assert str(caught.value).startswith(message.format(path))
    assert len(read_blimp(path, limit=1)) == 1


def test_files_that_are_none(tmp_path):
    for content, message in ((b"", "holds no pairs"), (b"\xff\n", "is not UTF-8 text")):
        (tmp_path / "p.jsonl").write_bytes(content)
        with pytest.raises(InputError, match=f"p.jsonl {message}"):
            read_blimp(tmp_path / "p.jsonl")
    with pytest.raises(InputError, match="cannot read .*nowhere.jsonl: No such file"):
        read_blimp(tmp_path / "nowhere.jsonl")


# ---- tinyalbert evaluate blimp


def command(*argv: str | Path) -> int:
    return main(["evaluate", "blimp", *map(str, argv)])


@pytest.fixture
def saved(tmp_path, unigram, tokenizer) -> Path:
    unigram.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def files(tmp_path) -> list[Path]:
    return [write(tmp_path / "1.jsonl", [pair("ki", "ba", "order_2", "order")] * 2
                  + [pair("ba", "ki", "order_2", "order")] * 2),
            write(tmp_path / "2.jsonl", [pair("ba", "ki", "order_1", "order")] * 4),
            write(tmp_path / "3.jsonl", [pair("ba ki", "ki ba", "tie", "abc")])]


def test_the_table(saved, files, capsys):
    assert command(saved, *files) == 0
    assert capsys.readouterr().out.splitlines() == [
        "                pairs    right  std. error",
        "syntax: abc         1    50.0%        0.0%",
        "  tie               1    50.0%        0.0%",
        "syntax: order       8    75.0%       15.3%",       # √(3/16 / 8)
        "  order_1           4   100.0%        0.0%",
        "  order_2           4    50.0%       25.0%",       # √(1/4 / 4)
        "all                 9    72.2%       13.9%",       # 6½/9; √((6¼/9 - (6½/9)²) / 9)
        "chance                   50.0%"]


def test_limit_and_json(saved, files, capsys):
    assert command(saved, *files, "--limit", "3", "--json", "--whole-words") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["model"], result["whole_words"], result["chance"]) == (str(saved), True, 0.5)
    assert (result["pairs"], result["accuracy"]) == (7, pytest.approx(4.5 / 7))
    assert [(p["phenomenon"], p["pairs"])
            for p in result["phenomena"]] == [("abc", 1), ("order", 6)]
    assert result["paradigms"][2] == {
        "field": "syntax", "phenomenon": "order", "paradigm": "order_2", "pairs": 3,
        "accuracy": pytest.approx(1 / 3), "standard_error": pytest.approx((2 / 9 / 3) ** 0.5)}


def test_whole_words_on_the_command_line(saved, files, tokenizer, capsys):
    """With pairs of words whose order depends on it."""
    model = randomize(BertForMaskedLM(BERT), seed=2)
    model.save_pretrained(saved)
    words = ["".join(parts) for parts in product(("ba", "ki", "la"), *[("", "do", "la")] * 2)]
    pairs = [pair(a, b) for a in words for b in words if a != b]
    plain, whole = (prefers_good(model, tokenizer, pairs, whole_words=w) for w in (False, True))
    telling = [p for p, a, b in zip(pairs, plain, whole, strict=True) if (a, b) == (0, 1)]
    assert telling
    for flags, right in (([], 0), (["--whole-words"], 1)):
        assert command(saved, write(files[0], telling), "--json", *flags) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] == right


def test_mistakes_on_the_command_line(saved, files, tmp_path, capsys):
    def message(*argv):
        return error(capsys, "evaluate", *argv)
    assert "invalid choice: 'blip'" in message("blip", saved, *files)
    assert "required: FILE" in message("blimp", saved)
    assert "--limit: '0' is not a positive" in message("blimp", saved, *files, "--limit", "0")
    assert "cannot read" in message("blimp", saved, tmp_path / "nowhere.jsonl")
    assert "config.json" in message("blimp", tmp_path, *files)
    files[1].write_text("{}\n")
    assert f"line 1 of {files[1]} has no text as 'sentence_good'" in message("blimp", saved, *files)


def test_help_has_the_whole_story(capsys):
    with pytest.raises(SystemExit):
        command("--help")
    text = capsys.readouterr().out
    assert "Warstadt et al. 2020" in text and "--whole-words" in text


def test_the_published_files(shared_data, tmp_path, capsys):
    """With a model that knows nothing, and a vocabulary of another language."""
    model = randomize(AlbertForMaskedLM(tiny_config(vocab_size=60, max_position_embeddings=128)))
    model.save_pretrained(tmp_path)
    train_tokenizer(sentences(), tmp_path, vocab_size=60)
    files = sorted((shared_data / "blimp").glob("*.jsonl"))
    assert command(tmp_path, *files, "--limit", "3", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert {(p["paradigm"], p["pairs"]) for p in result["paradigms"]} == {
        (path.stem, 3) for path in files}
    assert [(p["field"], p["phenomenon"], p["pairs"]) for p in result["phenomena"]][:2] == [
        ("morphology", "anaphor_agreement", 6), ("morphology", "determiner_noun_agreement", 3)]
    assert all(len(read_blimp(path)) == 1000 for path in files)
