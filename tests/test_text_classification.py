"""pipeline("text-classification"); expected are the model's own logits, one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
from nonsense import sentences
from tiny import randomize, tiny_config

from tinyalbert import AlbertForSequenceClassification, AlbertModel, pipeline
from tinyalbert.errors import InputError
from tinyalbert.tokenization.training import train_tokenizer

TEXTS = ["bado kila.", "a", "la mune posi ta bado ki mune", {"text": "ba", "text_pair": "do ki"}]
NAMES = {0: "low", 1: "middle", 2: "high"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return train_tokenizer(sentences(), tmp_path_factory.mktemp("tokenizer"), vocab_size=120)


def model(**changes) -> AlbertForSequenceClassification:
    return randomize(AlbertForSequenceClassification(tiny_config(
        vocab_size=120, max_position_embeddings=24, **{"id2label": NAMES, **changes})))


def logits(classifier, tokenizer, text) -> np.ndarray:
    """[K]"""
    pair = text if isinstance(text, dict) else {"text": text}
    encoding = tokenizer([pair["text"]], [pair["text_pair"]] if len(pair) == 2 else None,
                         return_tensors="np")
    return classifier(**encoding).logits[0].astype(float)


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


@pytest.mark.parametrize("task", ["text-classification", "sentiment-analysis"])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_the_likeliest_label(tokenizer, task, batch_size):
    classifier = model()
    answers = pipeline(task, classifier, tokenizer)(TEXTS, batch_size=batch_size)
    for text, answer in zip(TEXTS, answers, strict=True):
        probs = softmax(logits(classifier, tokenizer, text))
        assert answer == {"label": NAMES[probs.argmax()],
                          "score": pytest.approx(probs.max(), rel=1e-5)}


def test_shapes(tokenizer):
    """Those of Hugging Face: a list for one text, but not for one pair."""
    classify = pipeline("text-classification", model(), tokenizer)
    one, pair = classify(TEXTS[:1]), classify(TEXTS[3])
    assert classify(TEXTS[0]) == one and len(one) == 1 and set(one[0]) == {"label", "score"}
    assert classify(TEXTS)[3] == pair
    for text, alone in ((TEXTS[0], one[0]), (TEXTS[3], pair)):
        every = classify(text, top_k=None)
        assert {label["label"] for label in every} == set(NAMES.values())
        assert [label["score"] for label in every] == sorted(
            (label["score"] for label in every), reverse=True)
        assert every[0] == alone and classify(text, top_k=2) == every[:2]
        assert classify([text], top_k=None) == [every] and classify([text], top_k=1) == [[alone]]
    assert classify([]) == []


@pytest.mark.parametrize("config, default", [
    ({}, "softmax"), ({"problem_type": "single_label_classification"}, "softmax"),
    ({"problem_type": "multi_label_classification"}, "sigmoid"),
    ({"num_labels": 1, "id2label": None}, "sigmoid"),
    ({"problem_type": "regression", "num_labels": 1, "id2label": None}, "none")])
@pytest.mark.parametrize("asked", [None, "softmax", "sigmoid", "none"])
def test_functions(tokenizer, config, default, asked):
    classifier = model(**config)
    answer = pipeline("text-classification", classifier, tokenizer, function_to_apply=asked)(
        TEXTS[2], top_k=None)
    given = logits(classifier, tokenizer, TEXTS[2])
    expected = {"softmax": softmax, "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
                "none": lambda z: z}[asked or default](given)
    assert [label["score"] for label in answer] == pytest.approx(sorted(expected)[::-1], rel=1e-5)
    if len(given) == 1:
        assert answer[0]["label"] == "LABEL_0"


def test_large_logits_do_not_overflow(tokenizer):
    classifier = model()
    classifier.classifier.bias.data[...] = [-1000, 0, 1000]
    with np.errstate(all="raise", under="ignore"):
        answer = pipeline("text-classification", classifier, tokenizer)(
            "ba", function_to_apply="sigmoid", top_k=None)
    assert [label["score"] for label in answer][::2] == [1.0, 0.0]


def test_long_texts(tokenizer):
    classify = pipeline("text-classification", model(), tokenizer)
    with pytest.raises(InputError, match="tokens and the model 24 positions: shorten 'ba do"):
        classify("ba do " * 5000)
    assert len(classify("ba do " * 5000, truncation=True)) == 1
    assert classify({"text": "ba do " * 50, "text_pair": "ki " * 50}, truncation=True)["score"] > 0


@pytest.mark.parametrize("text", [None, 3, ["ba", "do"], {"text": "ba", "pair": "do"},
                                  {"text_pair": "do"}, {"text": None}, {"text": ["ba"]}])
def test_no_text(tokenizer, text):
    with pytest.raises(InputError, match="a text is a string, and a pair of them"):
        pipeline("text-classification", model(), tokenizer)([text])


@pytest.mark.parametrize("options, said", [
    ({"top_k": -1}, "top_k must be at least 1, or None for all labels, not -1"),
    ({"function_to_apply": "tanh"}, "must be one of softmax, sigmoid, none, not 'tanh'")])
def test_bad_options(tokenizer, options, said):
    with pytest.raises(InputError, match=said):
        pipeline("text-classification", model(), tokenizer)("ba", **options)


def test_a_model_without_a_trained_head(tokenizer, tmp_path):
    AlbertModel(tiny_config(vocab_size=120)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="was not trained as AlbertForSequenceClassification"):
        pipeline("text-classification", tmp_path)
