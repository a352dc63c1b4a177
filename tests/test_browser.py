"""The course without an installation: what the package does in a browser's Python, which has no
threads and lacks some modules, and what the notebooks get there and in Colab."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import nbformat
import pytest

import tinyalbert
from tinyalbert import AlbertTokenizer, InputError, train_tokenizer

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SENTENCES = ["the cat sat on the mat", "a dog ran to the cat", "the mat is on the dog"] * 3

# What Pyodide does not have; and BLAS has one thread there.
WITHOUT = """
import os, sys, threading
for name in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{name}_NUM_THREADS"] = "1"
missing = "fcntl resource termios _multiprocessing numba llvmlite cupy mpi4py sentencepiece".split()
sys.modules.update(dict.fromkeys(missing))          # importing one is an ImportError

def start(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
os.cpu_count = lambda: 1
"""
COURSE = """
import numpy as np
from tinyalbert import AlbertConfig, AlbertForPreTraining, check_gradients
from tinyalbert.course import check, exercises
from tinyalbert.optim import LAMB

config = AlbertConfig(vocab_size=500, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
                      intermediate_size=512, embedding_size=64)
model = AlbertForPreTraining(config)
ids = np.random.default_rng(0).integers(5, 500, (16, 128))      # large enough to be divided
out, cache = model.forward(ids, labels=ids, sentence_order_label=np.arange(16) % 2)
model.backward(cache)
LAMB(model.named_parameters()).step(1e-3)
assert out.loss > 0 and len(exercises()) > 50
print(check("linear_backward_3d", lambda dy, x, weight, bias: None))
"""


def in_a_browser(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", WITHOUT + program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_models_and_checks_need_no_threads() -> None:
    assert in_a_browser(COURSE) == "✗ linear_backward_3d: not solved yet\n"


def test_a_browser_cannot_train_a_tokenizer(monkeypatch: pytest.MonkeyPatch,
                                            tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "emscripten")
    with pytest.raises(InputError, match="threads, and a browser's Python has none: train the "):
        train_tokenizer(SENTENCES, tmp_path, vocab_size=32)


# --- what the notebooks get


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(NOTEBOOKS)
    import lite
    return lite


@pytest.fixture
def source(tmp_path: Path, lite: Any) -> Path:
    """A notebook that trains a tokenizer, and must not be run any further; with its .ipynb."""
    source = tmp_path / "20_words.py"
    source.write_text("# %% [markdown]\n# # 20\n# %%\nfrom tinyalbert import train_tokenizer\n"
                      "# %%\nimport tempfile\nwith tempfile.TemporaryDirectory() as folder:\n"
                      f"    tokenizer = train_tokenizer({SENTENCES!r}, folder, vocab_size=32)\n"
                      "    raise SystemExit\n"
                      "# %%\nraise SystemExit\n")
    nbformat.write(jupytext.read(source), source.with_suffix(".ipynb"))
    return source


def test_the_browser_gets_the_vocabulary_that_the_notebook_would_learn(
        lite: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "contents"
    (folder / "vocabularies").mkdir(parents=True)
    lite.add_first_cells(source, folder)
    install, take, *rest = nbformat.read(folder / "20_words.ipynb", as_version=4).cells
    assert install.source == lite.INSTALL
    assert rest == nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells

    monkeypatch.chdir(folder)
    monkeypatch.setattr(tinyalbert, "train_tokenizer", train_tokenizer, raising=False)
    exec(take.source, {})
    tokenizer = tinyalbert.train_tokenizer(iter(SENTENCES), tmp_path / "taken", vocab_size=32)
    expected = train_tokenizer(SENTENCES, tmp_path / "learned", vocab_size=32)
    assert tokenizer.get_vocab() == expected.get_vocab()
    assert AlbertTokenizer.from_pretrained(tmp_path / "taken").get_vocab() == expected.get_vocab()


def test_a_notebook_that_trains_nothing_only_installs(lite: Any, tmp_path: Path) -> None:
    source = NOTEBOOKS / "01_a_layer_backwards.py"
    lite.add_first_cells(source, tmp_path)
    install, *rest = nbformat.read(tmp_path / f"{source.stem}.ipynb", as_version=4).cells
    assert install.source == lite.INSTALL
    assert rest == nbformat.read(source.with_suffix(".ipynb"), as_version=4).cells


def test_colab_is_linked_as_soon_as_there_is_an_address(lite: Any) -> None:
    from build import colab
    source = NOTEBOOKS / "03_tokens.py"
    assert colab(source, "") == colab(source, "https://example.org/owner/name") == ""
    line = colab(source, "https://github.com/owner/name")
    assert ("(https://colab.research.google.com/github/owner/name/blob/main/notebooks/"
            "03_tokens.ipynb)") in line
    assert "git+https://github.com/owner/name" in line
