"""The package as a whole: versions, dependencies, names, and what importing it costs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import tinyalbert
from tinyalbert import doctor

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> tuple[str, ...]:
    """Those for this machine, without versions, and without our own extras."""
    parsed = map(Requirement, requirements)
    return tuple(r.name for r in parsed
                 if r.name != "tinyalbert" and (r.marker is None or r.marker.evaluate()))


def test_public_names_exist() -> None:
    for name in tinyalbert.__all__:
        assert getattr(tinyalbert, name).__module__.startswith("tinyalbert.")
    assert set(tinyalbert.__all__) <= set(dir(tinyalbert))
    with pytest.raises(AttributeError, match="AlbertModl"):
        _ = tinyalbert.AlbertModl


def test_importing_every_public_name_loads_nothing_that_is_not_needed_yet() -> None:
    program = ("import sys, tinyalbert; [getattr(tinyalbert, n) for n in tinyalbert.__all__];"
               "print(*{'matplotlib', 'sentencepiece', 'cupy', 'torch'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_python_minus_m() -> None:
    done = subprocess.run([sys.executable, "-m", "tinyalbert", "--version"], capture_output=True,
                          text=True, cwd=ROOT)
    assert done.stdout == f"tinyalbert {tinyalbert.__version__}\n"


def test_the_doctor_examines_what_pyproject_asks_for(project: dict[str, Any]) -> None:
    assert names(project["dependencies"]) == doctor.CORE
    extras = {extra: names(requirements)
              for extra, requirements in project["optional-dependencies"].items()
              if not extra.startswith("cuda")}
    assert extras == doctor.EXTRAS


def test_one_version_and_one_licence(project: dict[str, Any]) -> None:
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {tinyalbert.__version__}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


def test_only_backend_imports_cupy_and_nothing_imports_a_framework() -> None:
    importing = re.compile(r"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)
    for path in sorted(Path(tinyalbert.__file__).parent.rglob("*.py")):
        imported = set(importing.findall(path.read_text("utf-8")))
        assert not imported & {"torch", "jax", "autograd", "transformers"}, path
        assert "tensorflow" not in imported or path.name == "google_files.py", path     # files only
        assert not imported & {"cupy", "cupyx"} or path.name == "backend.py", path
