"""Which sentences have the best ROUGE, a model that learns to pick them, and what picks without."""

from __future__ import annotations

import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY
from nonsense import SYLLABLES
from toy_finetuning import FAST, SHARED, VOICES, pretrained, quiet

from tinyalbert import AlbertForTokenClassification, AlbertModel
from tinyalbert.errors import InputError
from tinyalbert.finetuning.extraction import (
    MOST,
    Extraction,
    baselines,
    best_by_rouge,
    central,
    count_ngrams,
    lead,
    oracle,
)
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.finetuned import FineTuned
from tinyalbert.finetuning.rouge import rouge
from tinyalbert.finetuning.stories import SummaryExample
from tinyalbert.pipelines import pipeline
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.bert import BertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *SYLLABLES]
CLS, SEP, IGNORED = 2, 3, -100
TEXT = "Ba do. Ki la mu ne. Po ru si. Ta ba."
word_lists = st.lists(st.sampled_from(["ant", "bee", "cow", "dog"]), max_size=6)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(PIECES))
    return BertTokenizer(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def learned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    run = tmp_path_factory.mktemp("learned")
    return run, finetune("extract", folder, documents(80), documents(30, 1), run,
                         FAST.replace(epochs=2), log=quiet, progress=False)


def documents(count: int, seed: int = 0) -> list[SummaryExample]:
    """Two sentences in the high voice say everything, among others."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        size = rng.randint(3, 8)
        high = sorted(rng.sample(range(size), 2))
        sentences = [" ".join(rng.choices(VOICES["high" if i in high else "low"], k=3)
                              + rng.choices(SHARED, k=1)) for i in range(size)]
        found.append(SummaryExample(" ".join(f"{s.capitalize()}." for s in sentences),
                                    " ".join(sentences[i] for i in high)))
    return found


def ids(pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces.split()]


# ---- the best sentences by ROUGE


@settings(max_examples=60, deadline=None)
@given(sentences=st.lists(word_lists, min_size=1, max_size=5), summary=word_lists, data=st.data())
def test_f_is_that_of_rouge(sentences: list[list[str]], summary: list[str], data: Any) -> None:
    chosen = data.draw(st.lists(st.sampled_from(range(len(sentences))), unique=True))
    found = count_ngrams(sentences, summary).f_with_each(chosen)
    for i, value in enumerate(found):
        together = " ".join(" ".join(sentences[j]) for j in [*chosen, i])
        assert value == pytest.approx(rouge([" ".join(summary)], [together])["rouge1"])


def reference_score(sentences: list[str], summary: str) -> float:
    """ROUGE-1 + ROUGE-2, pairs within sentences, from the definition."""
    score = 0.0
    for n in (1, 2):
        said, asked = (sum((Counter(zip(*(words.split()[k:] for k in range(n)), strict=False))
                            for words in texts), Counter()) for texts in (sentences, [summary]))
        total = said.total() + asked.total()
        score += 2 * (said & asked).total() / total if total else 0
    return score


@settings(max_examples=60, deadline=None)
@given(sentences=st.lists(word_lists.filter(bool), min_size=1, max_size=7), summary=word_lists)
def test_the_oracle_adds_what_helps_most(sentences: list[list[str]], summary: list[str]) -> None:
    """Greedily, from the definition."""
    texts, asked = [" ".join(words) for words in sentences], " ".join(summary)
    chosen: list[int] = []
    while len(chosen) < min(MOST, len(texts)):
        scores = {i: reference_score([texts[j] for j in [*chosen, i]], asked)
                  for i in range(len(texts)) if i not in chosen}
        best = max(scores, key=lambda i: (scores[i], -i))
        if scores[best] <= reference_score([texts[j] for j in chosen], asked):
            break
        chosen.append(best)
    found = oracle(" ".join(f"{text.capitalize()}." for text in texts), asked)
    assert found == tuple(sorted(chosen))


def test_the_oracle_by_hand() -> None:
    text = "Nothing here. The cats sat on a mat. A dog barked. It was a dog that barked, by night."
    assert oracle(text, "Cats sitting on mats; dogs barking.") == (1, 2)     # stems meet
    assert oracle(text, "the cat sat on a mat") == (1,)
    assert oracle(text, "whales") == oracle("", "whales") == oracle("中文。", "中文") == ()
    assert oracle("Ant. " * 9, "ant " * 9) == (0, 1, 2, 3, 4)           # no more than MOST


def test_real_stories(shared_data: Path) -> None:
    examples = Extraction.read(shared_data / "fixtures-squad2-cnn" / "cnn_stories")
    task = Extraction.of_examples(examples)
    name, first = task.baseline(examples, examples)
    best = task.metrics(examples, [best_by_rouge(example) for example in examples])
    assert name == f"the first {task.sentences} sentences" and 2 <= task.sentences <= 4
    assert all(best[key] > 1.3 * first[key] > 0.1 for key in best)


# ---- in


def test_windows_and_labels_by_hand(tokenizer: BertTokenizer) -> None:
    """Room for 6 tokens; the first label stands on each sentence's first token, once."""
    example = SummaryExample(TEXT, "po ru si ta ba")
    assert oracle(*example[:2]) == (2, 3)
    features = Extraction(1).features(tokenizer, [example], 9)
    assert [feature["input_ids"] for feature in features] == [
        [CLS, *ids("ba do ."), SEP], [CLS, *ids("ki la mu ne ."), SEP],
        [CLS, *ids("po ru si . ta ba ."), SEP]]
    labels = [feature["labels"] for feature in features]
    nothing = [IGNORED] * 10
    assert labels == [[IGNORED, 0, *nothing[:3]], [IGNORED, 0, *nothing[:5]],
                      [IGNORED, 1, *nothing[:3], 1, *nothing[:3]]]
    assert "labels" not in Extraction(1).features(tokenizer, [SummaryExample(TEXT)], 9)[0]


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=20),
       max_length=st.integers(8, 24))
def test_every_sentence_is_answered_for_once(tokenizer: BertTokenizer, lengths: list[int],
                                             max_length: int) -> None:
    text = " ".join(" ".join(["Ba", *["do"] * (n - 1)]) + "." for n in lengths)
    features = Extraction(1).features(tokenizer, [SummaryExample(text)], max_length)
    answered = [word for feature in features for word, _, _ in feature["words"]]
    assert answered == list(range(len(lengths)))
    for feature in features:
        assert len(feature["input_ids"]) <= max_length
        for sentence, begin, end in feature["words"]:
            cut = min(lengths[sentence] + 1, max_length - 2)
            assert feature["input_ids"][begin:end] == ids(
                " ".join(["ba", *["do"] * (lengths[sentence] - 1), "."]))[:cut]


def test_how_many_sentences() -> None:
    one, three = SummaryExample(TEXT, "ba do"), SummaryExample(TEXT, "ki la po ru si ta ba")
    assert [len(oracle(*example[:2])) for example in (one, three)] == [1, 3]
    task = Extraction.of_examples([one, three])
    assert task.settings() == {"sentences": 2}
    assert task.summary([one, three]) == ("2 texts of 4.0 sentences on average; 2.0 of them have "
                                          "the best ROUGE")
    assert Extraction.of_examples([one] + 9 * [SummaryExample(TEXT, "x")]).sentences == 1
    with pytest.raises(InputError, match="no sentence has a word in common with the summary"):
        Extraction.of_examples([SummaryExample(TEXT, "x")])


# ---- out


def test_predictions_by_hand(tokenizer: BertTokenizer) -> None:
    """The logits of IN - OUT are 1, 3, 2, 2 for the four sentences: the second and the third."""
    task, example = Extraction(2), SummaryExample(TEXT)
    features = task.features(tokenizer, [example, SummaryExample("Ba.")], 9)
    outputs = [np.full((len(feature["input_ids"]), 2), 7.0) for feature in features]
    for feature, output in zip(features, outputs, strict=True):
        for sentence, begin, _ in feature["words"]:
            output[begin] = [0, [1, 3, 2, 2][sentence]]
    found, short = task.predictions([example, SummaryExample("Ba.")], features, outputs)
    assert found["summary_text"] == "Ki la mu ne. Po ru si." and found["sentences"] == [1, 2]
    assert found["scores"] == pytest.approx([1 / (1 + np.exp(-x)) for x in (1, 3, 2, 2)])
    assert short["summary_text"] == "Ba." and short["sentences"] == [0]
    assert task.show(example, found) == "Ki la mu ne. Po ru si."


def test_the_same_places_every_time_are_stuck() -> None:
    def said(sentences: list[int], of: int) -> dict[str, Any]:
        return {"sentences": sentences, "scores": [0.5] * of}
    task = Extraction(2)
    assert task.stuck([said([0, 1], 4), said([0, 1], 3), said([0], 1)]) == "the sentences 1, 2"
    assert task.stuck([said([0, 1], 4), said([1, 2], 3)]) is None
    assert task.stuck([said([0, 1], 2), said([0], 1)]) is None       # there was no choice


def test_nasty_and_very_long_texts(folder: Path) -> None:
    model = AlbertForTokenClassification.from_pretrained(folder, num_labels=2)
    texts = [*NASTY, "ba do ki la. " * 2500, "word " * 10_000, "ba\0do.", "\0", "One."]
    found, loss = Extraction(2).predict(model, load_tokenizer(folder), [
        SummaryExample(text) for text in texts], max_length=32)
    assert loss is None
    for text, prediction in zip(texts, found, strict=True):
        assert len(prediction["sentences"]) <= 2
        assert bool(prediction["summary_text"]) == bool(text.split())
        assert prediction["summary_text"] in " ".join(text.split()) or len(
            prediction["sentences"]) == 2
    assert found[-1]["summary_text"] == "One."


def test_learning_which_sentences_matter(learned: Any) -> None:
    run, result = learned
    assert result.metrics["rougeL"] > 0.95
    for example, prediction in zip(documents(30, 1), result.predictions, strict=True):
        assert len(prediction["sentences"]) == 2
        assert tuple(prediction["sentences"]) == oracle(example.text, example.summary or "")
    loaded = FineTuned.load(run)
    assert (loaded.task.name, loaded.task.settings()) == ("extract", {"sentences": 2})
    assert loaded.model.config.id2label == {0: "OUT", 1: "IN"}
    assert loaded.evaluate(documents(30, 1), batch_size=8)[0] == pytest.approx(result.metrics)
    weights = loaded.task.loss_options(
        [{"labels": [IGNORED, 0, 0, 0, 1]}], "balanced")["class_weights"]
    assert weights == pytest.approx([4 / 6, 4 / 2])


# ---- without learning


def test_the_first_sentences() -> None:
    assert lead(TEXT, 2)["summary_text"] == "Ba do. Ki la mu ne."
    assert lead("Ba do.", 3)["summary_text"] == "Ba do." and lead("", 3)["summary_text"] == ""
    name, values = Extraction(1).baseline([], [SummaryExample(TEXT, "ba do"),
                                               SummaryExample(TEXT, "ta")])
    assert name == "the first 1 sentence"
    assert values == pytest.approx({"rouge1": 0.5, "rouge2": 0.5, "rougeL": 0.5})


def test_the_most_central_sentences(folder: Path) -> None:
    model, tokenizer = AlbertModel.from_pretrained(folder), load_tokenizer(folder)
    texts = ["Bado kila.", "Mune poru. ", "Bado kila mu.", "Sita bado ki la."]
    vectors = []
    for text in texts:
        encoding = tokenizer(text, return_tensors="np")
        vectors.append(model(**encoding).last_hidden_state[0].mean(0))
    expected = [np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                         for j, b in enumerate(vectors) if j != i])
                for i, a in enumerate(vectors)]
    found = central(model, tokenizer, " ".join(texts), 2)
    assert found["scores"] == pytest.approx(expected, abs=1e-5)
    assert found["sentences"] == sorted(np.argsort(expected)[-2:].tolist())
    assert central(model, tokenizer, "Bado " * 100, 2)["sentences"] == [0]     # one, and too long


def test_baselines(folder: Path) -> None:
    model, tokenizer = AlbertModel.from_pretrained(folder), load_tokenizer(folder)
    found = baselines(documents(10), model, tokenizer, 2)
    assert list(found) == ["lead-2", "centrality", "oracle"]
    assert found["oracle"]["rouge1"] == pytest.approx(1)
    assert max(found["lead-2"]["rouge1"], found["centrality"]["rouge1"]) < 1


# ---- the pipeline


def test_pipeline_by_name_and_by_hand(learned: Any, caplog: pytest.LogCaptureFixture) -> None:
    run, result = learned
    texts = [example.text for example in documents(30, 1)]
    expected = [{"summary_text": p["summary_text"]} for p in result.predictions]
    with caplog.at_level(logging.WARNING):
        assert pipeline("summarization", run)(texts) == expected
        assert pipeline("summarization", run)(texts[0]) == expected[:1]
        by_hand = pipeline("summarization", result.finetuned.model, result.finetuned.tokenizer)
        assert by_hand(texts, sentences=2, batch_size=4) == expected
    assert not caplog.records
    with pytest.raises(InputError, match="picks sentences.*num_beams"):
        by_hand(texts, num_beams=4)
    for wrong in (0, 1.5):
        with pytest.raises(InputError, match="sentences must be a whole number of at least 1"):
            by_hand(texts, sentences=wrong)


def test_pipeline_of_what_has_learned_nothing(folder: Path,
                                              caplog: pytest.LogCaptureFixture) -> None:
    """Its most central sentences, and a word about that."""
    model, tokenizer = AlbertModel.from_pretrained(folder), load_tokenizer(folder)
    text = documents(1, 3)[0].text
    with caplog.at_level(logging.WARNING):
        found = pipeline("summarization", folder)(text, sentences=2)
    assert found == [{"summary_text": central(model, tokenizer, text, 2)["summary_text"]}]
    assert "AlbertModel has not been fine-tuned for summaries" in caplog.text
    three = pipeline("summarization", folder)(text)
    assert three[0]["summary_text"] == central(model, tokenizer, text, 3)["summary_text"]
