import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyalbert.data.segments import Segments, plan_instances, truncate
from tinyalbert.data.shards import Shard
from tinyalbert.errors import InputError

FIXED = {"short_seq_prob": 0.0}


def make_shard(documents: list[list[int]]) -> Shard:
    """Documents given by the lengths of their sentences; every token is its own position."""
    sentence_starts = np.cumsum([0, *(n for document in documents for n in document)])
    document_starts = np.cumsum([0, *map(len, documents)])
    tokens = np.arange(sentence_starts[-1])
    return Shard(tokens, sentence_starts, document_starts, np.arange(len(documents)))


def random_shard(seed: int, documents: int, mean: float = 20) -> Shard:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, size=documents)
    return make_shard([(1 + rng.geometric(1 / mean, n)).tolist() for n in sizes])


def plan(shard: Shard, seed: int = 0, words: int = 1, **options) -> np.ndarray:
    """Instances, where every `words`-th token begins a word."""
    word_starts = np.arange(len(shard.tokens)) % words == 0
    return plan_instances(shard, word_starts, np.random.default_rng(seed), Segments(**options))


def document_of(shard: Shard, positions: np.ndarray) -> np.ndarray:
    starts = shard.sentence_starts[shard.document_starts]
    return np.searchsorted(starts, positions, side="right") - 1


# Any corpus


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    documents=st.integers(1, 12),
    max_seq_length=st.integers(8, 90),
    objective=st.sampled_from(["sop", "nsp", "none"]),
    strict=st.booleans(),
)
def test_segments_are_text_of_one_document(seed, documents, max_seq_length, objective, strict):
    shard = random_shard(seed, documents)
    instances = plan(
        shard, seed, max_seq_length=max_seq_length, objective=objective, sop_strict=strict
    )
    a_start, a_stop, b_start, b_stop, label = instances.T
    length_a, length_b = a_stop - a_start, b_stop - b_start
    assert (length_a >= 1).all()
    assert (document_of(shard, a_start) == document_of(shard, a_stop - 1)).all()
    if objective == "none":
        assert (length_a <= max_seq_length - 2).all()
        assert (length_b == 0).all() and (label == -100).all()
        return
    assert (length_b >= 1).all() and (length_a + length_b <= max_seq_length - 3).all()
    assert (document_of(shard, b_start) == document_of(shard, b_stop - 1)).all()
    same = document_of(shard, a_start) == document_of(shard, b_start)
    if objective == "sop" and strict:
        assert same.all()
        assert ((a_stop <= b_start) == (label == 0)).all()
        assert ((b_stop <= a_start) == (label == 1)).all()
    if documents > 1:
        assert same[label == 0].all()
        assert not same[label == 1].any() or objective == "sop"


@pytest.mark.parametrize("objective", ["sop", "none"])
def test_every_token_is_used_once_when_nothing_must_be_cut(objective):
    shard = random_shard(1, 50)
    instances = plan(shard, max_seq_length=10_000, objective=objective, **FIXED)
    used = np.concatenate([np.r_[a:b, c:d] for a, b, c, d, _ in instances])
    assert len(instances) == 50  # one chunk per document
    np.testing.assert_array_equal(np.sort(used), shard.tokens)


def test_sentences_are_gathered_until_the_target_is_reached():
    # Sequences of 8 hold 6 tokens: 3 + 4 reach it, then 2 + 1 + 5, then 1 is left.
    shard = make_shard([[3, 4, 2, 1, 5, 1]])
    starts, stops = plan(shard, max_seq_length=8, objective="none", **FIXED)[:, :2].T
    assert (stops - starts).tolist() == [6, 6, 1]
    assert stops[0] <= 7 <= starts[1] and stops[1] <= 15 == starts[2]


def test_short_targets_are_uniform():
    shard = make_shard([[1] * 9] * 4000)  # sentences of one token meet any target exactly
    instances = plan(shard, max_seq_length=11, objective="none", short_seq_prob=1.0)
    starts, stops = instances[:, :2].T
    first = starts % 9 == 0  # the first chunk of each document is as long as its target
    counts = np.bincount((stops - starts)[first], minlength=10)
    assert counts[:2].tolist() == [0, 0]  # 2..9 are possible
    assert abs(counts[2:] - 500).max() < 4 * np.sqrt(4000 * 1 / 8 * 7 / 8)


def test_a_share_of_documents_is_short():
    shard = make_shard([[1] * 100] * 2000)
    lengths = np.diff(plan(shard, max_seq_length=102, objective="none", short_seq_prob=0.1)[:, :2])
    documents_in_one_piece = (lengths == 100).sum()
    expected = 2000 * (0.9 + 0.1 / 99)  # a short target may be the full one, of 2..100
    assert abs(documents_in_one_piece - expected) < 4 * np.sqrt(2000 * 0.9 * 0.1)


# Sentence order


def test_half_of_the_pairs_are_swapped():
    labels = plan(random_shard(2, 3000), max_seq_length=128)[:, 4]
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(labels))


def test_pairs_are_divided_between_sentences_uniformly():
    shard = make_shard([[5] * 5] * 4000)
    instances = plan(shard, max_seq_length=64, **FIXED)
    division = np.maximum(instances[:, 0], instances[:, 2]) % 25  # where the second part begins
    positions, counts = np.unique(division, return_counts=True)
    assert positions.tolist() == [5, 10, 15, 20]
    assert abs(counts - 1000).max() < 4 * np.sqrt(4000 * 1 / 4 * 3 / 4)


def test_a_single_sentence_is_divided_between_two_words():
    instances = plan(make_shard([[30]] * 500), words=3, max_seq_length=64, **FIXED)
    second = np.maximum(instances[:, 0], instances[:, 2]) % 30
    assert set(second) == set(range(3, 30, 3))
    assert (np.minimum(instances[:, 0], instances[:, 2]) % 30 == 0).all()


def test_a_single_word_has_no_order():
    assert len(plan(make_shard([[3], [6], [3]]), words=3, max_seq_length=64)) == 1


def test_googles_fallback_takes_another_document():
    shard = make_shard([[30]] * 200)
    instances = plan(shard, max_seq_length=64, sop_strict=False, **FIXED)
    assert (instances[:, 4] == 1).all()
    assert (document_of(shard, instances[:, 0]) != document_of(shard, instances[:, 2])).all()


def lengths(instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return instances[:, 1] - instances[:, 0], instances[:, 3] - instances[:, 2]


def best_threshold_accuracy(feature: np.ndarray, label: np.ndarray) -> tuple[float, int]:
    """Held-out accuracy of the decision stump that is best on the other half of the data."""
    half = len(label) // 2
    order = np.argsort(feature[:half])
    swapped_below = np.cumsum(label[:half][order])
    below = np.arange(1, half + 1)
    right = below - swapped_below + swapped_below[-1] - swapped_below  # "not swapped" if below
    best = int(np.argmax(abs(right - half / 2)))
    guess = feature[half:] > feature[order][best]
    guess = guess if right[best] > half / 2 else ~guess
    return float((guess == label[half:]).mean()), len(label) - half


@pytest.mark.parametrize("max_seq_length", [32, 64, 256])
def test_length_does_not_give_the_order_away(max_seq_length):
    shard = random_shard(3, 6000)
    instances = plan(shard, max_seq_length=max_seq_length)
    for feature, label in length_features(instances):
        accuracy, n = best_threshold_accuracy(feature, label)
        assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_this_audit_would_see_a_small_leak():
    """Put the longer part second in 53 % of the pairs, and the same baseline finds it."""
    instances = plan(random_shard(3, 6000), max_seq_length=64)
    a, b = lengths(instances)
    leaky = np.random.default_rng(0).random(len(a)) < 0.53
    instances[:, 4] = (a > b) == leaky
    accuracy, n = max(best_threshold_accuracy(*pair) for pair in length_features(instances))
    assert accuracy - 0.5 > 4 * 0.5 / np.sqrt(n)


def length_features(instances: np.ndarray):
    instances = np.random.default_rng(1).permutation(instances)
    a, b = lengths(instances)
    return [(feature, instances[:, 4]) for feature in (a, b, a - b, a + b, np.maximum(a, b))]


# Next sentence


def test_next_sentence_labels_are_balanced_and_unused_sentences_come_back():
    shard = make_shard([[10] * 12] * 400)
    instances = plan(shard, max_seq_length=43, objective="nsp", **FIXED)  # chunks of 4 sentences
    label = instances[:, 4]
    assert abs(label.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(label))
    gap = instances[1:, 0] - np.where(label == 0, instances[:, 3], instances[:, 1])[:-1]
    same = document_of(shard, instances[1:, 0]) == document_of(shard, instances[:-1, 0])
    assert (gap[same] == 0).all()  # the next A begins where the used text ended


def test_random_text_fills_the_pair():
    shard = make_shard([[10] * 12] * 400)
    instances = plan(shard, max_seq_length=43, objective="nsp", **FIXED)
    a, b = lengths(instances[instances[:, 4] == 1])
    to_the_end = instances[instances[:, 4] == 1][:, 3] % 120 == 0
    assert ((a + b == 40) | to_the_end).all()


# Cutting to fit


def cut_one_by_one(a: int, b: int, limit: int) -> tuple[int, int]:
    while a + b > limit:
        a, b = (a - 1, b) if a > b else (a, b - 1)
    return a, b


@settings(max_examples=200, deadline=None)
@given(a=st.integers(1, 40), b=st.integers(0, 40), limit=st.integers(5, 60), seed=st.integers(0))
def test_truncation_agrees_with_taking_tokens_one_by_one(a, b, limit, seed):
    pair = np.array([[100, 100 + a, 200, 200 + b, 1]])
    cut = truncate(pair, limit, np.random.default_rng(seed))
    assert tuple(x[0] for x in lengths(cut)) == cut_one_by_one(a, b, limit)
    assert cut[0, 0] >= 100 and cut[0, 1] <= 100 + a
    assert cut[0, 2] >= 200 and cut[0, 3] <= 200 + b and cut[0, 4] == 1


def test_truncation_takes_from_both_ends_alike():
    pairs = np.tile([100, 150, 200, 210, 0], (4000, 1))
    cut = truncate(pairs, 20, np.random.default_rng(0))
    at_the_front = cut[:, 0] - 100  # of 40 tokens dropped from A
    assert abs(at_the_front.mean() - 20) < 4 * np.sqrt(40 / 4 / 4000)
    assert abs(at_the_front.var() - 10) < 1.5


@pytest.mark.parametrize("objective", ["sop", "none"])
def test_no_token_of_a_very_long_sentence_is_out_of_reach(objective):
    shard = make_shard([[1000], [20]])
    reached = np.zeros(1020, dtype=bool)
    for seed in range(200):
        for a, b, c, d, _ in plan(shard, seed, words=3, max_seq_length=64, objective=objective):
            reached[a:b] = reached[c:d] = True
    assert reached.all()


# The same again, and bad arguments


def test_a_plan_depends_on_the_generator_alone():
    shard = random_shard(4, 20)
    first, again, other = (plan(shard, seed, max_seq_length=64) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_only_the_documents_of_the_split_are_used():
    whole = random_shard(5, 30)
    shard = Shard(whole.tokens, whole.sentence_starts, whole.document_starts, np.array([3, 17]))
    for objective in ("sop", "nsp", "none"):
        instances = plan(shard, max_seq_length=64, objective=objective)
        used = instances[:, 0] if objective == "none" else instances[:, [0, 2]].ravel()
        assert set(document_of(whole, used)) <= {3, 17}
    nothing = Shard(whole.tokens, whole.sentence_starts, whole.document_starts, np.array([], int))
    assert plan(nothing, max_seq_length=64).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "mlm"}, "objective 'mlm' is not one of sop, nsp, none"),
        ({"max_seq_length": 7}, "max_seq_length 7 is too short"),
        ({"short_seq_prob": 1.5}, "short_seq_prob 1.5 is not between 0 and 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        Segments(**options)
