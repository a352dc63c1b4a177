"""Reading texts with summaries, cutting them to fit, and a model that writes."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_texts import NASTY
from nonsense import SYLLABLES
from toy_finetuning import FAST, SHARED, VOICES, pretrained, quiet

from tinyalbert import AlbertForSeq2SeqLM, BertConfig, BertForSeq2SeqLM
from tinyalbert.errors import InputError
from tinyalbert.finetuning import rouge, summaries
from tinyalbert.finetuning.extraction import Extraction
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.finetuning.finetuned import FineTuned
from tinyalbert.finetuning.stories import SummaryExample
from tinyalbert.finetuning.summaries import Summaries
from tinyalbert.finetuning.task import Task
from tinyalbert.pipelines import pipeline
from tinyalbert.tokenization import load_tokenizer
from tinyalbert.tokenization.bert import BertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *SYLLABLES,
          *(f"##{syllable}" for syllable in SYLLABLES)]
CLS, SEP = 2, 3
both_ways = pytest.mark.parametrize("task", [Summaries, Extraction])


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
    """The high words of a text, in their order."""
    run = tmp_path_factory.mktemp("learned")
    return run, finetune("summarize", folder, high_words(400), high_words(40, 1), run,
                         FAST.replace(epochs=10, eval_every=250), log=quiet, progress=False)


def high_words(count: int, seed: int = 0) -> list[SummaryExample]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        words = rng.choices(SHARED + VOICES["low"], k=3) + rng.choices(VOICES["high"], k=2)
        rng.shuffle(words)
        found.append(SummaryExample(" ".join(words), " ".join(w for w in words
                                                              if w in VOICES["high"])))
    return found


def ids(pieces: str) -> list[int]:
    return [PIECES.index(piece) for piece in pieces.split()]


# ---- files


@both_ways
@pytest.mark.parametrize("name, content", [
    ("a.csv", 'Article,id,Highlights\n"a long, long text",7,short\nb,8,c\n'),
    ("a.tsv", "text\ttitle\na long, long text\tshort\nb\tc\n"),
    ("a.jsonl", '{"document": "a long, long text", "headline": "short"}\n'
                '{"document": "b", "headline": "c"}\n'),
])
def test_tables(task: type[Task], name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    first, second = task.read(tmp_path / name)
    assert first[:2] == ("a long, long text", "short") and second[:2] == ("b", "c")
    assert first.where == f"{tmp_path / name}, line {1 if name == 'a.jsonl' else 2}"


def test_columns_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,title,body\nx,y,z\n")
    example, = Summaries.read(path, text_column="body", summary_column="text")
    assert example[:2] == ("z", "x")
    with pytest.raises(InputError, match=r"a.csv has no column 'gist' .*--summary-column.*body"):
        Summaries.read(path, summary_column="gist")


def test_what_is_to_be_summarized(tmp_path: Path) -> None:
    """Plain lines; and a table in which some summaries are known."""
    (tmp_path / "a.txt").write_text("one text\n\nanother\n")
    assert [e[:2] for e in Summaries.read(tmp_path / "a.txt", labelled=False)] == [
        ("one text", None), ("another", None)]
    (tmp_path / "a.csv").write_text("text,summary\na,b\nc,\n")
    assert [e[:2] for e in Summaries.read(tmp_path / "a.csv", labelled=False)] == [
        ("a", "b"), ("c", None)]
    assert Summaries.of_text("a")[:2] == Extraction.of_text("a")[:2] == ("a", None)


STORY = ("LONDON (CNN) -- A first sentence.\n\nAnd a second one.\n\n\n@highlight\n\nOne thing\n\n"
         "@highlight\n\nIs that \"so\"\n\n@highlight\n\nYes!\n")


@both_ways
def test_stories(task: type[Task], tmp_path: Path) -> None:
    for name in ("b.story", "a.story"):
        (tmp_path / name).write_text(STORY)
    (tmp_path / "README").write_text("not a story")
    found = task.read(tmp_path)
    assert [Path(example.where).name for example in found] == ["a.story", "b.story"]
    assert found[0].text == "LONDON (CNN) -- A first sentence.\n\nAnd a second one."
    assert found[0].summary == 'One thing. Is that "so" Yes!'
    assert task.read(tmp_path / "b.story") == found[1:]


def test_real_stories(shared_data: Path) -> None:
    found = Summaries.read(shared_data / "fixtures-squad2-cnn" / "cnn_stories")
    assert len(found) == 20
    for example in found:
        assert len(example.text.split()) > 3 * len((example.summary or "").split()) > 30
        assert "@highlight" not in example.text + (example.summary or "")


@pytest.mark.parametrize("name, content, message", [
    ("a.csv", "article,gist\na,b\n", r"a.csv: which column is the summary\? .*article, gist: give"),
    ("a.csv", "body,summary\na,b\n", r"a.csv: which column is the text\? .*body, summary: give"),
    ("a.csv", "text,summary\na,b\n  ,d\n", r"a.csv, line 3: 'text' must be a text, not '  '"),
    ("a.csv", "text,summary\na,b\nc,\n", r"a.csv, line 3: 'summary' must be a text, not ''"),
    ("a.jsonl", '{"text": "a", "summary": ["b"]}', r"a.jsonl, line 1: 'summary' must be a text"),
    ("a.jsonl", '{"text": 3, "summary": "b"}', r"a.jsonl, line 1: 'text' must be a text, not 3"),
    ("a.txt", "a text\n", r"a.txt: which column is the summary\? .* or a .csv, .tsv or .jsonl"),
    ("a.story", "a text\n", r"a.story has no @highlight with a text after it"),
    ("a.story", "a text\n@highlight\n \n", r"a.story has no @highlight with a text after it"),
    ("a.story", "@highlight\n\nb", r"a.story has no text before its highlights"),
    ("a.story", b"caf\xe9\n@highlight\nb", r"a.story, line 1: not UTF-8"),
])
@both_ways
def test_files_that_cannot_be_used(task: type[Task], name: str, content: str | bytes, message: str,
                                   tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        task.read(path)


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder .* holds no .story files"):
        Summaries.read(tmp_path)
    (tmp_path / "a.story").write_text("no highlight")
    assert Summaries.read(tmp_path, labelled=False)[0][:2] == ("no highlight", None)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,summary\na,b\n"))
    assert Summaries.read(tmp_path / "a.csv.gz")[0][:2] == ("a", "b")


@both_ways
@pytest.mark.parametrize("example, message", [
    (SummaryExample(" ", "a", "here"), "here: the text must be a text, not ' '"),
    (SummaryExample("a", ""), r"train\[0\]: the summary must be a text, not ''"),
    (SummaryExample("a", 3), r"train\[0\]: the summary must be a text, not 3"),  # type: ignore
    (SummaryExample("a"), r"train\[0\] has no summary"),
    (("a", "b"), r"train\[0\] must be a SummaryExample"),
])
def test_examples_made_by_hand(task: type[Task], example: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        task.checked([example], "train")


def test_nothing_to_learn() -> None:
    with pytest.raises(InputError, match="all 2 examples have the summary 'x'"):
        Summaries.of_examples([SummaryExample("a", "x"), SummaryExample("b", "x")])


# ---- in


def test_features_by_hand(tokenizer: BertTokenizer) -> None:
    task = Summaries()
    examples = [SummaryExample("bado ki. la", "doba"), SummaryExample("mu " * 50, "ki " * 50),
                SummaryExample("ne", "po")]
    assert task.room(16) == 8               # at least 16, but at most half; and so it stays
    first, second, third = task.features(tokenizer, examples, 16)
    assert first["input_ids"] == [CLS, *ids("ba ##do ki . la"), SEP, *ids("do ##ba"), SEP]
    assert first["token_type_ids"] == [0] * 7 + [1] * 3
    assert second["input_ids"] == [CLS, *ids("mu " * 6), SEP, *ids("ki " * 7), SEP]
    assert third["input_ids"] == [CLS, *ids("ne"), SEP, *ids("po"), SEP]
    assert [feature["example"] for feature in (first, second, third)] == [0, 1, 2]
    assert task.settings()["max_target_length"] == task.room(64) == 8
    batch = task.batch([first, third], 0)
    assert batch["labels"].tolist() == batch["input_ids"].tolist()
    unlabelled, = task.features(tokenizer, [SummaryExample("ne")], 16)
    assert unlabelled["input_ids"] == [CLS, *ids("ne"), SEP]
    assert "labels" not in task.batch([first, unlabelled], 0)


def test_the_room_for_a_summary(tokenizer: BertTokenizer) -> None:
    """With its [SEP], as 99 % of the first summaries need it; unknown, a quarter."""
    assert [Summaries().room(length) for length in (8, 40, 64, 512)] == [4, 16, 16, 128]
    task = Summaries()
    examples = [SummaryExample("ki", "la " * 5)] * 99 + [SummaryExample("ki", "la " * 30)]
    task.features(tokenizer, examples + examples, 64)
    assert task.settings() == {"max_target_length": 31, "num_beams": 4}
    task = Summaries()
    task.features(tokenizer, [*examples * 2, SummaryExample("ki", "la " * 5)], 64)
    assert task.room(64) == task.room(512) == 6
    task.features(tokenizer, examples, 64)              # others change nothing
    assert task.room(64) == 6


@settings(max_examples=60, deadline=None)
@given(source=st.integers(0, 40), target=st.integers(0, 40), max_length=st.integers(8, 40),
       known=st.none() | st.integers(1, 30))
def test_everything_fits(tokenizer: BertTokenizer, source: int, target: int, max_length: int,
                         known: int | None) -> None:
    """And the model reads the same, whether its summary is known or to be written."""
    task = Summaries(known)
    text, summary = "ki " * source, "la " * target
    feature, = task.features(tokenizer, [SummaryExample(text, summary)], max_length)
    unknown, = task.features(tokenizer, [SummaryExample(text)], max_length)
    begin = len(unknown["input_ids"])
    assert begin + task.room(max_length) <= max_length and task.room(max_length) >= 1
    assert begin == min(source + 2, max_length - task.room(max_length))
    assert feature["input_ids"][:begin] == unknown["input_ids"]
    rest = feature["input_ids"][begin:]
    assert rest == ids("la " * min(target, task.room(max_length) - 1)) + [SEP]
    assert feature["token_type_ids"] == [0] * begin + [1] * len(rest)


# ---- out


def test_rouge_by_hand() -> None:
    """the cat sat / the cat ran home: 2 of 3 and 2 of 4 words, F 4/7; of the pairs 1 of 2 and of 3.
    Running is run; "sat cat the" has all three words, and one of them in order."""
    found = rouge.rouge(["The cat sat."], ["the CAT ran home"])
    assert found == pytest.approx({"rouge1": 4 / 7, "rouge2": 2 / 5, "rougeL": 4 / 7})
    assert rouge.rouge(["run", "a"], ["Running!", ""]) == pytest.approx(
        {"rouge1": 0.5, "rouge2": 0.0, "rougeL": 0.5})
    assert rouge.rouge(["the cat sat"], ["sat cat the"])["rougeL"] == pytest.approx(1 / 3)
    assert rouge.words("The boats, 2 of 3, naïve") == ["the", "boat", "2", "of", "3", "na", "ve"]


def test_rouge_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.tokenizers", None)
    rouge.scorer.cache_clear()
    rouge.tokenizer.cache_clear()
    with pytest.raises(InputError, match=r"rouge-score: pip install 'tinyalbert\[finetune\]'"):
        rouge.rouge(["a"], ["a"])


def test_metrics_baseline_and_what_is_said() -> None:
    task = Summaries()
    examples = [SummaryExample("One two three four five.", "Two three."),
                SummaryExample("Six seven", "six, seven, eight, nine")]
    said = [{"summary_text": "two three ."}, {"summary_text": "Six seven eight"}]
    found = task.metrics(examples, said)
    assert found["exact_match"] == 0.5 and found["rouge1"] == pytest.approx((1 + 6 / 7) / 2)
    name, values = task.baseline(examples, examples)            # 2 and 4 words: 3 on average
    assert name == "the first 3 words"
    assert values["rouge1"] == pytest.approx((4 / 5 + 4 / 6) / 2) and values["exact_match"] == 0
    assert task.baseline(examples[:1], examples)[0] == "the first 2 words"
    assert task.summary(examples) == "2 texts of 4 words on average, summaries of 3"
    assert task.metrics([SummaryExample("", "中文")], [{"summary_text": "日本"}]) == dict.fromkeys(
        found, 0)
    assert task.show(examples[0], said[0]) == "two three ."
    assert task.stuck(said) is None
    assert task.stuck(said[:1] * 3) == "'two three .'"
    assert task.stuck([{"summary_text": ""}] * 2) == "''"


def test_a_few_examples_choose_the_weights() -> None:
    examples = [SummaryExample(str(i)) for i in range(401)]
    assert [e.text for e in Summaries().looked_at(examples)] == [str(i) for i in range(0, 401, 3)]
    assert len(Summaries().looked_at(examples[:200])) == 200


def test_and_all_are_judged(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []

    def predict(*args: Any, **options: Any) -> Any:
        counts.append(len(args[3]))
        return [{"summary_text": str(i)} for i in range(len(args[3]))], 1.0
    monkeypatch.setattr(summaries, "CHOOSING", 7)
    monkeypatch.setattr(Summaries, "predict", predict)
    finetune("summarize", folder, high_words(8), high_words(14), tmp_path, FAST, log=quiet,
             progress=False)
    assert counts == [7, 7, 7, 14]


@pytest.mark.parametrize("family", ["albert", "bert"])
def test_nasty_texts(folder: Path, tokenizer: BertTokenizer, family: str) -> None:
    """A summary for each, whatever it is, and the same alone as among others; an empty summary is
    one that only ends."""
    model: Any = AlbertForSeq2SeqLM.from_pretrained(folder, seed=1, dtype=np.float64)
    tokens: Any = load_tokenizer(folder)
    if family == "bert":
        model, tokens = BertForSeq2SeqLM(BertConfig(
            vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=32), dtype=np.float64), tokenizer
    texts = [*NASTY, "ba do. " * 5000, "ba\0do", "\0"]
    task = Summaries(6)
    examples = [SummaryExample(text, "\0" if i % 2 else text) for i, text in enumerate(texts)]
    found, loss = task.predict(model, tokens, examples, max_length=32, batch_size=7)
    assert len(found) == len(texts) and np.isfinite(loss)
    for i in range(0, len(texts), 10):
        alone, _ = task.predict(model, tokens, [SummaryExample(texts[i])], max_length=32)
        assert alone == found[i:i + 1]
    assert task.predict(model, tokens, []) == ([], None)


def test_how_a_model_is_asked(tokenizer: BertTokenizer) -> None:
    """The longest sources first; the answers in the order of the texts."""
    calls = []

    class Model:
        def generate(self, ids: np.ndarray, mask: np.ndarray, **options: Any) -> np.ndarray:
            calls.append((ids.tolist(), mask.tolist(), options))
            return np.hstack([ids[:, 1:2], np.full((len(ids), 1), SEP)])

    found, loss = Summaries(5, num_beams=2).predict(Model(), tokenizer, [
        SummaryExample(text) for text in ("ba", "do do do", "ki ki")], max_length=20, batch_size=2)
    assert [p["summary_text"] for p in found] == ["ba", "do", "ki"] and loss is None
    ba, do, ki = ids("ba do ki")
    assert calls[0][:2] == ([[CLS, do, do, do, SEP], [CLS, ki, ki, SEP, 0]],
                            [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    assert calls[1][:2] == ([[CLS, ba, SEP]], [[1, 1, 1]])
    for _, _, options in calls:
        assert sorted(options.pop("suppress_tokens")) == [0, 1, 2, 3, 4]
        assert options == {"eos_token_id": SEP, "num_beams": 2, "max_new_tokens": 5}


def test_the_loss_is_the_models(folder: Path) -> None:
    model: Any = AlbertForSeq2SeqLM.from_pretrained(folder, dtype=np.float64)
    tokenizer, task, examples = load_tokenizer(folder), Summaries(), high_words(6)
    expected = []
    for example in examples:
        encoding = tokenizer(example.text, example.summary)
        expected.append(float(model([encoding["input_ids"]], [encoding["attention_mask"]],
                                    [encoding["token_type_ids"]],
                                    labels=[encoding["input_ids"]]).loss))
    _, loss = task.predict(model, tokenizer, examples, max_length=32, batch_size=1)
    assert loss == pytest.approx(np.mean(expected))
    assert task.predict(model, tokenizer, [SummaryExample("ba")], max_length=32)[1] is None


def test_learning_to_copy_some_words(learned: Any) -> None:
    run, result = learned
    assert result.metrics["exact_match"] > 0.9 and result.metrics["rougeL"] > 0.95
    loaded = FineTuned.load(run)
    kept = json.loads((run / "finetune.json").read_text())
    assert kept["task"] == "summarize" and kept["learned"] == loaded.task.settings()
    examples = high_words(40, 1)
    assert loaded.predict(examples) == result.predictions
    assert loaded.evaluate(examples, batch_size=3)[0] == pytest.approx(result.metrics)
    with pytest.raises(InputError, match="class_weights must be none"):
        loaded.task.loss_options([], "balanced")


# ---- the pipeline


def test_pipeline_by_name_and_by_hand(learned: Any) -> None:
    run, result = learned
    texts = [example.text for example in high_words(40, 1)]
    summarize = pipeline("summarization", run)
    assert summarize(texts) == result.predictions
    assert summarize(texts[0]) == result.predictions[:1]
    model, tokenizer = result.finetuned.model, result.finetuned.tokenizer
    by_hand = pipeline("summarization", model, tokenizer, max_length=result.finetuned.task.room(32))
    assert by_hand(texts, batch_size=3) == result.predictions


def test_pipeline_options(learned: Any) -> None:
    run, result = learned
    summarize, tokenizer = pipeline("summarization", run), result.finetuned.tokenizer
    text = high_words(1, 5)[0].text

    def length(**options: Any) -> int:
        return len(tokenizer.encode(summarize(text, **options)[0]["summary_text"],
                                    add_special_tokens=False))
    assert length(max_length=1) == 1 and length() == 2
    assert length(max_length=9, min_length=8) >= 5      # pieces may melt together when decoded
    drawn = {summarize(text, do_sample=True, temperature=5.0, seed=seed)[0]["summary_text"]
             for seed in range(5)}
    assert len(drawn) > 1
    assert summarize(text, num_beams=1, no_repeat_ngram_size=2) == summarize(text)
    long = "ba " * 100
    assert summarize(long, truncation=True) == summarize("ba " * (32 - 2 - Summaries(
        **result.finetuned.task.settings()).room(32)))


@pytest.mark.parametrize("text, options, message", [
    ("", {}, "only a text that says something has a summary, not ''"),
    (["ba", 3], {}, "only a text that says something has a summary, not 3"),
    ("ba " * 28, {}, r"a text has 30 tokens, and a summary of max_length \d+ leaves \d+ of 32"),
    ("ba " * 100, {}, "a text has 102 tokens and the model 32 positions"),
    ("ba", {"max_length": 0}, "max_length must be a whole number from 1 to 29, not 0"),
    ("ba", {"max_length": 30}, "max_length must be a whole number from 1 to 29, not 30"),
    ("ba", {"max_length": 2.5}, "max_length must be a whole number from 1 to 29, not 2.5"),
    ("ba", {"min_length": 20, "max_length": 9}, "min_new_tokens 20 exceeds max_new_tokens 9"),
    ("ba", {"num_beans": 4}, "num_beams"),
    ("ba", {"sentences": 2}, "sentences"),
])
def test_pipeline_refuses(learned: Any, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline("summarization", learned[0])(text, **options)
