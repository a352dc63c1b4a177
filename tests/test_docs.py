"""The documents: every name, test, notebook and file that they point to is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "notebooks/README.md")),
             *sorted((ROOT / "docs").glob("*.md"))]
PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8").split("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")]
        for line in PAPER.splitlines() if line.startswith("| ")][1:]


def find(name: str) -> Any:
    """`module.object` of the package."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"tinyalbert.{module}"), attribute)


def test_the_map_has_every_table_of_the_paper() -> None:
    assert len(ROWS) > 20
    named = " ".join(row[0].replace("Tables", "Table").replace(" and ", ", Table ") for row in ROWS)
    assert set(map(int, re.findall(r"Table (\d+)", named))) == set(range(1, 15))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_the_map_of_the_paper(row: list[str]) -> None:
    _, code, tests, notebooks = row
    for name in re.findall(r"`([\w.]+\.\w+)`", code):
        find(name)
    for name in re.findall(r"`([\w:]+)`", tests):
        file, _, function = name.partition("::")
        text = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
        assert f"def {function}(" in text or not function, name
    for number in re.findall(r"\d\d", notebooks):
        assert list((ROOT / "notebooks").glob(f"{number}_*.ipynb")), number
    assert "not here" in code or (code and tests and notebooks)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_links_within_the_repository(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_that_are_named(document: Path) -> None:
    """`benchmarks/x.py`, `tests/x.py`, `tinyalbert/x.py`, `docs/x.md`"""
    for name in re.findall(r"`((?:benchmarks|tests|tinyalbert|docs|notebooks)/[\w./]+)`",
                           document.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name
