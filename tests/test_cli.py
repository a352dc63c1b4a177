"""The command line, called in this process: help, messages, statuses, and every command once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import error, write_corpus

import tinyalbert.pretraining.pretrain
from tinyalbert import functional
from tinyalbert.cli import COMMANDS, main
from tinyalbert.errors import InputError

TINY = ["--vocab-size", "90", "--embedding-size", "4", "--hidden-size", "8",
        "--num-attention-heads", "2", "--intermediate-size", "12", "--max-seq-length", "16",
        "--batch-size", "4", "--max-steps", "2", "--held-out", "2"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path)


# --- help and mistakes


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_help_explains_and_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"tinyalbert {command}" in text.partition("\nexample")[2]


@pytest.mark.parametrize("action", ["train", "encode", "decode"])
def test_help_of_the_tokenizers_actions(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tokenizer", action, "--help"])
    assert f"usage: tinyalbert tokenizer {action}" in capsys.readouterr().out


def test_help_waits_for_nothing_heavy() -> None:
    program = ("import sys; from tinyalbert.cli import make_parser; make_parser().format_help();"
               "print(*sorted({'numpy', 'scipy', 'sentencepiece', 'tqdm'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(("argv", "message"), [
    ([], "the following arguments are required: COMMAND (see tinyalbert --help)"),
    (["--versoin"], "required: COMMAND"),
    (["pretrain", "--learning_rat", "1"], "unknown argument '--learning-rat', did you mean "
     "'--learning-rate'? (see tinyalbert pretrain --help)"),
    (["pretrain", "--batch", "4"], "unknown argument '--batch'"),      # no abbreviations
    (["pretrain", "--batch-size", "many"], "argument --batch-size: 'many' is not a whole number"),
    (["pretrain", "--objective", "sopp"], "invalid choice: 'sopp'"),
    (["pretrain", "--preset", "albert-bas-v2"], "unknown preset 'albert-bas-v2': did you mean "
     "'albert-base-v2'?"),
    (["pretrain", "--resume", "--overwrite"], "not allowed with argument"),
    (["pretrain", "--hidden-size", "30"], "hidden_size 30 is not a multiple of"),
    (["pretrain", "--corpus", "shakespear"], "'shakespeare'"),
    (["params", "albert-basev2"], "did you mean 'albert-base-v2'?"),
    (["report", "runs", "other"], "unknown argument 'other' (see tinyalbert report --help)"),
    (["gradcheck", "--hidden-act", "swish"], "invalid choice: 'swish'"),
])
def test_mistakes(argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error(capsys, *argv)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [["fill-mask", "nowhere", "a [MASK]"], ["report", "nowhere"],
                                  ["tokenizer", "encode", "nowhere", "a"],
                                  ["tokenizer", "decode", "nowhere", "5"], ["params", "nowhere"],
                                  ["tokenizer", "train", "nowhere", "--vocab-size", "9",
                                   "--out", "new"]])
def test_a_folder_that_does_not_exist(argv: list[str], capsys: pytest.CaptureFixture[str],
                                      tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nowhere" in error(capsys, *argv)
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(InputError, match="nowhere"):
        main(["params", "nowhere", "--debug"])
    with pytest.raises(InputError, match="nowhere"):
        main(["--debug", "params", "nowhere"])


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = "import sys; from tinyalbert.cli import main; sys.exit(main(['params']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


# --- endings


@pytest.mark.parametrize(("raised", "status", "message"), [
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (tinyalbert.training.numbers.TrainingError("step 3: lost"), 1, "error: step 3: lost\n"),
])
def test_endings(raised: BaseException, status: int, message: str, corpus: Path, tmp_path: Path,
                 monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def pretrain(*args: Any, resume: bool, ranks: Any) -> None:
        raise raised

    monkeypatch.setattr(tinyalbert.pretraining.pretrain, "pretrain", pretrain)
    out = str(tmp_path / "run")
    assert main(["pretrain", "--corpus", str(corpus), "--out", out]) == status
    assert capsys.readouterr().err == message


def test_gradcheck_says_whether_the_gradients_are_right(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gradcheck", "--num-hidden-layers", "1", "--elements", "1", "--hidden-act", "relu"]
    assert main(command) == 0
    right = functional.softmax_backward
    monkeypatch.setattr(functional, "softmax_backward", lambda dy, y: 2 * right(dy, y))
    monkeypatch.setenv("TINYALBERT_TEXTBOOK", "1")
    monkeypatch.setattr("tinyalbert.fast._textbook_only", True)
    assert main(command) == 1
    assert "WRONG" in capsys.readouterr().out


# --- from text to an answer


def test_one_of_everything(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                           capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["pretrain", "--corpus", str(corpus), "--out", run, *TINY]) == 0
    assert (tmp_path / "run" / "model.safetensors").exists()
    capsys.readouterr()

    assert main(["fill-mask", run, "ba", "[MASK]", "do", "--top-k", "3"]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 2 + 3
    (tmp_path / "lines").write_text("ba [MASK]\n\nki [MASK]\n")
    with open(tmp_path / "lines") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        assert main(["fill-mask", run, "--top-k", "1"]) == 0
    answers = capsys.readouterr().out.strip().split("\n\n")
    assert [answer for answer in answers if answer.endswith("[MASK]")] == ["ba [MASK]", "ki [MASK]"]
    assert "[MASK]" in error(capsys, "fill-mask", run, "no question")

    assert main(["tokenizer", "encode", run, "ba do"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in (rows[0], rows[-1])] == ["[CLS]", "[SEP]"]
    assert rows[1][2].startswith("0:") and rows[-2][2].endswith(":5")
    assert main(["tokenizer", "decode", run, *[row[0] for row in rows]]) == 0
    assert capsys.readouterr().out == "[CLS] ba do[SEP]\n"

    assert main(["params", run]) == 0
    assert "360" in capsys.readouterr().out                 # word embeddings: 90 x 4


def test_tokenizer_train(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "vocabulary"
    command = ["tokenizer", "train", str(corpus), "--vocab-size", "60", "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"60 pieces in {out}\n"
    content = (out / "spiece.model").read_bytes()
    assert f"{out} already holds a tokenizer" in error(capsys, *command)
    assert (out / "spiece.model").read_bytes() == content
    assert "vocab_size 9000 is too large" in error(
        capsys, "tokenizer", "train", corpus, "--vocab-size", "9000", "--out", tmp_path / "other")


def test_report_prints_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[str] = []
    monkeypatch.setattr("tinyalbert.report.page.write_report",
                        lambda run, sentence: Path(run, f"{sentence}.html"))
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["report", str(tmp_path), "--sentence", "Hello", "--open"]) == 0
    page = tmp_path / "Hello.html"
    assert str(page) in capsys.readouterr().out and opened == [page.as_uri()]
