"""Fixtures that several test files use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from strict_array import StrictBackend

from tinyalbert.backend import Backend, get_backend
from tinyalbert.errors import InputError


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs CuPy and a CUDA device")


@pytest.fixture(params=["numpy", "strict", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each array library in turn: NumPy, the strict double, and CuPy where there is a GPU."""
    if request.param == "strict":
        return get_backend(StrictBackend())
    try:
        return get_backend(request.param)
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not part of the repository; a test that asks for it is skipped without."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("TINYALBERT_TEST_DATA", default))
    if not path.is_dir():
        pytest.skip(f"needs the test data, which is not at {path}: set TINYALBERT_TEST_DATA")
    return path


# --- the toy training (toy_run.py) ----------------------------------------------------------------


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text in the toy language."""
    from toy_run import write_corpus
    return write_corpus(tmp_path_factory.mktemp("corpus") / "toy.txt")


@pytest.fixture(scope="session")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of 14 steps that nothing interrupted; not to be written to."""
    from toy_run import MODEL, quiet, settings

    from tinyalbert.pretraining.pretrain import pretrain
    run = tmp_path_factory.mktemp("finished") / "run"
    pretrain(run, MODEL, settings(corpus), log=quiet)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A folder to train in, with the tokenizer and the shards already there."""
    folder = tmp_path / "run"
    shutil.copytree(finished / "shards", folder / "shards")
    for name in ("spiece.model", "tokenizer_config.json"):
        shutil.copy(finished / name, folder)
    return folder
