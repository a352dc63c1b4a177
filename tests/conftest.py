"""Fixtures that several test files use."""

from __future__ import annotations

import os
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
