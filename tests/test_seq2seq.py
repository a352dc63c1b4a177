"""Masks of who may look at whom; the models that write; one token at a time or all anew."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from strict_array import StrictBackend
from tiny import (
    TOLERANCE,
    assert_close,
    assert_gradients_close,
    gradients,
    make_batch,
    randomize,
    tiny_bert_config,
    tiny_config,
    tiny_model,
    without_labels,
)

from tinyalbert import AlbertConfig, AlbertForMaskedLM, InputError, check_gradients, packing
from tinyalbert import functional as F
from tinyalbert.fast import cpu, textbook
from tinyalbert.optim import AdamW, clip_by_global_norm, learning_rate
from tinyalbert.seq2seq import (
    AlbertForSeq2SeqLM,
    BertForSeq2SeqLM,
    CachedLogits,
    RecomputedLogits,
    seq2seq_mask,
)

Batch = dict[str, np.ndarray]
CLASSES = {"Albert": AlbertForSeq2SeqLM, "Bert": BertForSeq2SeqLM}
both_families = pytest.mark.parametrize("family", CLASSES)
CLS, SEP = 1, 2


@pytest.fixture(params=["textbook", "NumPy blocks", "fastest"])
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "NumPy blocks":
        monkeypatch.setattr(cpu, "kernels", None)
    if request.param != "textbook":
        yield
    else:
        with textbook():
            yield


def make_model(family: str = "Albert", dtype: str = "float64", backend: Any = "numpy",
               seed: int = 1, **changes: Any) -> Any:
    make_config: Any = tiny_config if family == "Albert" else tiny_bert_config
    config = make_config(**{"max_position_embeddings": 40, "num_hidden_layers": 2} | changes)
    return randomize(CLASSES[family](config, dtype=dtype, backend=backend), seed)


def pairs(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    """As a tokenizer makes them: [CLS] source [SEP] target [SEP], padded at the end."""
    rows = [([CLS, *source, SEP], [*target, SEP] if target else [])
            for source, target in zip(sources, targets, strict=True)]
    length = max(len(source) + len(target) for source, target in rows)
    ids, types, mask = np.zeros((3, len(rows), length), np.int64)
    for i, (source, target) in enumerate(rows):
        whole = len(source) + len(target)
        ids[i, :whole], mask[i, :whole] = source + target, 1
        types[i, len(source):whole] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def random_pairs(seed: int = 0, sizes: tuple[tuple[int, int], ...] = ((4, 3), (1, 5), (6, 1)),
                 ) -> Batch:
    rng = np.random.default_rng(seed)
    draw = [[rng.integers(3, 23, size).tolist() for size in pair] for pair in sizes]
    return pairs([source for source, _ in draw], [target for _, target in draw])


def sources_of(batch: Batch) -> Batch:
    source = batch["attention_mask"] * (batch["token_type_ids"] == 0)
    length = source.sum(1).max()
    return {"input_ids": (batch["input_ids"] * source)[:, :length],
            "attention_mask": source[:, :length]}


def whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PADDING", 10**9)


# --- every query with a mask of its own -----------------------------------------------------------


def attention_arguments(seed: int, queries: int, tokens: int, dtype: str) -> list[Any]:
    rng = np.random.default_rng(seed)
    query, key, value = (rng.standard_normal((3, 2, n, 5)).astype(dtype)
                         for n in (queries, tokens, tokens))
    bias = np.where(rng.random((3, 1, queries, tokens)) < 0.4, -10000, 0).astype(dtype)
    return [query, key, value, bias]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("queries", [1, 4, 7])
def test_attention_of_fewer_queries_is_that_of_some_of_all(queries: int, dtype: str,
                                                           version: None) -> None:
    """Each bias [B, 1, Q, T] is the query's own, in every version of the function."""
    query, key, value, bias = attention_arguments(0, 7, 7, dtype)
    some = np.random.default_rng(1).permutation(7)[:queries]
    context, _ = F.attention(query[:, :, some], key, value, bias[:, :, some], 0.0, None)
    for b, n, (place, i) in itertools.product(range(3), range(2), enumerate(some)):
        allowed = bias[b, 0, i] == 0                # computed with these keys and no others
        assert allowed.any()
        probs = softmax(key[b, n, allowed] @ query[b, n, i] / np.sqrt(5))
        assert_close(context[b, n, place], probs @ value[b, n, allowed], TOLERANCE[dtype])


@pytest.mark.parametrize("queries, tokens", [(1, 6), (3, 6), (6, 6), (5, 2)])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_gradients_of_attention(queries: int, tokens: int, p: float, version: None) -> None:
    report = check_gradients((F.attention, F.attention_backward),
                             *attention_arguments(2, queries, tokens, "float64"), p)
    assert report.ok, report


def test_a_mask_that_is_the_same_for_every_query() -> None:
    model: Any = tiny_model("AlbertModel")
    batch = without_labels(make_batch(model.config))
    square = np.repeat(batch["attention_mask"][:, None], 9, axis=1)                 # [B, T, T]
    out, expected = model(**{**batch, "attention_mask": square}), model(**batch)
    assert_close(out.last_hidden_state, expected.last_hidden_state, 1e-12)


def test_a_token_sees_what_it_may_and_what_that_saw() -> None:
    """0 <- 1 <- 2, 3: by two layers 2 knows of 0, and nobody of 3."""
    model: Any = tiny_model("AlbertModel", num_hidden_layers=2)
    mask = np.array([[[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]])
    before = model([[5, 6, 7, 8]], mask).last_hidden_state[0]
    for changed, moved in ((0, [0, 1, 2]), (1, [1, 2]), (2, [2]), (3, [3])):
        ids = np.array([[5, 6, 7, 8]])
        ids[0, changed] = 9
        after = model(ids, mask).last_hidden_state[0]
        assert np.flatnonzero(abs(after - before).max(1) > 1e-9).tolist() == moved


def random_masks(seed: int, lengths: list[int], columns: int) -> np.ndarray:
    """[B, T, T]: any token may look at any; padding at nothing, and nobody looks at it."""
    rng = np.random.default_rng(seed)
    real = np.arange(columns) < np.array(lengths)[:, None]
    return ((rng.random((len(lengths), columns, columns)) < 0.3)
            & real[:, :, None] & real[:, None]).astype(int)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=7), st.booleans(), st.integers(0, 10**6))
def test_packing_changes_nothing(lengths: list[int], asked: bool, seed: int) -> None:
    """Whoever may look at nothing attends to all alike, however far the padding goes: also that."""
    model: Any = tiny_model("AlbertModel", num_hidden_layers=2)
    rng, mask = np.random.default_rng(seed), random_masks(seed, lengths, 12)
    ids = rng.integers(0, 23, mask.shape[:2])
    tokens = rng.permutation(ids.size)[:rng.integers(0, ids.size + 1)] if asked else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "PADDING", 4)
        out = model(ids, mask, tokens=tokens).last_hidden_state
        whole_batches(patch)
        expected = model(ids, mask, tokens=tokens).last_hidden_state
    used = ... if asked else mask.any(1) | mask.any(2)
    assert_close(out[used], expected[used], 1e-11)


def test_blocks_with_masks_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PADDING", 4)
    model: Any = tiny_model("AlbertModel")
    masks = np.zeros((3, 12, 12), int)
    masks[0, :9, :9] = masks[1, :3, :3] = masks[2, :3, :3] = 1
    masks[1, 2] = 0                                 # is looked at, and looks at nothing: not cut
    _, cache = model.forward(np.full((3, 12), 5), masks)
    blocks = cache.encoder.applications[0].attention.attention.blocks
    assert [block.bias.shape for block in blocks] == [(2, 1, 12, 12), (1, 1, 3, 3)]


@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True}], ids=str)
def test_gradients_with_a_mask_for_every_query(changes: dict[str, Any], version: None,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PADDING", 4)
    model = tiny_model("AlbertForMaskedLM", num_hidden_layers=2, hidden_dropout_prob=0.2,
                       attention_probs_dropout_prob=0.3, **changes)
    batch = make_batch(model.config, (9, 3, 6))
    del batch["sentence_order_label"]
    batch["attention_mask"] = random_masks(0, [9, 3, 6], 9)
    report = check_gradients(model, elements=1, **batch)
    assert report.ok, report


# --- source and target ----------------------------------------------------------------------------


def test_the_mask_by_hand() -> None:
    mask = seq2seq_mask([[0, 0, 1, 1, 0], [0, 1, 1, 1, 1]], [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    assert mask.tolist() == [[[1, 1, 0, 0, 0],
                              [1, 1, 0, 0, 0],
                              [1, 1, 1, 0, 0],
                              [1, 1, 1, 1, 0],
                              [0, 0, 0, 0, 0]],
                             [[1, 0, 0, 0, 0],
                              [1, 1, 0, 0, 0],
                              [1, 1, 1, 0, 0],
                              [1, 1, 1, 1, 0],
                              [1, 1, 1, 1, 1]]]
    assert (seq2seq_mask([[0, 0]]) == 1).all()


@both_families
def test_it_is_the_masked_language_model_with_this_mask(family: str) -> None:
    """Labels are moved by one: the source's [SEP] is asked for the first word of the target."""
    model, batch = make_model(family), pairs([[5, 6], [7]], [[8, 9], [10]])
    masked: Any = tiny_model(f"{family}ForMaskedLM", max_position_embeddings=40,
                             num_hidden_layers=2)
    masked.load_state_dict(model.state_dict())
    out, cache = model.forward(**batch, labels=batch["input_ids"])
    model.backward(cache)
    expected, cache = masked.forward(
        batch["input_ids"], seq2seq_mask(batch["token_type_ids"], batch["attention_mask"]),
        batch["token_type_ids"], labels=np.array([[-100, -100, -100, 8, 9, SEP, -100],
                                                  [-100, -100, 10, SEP, -100, -100, -100]]))
    masked.backward(cache)
    assert out.logits.shape == (5, 23)                      # for the tokens that are asked alone
    assert_close(out.logits, expected.logits, 1e-12)
    assert_close(out.loss, expected.loss, 1e-12)
    assert_gradients_close(gradients(model), gradients(masked), 1e-11)


@both_families
def test_gradients(family: str, version: None) -> None:
    model = make_model(family, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3)
    batch = random_pairs(sizes=((3, 2), (1, 3), (2, 0)))
    report = check_gradients(model, elements=1, **batch, labels=batch["input_ids"])
    assert report.ok, report


def test_no_token_knows_of_a_later_one() -> None:
    model, batch = make_model(), random_pairs(sizes=((4, 4),))      # 0-5 source, 6-10 target
    before = model(**batch).logits[0]
    for changed, unmoved in ((8, 8), (10, 10), (3, 0)):
        other = {**batch, "input_ids": batch["input_ids"].copy()}
        other["input_ids"][0, changed] += 1
        moved = np.flatnonzero(abs(model(**other).logits[0] - before).max(1) > 1e-9)
        assert moved.tolist() == list(range(unmoved, 11))


def test_padding_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of a batch, alone, and with padding between its source and its target."""
    monkeypatch.setattr(packing, "PADDING", 4)
    model, batch = make_model(), random_pairs()
    logits = model(**batch).logits
    for i, length in enumerate(batch["attention_mask"].sum(1)):
        row = {name: array[i:i + 1, :length] for name, array in batch.items()}
        assert_close(model(**row).logits[0], logits[i, :length], 1e-12)
        source = int((row["token_type_ids"] == 0).sum())
        gap = {name: np.insert(array, [source] * 3, 0, axis=1) for name, array in row.items()}
        with_gap = np.delete(model(**gap).logits[0], range(source, source + 3), axis=0)
        assert_close(with_gap, logits[i, :length], 1e-12)


def test_without_a_target_it_is_the_encoder() -> None:
    model = make_model()
    masked: Any = AlbertForMaskedLM(model.config, dtype="float64")
    masked.load_state_dict(model.state_dict())
    batch = sources_of(random_pairs())
    real = batch["attention_mask"] == 1
    assert_close(model(**batch).logits[real], masked(**batch).logits[real], 1e-12)


def test_labels_may_leave_out_more() -> None:
    model, batch = make_model(), pairs([[5, 6]], [[8, 9]])
    some = np.where(batch["input_ids"] == 9, -100, batch["input_ids"])
    assert model.forward(**batch, labels=some)[0].logits.shape == (2, 23)


@both_families
def test_weights_are_those_of_the_masked_language_model(family: str, tmp_path: Path) -> None:
    masked: Any = tiny_model(f"{family}ForMaskedLM", "float32")
    masked.save_pretrained(tmp_path / "masked")
    model, info = CLASSES[family].from_pretrained(tmp_path / "masked", output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": []}
    model.save_pretrained(tmp_path / "seq2seq")
    again, info = type(masked).from_pretrained(tmp_path / "seq2seq", output_loading_info=True)
    assert info == {"missing_keys": [], "unexpected_keys": []}
    for name, tensor in masked.state_dict().items():
        assert np.array_equal(tensor, again.state_dict()[name]), name


def test_a_device_learns_and_writes_the_same() -> None:
    host, device = make_model(), make_model(backend=StrictBackend())
    batch = random_pairs()
    for model in (host, device):
        model.backward(model.forward(**batch, labels=batch["input_ids"])[1])
    assert_gradients_close(gradients(device), gradients(host), 1e-11)
    for options in ({"num_beams": 3}, {"use_cache": False}):
        texts = [model.generate(**sources_of(batch), eos_token_id=SEP, max_new_tokens=6,
                                no_repeat_ngram_size=1, **options) for model in (host, device)]
        assert np.array_equal(*texts)


BATCH = pairs([[5, 6], [7]], [[8, 9], [10]])
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to learn": ({"token_type_ids": np.zeros((2, 7), int)},
                         "there is no target to learn: token_type_ids must be 1 for its tokens"),
    "no source": ({"token_type_ids": np.ones((2, 7), int)},
                  "a target must follow right after its source: padding belongs at the end"),
    "a gap": ({"attention_mask": [[1, 1, 1, 0, 1, 1, 1]] * 2},
              "a target must follow right after its source: padding belongs at the end"),
    "a square mask": ({"attention_mask": np.ones((2, 7, 7), int)},
                      r"attention_mask has shape \[2, 7, 7\], expected \[2, 7\]"),
    "labels": ({"labels": [[5, 6]]}, r"labels has shape \[1, 2\], expected \[2, 7\]"),
    "a label": ({"labels": BATCH["input_ids"] + 20}, r"labels holds \d+, which is outside 0\.\.22"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        make_model().forward(**{**BATCH, "labels": BATCH["input_ids"], **changes})


# --- one token at a time --------------------------------------------------------------------------

SHAPES: dict[str, dict[str, Any]] = {
    "shared": {}, "two groups": {"num_hidden_layers": 3, "num_hidden_groups": 2},
    "inner groups": {"inner_group_num": 2}, "partly shared": {"sharing": "attention"},
    "gelu": {"hidden_act": "gelu"}, "checkpointing": {"gradient_checkpointing": True}}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("family, changes", [
    *(("Albert", changes) for changes in SHAPES.values()), ("Bert", {})], ids=str)
def test_cached_logits_are_those_of_the_whole_model(family: str, changes: dict[str, Any],
                                                    dtype: str, tolerance: float,
                                                    version: None) -> None:
    """Also when rows are dropped and doubled between the tokens, as beams are."""
    model, rng = make_model(family, dtype, **changes), np.random.default_rng(0)
    source, mask = sources_of(random_pairs()).values()
    cached, whole = CachedLogits(model, source, mask, 6), RecomputedLogits(model, source, mask)
    tokens, parents = np.empty((3, 0), np.int64), np.arange(3)
    for beams in (2, 2, 3, 3, 1):
        expected = whole(tokens, parents)
        assert_close(cached(tokens, parents), expected, tolerance)
        of_source = np.arange(len(tokens)).reshape(3, -1)
        parents = rng.choice(of_source, beams, axis=1).ravel()
        tokens = np.column_stack([tokens[parents], rng.integers(0, 23, 3 * beams)])


SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {}, "beams": {"num_beams": 4}, "sampling": {"do_sample": True, "seed": 3},
    "options": {"num_beams": 3, "no_repeat_ngram_size": 1, "repetition_penalty": 1.3,
                "suppress_tokens": [4, 5], "min_new_tokens": 3}}


@both_families
@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES.keys())
def test_the_cache_changes_nothing(options: dict[str, Any], family: str) -> None:
    for seed in range(4):
        model, sources = make_model(family, seed=seed), sources_of(random_pairs(seed))
        given = {**sources, "eos_token_id": SEP, "max_new_tokens": 9, **options}
        texts = model.generate(**given)
        np.testing.assert_array_equal(texts, model.generate(**given, use_cache=False))


@pytest.mark.parametrize("options", [{}, {"num_beams": 4}, {"no_repeat_ngram_size": 1}], ids=str)
def test_a_row_of_a_padded_batch_is_written_as_if_alone(options: dict[str, Any]) -> None:
    model, sources = make_model(), sources_of(random_pairs())
    wider = {name: np.pad(array, ((0, 0), (0, 5))) for name, array in sources.items()}
    lengths = set()
    for eos in range(2, 23):
        given = {"eos_token_id": eos, "max_new_tokens": 9, **options}
        texts = model.generate(**sources, **given)
        np.testing.assert_array_equal(texts, model.generate(**wider, **given))
        for text, ids, mask in zip(texts, *sources.values(), strict=True):
            alone = model.generate(ids[None, mask == 1], **given)[0]
            assert text.tolist() == [*alone, *[0] * (len(text) - len(alone))]
            lengths.add(len(alone))
    assert len(lengths) > 1                         # some were ended by a token


@both_families
def test_greedy_is_what_the_model_says_token_by_token(family: str) -> None:
    model, sources = make_model(family), sources_of(random_pairs())
    texts = model.generate(**sources, eos_token_id=SEP, max_new_tokens=5, suppress_tokens=[13])
    for text, ids, mask in zip(texts.tolist(), *sources.values(), strict=True):
        source = ids[mask == 1].tolist()
        for i, token in enumerate(text[:text.index(SEP) + 1 if SEP in text else None]):
            logits = model([source + text[:i]], None, [[0] * len(source) + [1] * i]).logits[0, -1]
            logits[[0, 13]] = -np.inf                       # padding, and what was suppressed
            assert logits.argmax() == token


def test_what_cannot_be_written() -> None:
    model, sources = make_model(), sources_of(random_pairs())       # 8 tokens, 40 places

    def refused(message: str, **options: Any) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            model.generate(**{**sources, "eos_token_id": SEP, **options})

    refused("num_beams must be a whole number of at least 1, not 0", num_beams=0)
    refused("unknown generate key 'num_beam': did you mean 'num_beams'\\?", num_beam=3)
    refused("a source of 8 tokens and max_new_tokens 33 exceed max_position_embeddings 40: "
            "truncate the source", max_new_tokens=33)
    refused("source 1 has no token: its attention_mask is 0",
            attention_mask=sources["attention_mask"] * [[1], [0], [1]])
    refused("token_type_ids of a source must be 0: 1 is for the target",
            token_type_ids=sources["attention_mask"])
    refused("eos_token_id, pad_token_id or suppress_tokens holds 23, which is outside 0..22",
            suppress_tokens=[23])
    refused("input_ids holds 30, which is outside 0..22", input_ids=sources["input_ids"] * 0 + 30)
    model = make_model(type_vocab_size=1)
    refused("the model has one token type, and a target needs another")
    assert make_model().generate(**sources, eos_token_id=SEP, max_new_tokens=32).shape[0] == 3


# --- it learns ------------------------------------------------------------------------------------


def test_it_learns_to_reverse_texts() -> None:
    """Two to five of ten words, in other orders than those it has seen."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> list[list[int]]:
        return [rng.integers(3, 13, rng.integers(2, 6)).tolist() for _ in range(count)]

    held_out, steps = draw(300), 450
    kept = set(map(tuple, held_out))
    model = AlbertForSeq2SeqLM(AlbertConfig(
        vocab_size=13, embedding_size=32, hidden_size=48, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=96, max_position_embeddings=16,
        initializer_range=0.1))
    parameters = model.named_parameters()
    optimizer = AdamW(parameters, bias_correction=True, weight_decay=0.0)
    for step in range(steps):
        texts = [text for text in draw(64) if tuple(text) not in kept]
        batch = pairs(texts, [text[::-1] for text in texts])
        model.zero_grad()
        model.backward(model.forward(**batch, labels=batch["input_ids"])[1])
        clip_by_global_norm(parameters, 1.0)
        optimizer.step(learning_rate(step, steps, steps // 10, 5e-3))
    sources = sources_of(pairs(held_out, [[]] * len(held_out)))
    for num_beams in (1, 3):
        rows = model.generate(**sources, eos_token_id=SEP, max_new_tokens=8, num_beams=num_beams)
        right = [row[:len(text) + 1] == [*text[::-1], SEP] and not any(row[len(text) + 1:])
                 for row, text in zip(rows.tolist(), held_out, strict=True)]
        assert np.mean(right) > 0.99
