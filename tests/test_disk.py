"""Disks that are full, folders that cannot be written, files that were damaged: one sentence says
what is wrong, and when that is mended a training goes on as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import error
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from nonsense import sentences
from test_checkpoint import assert_same, save
from toy_run import MODEL, assert_same_run, at_step, quiet, settings, stop_after

from tinyalbert.cli import main
from tinyalbert.errors import InputError
from tinyalbert.files import PARTIAL, write_json
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.run import load_run
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.tokenization.training import train_tokenizer
from tinyalbert.training.checkpoint import list_checkpoints, load_checkpoint

disturbed = pytest.importorskip("disturbed", reason="needs the signals and limits of POSIX")


# --- full -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "phases"), [
    ("pretrain", ["tokenizer", "shards", "log", "model", "checkpoint"]),
    ("finetune", ["log", "judge"])])
def test_the_disk_is_full(kind: str, phases: list[str], tmp_path: Path) -> None:
    """In the middle of what a phase writes. The error is the system's own, through a limit on the
    size of files: what goes beyond the log's size and half a line is cut off."""
    source = disturbed.begin_with(kind, tmp_path / "source")
    whole = disturbed.run_disturbed(kind, source, tmp_path / "undisturbed")
    expected = disturbed.contents(tmp_path / "undisturbed")
    events = json.loads(whole.stdout)
    for phase in phases:
        run = tmp_path / phase
        result = disturbed.run_disturbed(kind, source, run, "full", phase, events[phase] // 2)
        *_, message = result.stderr.splitlines()
        assert message.startswith("error: cannot write ") and "File too large" in message, phase
        assert result.returncode == 1
        assert not list(run.rglob("*.partial"))
        result = disturbed.run_disturbed(kind, source, run)
        assert result.returncode == 0, result.stderr
        got = disturbed.contents(run)
        assert [name for name in got.keys() | expected.keys()
                if got.get(name) != expected.get(name)] == []


def mount(*arguments: str | Path) -> None:
    """Or skip the test: that needs root, and a system that allows it."""
    if shutil.which("mount") is None:
        pytest.skip("needs the command mount")
    result = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"needs the right to mount: {result.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    (tmp_path / "disk").mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "none", tmp_path / "disk")
    yield tmp_path / "disk"
    subprocess.run(["umount", tmp_path / "disk"], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(1000))


@pytest.mark.parametrize("step", [2, 7, 8, 13])
def test_a_disk_that_fills_up(step: int, small_disk, run, finished, corpus, monkeypatch) -> None:
    """While the log is written, or the model."""
    run = Path(shutil.copytree(run, small_disk / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(step, lambda _: fill(small_disk)))
        with pytest.raises(InputError, match="^cannot write .*: No space left on device$"):
            pretrain(run, MODEL, settings(corpus), log=quiet)
    (small_disk / "filler").unlink()
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)


REPORT = """
import resource, sys
from tinyalbert.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
sys.exit(main(["report", sys.argv[1]]))
"""


def test_a_report_that_does_not_fit_leaves_the_old_one(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "report.html").write_text("the old one")
    command = [sys.executable, "-c", REPORT, str(run)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: cannot write {run}")
    assert (run / "report.html").read_text() == "the old one"
    assert not list(run.rglob("*.partial"))


# --- what a dead process leaves ------------------------------------------------------------------


def test_what_was_half_written_goes_when_the_file_is_written(tmp_path: Path) -> None:
    mine, others = tmp_path / f".[a].json.17{PARTIAL}", tmp_path / f".b.[a].json.17{PARTIAL}"
    for path in (mine, others):
        path.write_text("half")
    write_json(tmp_path / "[a].json", {})
    assert sorted(tmp_path.iterdir()) == [others, tmp_path / "[a].json"]


def test_a_half_deleted_checkpoint_is_not_listed(tmp_path: Path, monkeypatch) -> None:
    """Killed while the oldest is deleted: no later reader takes it for one that was damaged."""
    save(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: (path / "state.json").unlink())
        save(tmp_path, 3, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    save(tmp_path, 4, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def test_a_tokenizer_is_there_with_its_settings_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    """Killed between its files: it must not be taken for whole."""
    def crash(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinyalbert.tokenization.base.write_settings", crash)
    with pytest.raises(KeyboardInterrupt):
        train_tokenizer(sentences(), tmp_path, vocab_size=120)
    assert not (tmp_path / "spiece.model").exists()


# --- read-only ------------------------------------------------------------------------------------


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Permissions do not stop root; a mount does."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in [folder, *folder.rglob("*")]}
        for path in modes:
            path.chmod(0o555)
        yield
        for path, mode in modes.items():
            path.chmod(mode)
    else:
        mount("--bind", folder, folder)
        try:
            mount("-o", "remount,ro,bind", folder)
            yield
        finally:
            subprocess.run(["umount", folder], check=True)


DENIED = "(Read-only file system|Permission denied)"


def test_a_folder_that_becomes_read_only(run, finished, corpus, monkeypatch) -> None:
    with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", at_step(7, lambda _: stack.enter_context(read_only(run))))
        with pytest.raises(InputError, match=f"^cannot write {run}.*: {DENIED}$"):
            pretrain(run, MODEL, settings(corpus), log=quiet)
    pretrain(run, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(run, finished)


def test_a_folder_that_is_read_only(finished: Path, tmp_path: Path, capsys) -> None:
    """Nothing is computed in vain; and asking the model needs no writing."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    with read_only(run):
        message = error(capsys, "pretrain", "--resume", "--out", run)
        assert message.startswith(f"cannot write to the folder {run}: ")
        assert error(capsys, "report", run).startswith(f"cannot write {run}")
        load_run(run)


# --- damaged --------------------------------------------------------------------------------------


@effort(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draws=st.data())
def test_no_damage_to_a_checkpoint_goes_unnoticed(draws: st.DataObject, tmp_path: Path) -> None:
    """A byte changed or an end cut off, wherever: the checkpoint before is used, and it is said."""
    directory = tmp_path / "checkpoints"
    shutil.rmtree(directory, ignore_errors=True)
    _, newest = save(directory, 1, 2)
    path = draws.draw(st.sampled_from(sorted(newest.iterdir())))
    content = bytearray(path.read_bytes())
    place = draws.draw(st.integers(0, len(content) - 1))
    if draws.draw(st.booleans()):
        content = content[:place]
    else:
        content[place] ^= draws.draw(st.integers(1, 255))
    path.write_bytes(content)
    messages: list[str] = []
    loaded = load_checkpoint(directory, messages.append)
    if path.name == "crc32.json" and not messages:          # only its indentation was changed
        assert_same(loaded, 2)
    else:
        assert_same(loaded, 1)
        message, = messages
        assert message.startswith(f"checkpoint {newest} is damaged: ")
        assert message.endswith("; passed over")


def half(content: bytes) -> bytes:
    return content[:len(content) // 2]


def garbage(content: bytes) -> bytes:
    return bytes(range(256))


@pytest.fixture
def stopped(run: Path, corpus: Path) -> Path:
    """A training that was stopped after step 10."""
    stop_after(10, run, settings(corpus))
    return run


@pytest.mark.parametrize("damage", [half, garbage])
@pytest.mark.parametrize("name", [
    "config.json", "pretrain.json", "spiece.model", "tokenizer_config.json",
    "shards/*/index.json", "shards/*/word_starts.npy", "shards/*/00000.tokens.npy",
    "shards/*/00000.sentences.npy", "shards/*/00000.documents.npy"])
def test_a_damaged_file_of_a_run_is_named(name: str, damage: Any, stopped: Path, capsys) -> None:
    """And nothing is touched: with the file put back the training can go on."""
    path, = stopped.glob(name)
    path.write_bytes(damage(path.read_bytes()))
    before = {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()}
    message = error(capsys, "pretrain", "--resume", "--out", stopped)
    assert str(path.parent if "shards" in name else path) in message
    assert {file: file.read_bytes() for file in stopped.rglob("*") if file.is_file()} == before


def test_half_a_line_of_the_log(stopped: Path, finished: Path, corpus: Path) -> None:
    """As a power cut leaves it: the line is written again."""
    path = stopped / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"kind": "train", "st')
    pretrain(stopped, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(stopped, finished)


def test_a_damaged_line_of_the_log(stopped: Path, capsys) -> None:
    """Not the last one, which is written again: it is named, and nothing is touched."""
    path = stopped / "metrics.jsonl"
    content = bytearray(path.read_bytes())
    content[10] = 255
    path.write_bytes(content)
    assert error(capsys, "pretrain", "--resume", "--out", stopped).startswith(
        f"{path}, line 1 is not JSON: ")
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", [half, garbage])
def test_a_damaged_model_is_written_again(damage: Any, stopped: Path, finished, corpus) -> None:
    """It can also be taken from the newest checkpoint, which has the same file."""
    path = stopped / "model.safetensors"
    whole = path.read_bytes()
    assert (stopped / "checkpoints" / "step-00000010" / path.name).read_bytes() == whole
    path.write_bytes(damage(whole))
    with pytest.raises(InputError, match=f"^{path} is damaged or no safetensors file"):
        load_run(stopped)
    pretrain(stopped, MODEL, settings(corpus), resume=True, log=quiet)
    assert_same_run(stopped, finished)


def test_damaged_shards_are_made_again(stopped: Path, finished: Path, corpus: Path, capsys) -> None:
    folder, = (stopped / "shards").iterdir()
    (folder / "00000.tokens.npy").write_bytes(b"")
    assert f"{folder}: shard 00000 cannot be read" in error(
        capsys, "pretrain", "--resume", "--out", stopped)
    shutil.rmtree(folder)
    assert main(["pretrain", "--resume", "--out", str(stopped)]) == 0
    assert_same_run(stopped, finished)
