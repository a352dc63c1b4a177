"""A run of a random model, written here file by file; pages are read as a browser would."""

from __future__ import annotations

import json
import math
import random
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import pytest
from tiny import randomize, tiny_config

from tinyalbert.data.corpus import read_documents
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.errors import InputError
from tinyalbert.files import write_json
from tinyalbert.params import parameter_totals
from tinyalbert.pretraining.config import PRESETS, PretrainConfig
from tinyalbert.pretraining.run import save_model
from tinyalbert.report import figures, introspection
from tinyalbert.report.page import command, write_report
from tinyalbert.report.samples import held_out_samples
from tinyalbert.report.verdict import measurements, verdict
from tinyalbert.tasks import AlbertForPreTraining
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.training import train_tokenizer

VOCAB_SIZE = 120
CONFIG = tiny_config(vocab_size=VOCAB_SIZE, max_position_embeddings=64)
START = {"kind": "start", "step": 0, "unigram_entropy": 6.34, "total_steps": 400,
         "parameters": 4321, "train_tokens": 987654, "held_out_tokens": 12345, "seconds": 0.0}
TRAIN = {"kind": "train", "step": 20, "loss": 5.9, "masked_lm_loss": 5.2,
         "masked_lm_accuracy": 0.2, "sop_loss": 0.7, "sentence_order_accuracy": 0.55,
         "learning_rate": 1e-3, "grad_norm": 1.5, "tokens_per_second": 900.0, "seconds": 60.0}
EVAL = {"kind": "eval", "step": 400, "masked_lm_loss": math.log(100), "masked_lm_accuracy": 0.25,
        "sop_loss": 0.6, "sentence_order_accuracy": 0.625, "pairs": 400, "reference_loss": 4.5,
        "reference_accuracy": 0.3, "seconds": 300.0, "final": True}
DOCTOR = {"kind": "doctor", "step": 20, "message": "lower the <rate> & wait"}


@pytest.fixture(scope="module")
def model() -> AlbertForPreTraining:
    return randomize(AlbertForPreTraining(CONFIG))


def sentences() -> list[str]:
    """240 sentences of a made-up language with a hundred words, in the singular and the plural:
    SentencePiece makes a piece of what it finds in two words at least."""
    rng = random.Random(0)
    words = ["".join(rng.choices(ascii_lowercase, k=rng.randint(3, 7))) for _ in range(100)]
    return [" ".join(rng.choice(words) + rng.choice(["", "", "s"]) for _ in range(8)) + "."
            for _ in range(240)]


@pytest.fixture
def run(tmp_path: Path, model: AlbertForPreTraining) -> Path:
    """Eight documents, two of them held out; every file but the metrics."""
    run, text = tmp_path / "a <run>", sentences()
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n\n".join("\n".join(text[i:i + 30]) for i in range(0, 240, 30)))
    tokenizer = train_tokenizer(text, run, vocab_size=VOCAB_SIZE)
    build_shards(corpus, tokenizer, run / "shards", one_sentence_per_line=True)
    write_json(run / "pretrain.json", PretrainConfig(corpus=str(corpus), held_out=2).to_dict())
    save_model(run, model)
    return run


def log(run: Path, *lines: dict) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


class Page(HTMLParser):
    """The text of a page, what it loads, and whether every tag that was opened was closed."""

    VOID = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.sources, self.open = "", [], []
        self.feed(path.read_text("utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def png_size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


# ---- the page


def test_page_of_a_finished_run(run):
    log(run, START, TRAIN, DOCTOR, EVAL)
    path = write_report(run, "bado [MASK] <kila> [MASK]")
    page = Page(path)
    assert path == run / "report.html"
    assert "It learned to use context" in page.text and "a <run>" in page.text
    assert "lower the <rate> & wait" in page.text
    assert "bado [MASK] <kila> [MASK]" in page.text and "with the others hidden" in page.text
    assert f"{parameter_totals(CONFIG)['with heads, for pretraining']:,}" in page.text
    assert "One gradient" in page.text
    assert page.sources and all(s.startswith("data:image/png;base64,") for s in page.sources)
    assert "http" not in path.read_text("utf-8")
    pictures = sorted(p.name for p in (run / "figures").iterdir())
    assert pictures == ["attention.png", "shared_gradient.png", "training.png", "words.png"]
    assert len(page.sources) == len(pictures)
    for picture in (run / "figures").iterdir():
        assert min(png_size(picture.read_bytes())) > 300


@pytest.mark.parametrize("lines", [[], [START], [START, TRAIN], [START, {**EVAL, "step": 0}],
                                   [START, TRAIN, {**TRAIN, "step": 40, "masked_lm_loss": math.nan,
                                                   "grad_norm": math.inf}]])
def test_page_of_a_run_in_progress(run, lines):
    log(run, *lines)
    (run / "model.safetensors").unlink()
    page = Page(write_report(run))
    assert "No model has been saved yet" in page.text and "Make it again" in page.text


def test_page_without_sentence_task_and_without_shards(run):
    for shard in run.glob("shards/*/*"):
        shard.unlink()
    settings = json.loads((run / "pretrain.json").read_text()) | {"objective": "none"}
    write_json(run / "pretrain.json", settings)
    log(run, START, {k: v for k, v in TRAIN.items() if k[0] != "s" or k in ("step", "seconds")})
    page = Page(write_report(run))
    assert "sentence order" not in page.text.split("Parameters")[0]


def test_sentences_that_do_not_fit_the_positions(run):
    save_model(run, AlbertForPreTraining(CONFIG.replace(max_position_embeddings=6)))
    assert "Hidden words" not in Page(write_report(run)).text
    with pytest.raises(InputError, match="and the model 6 positions"):
        write_report(run, "[MASK] bado kila")


@pytest.mark.parametrize(("sharing", "groups"), [("none", 1), ("all", 2), ("ffn", 1)])
def test_nothing_is_said_about_a_shared_gradient_where_not_all_is_shared(run, sharing, groups):
    save_model(run, AlbertForPreTraining(CONFIG.replace(sharing=sharing,
                                                        num_hidden_groups=groups)))
    assert "One gradient" not in Page(write_report(run)).text


def test_folders_that_are_no_runs(run, tmp_path):
    with pytest.raises(InputError, match="holds no config.json"):
        write_report(tmp_path)
    (run / "pretrain.json").write_text("{")
    with pytest.raises(InputError, match="pretrain.json is not valid JSON"):
        write_report(run)
    (run / "pretrain.json").unlink()
    with pytest.raises(InputError, match="holds no pretrain.json"):
        write_report(run)


def test_command_gives_what_differs_from_the_nearest_preset():
    model, training = PRESETS["small"]
    assert command(Path("/r/x"), model.replace(num_hidden_layers=3), training.replace(
        max_steps=70, sop_strict=False, corpus="my books/", held_out=None)) == (
        "tinyalbert pretrain --preset small --num-hidden-layers 3 --corpus 'my books/' "
        "--no-sop-strict --max-steps 70 --out x-again")


# ---- words about numbers


def test_verdict_on_a_model_that_uses_context():
    heading, (progress, loss, order) = verdict([START, TRAIN, EVAL], "sop")
    assert heading == "It learned to use context"
    assert "400 steps in 5.0 minutes" in progress
    assert "4.61 nats" in loss and "among 100 equally" in loss and "25.0%" in loss
    assert "6.34 nats, a choice among 567" in loss          # exp(6.34) = 566.8
    # Two standard errors of 400 coins are 5 %.
    assert order == ("The sentence order is guessed right 62.5% of the time for 400 pairs, above "
                     "chance (50%).")


def test_verdict_on_less_fortunate_trainings():
    plateau = {**EVAL, "masked_lm_loss": 6.3, "sentence_order_accuracy": 0.54}
    heading, (_, _, order) = verdict([START, plateau], "sop")
    assert heading == "It has not learned to use context" and "not above chance" in order
    heading, (progress, *_) = verdict([START, {**TRAIN, "masked_lm_loss": 6.3}], "none")
    assert heading == "It has not learned to use context yet" and "step 20 of 400" in progress
    assert verdict([START, {**TRAIN, "masked_lm_loss": math.nan}], "sop")[0] == (
        "The training diverged")
    assert "among countless" in verdict([START, {**EVAL, "masked_lm_loss": 1e6}], "sop")[1][1]
    assert verdict([], "sop") == verdict([START], "sop") == ("Nothing has been measured yet", [])


def test_measurements():
    assert measurements([START, TRAIN], "none")[1] == [
        "masked-LM loss, nats", "", "5.200", "6.340 ignores context"]
    rows = {row[0]: row[1:] for row in measurements([START, TRAIN, EVAL], "sop")}
    assert rows["sentence order right"] == ["62.5%", "55.0%", "50% is chance"]


# ---- what is drawn


def test_contributions_add_up_to_the_shared_gradient(model):
    batch = {"input_ids": np.array([[2, 9, 4, 7, 3]]), "sentence_order_label": np.array([1]),
             "labels": np.array([[-100, -100, 8, -100, -100]])}
    before = {name: p.data.copy() for name, p in model.named_parameters().items()}
    parts = introspection.gradient_of_each_application(model, batch)
    model.zero_grad()
    model.backward(model.forward(**batch)[1])
    shared = [p.grad.ravel() for p in
              model.albert.encoder.albert_layer_groups[0].named_parameters().values()]
    np.testing.assert_allclose(parts.sum(0), np.concatenate(shared), rtol=1e-4, atol=1e-6)
    assert parts.shape[0] == 4 and all(np.abs(part).max() > 1e-4 for part in parts)
    for name, parameter in model.named_parameters().items():
        assert (parameter.data == before[name]).all()


def test_attention_rows_are_probabilities(run, model):
    tokenizer = AlbertTokenizer.from_pretrained(run)
    tokens, maps = introspection.attention_of(model, tokenizer, "bado kila. " * 30)
    assert len(tokens) == introspection.LONGEST and tokens[0] == "[CLS]" and tokens[-1] == "[SEP]"
    assert maps.shape == (4, 2, len(tokens), len(tokens))
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)


def test_nearest_words_by_hand():
    model = AlbertForPreTraining(tiny_config(vocab_size=5, embedding_size=2))
    table = np.array([[2, 0], [3, 3], [0, 1], [-1, 0], [9, 1]], np.float32)
    model.albert.embeddings.word_embeddings.weight.data[...] = table
    (near_0, near_2) = introspection.nearest_words(model, [0, 2], [0, 1, 2, 3], top_k=2)
    assert [i for i, _ in near_0] == [1, 2] and [i for i, _ in near_2] == [1, 0]
    assert near_0[0][1] == pytest.approx(math.sqrt(0.5)) and near_0[1][1] == pytest.approx(0)


def test_frequent_words_are_whole_words_in_the_order_of_the_vocabulary(run):
    tokenizer = AlbertTokenizer.from_pretrained(run)
    ids = introspection.frequent_words(tokenizer, 10)
    assert ids == sorted(ids) and len(ids) == 10
    for token in tokenizer.convert_ids_to_tokens(ids):
        assert token.startswith("▁") and token[1:].isalpha() and len(token) >= 4


def test_masked_sentence_hides_every_sixth_token(run, model):
    tokenizer = AlbertTokenizer.from_pretrained(run)
    text = " ".join(sentences()[:2])
    ids = np.array(tokenizer.encode(text))
    batch = introspection.masked_sentence(model, tokenizer, text)
    hidden = np.flatnonzero(batch["labels"][0] != -100)
    assert hidden.tolist() == [i for i in range(3, len(ids) - 1, 6)]
    assert (batch["input_ids"][0, hidden] == tokenizer.mask_token_id).all()
    assert (np.where(batch["labels"] == -100, batch["input_ids"], batch["labels"]) == ids).all()


def test_samples_come_from_held_out_documents(run):
    tokenizer = AlbertTokenizer.from_pretrained(run)
    samples = held_out_samples(run, tokenizer, 2)
    documents = list(read_documents(run.parent / "corpus.txt", one_sentence_per_line=True))
    unseen = [sentence for n in (2, 6) for sentence in documents[n]]     # (2i + 1) * 8 // 4
    assert 1 <= len(samples) <= 2
    for sample in samples:
        assert sample.masked.count("[MASK]") == 1
        assert sample.whole in [tokenizer.decode(tokenizer.encode(s)[1:-1]) for s in unseen]
    assert samples == held_out_samples(run, tokenizer, 2)


def test_curves_show_the_numbers_of_the_log():
    lines = [START, TRAIN, {**TRAIN, "step": 40, "masked_lm_loss": math.inf}, EVAL]
    figure = figures.training_curves(lines, "sentence order")
    loss, words, order, rate, norm = figure.axes
    by_label = {line.get_label(): line for line in loss.lines}
    assert list(by_label["training text"].get_xdata()) == [20, 40]
    assert by_label["training text"].get_ydata()[0] == 5.2
    assert math.isnan(by_label["training text"].get_ydata()[1])
    assert list(by_label["held-out text"].get_ydata()) == [math.log(100)]
    assert any(list(line.get_ydata()) == [6.34, 6.34] for line in loss.lines)
    assert any(list(line.get_ydata()) == [50, 50] for line in order.lines)
    assert words.lines[0].get_ydata()[0] == 20 and "%" in words.get_title(loc="left")
    assert list(rate.lines[0].get_ydata()) == [1e-3, 1e-3] and norm.get_xlabel() == "step"


def test_a_sheet_of_many_heads_stays_within_what_can_be_drawn():
    figure = figures.attention_maps(["▁a"] * 24, np.full((2, 64, 24, 24), 1 / 24))
    assert figure.get_figwidth() * 200 < 2**16      # pixels at the usual resolution; Agg's limit
    small = figures.attention_maps(["▁a"] * 3, np.full((2, 2, 3, 3), 1 / 3))
    assert small.axes[0].images[0].get_array().shape == (7, 7)      # 2 x 3 cells and one between
    assert [text.get_text() for text in small.axes[0].texts] == ["head 1", "head 2", "layer 1",
                                                                 "layer 2"]


def test_dollars_are_no_mathematics():
    figures.to_png(figures.attention_maps(["$$", "▁$x^$"], np.full((1, 1, 2, 2), 0.5)), dpi=40)
    figures.to_png(figures.word_map(["$x^$", "$$"], np.eye(2)), dpi=40)


def test_words_on_the_map_do_not_overlap():
    vectors = np.random.default_rng(0).standard_normal((80, 8))
    figure = figures.word_map([f"word{i}" for i in range(80)], vectors)
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert figure.axes[0].texts[0].get_text() == "word0" and 20 < len(boxes) <= 80
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_without_matplotlib(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    log(run, START, TRAIN)
    with pytest.raises(InputError, match="pip install 'tinyalbert\\[demo\\]'"):
        write_report(run)
