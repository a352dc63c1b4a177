"""Checkpoints: what is written comes back, and nothing that is damaged is ever taken for whole."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyalbert.errors import InputError
from tinyalbert.training.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)

FILES = ["model.safetensors", "optimizer.safetensors", "state.json", "crc32.json"]


def checkpoint(step: int) -> Checkpoint:
    rng = np.random.default_rng(step)
    weight = rng.standard_normal((3, 4)).astype(np.float32).T          # not contiguous
    return Checkpoint(step, {"weight": weight}, {"m.weight": 2 * weight, "v.bias": weight[0]},
                      {"cursor": [1, 2, 3], "mean": 0.1 + 0.2})


def save(directory: Path, *steps: int, keep: int = 10) -> list[Path]:
    return [save_checkpoint(directory, checkpoint(step), keep=keep) for step in steps]


def assert_same(got: Checkpoint | None, step: int) -> None:
    expected = checkpoint(step)
    assert got is not None and got.step == step and got.state == expected.state
    for ours, theirs in ((got.model, expected.model), (got.optimizer, expected.optimizer)):
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            np.testing.assert_array_equal(ours[name], array)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def fail(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def test_the_newest_comes_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", fail) is None
    folders = save(tmp_path, 5, 40, 300)
    assert [path.name for path in folders] == ["step-00000005", "step-00000040", "step-00000300"]
    assert names(folders[-1]) == sorted(FILES)
    assert_same(load_checkpoint(tmp_path, fail), 300)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 4, keep=2)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]


def test_the_same_step_twice(tmp_path: Path) -> None:
    folder, = save(tmp_path, 7)
    truncate(folder / "state.json")
    save(tmp_path, 7, keep=1)
    assert_same(load_checkpoint(tmp_path, fail), 7)
    assert names(tmp_path) == ["step-00000007"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, Path.unlink],
                         ids=["truncated", "a bit flipped", "empty", "missing"])
def test_a_damaged_one_is_named_and_passed_over(damage: Any, name: str, tmp_path: Path) -> None:
    older, newest = save(tmp_path, 1, 2)
    damage(newest / name)
    with pytest.raises(InputError, match="step-00000002 is damaged: "):
        read_checkpoint(newest)
    warnings: list[str] = []
    assert_same(load_checkpoint(tmp_path, warnings.append), 1)
    message, = warnings
    assert str(newest) in message and message.endswith("; passed over")
    if damage is Path.unlink:
        assert f"No such file or directory: {newest / name}" in message


def test_all_damaged(tmp_path: Path) -> None:
    for folder in save(tmp_path, 1, 2):
        truncate(folder / "model.safetensors")
    warnings: list[str] = []
    with pytest.raises(InputError, match="every checkpoint in .* is damaged"):
        load_checkpoint(tmp_path, warnings.append)
    assert len(warnings) == 2


def test_after_a_damaged_one_the_good_ones_are_kept(tmp_path: Path) -> None:
    """Training went on from step 2, since 9 is damaged: 9 must not take the place of step 3."""
    *_, newest = save(tmp_path, 1, 2, 9)
    truncate(newest / "state.json")
    save(tmp_path, 3, keep=1)
    assert names(tmp_path) == ["step-00000003"]


def test_folders_of_other_origin_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "step-by-step").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    save(tmp_path, 1, 2, keep=1)
    assert names(tmp_path) == ["notes.txt", "step-00000002", "step-by-step"]
    (tmp_path / "step-00000003").mkdir()
    warnings: list[str] = []
    assert_same(load_checkpoint(tmp_path, warnings.append), 2)
    assert "step-00000003" in warnings[0]


def test_what_a_crash_left_behind_is_no_checkpoint(tmp_path: Path) -> None:
    folder, = save(tmp_path, 1)
    folder.rename(tmp_path / "step-00000001.partial")
    assert load_checkpoint(tmp_path, fail) is None
    save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000002"]


@pytest.mark.parametrize("call", ["fsync", "rename", "replace"])
def test_a_full_disk(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever call it shows: one sentence, nothing half written, the older one intact."""
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(tmp_path, 1)
    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match=r"^cannot write .*step-00000002.*: No space left on"):
        save(tmp_path, 2, keep=1)
    monkeypatch.undo()
    assert names(tmp_path) == ["step-00000001"]
    assert_same(load_checkpoint(tmp_path, fail), 1)


class Crash(BaseException):
    """The process dies here: nothing after it runs, unless it is in a `finally`."""


def test_a_crash_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each call that reaches the disk in turn, until one save gets through."""
    outcomes = []
    for crash_at in range(100):
        directory, calls = tmp_path / str(crash_at), iter(range(100))
        save(directory, 1)

        def counted(real: Any, calls: Any = calls, crash_at: int = crash_at) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(calls) == crash_at:
                    raise Crash
                return real(*args, **kwargs)
            return call

        with monkeypatch.context() as patch:
            for name in ("open", "fsync", "replace", "rename"):
                patch.setattr(os, name, counted(getattr(os, name)))
            patch.setattr("shutil.rmtree", lambda *args, **kwargs: None)    # a dead one cannot
            try:
                save(directory, 2)
                break
            except Crash:
                pass
        outcomes.append(2 if (directory / "step-00000002").exists() else 1)
        assert_same(load_checkpoint(directory, fail), outcomes[-1])
        save(directory, 2)
        assert_same(load_checkpoint(directory, fail), 2)
    assert len(outcomes) >= 9 and outcomes == sorted(outcomes)      # four files and a rename


def test_state_is_readable(tmp_path: Path) -> None:
    folder, = save(tmp_path, 12)
    assert json.loads((folder / "state.json").read_text()) == {
        "step": 12, "state": {"cursor": [1, 2, 3], "mean": 0.1 + 0.2}}
    assert list_checkpoints(tmp_path) == [folder]
