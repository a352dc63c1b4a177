import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalbert.data.masking import CLS, MASK, PAD, SEP, Masking, draw_ngram_lengths, mask_tokens
from tinyalbert.errors import InputError

VOCAB = 1005
WORD_STARTS = np.arange(VOCAB) % 3 == 0  # ids divisible by 3 begin a word
STRATEGIES = ["ngram", "whole_word", "token"]


def make_batch(seed: int, rows: int, length: int, ids: np.ndarray | None = None) -> np.ndarray:
    """[CLS] A [SEP] B [SEP] and padding, of random lengths; `ids` are the tokens to draw from."""
    rng = np.random.default_rng(seed)
    ids = np.arange(5, VOCAB) if ids is None else ids
    batch = rng.choice(ids, size=(rows, length))
    for row in batch:
        stop = rng.integers(4, length, endpoint=True)
        row[[0, rng.integers(2, stop - 1), stop - 1]] = CLS, SEP, SEP
        row[stop:] = PAD
    return batch


def mask(batch: np.ndarray, seed: int = 0, *args, **options) -> tuple[np.ndarray, np.ndarray]:
    return mask_tokens(batch, WORD_STARTS, np.random.default_rng(seed), Masking(*args, **options))


def words_of(row: np.ndarray) -> list[list[int]]:
    """Positions of the whole words, by the definition: special tokens are in none."""
    words: list[list[int]] = []
    for i, token in enumerate(row):
        if token in (PAD, CLS, SEP):
            continue
        if WORD_STARTS[token] or row[i - 1] in (CLS, SEP):
            words.append([])
        words[-1].append(i)
    return words


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 5),
    length=st.integers(5, 70),
    strategy=st.sampled_from(STRATEGIES),
    probability=st.sampled_from([0.05, 0.15, 0.4, 0.9]),
    cap=st.sampled_from([None, 1, 6]),
)
def test_what_is_predicted(seed, rows, length, strategy, probability, cap):
    batch = make_batch(seed, rows, length)
    before = batch.copy()
    masked, labels = mask(batch, seed, strategy, probability, cap)
    chosen = labels != -100
    np.testing.assert_array_equal(batch, before)
    np.testing.assert_array_equal(labels[chosen], batch[chosen])
    np.testing.assert_array_equal(masked[~chosen], batch[~chosen])
    assert not np.isin(batch[chosen], [PAD, CLS, SEP]).any()
    assert masked.dtype == labels.dtype == batch.dtype
    for ids, predicted in zip(batch, chosen, strict=True):
        words = words_of(ids)
        tokens = sum(map(len, words)) if strategy == "token" else (ids != PAD).sum()
        budget = min(max(1, round(probability * int(tokens))), cap or 999)
        assert predicted.sum() <= budget
        if strategy == "token":
            assert predicted.sum() == min(budget, tokens)
        else:
            assert all(predicted[word].all() or not predicted[word].any() for word in words)
            left = budget - predicted.sum()
            if strategy == "whole_word":  # nothing that would still fit is left out
                assert all(len(word) > left for word in words if not predicted[word].any())


def test_budget_rounds_half_to_even_as_python_does():
    lengths = np.array([1, 3, 10, 30, 50, 128, 512])
    assert Masking().budget(lengths).tolist() == [1, 1, 2, 4, 8, 19, 77]
    assert Masking(max_predictions_per_seq=20).budget(lengths).tolist() == [1, 1, 2, 4, 8, 19, 20]
    assert Masking(masked_lm_prob=0.4).budget(np.array([64, 128])).tolist() == [26, 51]


@pytest.mark.parametrize(
    ("words_left", "expected"),
    [(9, [6 / 11, 3 / 11, 2 / 11]), (3, [6 / 11, 3 / 11, 2 / 11]), (2, [2 / 3, 1 / 3]), (1, [1])],
)
def test_ngram_lengths_are_drawn_with_probability_one_over_n(words_left, expected):
    n = 100_000
    drawn = draw_ngram_lengths(np.full(n, words_left), 3, np.random.default_rng(0))
    counts = np.bincount(drawn)[1:]
    assert len(counts) == len(expected)
    p = np.array(expected)
    assert (abs(counts - n * p) <= 4 * np.sqrt(n * p * (1 - p))).all()


def test_ngrams_fill_the_budget_when_words_are_single_pieces():
    batch = make_batch(0, 200, 64, ids=np.arange(6, VOCAB, 3))
    labels = mask(batch)[1]
    budgets = [max(1, round(0.15 * n)) for n in (batch != PAD).sum(axis=1).tolist()]
    assert (labels != -100).sum(axis=1).tolist() == budgets


def choose_by_the_book(words: list[list[int]], budget: int, rng: np.random.Generator) -> set[int]:
    """The specification, word for word: candidates, draw, shorten, skip."""
    chosen: set[int] = set()
    for t in rng.permutation(len(words)):
        if len(chosen) >= budget:
            break
        candidates = [sum(words[t : t + n], []) for n in (1, 2, 3) if t + n <= len(words)]
        p = np.array([1, 1 / 2, 1 / 3][: len(candidates)])
        n = rng.choice(len(candidates), p=p / p.sum())
        while n > 0 and len(chosen) + len(candidates[n]) > budget:
            n -= 1
        if len(chosen) + len(candidates[n]) > budget or chosen & set(candidates[n]):
            continue
        chosen |= set(candidates[n])
    return chosen


def test_ngrams_are_chosen_as_the_specification_says():
    sizes = [1, 2, 3, 1, 2, 1, 1, 3, 1, 2]
    pieces = [token for size in sizes for token in (6, 7, 8)[:size]]
    row = np.array([CLS, *pieces[:10], SEP, *pieces[10:], SEP])  # [SEP] does not end an n-gram
    n, budget = 6000, 5  # 0.25 of 20
    ours = mask(np.tile(row, (n, 1)), 0, "ngram", 0.25)[1] != -100
    theirs = np.zeros_like(ours)
    rng = np.random.default_rng(1)
    for predicted in theirs:
        predicted[list(choose_by_the_book(words_of(row), budget, rng))] = True
    heads = [word[0] for word in words_of(row)]
    assert len(heads) == len(sizes)
    together_ours = ours[:, heads].T @ ours[:, heads].astype(int) / n  # [words, words]
    together = theirs[:, heads].T @ theirs[:, heads].astype(int) / n
    error = np.sqrt(2 * together * (1 - together) / n)
    assert (abs(together_ours - together) <= 4.5 * error + 1 / n).all()  # 55 comparisons


def test_a_word_begins_after_sep_even_with_a_continuation():
    """Cutting may leave only the end of a word behind [SEP]; it must not join A's last word."""
    batch = np.array([[CLS, 6, 7, SEP, 7, 7, SEP]] * 200)
    chosen = mask(batch, 0, "whole_word", 0.3)[1] != -100  # budget 2: one of two words
    assert (chosen[:, [1, 2]].all(axis=1) ^ chosen[:, [4, 5]].all(axis=1)).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_eighty_ten_ten(strategy):
    batch = make_batch(1, 600, 128)
    masked, labels = mask(batch, 0, strategy, 0.3)
    chosen = labels != -100
    n = chosen.sum()
    replaced, kept = masked[chosen] == MASK, masked[chosen] == labels[chosen]
    random_piece = masked[chosen][~replaced & ~kept]
    for count, p in [
        (replaced.sum(), 0.8 + 0.1 / VOCAB),  # the random piece may be [MASK]
        (kept.sum(), 0.1 + 0.1 / VOCAB),  # or the piece itself
        (len(random_piece), 0.1 * (1 - 2 / VOCAB)),
        ((random_piece < VOCAB / 2).sum(), 0.05),
    ]:
        assert abs(count - n * p) < 4 * np.sqrt(n * p * (1 - p))


def test_token_masking_ignores_words():
    batch = np.array([[CLS, *[6, 7, 8, 9, 10] * 4, SEP]] * 5000)
    chosen = mask(batch, 0, "token", 0.15)[1] != -100
    assert (chosen.sum(axis=1) == 3).all()  # 15 % of the 20 that can be hidden
    share = chosen[:, 1:-1].mean(axis=0)
    assert abs(share - 0.15).max() < 4 * np.sqrt(0.15 * 0.85 / 5000)
    neighbors = (chosen[:, 1] & chosen[:, 2]).mean()  # of one word, yet not hidden together
    assert abs(neighbors - 3 / 20 * 2 / 19) < 4 * np.sqrt(0.016 / 5000)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_masks_depend_on_the_generator_alone(strategy):
    batch = make_batch(2, 8, 64)
    first, again, other = (mask(batch, seed, strategy) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_batch_without_words(strategy):
    batch = np.array([[CLS, SEP, PAD, PAD]])
    masked, labels = mask(batch, 0, strategy)
    np.testing.assert_array_equal(masked, batch)
    assert (labels == -100).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "spans"}, "'spans' is not one of ngram, whole_word, token"),
        ({"masked_lm_prob": 0}, "masked_lm_prob 0 is not between 0 and 1"),
        ({"masked_lm_prob": 15}, "masked_lm_prob 15 is not between 0 and 1"),
        ({"max_predictions_per_seq": 0}, "max_predictions_per_seq must be at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Masking(**options)
