"""The processes that train one model together, a rank each: `mpiexec -n 8 tinyalbert pretrain ...`

    with start_ranks() as ranks:
        ranks.rank, ranks.size      which one this is, of how many
        ranks.sum(array)            add up everyone's array, in place
        ranks.gather(value)         [rank 0's, rank 1's, ...], on every rank
        ranks.first(work)           rank 0 does it, and all return or raise what it did
        ranks.any(flag)             whether it is true of any rank

All but `rank` and `size` are calls that every rank must make, in the same order. A process on its
own is rank 0 of 1; all of this then costs nothing. Otherwise MPI carries host arrays and NCCL those
of GPUs. Left out: models too large for one machine, and going on without a rank that is lost.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from ..backend import Array, Backend
from ..errors import InputError
from .numbers import TrainingError

T = TypeVar("T")

# What a launcher tells its processes: their number, and how many there are.
LAUNCHERS = (("PMI_RANK", "PMI_SIZE"),                              # MPICH, Intel MPI; srun's pmi2
             ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),      # Open MPI
             ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))              # srun
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 2.0      # seconds in which ranks that fail alike are expected to do so


class Ranks:
    """A process on its own."""

    rank, size = 0, 1

    def sum(self, array: Array) -> None:
        """Replace a contiguous float array by the sum over the ranks, the same on each of them."""

    def gather(self, value: T) -> list[T]:
        return [value]

    def first(self, work: Callable[[], T]) -> T:
        return work()

    def any(self, flag: bool) -> bool:
        return any(self.gather(flag))

    def use_device(self, backend: Backend) -> None:
        """Give every rank of a machine a GPU of its own; before the first array."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """What fails on every rank is raised on rank 0 alone, and the others leave in silence. What
        fails on some is printed, and stops all."""


ALONE = Ranks()


class MPIRanks(Ranks):
    """One of several processes that an MPI launcher started."""

    def __init__(self, MPI: Any) -> None:
        self.MPI, self.world = MPI, MPI.COMM_WORLD
        self.rank, self.size = self.world.rank, self.world.size
        self.parting = self.world.Dup()         # so that it meets no other message
        self.machine = self.world.Split_type(MPI.COMM_TYPE_SHARED)
        if not any(os.environ.get(name) for name in THREADS):
            from threadpoolctl import threadpool_limits
            threadpool_limits(threads_of_a_rank(self.machine.allgather(usable_cores()),
                                                self.machine.rank))

    def sum(self, array: Array) -> None:
        if isinstance(array, np.ndarray):
            self.world.Allreduce(self.MPI.IN_PLACE, array)
        else:
            nccl, stream = self.nccl, self.cuda.get_current_stream()
            kind = {"f": nccl.NCCL_FLOAT32, "d": nccl.NCCL_FLOAT64}[array.dtype.char]
            self.gpus.allReduce(array.data.ptr, array.data.ptr, array.size, kind, nccl.NCCL_SUM,
                                stream.ptr)

    def gather(self, value: T) -> list[T]:
        return self.world.allgather(value)

    def first(self, work: Callable[[], T]) -> T:
        result: Any = None
        error: BaseException | None = None
        if self.rank == 0:
            try:
                result = work()
            except BaseException as raised:     # Ctrl-C too: the others wait for an answer
                error = raised
        result, error = self.world.bcast((result, error))
        if error:
            raise error
        return result

    def use_device(self, backend: Backend) -> None:
        if backend.name == "cupy":
            self.cuda = backend.xp.cuda
            self.cuda.Device(self.machine.rank % self.cuda.runtime.getDeviceCount()).use()

    @cached_property
    def nccl(self) -> Any:
        """CuPy's binding of NCCL."""
        nccl = importlib.import_module("cupy.cuda.nccl")
        if not nccl.available:
            raise InputError("several GPUs need NVIDIA's NCCL, which CuPy has not found: pip "
                             "install nvidia-nccl-cu12 or nvidia-nccl-cu13, as your CuPy")
        return nccl

    @cached_property
    def gpus(self) -> Any:
        """NCCL's communicator, which all ranks make together, each with its GPU current."""
        return self.nccl.NcclCommunicator(self.size, self.first(self.nccl.get_unique_id), self.rank)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            return
        status = {InputError: 2, KeyboardInterrupt: 130}.get(type(error), 1)
        if not self.everyone_fails():
            if not isinstance(error, (InputError, TrainingError, KeyboardInterrupt)):
                traceback.print_exception(error)
            print(f"error: rank {self.rank} of {self.size}: {error or type(error).__name__}; all "
                  "ranks are stopped", file=sys.stderr, flush=True)
            time.sleep(0.5)                     # the launcher passes that on, if it lives so long
            self.world.Abort(status)
        if self.rank:
            raise SystemExit(status) from None

    def everyone_fails(self) -> bool:
        """Whether all ranks come here within a moment. The lowest one that waits in vain speaks
        first, and that ends the others."""
        waiting, deadline = self.parting.Ibarrier(), time.monotonic() + PATIENCE + self.rank / 4
        while not waiting.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


class Place(NamedTuple):
    rank: int
    size: int


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """What the launcher says about this process; None if there was none."""
    for rank, size in LAUNCHERS:
        if environment.get(rank, "").isdecimal() and environment.get(size, "").isdecimal():
            return Place(int(environment[rank]), int(environment[size]))
    return None


def start_ranks(mpi: bool = False) -> Ranks:
    """ALONE, or if a launcher started several of us, or `mpi` is asked for, the ranks of MPI.

    InputError, on rank 0 alone, without mpi4py, or with one that belongs to another MPI than the
    launcher: every process would then take itself for rank 0.
    """
    here = place()
    if not mpi and (here is None or here.size == 1):
        return ALONE
    try:
        MPI = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:        # the latter: no MPI library for it
        problem = f"several processes need mpi4py: pip install 'tinyalbert[mpi]' ({error})"
    else:
        if here is None or here.size == MPI.COMM_WORLD.size:
            return MPIRanks(MPI)
        library = MPI.Get_library_version().split("\n")[0].strip("\0 ")
        problem = (f"the launcher started {here.size} processes, mpi4py sees "
                   f"{MPI.COMM_WORLD.size}: they are of different MPIs; use the mpiexec of "
                   f"{library}, which is mpi4py's, or with srun the right --mpi")
    if here and here.rank:
        raise SystemExit(2)
    raise InputError(problem)


def usable_cores() -> set[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def threads_of_a_rank(cores: list[set[int]], rank: int) -> int:
    """`cores`: those of every rank of this machine. A core that several ranks may run on counts as
    a part for each, so it does not matter whether the launcher has bound them to their own."""
    shared_by = Counter(core for some in cores for core in some)
    return max(int(sum(1 / shared_by[core] for core in cores[rank]) + 1e-9), 1)
