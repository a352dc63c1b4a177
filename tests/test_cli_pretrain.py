"""`tinyalbert pretrain`: settings from a preset, a file and flags, and the folder they go to."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from command_line import error, write_corpus

import tinyalbert.pretraining.pretrain
from tinyalbert.cli import main, make_parser
from tinyalbert.cli.flags import without_none
from tinyalbert.cli.pretrain import name_of, resolve
from tinyalbert.cli.settings import HINTS
from tinyalbert.config import AlbertConfig
from tinyalbert.pretraining.config import PRESETS, PretrainConfig


def parse(*argv: str | Path) -> argparse.Namespace:
    return make_parser().parse_args(["pretrain", *map(str, argv)])


def settings(*argv: str | Path) -> dict[str, Any]:
    """The settings that `tinyalbert pretrain ...` would train with."""
    model, training, _ = resolve(parse(*argv))
    return model.to_dict() | training.to_dict()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replaces the training; receives the arguments of each."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tinyalbert.pretraining.pretrain, "pretrain",
                        lambda *args, resume, ranks: calls.append((*args, resume)))
    return calls


# --- settings: preset, file, flags


def other_value(name: str, value: Any) -> tuple[str, Any]:
    """A value that a setting does not have now, as text and as what it should be read as."""
    kind, _ = without_none(HINTS[name])
    if kind is str:
        return "elsewhere", "elsewhere"
    if kind is int:
        return str((value or 1) * 2), (value or 1) * 2
    if kind is float:
        return "0.125", 0.125
    return next((choice, choice) for choice in get_args(kind) if choice != value)


OF_CLASSIFIERS = ("num_labels", "id2label", "problem_type")     # pretraining has no use for them


@pytest.mark.parametrize("name", [field.name for config in (AlbertConfig, PretrainConfig)
                                  for field in fields(config) if field.name not in OF_CLASSIFIERS])
def test_every_field_is_a_flag(name: str) -> None:
    value, flag = settings()[name], "--" + name.replace("_", "-")
    if without_none(HINTS[name])[0] is bool:
        assert settings(flag)[name] is True
        assert settings(flag.replace("--", "--no-"))[name] is False
    else:
        text, expected = other_value(name, value)
        follows = {"num_hidden_groups": 2} if name == "sharing" else {}     # a group for each layer
        assert settings(flag, text) == settings() | {name: expected} | follows
        assert type(settings(f"{flag}={text}")[name]) is type(expected)
    if without_none(HINTS[name])[1] and without_none(HINTS[name])[0] is not bool:
        assert settings(flag, "none")[name] is None


def test_no_setting_has_two_owners() -> None:
    assert not {f.name for f in fields(AlbertConfig)} & {f.name for f in fields(PretrainConfig)}


def test_underscores_in_flags() -> None:
    args = make_parser().parse_args
    assert main(["params", "demo", "--num_hidden_layers=3"]) == 0
    assert args(["pretrain", "--hidden-size=8"]).hidden_size == 8


def test_preset_then_file_then_flags(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('preset = "small"\nseed = 7\n[training]\nbatch_size = 8\nminutes = 2\n'
                      '[model]\nnum-hidden-layers = 3\n')
    model, training = PRESETS["small"]
    expected = model.to_dict() | training.to_dict() | {
        "seed": 7, "batch_size": 9, "minutes": 2.0, "num_hidden_layers": 3}
    assert settings("--config", recipe, "--batch-size", "9") == expected
    assert type(settings("--config", recipe)["minutes"]) is float
    assert settings("--config", recipe, "--preset", "demo")["vocab_size"] == \
        PRESETS["demo"][0].vocab_size


def test_a_finished_runs_settings_are_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pretrain.json"
    path.write_text(json.dumps(PretrainConfig(seed=3, max_steps=None).to_dict()))
    assert settings("--config", path)["seed"] == 3


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.toml", "hiden_size = 8", "unknown {path} key 'hiden_size': did you mean 'hidden_size'?"),
    ("a.toml", "[model]\nhiden_size = 8", "key 'hiden_size': did you mean 'hidden_size'?"),
    ("a.toml", "[modle]\nhidden_size = 8", "key 'modle': did you mean 'model'?"),
    ("a.json", '{"batchsize": 8}', "unknown {path} key 'batchsize': did you mean 'batch_size'?"),
    ("a.toml", 'batch_size = "8"', "{path}: batch_size must be a whole number, not '8'"),
    ("a.toml", "batch_size = true", "{path}: batch_size must be a whole number, not True"),
    ("a.toml", "seed = 1.5", "{path}: seed must be a whole number, not 1.5"),
    ("a.json", '{"minutes": null}', "{path}: minutes must be a number, not None"),
    ("a.toml", 'objective = "sopp"', "{path}: objective must be one of sop, nsp, none, not 'sopp'"),
    ("a.toml", "model = 3", "{path}: model is a section, so it must hold settings"),
    ("a.toml", "seed = 1\n[run]\nseed = 2", "{path} sets seed twice"),
    ("a.toml", "seed = ", "{path} is not valid TOML: "),
    ("a.json", "{", "{path} is not valid JSON: "),
    ("a.json", "[]", "{path} must hold a JSON object, not a list"),
    ("a.yaml", "seed: 1", "{path}: a file of settings must be named .toml or .json"),
    ("a.toml", "batch_size = 0", "batch_size must be at least 1"),
])
def test_mistakes_in_a_file(name: str, text: str, message: str, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert message.format(path=path) in error(capsys, "pretrain", "--config", path)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "missing.toml"
    assert error(capsys, "pretrain", "--config", path) == \
        f"cannot read {path}: No such file or directory"


# --- the folder


@pytest.mark.parametrize(("corpus", "name"), [
    ("sotu", "sotu"), ("books/dickens.txt.gz", "dickens"), ("wiki/*.jsonl", "wiki"),
    ("books/", "books"), (r"C:\texts\all.txt", "all"), ("../*.txt", "corpus"), ("/", "corpus"),
])
def test_name_of_the_default_folder(corpus: str, name: str) -> None:
    assert name_of(corpus) == name
    assert resolve(parse("--corpus", corpus))[2] == Path("runs", name)


def test_an_empty_folder_is_used_and_the_end_says_what_next(
        corpus: Path, tmp_path: Path, trained: list[Any],
        capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "my run"
    assert main(["pretrain", "--corpus", str(corpus), "--out", str(out)]) == 0
    model, training = PRESETS["demo"]
    ((folder, given_model, given_training, resume),) = trained
    assert (folder, given_model, resume) == (out, model, False)
    assert given_training.to_dict() == training.to_dict() | {"corpus": str(corpus)}
    text = capsys.readouterr().out
    assert f"tinyalbert report '{out}'" in text and f"tinyalbert fill-mask '{out}' \"" in text


def test_a_folder_in_use(corpus: Path, tmp_path: Path, trained: list[Any],
                         capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    (out / "metrics.jsonl").write_text("")
    command = ["pretrain", "--corpus", str(corpus), "--out", str(out)]
    message = error(capsys, *command)
    assert str(out) in message and "--resume" in message and "--overwrite" in message
    assert not trained and len(list(out.iterdir())) == 2
    assert "nowhere" in error(capsys, *command, "--overwrite", "--corpus", "nowhere")
    assert len(list(out.iterdir())) == 2        # nothing is deleted for a training that cannot be

    assert main([*command, "--overwrite"]) == 0
    assert not list(out.iterdir()) and len(trained) == 1


def test_overwrite_deletes_trainings_only(corpus: Path, tmp_path: Path, trained: list[Any],
                                          capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "figures").mkdir()
    message = error(capsys, "pretrain", "--corpus", corpus, "--out", tmp_path, "--overwrite")
    assert "corpus.txt" in message and not trained
    assert corpus.exists() and (tmp_path / "figures").exists()


@pytest.mark.parametrize("flag", ["--resume", "--overwrite", "--no-sop-strict"])
def test_a_folder_that_cannot_be_written(flag: str, corpus: Path, trained: list[Any],
                                         capsys: pytest.CaptureFixture[str]) -> None:
    out = corpus / "run"                        # below a file
    message = error(capsys, "pretrain", "--corpus", corpus, "--out", out, flag)
    assert message == f"cannot write to the folder {out}: Not a directory" and not trained


def test_resume_takes_the_settings_from_the_folder(corpus: Path, tmp_path: Path,
                                                   trained: list[Any]) -> None:
    out = tmp_path / "run"
    command = ["pretrain", "--corpus", str(corpus), "--out", str(out), "--resume"]
    assert main([*command, "--seed", "1"]) == 0             # nothing there yet: a new training
    model = PRESETS["demo"][0].replace(num_hidden_layers=3)
    (out / "config.json").write_text(json.dumps({"model_type": "albert", **model.to_dict()}))
    (out / "pretrain.json").write_text(json.dumps(
        PretrainConfig(corpus=str(corpus), max_steps=50, seed=5).to_dict()))
    assert main([*command, "--learning-rate", "0.25"]) == 0
    assert trained[1] == (out, model, PretrainConfig(corpus=str(corpus), max_steps=50, seed=5,
                                                     learning_rate=0.25), True)
