"""The notebooks from their sources, executed.

    python notebooks/build.py [01 02 ...]           run, and write the .ipynb beside the .py
    python notebooks/build.py --solved [01 ...]     as a student who has solved everything: every
                                                    check must be passed; writes nothing
                              --jobs 2              two at a time
    python notebooks/build.py --check [01 ...]      do the .ipynb hold what the .py say?

A source is a script in the percent format of jupytext. A cell tagged "exercise" is titled with the
name of its exercise; its solution is the cell of that title in solutions/. Needs
`pip install 'tinyalbert[notebooks]'`.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
REPOSITORY = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"].get(
    "urls", {}).get("Repository", "")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
OURS = (HERE.parent, Path.home(), sys.prefix, tempfile.gettempdir())      # nobody else's business
UNWANTED = re.compile("|".join([*(re.escape(str(path)) for path in OURS), "site-packages",
                                "Warning"]), re.I)


def read(source: Path) -> Any:
    """The notebook that a source describes: no outputs, and the same ids every time."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL)
    notebook.cells[0].source += colab(source, REPOSITORY)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:03}"
    return notebook


def colab(source: Path, repository: str) -> str:
    """The line that opens the notebook in Google Colab; "" as long as pyproject.toml names no
    repository on GitHub."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", repository)
    if not found:
        return ""
    page = f"https://colab.research.google.com/github/{found[1]}/blob/main/notebooks/{source.stem}.ipynb"
    return (f"\n\n[Open in Colab]({page}), and run there first: "
            f"`%pip install 'tinyalbert[demo] @ git+{repository}'`")


def exercises(notebook: Any) -> dict[str, Any]:
    """The cells that the reader is to fill in, by the name of their exercise."""
    return {cell.metadata["title"]: cell for cell in notebook.cells
            if "exercise" in cell.metadata.get("tags", [])}


def solve(notebook: Any, source: Path) -> None:
    """Put the solutions in. SystemExit if one is missing."""
    solutions = {cell.metadata.get("title"): cell.source for cell in
                 jupytext.read(HERE / "solutions" / source.name).cells if cell.cell_type == "code"}
    for name, cell in exercises(notebook).items():
        if name not in solutions:
            raise SystemExit(f"notebooks/solutions/{source.name} has no solution of {name}")
        cell.source = solutions[name]


def run(notebook: Any, source: Path) -> None:
    start = time.perf_counter()
    try:
        NotebookClient(notebook, timeout=600, extra_arguments=["--log-level=ERROR"],
                       resources={"metadata": {"path": str(HERE)}}).execute()
    except CellExecutionError as error:
        raise SystemExit(f"{source.name}: {error}") from None
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)                # the time of day
    print(f"{source.stem}: {time.perf_counter() - start:.0f} s", flush=True)


def texts(notebook: Any) -> list[str]:
    """All that the cells printed or returned, as text."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found += [output.get("text", ""), *(value for kind, value in
                                                output.get("data", {}).items()
                                                if kind.startswith("text/"))]
    return found


def build(source: Path) -> None:
    notebook = read(source)
    run(notebook, source)
    for text in texts(notebook):
        if UNWANTED.search(text):
            raise SystemExit(f"{source.name}: a path or a warning in its output: {text[:300]}")
    nbformat.write(notebook, source.with_suffix(".ipynb"))


def build_solved(source: Path) -> None:
    notebook = read(source)
    solve(notebook, source)
    run(notebook, source)
    unsolved = [text for text in texts(notebook) if text.startswith("✗")]
    passed = {text.split(":")[0] for text in texts(notebook) if text.startswith("✓")}
    missing = [name for name in exercises(notebook) if f"✓ {name}" not in passed]
    if unsolved or missing:
        raise SystemExit(f"{source.name}: " + "\n".join(unsolved or missing))


def check(source: Path) -> None:
    """SystemExit unless the .ipynb holds the source's cells, executed from top to bottom."""
    def cells(notebook: Any) -> list[tuple[str, str]]:
        return [(cell.cell_type, cell.source) for cell in notebook.cells]
    target = source.with_suffix(".ipynb")
    built = nbformat.read(target, as_version=4) if target.exists() else None
    if built is None or cells(built) != cells(read(source)):
        raise SystemExit(f"{target.name} is not what {source.name} says: "
                         f"python notebooks/build.py {source.stem[:2]}")
    counts = [cell.execution_count for cell in built.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        raise SystemExit(f"{target.name} was not executed from top to bottom")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="01, 02, ...; default: all")
    parser.add_argument("--solved", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    sources = [path for path in sorted(HERE.glob("[0-9][0-9]_*.py"))
               if not args.numbers or path.stem[:2] in args.numbers]
    if not sources:
        sys.exit(f"no notebook begins with {', '.join(args.numbers)}")
    work = check if args.check else build_solved if args.solved else build
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, sources))       # a SystemExit of one comes out here


if __name__ == "__main__":
    main()
