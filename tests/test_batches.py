import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from word_tokenizer import WordTokenizer

from tinyalbert.data import tokenizing
from tinyalbert.data.batches import Batch, Cursor, PretrainingBatches, held_out_batches
from tinyalbert.data.masking import CLS, PAD, SEP, Masking
from tinyalbert.data.segments import Segments, plan_instances
from tinyalbert.data.shards import Shards
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.errors import InputError


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Shards:
    """Thirty documents in several shards."""
    folder = tmp_path_factory.mktemp("batches")
    rng = np.random.default_rng(0)
    words = [f"w{i}ord"[: 2 + i % 6] for i in range(300)]
    documents = [
        "\n".join(" ".join(rng.choice(words, size=rng.integers(3, 15))) + "." for _ in range(n))
        for n in rng.integers(4, 30, size=30)
    ]
    (folder / "corpus.txt").write_text("\n\n".join(documents))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizing, "SHARD_CHARACTERS", 4000)
        built = build_shards(folder / "corpus.txt", WordTokenizer(), folder)
    assert built.num_documents == 30 and len(built) > 3
    return built


def stream(shards: Shards, **options) -> PretrainingBatches:
    segments = Segments(
        max_seq_length=options.pop("max_seq_length", 32),
        objective=options.pop("objective", "sop"),
    )
    masking = options.pop("masking", Masking())
    return PretrainingBatches(shards, segments, masking, **{"batch_size": 8, **options})


def assert_same(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def original_ids(batch: Batch) -> np.ndarray:
    return np.where(batch.labels == -100, batch.input_ids, batch.labels)


# One batch


@pytest.mark.parametrize("objective", ["sop", "nsp", "none"])
def test_rows_are_cls_a_sep_b_sep(shards, objective):
    batch = next(stream(shards, objective=objective))
    assert all(array.dtype == np.int64 for array in batch)
    assert [array.shape for array in batch] == [(8, 32)] * 4 + [(8,)]
    for ids, mask, types in zip(
        original_ids(batch), batch.attention_mask, batch.token_type_ids, strict=True
    ):
        length = mask.sum()
        assert mask.tolist() == [1] * length + [0] * (32 - length)
        assert (ids[length:] == PAD).all() and (ids[:length] != PAD).all()
        ends = np.flatnonzero(ids == SEP)
        assert ids[0] == CLS and len(ends) == (1 if objective == "none" else 2)
        assert ends[-1] == length - 1 and (np.diff([0, *ends]) > 1).all()
        expected = np.zeros(32)
        expected[ends[0] + 1 : length] = 1
        assert types.tolist() == expected.tolist()
    expected_labels = {-100} if objective == "none" else {0, 1}
    assert set(batch.sentence_order_label) <= expected_labels


def test_labels_tell_the_order_of_the_text(shards):
    """Undo the swap by the label: A B must then be found in this order in the corpus."""
    corpus = ["".join(map(chr, shard.tokens)) for shard in shards]
    batches = list(stream(shards, epochs=1))
    assert {0, 1} == {label for batch in batches for label in batch.sentence_order_label}
    for batch in batches:
        for ids, label in zip(original_ids(batch), batch.sentence_order_label, strict=True):
            first, second = np.flatnonzero(ids == SEP)
            parts = ["".join(map(chr, ids[1:first])), "".join(map(chr, ids[first + 1 : second]))]
            before, after = parts if label == 0 else parts[::-1]
            assert any(0 <= text.find(before) < text.rfind(after) for text in corpus)


def test_padding_may_stop_at_the_longest_row(shards):
    options = {"max_seq_length": 100, "batch_size": 1, "epochs": 1}
    padded = list(stream(shards, **options))
    tight = list(stream(shards, pad_to_max_length=False, **options))
    assert any(batch.input_ids.shape[1] < 100 for batch in tight)
    for a, b in zip(padded, tight, strict=True):
        width = b.input_ids.shape[1]
        assert width == a.attention_mask.sum(axis=1).max()
        np.testing.assert_array_equal(original_ids(a)[:, :width], original_ids(b))


# The stream


def test_an_epoch_holds_every_instance_once(shards):
    batches = list(stream(shards, epochs=1, seed=5, objective="none"))
    assert [len(batch.input_ids) for batch in batches[:-1]] == [8] * (len(batches) - 1)
    rows = sorted(tuple(row) for batch in batches for row in original_ids(batch).tolist())
    planned = []
    for i, shard in enumerate(shards):
        rng = np.random.default_rng([5, 1, 0, i])
        for a, b, *_ in plan_instances(shard, shards.word_starts, rng, Segments(32, "none")):
            ids = [CLS, *shard.tokens[a:b].tolist(), SEP]
            planned.append(tuple(ids + [PAD] * (32 - len(ids))))
    assert rows == sorted(planned)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**40), batch_size=st.integers(1, 60), skip=st.integers(0, 40))
def test_the_cursor_restores_the_stream(shards, seed, batch_size, skip):
    batches = stream(shards, seed=seed, batch_size=batch_size)
    for _ in range(skip):
        next(batches)
    saved = tuple(batches.cursor)
    assert all(type(number) is int for number in saved)
    expected = list(itertools.islice(batches, 12))
    resumed = stream(shards, seed=seed, batch_size=batch_size, cursor=saved)
    assert_same(list(itertools.islice(resumed, 12)), expected)
    assert resumed.cursor == batches.cursor


def test_the_cursor_runs_through_shards_and_epochs(shards):
    batches = stream(shards)
    cursors = [batches.cursor]
    while batches.cursor.epoch < 2:
        next(batches)
        cursors.append(batches.cursor)
    assert cursors[0] == Cursor(0, 0, 0) and cursors == sorted(set(cursors))
    assert {cursor.shard for cursor in cursors} == set(range(len(shards)))


def test_order_segments_and_masks_are_new_in_every_epoch_and_seed(shards):
    def epoch(number: int, seed: int) -> list[bytes]:
        batches = stream(shards, seed=seed, cursor=(number, 0, 0), epochs=number + 1)
        return [batch.input_ids.tobytes() for batch in batches]

    runs = [epoch(0, 0), epoch(1, 0), epoch(0, 1)]
    assert epoch(0, 0) == runs[0]
    for a, b in itertools.combinations(runs, 2):
        assert not set(a) & set(b)


def test_masks_are_new_in_every_epoch(tmp_path):
    (tmp_path / "a.txt").write_text(" ".join(f"word{i}" for i in range(40)))
    one_sequence = build_shards(tmp_path / "a.txt", WordTokenizer(), tmp_path)
    batches = stream(one_sequence, max_seq_length=128, objective="none", batch_size=1)
    first, second, third = itertools.islice(batches, 3)
    np.testing.assert_array_equal(original_ids(first), original_ids(second))
    for a, b in itertools.combinations([first, second, third], 2):
        assert ((a.labels == -100) != (b.labels == -100)).any()


def test_neighbors_in_the_corpus_are_not_neighbors_in_a_batch(shards):
    """Instances are shuffled within a shard: their places in it rise as often as they fall."""
    batches = stream(shards, objective="none", batch_size=1, epochs=1)
    places = []
    for batch in batches:
        ids = original_ids(batch)[0]
        text = "".join(map(chr, ids[1 : np.flatnonzero(ids == SEP)[0]]))
        places.append(max("".join(map(chr, shard.tokens)).find(text) for shard in shards))
    rises = (np.diff(places) > 0).mean()
    assert abs(rises - 0.5) < 4 * np.sqrt(1 / 12 / len(places))


# Evaluation


def test_held_out_batches_are_fixed_and_finite(shards):
    held_out = shards.split(6)[1]
    segments = Segments(32)
    batches = held_out_batches(held_out, segments, batch_size=8)
    assert_same(held_out_batches(held_out, segments, batch_size=8), batches)
    assert_same(held_out_batches(held_out, segments, batch_size=8, max_batches=2), batches[:2])
    assert held_out.num_documents == 6 and 2 < len(batches) < 40


def test_the_yardstick_is_fifteen_percent_of_single_tokens(shards):
    segments = Segments(32)
    reference = held_out_batches(shards, segments, batch_size=8)
    own = held_out_batches(shards, segments, Masking("ngram", 0.4), batch_size=8)
    for a, b in zip(reference, own, strict=True):
        np.testing.assert_array_equal(original_ids(a), original_ids(b))
        tokens = a.attention_mask.sum(axis=1) - 3  # neither [CLS] nor [SEP]
        expected = np.maximum(np.rint(0.15 * tokens), 1)
        np.testing.assert_array_equal((a.labels != -100).sum(axis=1), expected)


# Bad input


def test_bad_arguments(shards):
    with pytest.raises(InputError, match="batch_size 0 is not at least 1"):
        stream(shards, batch_size=0)
    with pytest.raises(InputError, match="seed -1 is negative"):
        stream(shards, seed=-1)


def test_text_without_an_instance(tmp_path):
    (tmp_path / "a.txt").write_text("One\n\n\nTwo")  # a single word has no order
    shards = build_shards(tmp_path / "a.txt", WordTokenizer(), tmp_path)
    with pytest.raises(InputError, match="documents are too short to make a single"):
        next(stream(shards))
    with pytest.raises(InputError, match="held-out documents are too short"):
        held_out_batches(shards, Segments(32), batch_size=2)
    with pytest.raises(InputError, match="documents are too short"):
        next(stream(shards.split(0)[1]))
