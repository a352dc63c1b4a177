"""Entities against transformers' pipeline, on sentences that come split into words."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from nonsense import SYLLABLES, sentences
from tiny import randomize, tiny_config

from tinyalbert import AlbertForTokenClassification, BertConfig, BertForTokenClassification
from tinyalbert.finetuning.conll import Sentence
from tinyalbert.finetuning.entities import Entities
from tinyalbert.functional import IGNORED
from tinyalbert.pipelines import pipeline
from tinyalbert.tokenization.bert import BertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "a", *SYLLABLES,
          *(f"##{syllable}" for syllable in SYLLABLES)]
LABELS = dict(enumerate(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]))
TEXTS = ["Bado kila mune .", "posi", "ta , bado ki QX munepo 200", "Bakido . a , mu ru ne ta si"]


@pytest.fixture(scope="module", params=["albert", "bert"])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its tokenizer, saved by ours."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "albert":
        train_tokenizer(sentences(), folder, vocab_size=120)
        model = AlbertForTokenClassification(tiny_config(
            vocab_size=120, max_position_embeddings=32, type_vocab_size=2).replace(id2label=LABELS))
    else:
        (folder / "vocab.txt").write_text("\n".join(PIECES))
        BertTokenizer.from_pretrained(folder).save_pretrained(folder)
        model = BertForTokenClassification(BertConfig(
            vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=32).replace(id2label=LABELS))
    randomize(model).save_pretrained(folder)
    return folder


def close(ours: list[dict], theirs: list[dict]) -> None:
    assert ours == [{**entry, "score": pytest.approx(float(entry["score"]), rel=1e-4)}
                    for entry in theirs]


@pytest.mark.parametrize("text", TEXTS)
def test_pieces(directory, text):
    theirs = transformers.pipeline("ner", str(directory))
    (expected,) = theirs([text.split()], is_split_into_words=True)
    assert expected
    close(pipeline("ner", directory)(text), expected)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("directory", ["bert"], indirect=True)
def test_groups_of_words(directory, text):
    """Ours show an entity as it is written, theirs as the tokenizer decodes it. For ALBERT's
    pieces they guess which belong to one word, and take a "▁" that stands alone for a word."""
    theirs = transformers.pipeline("ner", str(directory), aggregation_strategy="first")
    (expected,) = theirs([text.split()], is_split_into_words=True)
    assert expected
    close(pipeline("ner", directory, aggregation_strategy="simple")(text),
          [{**entry, "word": text[entry["start"]:entry["end"]]} for entry in expected])


def test_labels_of_pieces(directory):
    """As their documentation aligns them: a label for the first token of each word."""
    theirs = transformers.AutoTokenizer.from_pretrained(directory)
    ours = pipeline("ner", directory).tokenizer
    for text in TEXTS:
        words = text.split()
        tags = [LABELS[1 + 2 * (i % 2)] for i in range(len(words))]
        (feature,) = Entities(list(LABELS.values())).features(ours, [Sentence(words, tags)], 32)
        encoding = theirs(words, is_split_into_words=True)
        assert feature["input_ids"] == encoding["input_ids"]
        numbers = [None, *encoding.word_ids()]
        assert feature["labels"] == [
            IGNORED if word is None or word == before else 1 + 2 * (word % 2)
            for before, word in zip(numbers, numbers[1:], strict=False)]
