"""The task "ner" from texts to entities, its pipeline, and how they are shown."""

from __future__ import annotations

import io
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY
from nonsense import SYLLABLES
from tiny import assert_close, randomize, tiny_config
from toy_finetuning import FAST, pretrained, quiet

from tinyalbert import AlbertForTokenClassification, AlbertModel, pipeline
from tinyalbert.errors import InputError
from tinyalbert.finetuning.conll import Sentence
from tinyalbert.finetuning.entities import Entities, divide
from tinyalbert.finetuning.entity_view import to_html, to_terminal
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.finetuned import FineTuned
from tinyalbert.finetuning.spans import word_windows
from tinyalbert.functional import IGNORED, softmax
from tinyalbert.tokenization.bert import BertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *SYLLABLES,
          *(f"##{syllable}" for syllable in SYLLABLES)]
PAD, UNK, CLS, SEP = range(4)
BA, DO, KI, LA, MU = (PIECES.index(piece) for piece in ("ba", "##do", "##ki", "la", "mu"))
LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def model() -> AlbertForTokenClassification:
    return randomize(AlbertForTokenClassification(
        tiny_config(vocab_size=len(PIECES)).replace(id2label=dict(enumerate(LABELS)))))


# ---- words of a text


@pytest.mark.parametrize(("text", "words"), [
    ("Ada Lovelace, born in 1815.", "Ada Lovelace , born in 1815 ."),
    ("I don't think it's Peter's.", "I do n't think it 's Peter 's ."),
    ("U.S. sales rose 1,000.50% (in 12:30)", "U.S. sales rose 1,000.50 % ( in 12:30 )"),
    ("London-based @ada #tag's", "London-based @ada #tag 's"),
    ("See https://a.b/c?d=e, or www.x.org.", "See https://a.b/c?d=e , or www.x.org ."),
    ("Cafe\u0301 A\u00adB", "Cafe\u0301 A \u00ad B"),
    ("  \n\t ", ""),
])
def test_words_and_punctuation(text, words):
    assert divide(text).words == words.split(" " if words else None)


@settings(max_examples=200)
@given(st.text() | st.sampled_from(NASTY))
def test_no_character_is_lost(text):
    sentence, end = divide(text), 0
    for word, (start, stop) in zip(sentence.words, sentence.offsets, strict=True):
        assert word and text[start:stop] == word
        assert not text[end:start].strip()
        end = stop
    assert not text[end:].strip()


# ---- reading


def test_texts_to_be_labelled(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    path.write_text("Ada wrote.\n\n # O no\n")
    assert Entities.read(path, labelled=False) == [
        Sentence(["Ada", "wrote", "."], None, f"{path}, line 1", "Ada wrote."),
        Sentence(["#", "O", "no"], None, f"{path}, line 3", "# O no")]
    with pytest.raises(InputError, match="x.txt: no column looks like tags"):
        Entities.read(path)
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "Ada wrote.", "id": 3}\n')
    assert Entities.read(path, labelled=False)[0].words == ["Ada", "wrote", "."]
    path.write_text('{"body": "Ada wrote."}\n')
    with pytest.raises(InputError, match='which column is the text.* Name it text; they are body'):
        Entities.read(path, labelled=False)
    for text, words, tags in (("Ada wrote.\n", ["Ada", "wrote", "."], None),
                              ('{"text": "Ada"}\n', ["Ada"], None),
                              ("Ada B-PER\nwrote O\n", ["Ada", "wrote"], ["B-PER", "O"])):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        (sentence,) = Entities.read(Path("-"), labelled=False)
        assert (sentence.words, sentence.tags) == (words, tags)


def test_labels_are_found_and_kept():
    task = Entities.of_examples([Sentence(["a", "b"], ["O", "B-PER"]), Sentence(["c"], ["B-LOC"])])
    assert task.labels == LABELS        # I-PER too, though nobody saw it
    config = tiny_config().replace(**task.config_changes())
    assert Entities.of_model(config, {}).labels == LABELS
    for nothing in (["O", "O"], None):
        with pytest.raises(InputError, match="there is no entity in 1 sentences: nothing to learn"):
            Entities.of_examples([Sentence(["a", "b"], nothing)])


def test_the_summary():
    task = Entities(LABELS)
    examples = [Sentence(["a", "b", "c"], ["B-PER", "I-PER", "O"]), Sentence(["d"], ["O"])]
    assert task.summary(examples) == ("2 sentences, 4 words of which 50% are in no entity; "
                                      "1 entities: PER 1")


# ---- features


def test_the_first_piece_has_the_label(tokenizer):
    example = Sentence(["bado", "la", "\x00", "Q", "badoki"], ["B-PER", "O", "O", "O", "I-PER"])
    (feature,) = Entities(LABELS).features(tokenizer, [example], 32)
    assert feature == {
        "input_ids": [CLS, BA, DO, LA, UNK, UNK, BA, DO, KI, SEP],
        "token_type_ids": [0] * 10, "example": 0,
        "words": [(0, 1, 3), (1, 3, 4), (2, 4, 5), (3, 5, 6), (4, 6, 9)],
        "labels": [IGNORED, 3, IGNORED, 0, 0, 0, 4, IGNORED, IGNORED, IGNORED]}
    (feature,) = Entities(LABELS).features(tokenizer, [example._replace(tags=None)], 32)
    assert "labels" not in feature


def test_batches(tokenizer):
    task = Entities(LABELS)
    features = task.features(tokenizer, [Sentence(["bado", "la"], ["B-PER", "O"]),
                                         Sentence(["mu"], ["O"])], 32)
    batch = task.batch(features, PAD)
    assert batch["labels"].tolist() == [[IGNORED, 3, IGNORED, 0, IGNORED],
                                        [IGNORED, 0, IGNORED, IGNORED, IGNORED]]
    assert batch["input_ids"].tolist() == [[CLS, BA, DO, LA, SEP], [CLS, MU, SEP, PAD, PAD]]
    # 3 labels, of which B-PER is 1 and O are 2, among 5 classes
    weights = task.loss_options(features, "balanced")["class_weights"]
    assert_close(weights, [3 / (5 * 2), 0, 0, 3 / (5 * 1), 0], 1e-12)
    assert task.loss_options(features, "none") == {}
    unlabelled = task.features(tokenizer, [Sentence(["mu"])], 32)
    assert "labels" not in task.batch([*features, *unlabelled], PAD)


def test_a_type_that_was_not_learned(tokenizer):
    with pytest.raises(InputError, match="x, line 3: in this sentence 'la' has the tag 'B-ORG'; "
                                         "the types that were learned are LOC, PER"):
        Entities(LABELS).features(
            tokenizer, [Sentence(["ba", "la"], ["O", "B-ORG"], "x, line 3")], 32)


# ---- long sentences


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=60), room=st.integers(12, 40))
def test_windows(lengths, room):
    """Each word is answered for once, by a window in which as much as possible is around it."""
    made = list(word_windows(lengths, room))
    owners = [word for _, _, mine in made for word in mine]
    assert owners == list(range(len(lengths)))
    assert all(sum(lengths[first:last]) <= room for first, last, _ in made)

    def around(word: int, first: int, last: int) -> int:
        return min(sum(lengths[first:word]), sum(lengths[word + 1:last]))

    for first, last, mine in made:
        for word in mine:
            assert around(word, first, last) == max(
                around(word, a, b) for a, b, _ in made if a <= word < b)
    if sum(lengths) <= room:
        assert made == [(0, len(lengths), range(len(lengths)))]


def test_where_windows_overlap():
    """20 words of a piece each, room for 8: a quarter of it, 2 words, is seen twice. The first of
    the two has one word after it in the first window and none before it in the second."""
    assert list(word_windows([1] * 20, 8)) == [
        (0, 8, range(0, 7)), (6, 14, range(7, 13)), (12, 20, range(13, 20))]
    assert list(word_windows([], 8)) == []


def test_a_long_sentence_loses_no_word(tokenizer):
    """One word is longer than a window by itself."""
    rng = random.Random(0)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(40)]
    words[17] = "bado" * 10
    tags = [rng.choice(["O", "B-PER"]) for _ in words]
    features = Entities(LABELS).features(tokenizer, [Sentence(words, tags)], 12)
    assert max(len(feature["input_ids"]) for feature in features) == 12
    seen = [(word, feature["labels"][begin], feature["input_ids"][begin:end])
            for feature in features for word, begin, end in feature["words"]]
    assert [word for word, *_ in seen] == list(range(40))
    for word, label, ids in seen:
        assert label == LABELS.index(tags[word])
        assert ids == tokenizer.encode(words[word], add_special_tokens=False)[:10]
    labelled = sum(label != IGNORED for feature in features for label in feature["labels"])
    assert labelled == 40


# ---- predictions


def test_predictions(tokenizer):
    """Logits are the logarithms of the probabilities that the answer should show."""
    example = divide("Bado la,  mu ki")                     # Bado la , mu ki
    (feature,) = Entities(LABELS).features(tokenizer, [example], 32)
    assert feature["words"] == [(0, 1, 3), (1, 3, 4), (2, 4, 5), (3, 5, 6), (4, 6, 7)]
    probs = np.full((9, 5), 0.1)                            # [T, K]; two more are padding
    probs[[1, 3, 4, 5, 6], [3, 4, 0, 2, 1]] = [0.6, 0.8, 0.9, 0.7, 0.5]
    probs[2, 1] = 0.99                                      # the inside of a word does not count
    probs /= probs.sum(-1, keepdims=True)
    (answer,) = Entities(LABELS).predictions([example], [feature], [np.log(probs)])
    assert answer["tags"] == ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"]      # IOB2: I-LOC began one
    person, first, second = answer["entities"]
    assert person == {"entity_group": "PER", "score": pytest.approx((0.6 + 0.8 / 1.2) / 2),
                      "word": "Bado la", "start": 0, "end": 7}
    assert first == {"entity_group": "LOC", "score": pytest.approx(0.7 / 1.1), "word": "mu",
                     "start": 10, "end": 12}
    assert second == {"entity_group": "LOC", "score": pytest.approx(0.5 / 0.9), "word": "ki",
                      "start": 13, "end": 15}


def test_metrics_and_the_dictionary():
    """Of the training words, ba is a person twice of three times; ki was never seen."""
    train = [Sentence(["ba", "la"], ["B-PER", "O"]), Sentence(["ba", "ba"], ["B-PER", "O"])]
    dev = [Sentence(["ba", "la", "ki"], ["B-PER", "O", "B-PER"]), Sentence(["ba"], ["O"])]
    task = Entities.of_examples(train)
    name, metrics = task.baseline(train, dev)
    assert name == "each word's most frequent tag"
    assert metrics == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.5}
    said = [{"tags": ["B-PER", "O", "O"]}, {"tags": ["B-PER"]}]
    assert task.metrics(dev, said) == metrics and task.metric in metrics
    assert task.by_type(dev, said)["PER"].f1 == 0.5
    assert task.stuck([{"entities": []}, {"entities": []}]) == "'O' (no entity)"
    assert task.stuck([{"entities": []}, {"entities": [{}]}]) is None


def visits(count: int, seed: int = 0) -> list[Sentence]:
    """Where one says "mune", "bado" is a person, and with "pole" it is a place: what a word is
    must be read, and cannot be remembered."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        words = ["bado", *rng.choices(["ki", "la", "ru"], k=3)]
        tag, sign = rng.choice([("B-PER", "mune"), ("B-LOC", "pole")])
        words.append(sign)
        rng.shuffle(words)
        found.append(Sentence(words, [tag if word == "bado" else "O" for word in words]))
    return found


def test_from_examples_to_entities(tmp_path):
    train, dev = visits(160), visits(40, seed=1)
    run = tmp_path / "run"
    result = finetune("ner", pretrained(tmp_path / "model"), train, dev, run,
                      FAST.replace(epochs=5), log=quiet, progress=False)
    baseline = result.finetuned.task.baseline(train, dev)[1]
    assert result.metrics["f1"] > 0.95 and baseline["f1"] < 0.6
    text = "Ki la \n bado pole\tRU"
    (answer,) = FineTuned.load(run, "ner").predict([divide(text)])
    assert answer["tags"] == ["O", "O", "B-LOC", "O", "O"]
    (place,) = answer["entities"]
    assert (place["entity_group"], place["word"], place["start"]) == ("LOC", "bado", 8)
    (piped,) = pipeline("ner", run, aggregation_strategy="simple")(text)
    assert piped.pop("score") == pytest.approx(place.pop("score"), rel=1e-5)
    assert piped == place


# ---- the pipeline


def test_pieces(model, tokenizer):
    """Asked of the model itself: what it says about every token of one window."""
    text = "Bado la,  mu Qki"
    ids = np.array([[CLS, BA, DO, LA, UNK, MU, UNK, SEP]])
    spans = [(0, 2), (2, 4), (5, 7), (7, 8), (10, 12), (13, 16)]
    probs = softmax(model(ids).logits[0])
    expected = []
    for index, (start, end) in enumerate(spans, 1):
        best = int(probs[index].argmax())
        piece = text[start:end] if ids[0, index] == UNK else PIECES[ids[0, index]]
        if best:
            expected.append({"entity": LABELS[best], "score": pytest.approx(probs[index, best]),
                             "index": index, "word": piece, "start": start, "end": end})
    assert len(expected) > 2
    for name in ("ner", "token-classification"):
        assert pipeline(name, model, tokenizer)(text) == expected


def test_the_shape_of_the_answer(model, tokenizer):
    find = pipeline("ner", model, tokenizer)
    texts = ["Bado la", "", "mu. ki " * 20]
    for strategy in ("none", "simple"):
        answers = find(texts, aggregation_strategy=strategy, batch_size=2)
        assert len(answers) == 3 and answers[1] == []
        for text, answer in zip(texts, answers, strict=True):
            assert find([text], aggregation_strategy=strategy)[0] == [
                {**entry, "score": pytest.approx(entry["score"], rel=1e-5)} for entry in answer]
            assert type(find(text, aggregation_strategy=strategy)) is list
    for text, answer in zip(texts, answers, strict=True):
        for entity in answer:
            assert entity["word"] == text[entity["start"]:entity["end"]]
            assert 0.2 < entity["score"] <= 1       # the largest of five probabilities
    assert max(entity["end"] for entity in answers[2]) > 100        # 12 positions, 60 words
    assert find([]) == []


def test_mistakes_with_the_pipeline(model, tokenizer):
    for wrong, options, message in (
            ("ba", {"aggregation_strategy": "max"}, "must be one of none, simple, not 'max'"),
            (3, {}, "a text is a string, not 3"),
            (["ba", None], {}, "a text is a string, not None")):
        with pytest.raises(InputError, match=message):
            pipeline("ner", model, tokenizer)(wrong, **options)
    with pytest.raises(InputError, match="AlbertModel has no labels for tokens: load the model as"):
        pipeline("ner", AlbertModel(tiny_config()), tokenizer)("ba")


# ---- the view

TEXT = "<Ada> & Bob met\nin Paris."
FOUND = [{"entity_group": "LOC", "start": 19, "end": 24},
         {"entity_group": "PER", "start": 0, "end": 5}]


def test_in_a_terminal():
    plain = "[PER <Ada>] & Bob met\nin [LOC Paris]."
    assert to_terminal(TEXT, FOUND, color=False) == plain
    colored = to_terminal(TEXT, FOUND)
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain
    assert colored.startswith("\x1b[33m[PER \x1b[1m<Ada>\x1b[22m]\x1b[39m & Bob")
    # The same colour, whatever else there is in a text.
    types = ["PER", "LOC"]
    assert to_terminal(TEXT, FOUND, types=["PER"]) == to_terminal(TEXT, FOUND, types=types)
    assert ("\x1b[33m[LOC" in to_terminal(TEXT, FOUND, types=types)
            and "\x1b[33m[LOC" in to_terminal(TEXT, FOUND[:1], types=types))
    # No command gets through.
    bell = [{"entity_group": "\x07", "start": 0, "end": 1}]
    assert to_terminal("a\x1b[2Jb\n", bell, color=False) == "[\ufffd a]\ufffd[2Jb\n"


class Shown(HTMLParser):
    """The text, and what of it is marked, less what tells the types."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.path, self.text, self.types, self.marked = [], "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.path.append(tag)

    def handle_endtag(self, tag):
        assert self.path.pop() == tag

    def handle_data(self, data):
        if self.path[-1:] == ["small"]:
            self.types.append(data)
        elif "style" not in self.path and self.path:
            self.text += data
            if self.path[-1] == "mark":
                self.marked.append(data)


def test_as_html():
    page = to_html(TEXT + " é", FOUND)
    shown = Shown(page)
    assert shown.path == [] and page.isascii() and "http" not in page
    assert shown.marked == ["LOC", "PER", "<Ada>", "Paris"]         # the legend comes first
    assert shown.types == ["PER", "LOC"]
    assert shown.text.endswith("<Ada> & Bob met\nin Paris. é")
    hues = re.findall(r"--hue: ([\d.]+)", page)
    assert hues[0] == hues[3] != hues[1] == hues[2]
    assert "<b>" not in to_html("a", [{"entity_group": "<b>", "start": 0, "end": 1}])


@pytest.mark.parametrize("found", [
    [{"entity_group": "X", "start": 0, "end": 3}, {"entity_group": "X", "start": 2, "end": 4}],
    [{"entity_group": "X", "start": 3, "end": 99}],
    [{"entity_group": "X", "start": -1, "end": 2}],
])
def test_entities_that_cannot_be_shown(found):
    for view in (to_terminal, to_html):
        with pytest.raises(InputError, match="overlaps another or lies outside of the text, which"):
            view("abcd", found)
