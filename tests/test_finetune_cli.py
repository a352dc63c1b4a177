"""`tinyalbert finetune`, `predict`, `evaluate` and `report`, as a user types them."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from command_line import error
from toy_finetuning import pretrained, voices

import tinyalbert.finetuning.finetune
from tinyalbert.cli import main, make_parser
from tinyalbert.cli.finetune import BUILT_IN, FORMATS, HELP
from tinyalbert.finetuning.classification import Classification, TextExample
from tinyalbert.finetuning.config import RECIPES, FinetuneConfig
from tinyalbert.finetuning.demos import DEMOS, demo_examples
from tinyalbert.finetuning.finetuned import TASKS, FineTuned, task_class
from tinyalbert.finetuning.trainer import Trainer
from tinyalbert.report.saliency import marked, saliency

SETTINGS = ["--learning-rate", "1e-2", "--batch-size", "8", "--epochs", "3", "--seed", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and three tables."""
    folder = tmp_path_factory.mktemp("data")
    pretrained(folder / "model")
    for seed, name in enumerate(("train", "dev", "test")):
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *voices(40, seed)])
    return folder


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """A finished fine-tuning."""
    argv = ["finetune", "classify", "--model", data / "model", "--train", data / "train.csv",
            "--dev", data / "dev.csv", "--test", data / "test.csv", "--out", data / "run"]
    assert main([*map(str, argv), *SETTINGS]) == 0
    return data / "run"


# --- the command


def test_every_task_has_its_words() -> None:
    assert set(HELP) >= set(TASKS) and set(FORMATS) >= set(TASKS)
    named = {(task, name) for task in BUILT_IN for name in BUILT_IN[task].split(", ")}
    assert named == {(demo.task, name) for name, demo in DEMOS.items()}


@pytest.mark.parametrize("task", TASKS)
def test_help_explains_every_setting(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["finetune", task, "--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    for field in fields(FinetuneConfig):
        assert "--" + field.name.replace("_", "-") in text


def test_recipes_are_the_papers_table() -> None:
    """Table 14 of the paper: learning rate, batch size, dropout, steps, warmup, length."""
    cola, mnli, race = (RECIPES[name] for name in ("cola", "mnli", "race"))
    assert (cola.learning_rate, cola.batch_size, cola.hidden_dropout, cola.max_steps) == (
        1e-5, 16, 0, 5336)
    assert round(cola.warmup_ratio * 5336) == 320
    assert (mnli.learning_rate, mnli.batch_size, mnli.max_steps) == (3e-5, 128, 10000)
    assert (race.hidden_dropout, race.max_steps, race.max_seq_length) == (0.1, 12000, 512)
    assert RECIPES["squad-v1.1"].max_seq_length == 384


def test_flags_change_a_recipe(data: Path, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    monkeypatch.setattr(tinyalbert.finetuning.finetune, "finetune",
                        lambda *args, **options: given.update(config=args[5]))
    monkeypatch.setattr("tinyalbert.cli.finetune.find_spec", lambda name: None)
    argv = ["finetune", "classify", "--model", data / "model", "--train", data / "train.csv",
            "--out", tmp_path / "run", "--recipe", "cola", "--batch-size", "4"]
    assert main(list(map(str, argv))) == 0
    assert given["config"] == RECIPES["cola"].replace(batch_size=4)


def test_a_run_leaves_what_was_promised(run: Path) -> None:
    assert {"config.json", "model.safetensors", "finetune.json", "metrics.jsonl",
            "predictions.jsonl", "report.html", "spiece.model"} <= {p.name for p in run.iterdir()}
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds[0] == "start" and kinds[-2:] == ["final", "test"] and "eval" in kinds


def test_a_run_that_exists_is_not_touched(run: Path, data: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "model.safetensors").read_bytes()
    message = error(capsys, "finetune", "classify", "--model", data / "model", "--train",
                    data / "train.csv", "--out", run)
    assert "not empty" in message and "--resume" in message
    assert (run / "model.safetensors").read_bytes() == before


def test_overwriting_never_deletes_what_is_not_of_a_training(
        data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    message = error(capsys, "finetune", "classify", "--model", data / "model", "--train",
                    data / "train.csv", "--out", tmp_path, "--overwrite")
    assert "thesis.txt" in message and (tmp_path / "thesis.txt").exists()


def test_a_finished_run_that_is_resumed_is_judged_again(
        run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "model.safetensors").read_bytes()
    argv = ["finetune", "classify", "--model", data / "model", "--train", data / "train.csv",
            "--dev", data / "dev.csv", "--test", data / "test.csv", "--out", run, "--resume"]
    assert main([*map(str, argv), *SETTINGS]) == 0
    assert (run / "model.safetensors").read_bytes() == before


def test_a_training_is_resumed_with_its_own_settings(
        data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """Only --resume is added to what was typed, without any of the settings."""
    argv = ["finetune", "classify", "--model", data / "model", "--train", data / "train.csv",
            "--dev", data / "dev.csv", "--out", tmp_path]
    step = Trainer.step

    def stopped(trainer: Trainer) -> None:
        if trainer.steps == 2:
            signal.raise_signal(signal.SIGINT)
        step(trainer)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopped)
        assert main([*map(str, argv), *SETTINGS]) == 130
    capsys.readouterr()
    assert "go on with --resume" in error(capsys, "report", tmp_path)
    assert main([*map(str, argv), "--resume"]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == (
        run / "model.safetensors").read_bytes()
    kept = json.loads((tmp_path / "finetune.json").read_text())["settings"]
    assert kept["batch_size"] == 8 and kept["seed"] == 3


def test_overwriting_waits_until_nothing_can_be_wrong(
        run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    shutil.copytree(run, out)
    (tmp_path / "odd.csv").write_text("text,label\nba,middle\n")
    before = {path.name for path in out.iterdir()}
    model, train, odd = data / "model", data / "train.csv", tmp_path / "odd.csv"
    for changes in (["--model", "nowhere/at/all", "--train", train],
                    ["--model", model, "--train", train, "--max-seq-length", "99"],
                    ["--model", model, "--train", train, "--test", odd],
                    ["--model", out, "--train", train]):
        assert main(["finetune", "classify", "--out", str(out), "--overwrite",
                     *map(str, changes)]) == 2
        assert {path.name for path in out.iterdir()} == before
    argv = ["finetune", "classify", "--model", model, "--train", train, "--out", out]
    assert main([*map(str, argv), "--overwrite", "--max-steps", "1"]) == 0
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["total_steps"] == 1


@pytest.mark.parametrize("change, said", [
    (["--train", "nowhere.csv"], "nowhere.csv"),
    (["--model", "nowhere/at/all"], "nowhere/at/all"),
    (["--text-column", "words"], "'words'"),
    (["--epochs", "0"], "epochs"),
    (["--max-seq-length", "1000"], "1000"),
    (["--recipe", "glue"], "glue"),
    (["--class-weigths", "balanced"], "--class-weights"),
])
def test_mistakes_are_one_sentence(change: list[str], said: str, data: Path, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--model": str(data / "model"), "--train": str(data / "train.csv"),
             "--out": str(tmp_path / "run")} | dict([change])
    assert said in error(capsys, "finetune", "classify", *(x for pair in given.items()
                                                           for x in pair))


# --- asking


def test_predict_answers_texts_files_and_lines(run: Path, data: Path, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run), "ba do la ru", "mu ne la ru"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["label"] for answer in answers] == ["low", "high"]
    for answer in answers:
        assert sum(answer["scores"].values()) == pytest.approx(1)
        assert answer["score"] == max(answer["scores"].values())
    (tmp_path / "texts.txt").write_text("mu ne la ru\n\nba do la ru\n")
    assert main(["predict", str(run), "--file", str(tmp_path / "texts.txt")]) == 0
    from_file = [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()]
    assert from_file == ["high", "low"]


def test_a_pipe_may_hold_texts_or_objects(run: Path, monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    import io
    piped = io.TextIOWrapper(io.BytesIO(b'{"text": "mu ne la ru"}\n{"text": "ba do la ru"}\n'))
    monkeypatch.setattr("sys.stdin", piped)
    assert main(["predict", str(run)]) == 0
    assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == [
        "high", "low"]


def test_evaluate_gives_the_metrics_of_the_examples(run: Path, data: Path, tmp_path: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answers.jsonl"
    assert main(["evaluate", "classify", str(run), str(data / "test.csv"), "--json",
                 "--predictions", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    said = [json.loads(line)["label"] for line in out.read_text().splitlines()]
    right = sum(label == truth for label, (_, truth) in zip(said, voices(40, 2), strict=True))
    assert found["accuracy"] == pytest.approx(right / 40) and found["examples"] == 40
    assert found["accuracy"] > 0.9


def test_a_model_of_another_task_is_refused(run: Path, data: Path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    assert "fine-tuned for classify" in error(capsys, "evaluate", "ner", run, data / "test.csv")
    assert "for no task" in error(capsys, "predict", data / "model", "a text")


def test_nothing_is_not_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "TEXT is empty" in error(capsys, "predict", run, "ba do", " ")
    assert "positive" in error(capsys, "predict", run, "ba do", "--batch-size", "0")
    assert error(capsys, "predict").startswith("the following arguments are required: RUN (")


def test_a_text_and_a_file_at_once_are_refused(run: Path, data: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    assert "--file" in error(capsys, "predict", run, "a text", "--file", data / "test.csv")


# --- the report


def test_the_report_is_one_file_that_needs_no_other(run: Path) -> None:
    page = (run / "report.html").read_text("utf-8")
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "Right answers" in page and "class=for" in page
    assert "always low" in page or "always high" in page


def test_the_report_of_an_unfinished_run_says_so(run: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "finetune.json").write_text((run / "finetune.json").read_text())
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines[:3]) + "\n")
    assert "not finished" in error(capsys, "report", tmp_path)
    assert "--sentence is for a pretraining" in error(capsys, "report", run, "--sentence", "ba")


def test_saliency_is_the_change_of_the_log_probability(run: Path) -> None:
    """s_t = e_t · d log p / d e_t: shrinking one word's vector a little changes log p by s_t."""
    finetuned = FineTuned.load(run)
    task, model = finetuned.task, finetuned.model
    feature, = task.features(finetuned.tokenizer, [TextExample("ba do la mu")], 32)
    scores = saliency(finetuned, feature, label=1)
    batch = task.batch([feature], finetuned.tokenizer.pad_token_id)
    embeds = model.albert.embeddings.word_embeddings.weight.data[batch.pop("input_ids")]

    def log_p(embeds: np.ndarray) -> float:
        logits = model(inputs_embeds=embeds, **batch).logits[0].astype(np.float64)
        return float(logits[1] - np.log(np.exp(logits).sum()))

    step = 1e-2
    for t in range(embeds.shape[1]):
        longer, shorter = embeds.copy(), embeds.copy()
        longer[0, t] *= 1 + step
        shorter[0, t] *= 1 - step
        slope = (log_p(longer) - log_p(shorter)) / (2 * step)
        assert slope == pytest.approx(scores[t], abs=2e-3 + 0.02 * float(abs(scores).max()))


def test_marks_keep_the_text_and_escape_it() -> None:
    html = marked("a <b> & c", [(0, 0), (0, 1), (2, 5), (8, 9)], np.array([9, -1, 2, 0.0]))
    assert html.startswith('<span class=against style="--s:0.11">a</span> ')
    assert ">&lt;b&gt;</span> &amp; " in html


# --- built-in tasks


@pytest.mark.parametrize("name", DEMOS)
def test_demos_hold_out_other_examples(name: str) -> None:
    train, held_out = demo_examples(name, DEMOS[name].task)
    assert len(train) > 3 * len(held_out) > 500
    task_class(DEMOS[name].task).of_examples(train)
    sources = {example.where for example in train}
    if name != "shakespeare-genre":     # its scenes are of the same plays
        assert sources.isdisjoint(example.where for example in held_out)


def test_a_demo_of_another_task_is_refused(data: Path, tmp_path: Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    assert "finetune ner" in error(capsys, "finetune", "classify", "--model", data / "model",
                                   "--train", "shakespeare-names", "--out", tmp_path / "run")


def test_the_parser_knows_every_task() -> None:
    for task in TASKS:
        args = make_parser().parse_args(["finetune", task, "--model", "m", "--train", "t"])
        assert isinstance(args, argparse.Namespace) and args.task == task
    assert Classification.name in TASKS
