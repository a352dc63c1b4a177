"""Searching for the best next tokens, given any function that says how likely they are; and what
each option does to the logits. What a model says stands in test_seq2seq.py."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import chisquare

from tinyalbert import InputError
from tinyalbert.generation import (
    GenerationConfig,
    forbid_repeated_ngrams,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
    process,
    search,
)

EOS, PAD, BATCH = 0, 1, 3
INF = np.inf


class Language:
    """Random logits for every text [V]: those of one prefix of one source are always the same."""

    def __init__(self, seed: int, words: int, scale: float = 1.5) -> None:
        self.seed, self.words, self.scale = seed, words, scale

    def logits(self, source: int, prefix: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng((self.seed, source, *prefix))
        return self.scale * rng.standard_normal(self.words)

    def log_probs(self, source: int, prefix: tuple[int, ...]) -> np.ndarray:
        logits = self.logits(source, prefix)
        logits[PAD] = -INF
        return log_softmax(logits)

    def __call__(self, tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        self.sources = parents if tokens.shape[1] == 0 else self.sources[parents]
        return np.array([self.logits(int(source), tuple(row))
                         for source, row in zip(self.sources, tokens.tolist(), strict=True)])

    def score(self, source: int, written: list[int], length_penalty: float) -> float:
        """Of what `search` wrote: up to the end, or to the last token."""
        length = written.index(EOS) + 1 if EOS in written else len(written)
        total = sum(self.log_probs(source, tuple(written[:i]))[written[i]] for i in range(length))
        return total / length**length_penalty

    def greedy(self, source: int, limit: int) -> list[int]:
        written: list[int] = []
        while len(written) < limit and EOS not in written:
            written.append(int(self.log_probs(source, tuple(written)).argmax()))
        return written

    def everything(self, limit: int) -> list[list[int]]:
        """Every text of this language that `search` could write."""
        words = [word for word in range(self.words) if word not in (EOS, PAD)]
        whole = [list(text) for text in itertools.product(words, repeat=limit)]
        return whole + [[*text, EOS] for length in range(limit)
                        for text in itertools.product(words, repeat=length)]


def config(**changes: Any) -> GenerationConfig:
    return GenerationConfig(**{"eos_token_id": EOS, "pad_token_id": PAD, "max_new_tokens": 10}
                            | changes)


def written(language: Language, **options: Any) -> list[list[int]]:
    """For each of three sources, without padding."""
    rows = search(language, BATCH, config(**options)).tolist()
    longest = max(len(row) - row.count(PAD) for row in rows)
    texts = [[token for token in row if token != PAD] for row in rows]
    assert [row[len(text):].count(PAD) for row, text in zip(rows, texts, strict=True)] == [
        longest - len(text) for text in texts]                  # padding at the end, and no more
    return texts


# --- search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_one_beam_is_greedy(seed: int) -> None:
    language = Language(seed, 7)
    expected = [language.greedy(source, 10) for source in range(BATCH)]
    assert written(language) == written(language, num_beams=1, length_penalty=0.3) == expected


def test_greedy_texts_end_and_do_not_end() -> None:
    """So that the tests here are about both."""
    texts = [text for seed in range(10) for text in written(Language(seed, 7))]
    ended = [text[-1] == EOS for text in texts]
    assert 5 < sum(ended) < 25
    assert all(EOS not in text[:-1] for text in texts)
    assert all(len(text) == 10 for text, end in zip(texts, ended, strict=True) if not end)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("seed", range(3))
def test_enough_beams_find_the_best_of_all_texts(seed: int, length_penalty: float) -> None:
    language, limit = Language(seed, 5), 4
    everything = language.everything(limit)
    assert len(everything) == 3**4 + 1 + 3 + 9 + 27
    texts = written(language, num_beams=len(everything), length_penalty=length_penalty,
                    max_new_tokens=limit)
    for source, text in enumerate(texts):
        assert text == max(everything, key=lambda t: language.score(source, t, length_penalty))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beams_find_likelier_texts_than_greedy(length_penalty: float) -> None:
    """Not always: what is greedy's best may drop out halfway. But nearly."""
    gains = []
    for seed in range(40):
        language = Language(seed, 12)
        beams, greedy = written(language, num_beams=5, length_penalty=length_penalty), \
            written(language)
        gains += [language.score(i, beams[i], length_penalty)
                  - language.score(i, greedy[i], length_penalty) for i in range(BATCH)]
    assert np.mean(np.array(gains) > 1e-9) > 0.6
    assert np.mean(np.array(gains) < -1e-9) < 0.05


def test_a_length_penalty_above_1_prefers_longer_texts() -> None:
    lengths = [np.mean([len(text) for seed in range(20) for text in
                        written(Language(seed, 7), num_beams=4, length_penalty=penalty)])
               for penalty in (0.0, 1.0, 3.0)]
    assert lengths[0] + 1 < lengths[1] < lengths[2] - 0.3


def test_the_parents_say_whom_each_row_continues() -> None:
    """A model that keeps something for each row can go by them."""
    language, seen = Language(3, 9), []

    def watching(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        before = seen[-1] if seen else np.empty((BATCH, 0))
        if tokens.shape[1]:
            np.testing.assert_array_equal(tokens[:, :-1], before[parents])
        seen.append(tokens)
        return language(tokens, parents)

    search(watching, BATCH, config(num_beams=4))
    assert [len(tokens) for tokens in seen[:3]] == [BATCH, 4 * BATCH, 4 * BATCH]


def test_the_padding_may_be_the_end() -> None:
    """As where a tokenizer has no padding of its own."""
    ends, language = [0.0, -INF, -INF, -INF], Language(0, 4)
    rows = search(lambda tokens, parents: np.array(
        [ends if len(row) and i == 1 else language.logits(i, (5, *row)) - [9, 0, 0, 0]
         for i, row in enumerate(tokens)]), 2, config(pad_token_id=EOS, max_new_tokens=4))
    assert rows[1, 1:].tolist() == [EOS] * 3 and EOS not in rows[0]


# --- sampling -----------------------------------------------------------------------------------


def test_sampling_is_repeatable() -> None:
    language = Language(0, 30)
    first = written(language, do_sample=True, seed=5)
    assert written(language, do_sample=True, seed=5) == first
    assert len({str(written(language, do_sample=True, seed=seed)) for seed in range(5)}) == 5


def test_drawn_texts_are_as_likely_as_the_model_says() -> None:
    """Of two tokens, over the 20,000 rows of one batch that all read the same source."""
    language, rows, limit = Language(1, 5), 20_000, 2

    def alike(tokens: np.ndarray, parents: np.ndarray) -> np.ndarray:
        known = {text: language.logits(0, text) for text in set(map(tuple, tokens.tolist()))}
        return np.array([known[tuple(row)] for row in tokens.tolist()])

    drawn = search(alike, rows, config(do_sample=True, max_new_tokens=limit, temperature=0.8))
    texts = language.everything(limit)
    counts = [int((drawn == [*text, PAD][:2]).all(1).sum()) for text in texts]

    def probability(text: list[int]) -> float:
        steps = [log_softmax(language.log_probs(0, tuple(text[:i])) / 0.8)[text[i]]
                 for i in range(len(text))]
        return float(np.exp(sum(steps)))

    expected = [rows * probability(text) for text in texts]
    assert sum(counts) == rows and sum(expected) == pytest.approx(rows)
    assert chisquare(counts, expected).pvalue > 0.01
    wrong = np.roll(expected, 1)
    assert chisquare(counts, wrong).pvalue < 1e-6


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-6}])
def test_sampling_with_one_choice_is_greedy(options: dict[str, Any]) -> None:
    language = Language(2, 9)
    assert written(language, do_sample=True, **options) == written(language)


# --- options ------------------------------------------------------------------------------------


def test_repetition_penalty_by_hand() -> None:
    logits = np.array([[1.0, -2.0, 3.0, 0.0], [1.0, -2.0, 3.0, 0.0]])
    tokens = np.array([[1, 1, 2], [3, 0, 0]])
    np.testing.assert_array_equal(penalize_repetition(logits, tokens, 2.0),
                                  [[1, -4, 1.5, 0], [0.5, -2, 3, 0]])


def test_repeated_ngrams_by_hand() -> None:
    logits, tokens = np.zeros((2, 6)), np.array([[4, 5, 2, 4, 5], [4, 4, 4, 2, 4]])

    def forbidden(size: int) -> list[list[int]]:
        banned = np.isneginf(forbid_repeated_ngrams(logits, tokens, size))
        return [np.flatnonzero(row).tolist() for row in banned]

    assert forbidden(0) == forbidden(6) == [[], []]
    assert forbidden(1) == [[2, 4, 5], [2, 4]]
    assert forbidden(2) == [[2], [2, 4]]            # 5 2 was there; 4 4 and 4 2 were
    assert forbidden(3) == [[2], []]                # 4 5 2 was there; no 2 4 x
    assert forbidden(4) == forbidden(5) == [[], []]
    assert not logits.any()


def test_top_k_and_top_p_by_hand() -> None:
    logits = np.log([[0.5, 0.1, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4]])

    def kept(changed: np.ndarray) -> list[list[int]]:
        return [np.flatnonzero(row > -INF).tolist() for row in changed]

    everything = [[0, 1, 2, 3]] * 2
    assert kept(keep_top_k(logits, 1)) == [[0], [3]]
    assert kept(keep_top_k(logits, 2)) == [[0, 2], [2, 3]]
    assert kept(keep_top_k(logits, 3)) == [[0, 1, 2, 3], [1, 2, 3]]         # two are equal
    assert kept(keep_top_k(logits, 0)) == kept(keep_top_k(logits, 9)) == everything
    assert kept(keep_top_p(logits, 0.35)) == [[0], [3]]
    assert kept(keep_top_p(logits, 0.45)) == [[0], [2, 3]]
    assert kept(keep_top_p(logits, 0.75)) == [[0, 2], [1, 2, 3]]
    assert kept(keep_top_p(logits, 1.0)) == everything


def test_no_ngram_comes_twice() -> None:
    for options in ({"num_beams": 3}, {"do_sample": True}, {}):
        for text in written(Language(4, 6), no_repeat_ngram_size=2, max_new_tokens=14,
                            min_new_tokens=9, **options):
            pairs = list(itertools.pairwise(text))
            assert len(pairs) == len(set(pairs)) >= 8


def test_limits_of_the_length() -> None:
    language = Language(0, 3, scale=0.1)            # one word, and the end
    for options in ({"num_beams": 3}, {"do_sample": True}, {}):
        texts = written(language, min_new_tokens=4, max_new_tokens=6, **options)
        assert all(4 <= len(text) <= 6 for text in texts)
        assert written(language, max_new_tokens=1, min_new_tokens=1, **options) == [[2]] * BATCH


def test_what_is_suppressed_is_never_written() -> None:
    """The end is not, though it is among a tokenizer's special tokens."""
    language, texts = Language(0, 8), []
    for options in ({"num_beams": 8}, {"do_sample": True}, {}):
        texts += written(language, suppress_tokens=[EOS, PAD, 2, 3], **options)
    assert {token for text in texts for token in text} == {EOS, 4, 5, 6, 7}


def test_where_nothing_may_follow_the_text_ends() -> None:
    texts = written(Language(0, 6), no_repeat_ngram_size=1, min_new_tokens=9)
    assert [sorted(text) for text in texts] == [[EOS, 2, 3, 4, 5]] * BATCH


def test_the_order_of_the_options() -> None:
    """The penalty is for logits before the temperature; the shares are of what is left."""
    logits, tokens = np.log([[0.05, 0.05, 0.5, 0.4]]), np.array([[2]])
    changed = process(logits.copy(), tokens, config(do_sample=True, repetition_penalty=2.0,
                                                    temperature=0.5, top_p=0.5))
    # 2 ln 0.5 = ln 0.25, and ln 0.4 is the largest; squared, 0.16 of 0.16 + 0.0625 + 0.0025.
    np.testing.assert_allclose(changed, [[-INF, -INF, -INF, 2 * np.log(0.4)]])


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no beam": ({"num_beams": 0}, "num_beams must be a whole number of at least 1, not 0"),
    "half a beam": ({"num_beams": 1.5}, "num_beams must be a whole number of at least 1, not 1.5"),
    "no token": ({"max_new_tokens": 0},
                 "max_new_tokens must be a whole number of at least 1, not 0"),
    "top_k": ({"top_k": -1}, "top_k must be a whole number of at least 0, not -1"),
    "top_p 0": ({"top_p": 0.0}, "top_p must be above 0 and at most 1, not 0.0"),
    "top_p 2": ({"top_p": 2}, "top_p must be above 0 and at most 1, not 2"),
    "cold": ({"temperature": 0.0}, "temperature must be a number above 0, not 0.0"),
    "no penalty": ({"repetition_penalty": -1.0},
                   "repetition_penalty must be a number above 0, not -1.0"),
    "NaN": ({"length_penalty": np.nan}, "length_penalty must be a number, not nan"),
    "lengths": ({"min_new_tokens": 11}, "min_new_tokens 11 exceeds max_new_tokens 10"),
    "drawn beams": ({"do_sample": True, "num_beams": 2},
                    "do_sample draws one sequence and num_beams keeps several: choose one of them"),
    "not drawn": ({"top_k": 5}, "temperature, top_k and top_p change what is drawn: they need "
                                "do_sample=True"),
}


@pytest.mark.parametrize("options, message", WRONG.values(), ids=WRONG.keys())
def test_a_bad_option_is_one_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        config(**options)
