"""Expected values are those of the models themselves, asked for one text at a time, all logits."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nonsense import SYLLABLES, sentences
from tiny import assert_close, randomize, tiny_config

from tinyalbert import (
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForSequenceClassification,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
)
from tinyalbert.errors import InputError
from tinyalbert.functional import softmax
from tinyalbert.heads import AlbertMLMHead
from tinyalbert.pipelines import pipeline
from tinyalbert.pipelines.batches import by_length, pad
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

BERT_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "a", *SYLLABLES,
               *(f"##{syllable}" for syllable in SYLLABLES)]
ALBERT = tiny_config(vocab_size=120, max_position_embeddings=24)
BERT = BertConfig(vocab_size=len(BERT_PIECES), hidden_size=8, num_hidden_layers=2,
                  num_attention_heads=2, intermediate_size=12, max_position_embeddings=24)
TEXTS = ["bado [MASK] kila.", "[MASK]", "a [MASK] mune posi [MASK] ta bado ki", "ba [MASK]."]


@pytest.fixture(scope="module")
def albert_tokenizer(tmp_path_factory):
    return train_tokenizer(sentences(), tmp_path_factory.mktemp("albert"), vocab_size=120)


@pytest.fixture(scope="module")
def bert_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(BERT_PIECES))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def albert(albert_tokenizer):
    return randomize(AlbertForMaskedLM(ALBERT)), albert_tokenizer


@pytest.fixture(scope="module", params=["albert", "pretraining", "bert"])
def masked_lm(request, albert_tokenizer, bert_tokenizer):
    """A model that can fill masks, and its tokenizer."""
    if request.param == "bert":
        return randomize(BertForMaskedLM(BERT)), bert_tokenizer
    kind = AlbertForMaskedLM if request.param == "albert" else AlbertForPreTraining
    return randomize(kind(ALBERT)), albert_tokenizer


def probabilities(model, tokenizer, text) -> np.ndarray:
    """Of every piece at every [MASK] of one text [M, V]."""
    ids = np.array(tokenizer.encode(text))
    out = model(ids[None])
    logits = out.logits if hasattr(out, "logits") else out.prediction_logits
    return softmax(logits)[0, ids == tokenizer.mask_token_id]


# ---- fill-mask


def test_the_keys_and_what_they_mean(masked_lm):
    model, tokenizer = masked_lm
    (probs,) = probabilities(model, tokenizer, TEXTS[0])
    answer = pipeline("fill-mask", model, tokenizer)(TEXTS[0], top_k=len(tokenizer))
    assert [sorted(proposal) for proposal in answer] == [
        ["score", "sequence", "token", "token_str"]] * len(tokenizer)
    assert [proposal["token"] for proposal in answer] == np.argsort(-probs).tolist()
    ids = tokenizer.encode(TEXTS[0])
    place = ids.index(tokenizer.mask_token_id)
    for proposal in answer:
        assert proposal["score"] == pytest.approx(probs[proposal["token"]], rel=1e-5)
        assert proposal["token_str"] == tokenizer.decode([proposal["token"]])
        ids[place] = proposal["token"]
        assert proposal["sequence"] == tokenizer.decode(ids, skip_special_tokens=True)


def test_the_shape_of_the_answer(masked_lm):
    fill = pipeline("fill-mask", *masked_lm, top_k=3)
    one, two = fill(TEXTS[0]), fill(TEXTS[2])
    assert len(one) == 3 and isinstance(one[0], dict)
    assert [len(of_mask) for of_mask in two] == [3, 3]
    assert len(fill(TEXTS[0], top_k=1)) == 1
    assert len(fill(TEXTS[0], top_k=1000)) == len(masked_lm[1])
    assert fill([TEXTS[0]]) == one and fill([TEXTS[2]]) == two      # Hugging Face has it so
    assert [len(answer) for answer in fill([TEXTS[0], TEXTS[2]])] == [3, 2]


def test_with_several_masks_the_others_are_shown(masked_lm):
    model, tokenizer = masked_lm
    first, second = pipeline("fill-mask", model, tokenizer, top_k=1)("ba [MASK] ki [MASK]")
    cls, ba, _, ki, _, sep = tokenizer.encode("ba [MASK] ki [MASK]")
    mask = tokenizer.mask_token_id
    assert first[0]["sequence"] == tokenizer.decode([cls, ba, first[0]["token"], ki, mask, sep])
    assert second[0]["sequence"] == tokenizer.decode([cls, ba, mask, ki, second[0]["token"], sep])


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(TEXTS), batch_size=st.integers(1, 5))
def test_neither_order_nor_batches_change_an_answer(albert, order, batch_size):
    model, tokenizer = albert
    answers = pipeline("fill-mask", model, tokenizer)(order, batch_size=batch_size)
    for text, answer in zip(order, answers, strict=True):
        of_masks = answer if isinstance(answer[0], list) else [answer]
        for probs, row in zip(probabilities(model, tokenizer, text), of_masks, strict=True):
            assert [p["token"] for p in row] == np.argsort(-probs)[:5].tolist()
            assert_close([p["score"] for p in row], np.sort(probs)[:-6:-1], 1e-5)


def test_only_masked_tokens_meet_the_vocabulary(albert, monkeypatch):
    shapes = []
    forward = AlbertMLMHead.forward
    monkeypatch.setattr(AlbertMLMHead, "forward",
                        lambda head, x: shapes.append(x.shape) or forward(head, x))
    pipeline("fill-mask", *albert)(TEXTS)
    assert shapes == [(5, ALBERT.hidden_size)]


def test_targets(masked_lm):
    model, tokenizer = masked_lm
    vocabulary = tokenizer.get_vocab()
    begin = "▁" if "▁ba" in vocabulary else ""
    (probs,) = probabilities(model, tokenizer, TEXTS[0])
    fill = pipeline("fill-mask", model, tokenizer)
    wanted = [f"{begin}ba", f"{begin}ki", ".", f"{begin}ba"]
    ids = {vocabulary[piece] for piece in wanted}
    answer = fill(TEXTS[0], targets=wanted)
    assert [p["token"] for p in answer] == sorted(ids, key=lambda i: -probs[i])
    assert_close([p["score"] for p in answer], [probs[p["token"]] for p in answer], 1e-5)
    assert [p["token"] for p in fill(TEXTS[0], targets=wanted, top_k=1)] == [answer[0]["token"]]
    assert [p["token"] for p in fill(TEXTS[0], targets=".")] == [vocabulary["."]]


def test_a_target_that_is_a_word_and_no_piece_itself(bert_tokenizer):
    fill = pipeline("fill-mask", randomize(BertForMaskedLM(BERT)), bert_tokenizer)
    assert fill("[MASK]", targets="BA")[0]["token_str"] == "ba"


def test_a_target_that_is_found_inside_words(albert, caplog):
    vocabulary = albert[1].get_vocab()
    inside = next(p for p in vocabulary if len(p) > 1 and f"▁{p}" in vocabulary and p[0] != "▁")
    with caplog.at_level(logging.WARNING, "tinyalbert"):
        (proposal,) = pipeline("fill-mask", *albert)("[MASK]", targets=[inside])
    assert proposal["token"] == vocabulary[inside]
    assert caplog.messages == [f"the target {inside!r} is a piece inside words; the word is "
                               f"'▁{inside}'"]


@pytest.mark.parametrize(("targets", "message"), [
    ("badokila", "the target 'badokila' is not one piece of this vocabulary but ba ##do ##ki ##la"),
    ("z", r"'z' is not one piece of this vocabulary but \[UNK\]:"),
    ("", "'' is not one piece of this vocabulary but none:"),
    ([], "targets is empty"),
])
def test_impossible_targets(bert_tokenizer, targets, message):
    fill = pipeline("fill-mask", randomize(BertForMaskedLM(BERT)), bert_tokenizer)
    with pytest.raises(InputError, match=message):
        fill("[MASK]", targets=targets)


def test_pieces_that_the_tokenizer_does_not_have_are_never_proposed(bert_tokenizer):
    """Vocabularies are often rounded up, to a multiple of 8."""
    model = randomize(BertForMaskedLM(BERT.replace(vocab_size=len(BERT_PIECES) + 5)))
    model.predictions.bias.data[len(BERT_PIECES):] = 10
    answer = pipeline("fill-mask", model, bert_tokenizer)("[MASK]", top_k=1000)
    assert len(answer) == len(BERT_PIECES)


def test_every_backend(backend, albert):
    model, tokenizer = albert
    other = AlbertForMaskedLM(ALBERT, backend=backend)
    other.load_state_dict(model.state_dict())
    for text in TEXTS[0], TEXTS[3]:
        expected, answer = (pipeline("fill-mask", m, tokenizer)(text) for m in (model, other))
        assert [p["token"] for p in answer] == [p["token"] for p in expected]
        assert_close([p["score"] for p in answer], [p["score"] for p in expected], 1e-5)
        expected, answer = (pipeline("feature-extraction", m, tokenizer)(text)
                            for m in (model, other))
        assert_close(answer, expected, 1e-5)


# ---- feature-extraction


@pytest.mark.parametrize("batch_size", [1, 3])
def test_features(albert_tokenizer, bert_tokenizer, batch_size):
    for model, tokenizer in ((AlbertModel(ALBERT), albert_tokenizer),
                             (BertModel(BERT, add_pooling_layer=False), bert_tokenizer)):
        extract = pipeline("feature-extraction", randomize(model), tokenizer,
                           batch_size=batch_size)
        lists, arrays = extract(TEXTS), extract(TEXTS, return_tensors=True)
        assert isinstance(lists[0][0][0][0], float)
        assert extract(TEXTS[0]) == pytest.approx(np.array(lists[0]), abs=1e-6)
        for text, as_list, as_array in zip(TEXTS, lists, arrays, strict=True):
            expected = model(np.array([tokenizer.encode(text)])).last_hidden_state  # [1, T, H]
            assert_close(as_list, expected, 1e-5)
            assert_close(as_array, expected, 1e-5)


def test_features_of_a_model_with_a_head_are_those_of_its_encoder(albert):
    model, tokenizer = albert
    expected = pipeline("feature-extraction", model.albert, tokenizer)("bado")
    assert pipeline("feature-extraction", model, tokenizer)("bado") == expected


def test_a_long_text_is_cut_if_that_is_asked_for(albert):
    model, tokenizer = albert
    extract = pipeline("feature-extraction", model, tokenizer, return_tensors=True)
    text = "ba " * 30
    with pytest.raises(InputError, match="32 tokens and the model 24 positions: shorten 'ba ba"):
        extract(["ba", text])
    assert extract(text, truncation=True).shape == (1, 24, ALBERT.hidden_size)


# ---- by name


@pytest.fixture
def directory(tmp_path: Path, albert) -> Path:
    for part in albert:
        part.save_pretrained(tmp_path / "albert")
    return tmp_path / "albert"


def test_a_directory(directory, albert):
    for place in (directory, str(directory)):
        loaded = pipeline("fill-mask", place)
        assert type(loaded.model) is AlbertForMaskedLM
        assert loaded(TEXTS) == pipeline("fill-mask", *albert)(TEXTS)
    features = pipeline("feature-extraction", directory)
    assert type(features.model) is AlbertModel
    assert features("ba") == pipeline("feature-extraction", *albert)("ba")


def test_a_directory_with_a_bert(tmp_path, bert_tokenizer):
    model = randomize(BertForMaskedLM(BERT))
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="there is no tokenizer in"):
        pipeline("fill-mask", tmp_path)
    expected = pipeline("fill-mask", model, bert_tokenizer)(TEXTS[0])
    assert pipeline("fill-mask", tmp_path, bert_tokenizer)(TEXTS[0]) == expected
    bert_tokenizer.save_pretrained(tmp_path)
    assert pipeline("fill-mask", tmp_path)(TEXTS[0]) == expected
    assert pipeline("fill-mask", model, tmp_path)(TEXTS[0]) == expected
    assert type(pipeline("feature-extraction", tmp_path).model) is BertModel


def test_a_run(finished):
    answer = pipeline("fill-mask", finished)("ba [MASK]")
    assert len(answer) == 5 and answer[0]["score"] >= answer[-1]["score"]


@pytest.mark.parametrize("kind", [AlbertModel, AlbertForSequenceClassification])
def test_a_head_that_was_never_trained(kind, tmp_path, albert_tokenizer):
    kind(ALBERT).save_pretrained(tmp_path)
    albert_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not trained as AlbertForMaskedLM: its file lacks 'pre"):
        pipeline("fill-mask", tmp_path)
    assert len(pipeline("feature-extraction", tmp_path)("ba")[0]) == 3      # needs no head


# ---- mistakes


def test_mistakes(albert, bert_tokenizer):
    model, tokenizer = albert
    with pytest.raises(InputError, match="unknown task 'fill_mask': did you mean 'fill-mask'?"):
        pipeline("fill_mask", model, tokenizer)
    with pytest.raises(InputError, match="unknown task 'x': known are fill-mask, feature-extr"):
        pipeline("x", model, tokenizer)
    with pytest.raises(InputError, match="pass tokenizer="):
        pipeline("fill-mask", model)
    with pytest.raises(InputError, match="AlbertModel has no masked-LM head"):
        pipeline("fill-mask", model.albert, tokenizer)("[MASK]")
    with pytest.raises(InputError, match="tokenizer has 120 tokens and the model 27: they do not"):
        pipeline("fill-mask", BertForMaskedLM(BERT), tokenizer)("[MASK]")
    fill = pipeline("fill-mask", model, tokenizer)
    for texts, options, message in (
            (["[MASK]", "ba"], {}, r"there is no \[MASK\] in 'ba'"),
            ([], {}, "text must be a string or a list of strings"),
            (["[MASK]", 3], {}, r"text\[1\] must be a string, not 3"),
            ("[MASK]" * 23, {}, "25 tokens and the model 24 positions"),
            ("[MASK]", {"top_k": 0}, "top_k must be at least 1"),
            ("[MASK]", {"batch_size": 0}, "batch_size must be at least 1")):
        with pytest.raises(InputError, match=message):
            fill(texts, **options)


# ---- batches


def test_rows_of_like_length_go_together():
    assert [batch.tolist() for batch in by_length([2, 5, 2, 7, 5], 2)] == [[3, 1], [4, 0], [2]]


def test_padding():
    ids, mask = pad([[7, 8], [9], [4, 5]], 3)
    assert ids.tolist() == [[7, 8], [9, 3], [4, 5]]
    assert mask.tolist() == [[1, 1], [1, 0], [1, 1]]
