"""Several ranks train the model that one process would train; they stop together, and nothing that
happens to one of them is lost or goes unsaid. The programs they run are in ranked.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranked import MPIEXEC, command, train_on, write_settings
from safetensors.numpy import load_file
from toy_run import MODEL, checkpoints, lines_without_times, quiet, settings

import tinyalbert.data.tokenizing as tokenizing
from tinyalbert.errors import InputError
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.training.ranks import (
    ALONE,
    MPIRanks,
    Place,
    Ranks,
    place,
    start_ranks,
    threads_of_a_rank,
)

NO_DROPOUT = MODEL.replace(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="module")
def mpi() -> None:
    if "CI" not in os.environ:
        pytest.importorskip("mpi4py", reason="needs mpi4py: pip install 'tinyalbert[mpi]'")
        if not MPIEXEC:
            pytest.skip("needs mpiexec: pip install mpich")


def rank_of(rank: int, size: int) -> Ranks:
    """One of several, without the others."""
    ranks = Ranks()
    ranks.rank, ranks.size = rank, size
    return ranks


def weights(run: Path) -> dict[str, np.ndarray]:
    newest = run / "checkpoints" / checkpoints(run)[-1]
    return load_file(newest / "model.safetensors")


def largest_difference(run: Path, other: Path) -> float:
    ours, theirs = weights(run), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


def assert_like(lines: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """The same, up to the rounding of numbers."""
    for line, other in zip(lines, expected, strict=True):
        assert line.keys() == other.keys()
        for name, value in other.items():
            assert line[name] == (value if isinstance(value, str) else pytest.approx(value, 1e-4))


def succeed(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stderr


# --- the same weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("optimizer, action, tolerance", [
    ("adamw", (), 1e-6), ("lamb", (), 1e-6), ("adamw", ("double",), 1e-12)])
def test_the_weights_are_those_of_one_process(ranks: int, optimizer: Any, action: tuple,
                                              tolerance: float, mpi, corpus, tmp_path) -> None:
    """Twenty steps of 3 x 4 sequences: some batches are whole, others divided. Rounding differs,
    and most where a gradient is 0 but for rounding, as that of the keys' bias always is."""
    config = settings(corpus, max_steps=20, gradient_accumulation_steps=3, learning_rate=1e-3,
                      optimizer=optimizer)
    folder = write_settings(tmp_path / "settings", NO_DROPOUT, config)
    for size in (1, ranks):
        succeed(train_on(size, folder, tmp_path / f"run {size}", *action))
    one, several = tmp_path / "run 1", tmp_path / f"run {ranks}"
    assert largest_difference(one, several) < tolerance
    assert_like(lines_without_times(several), lines_without_times(one))


def test_dropout_does_not_depend_on_the_ranks_if_they_get_whole_batches(mpi, corpus, tmp_path):
    """A divided batch draws other numbers: then the weights are others, as with another seed."""
    for batches, largest, least in ((2, 1e-6, 0.0), (1, 0.1, 1e-5)):
        config = settings(corpus, gradient_accumulation_steps=batches, learning_rate=1e-3)
        folder = write_settings(tmp_path / f"settings {batches}", MODEL, config)
        runs = [tmp_path / f"run {batches} {size}" for size in (1, 2)]
        for size, run in enumerate(runs, 1):
            succeed(train_on(size, folder, run))
        assert least <= largest_difference(*runs) < largest


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_every_sequence_of_a_step_has_one_rank(batches: int, size: int, ranks: int) -> None:
    taken = np.zeros((batches, size), int)
    loads = []
    for rank in range(ranks):
        trainer = SimpleNamespace(config=SimpleNamespace(gradient_accumulation_steps=batches),
                                  ranks=rank_of(rank, ranks))
        before = taken.sum()
        for number in range(batches):
            taken[number, Trainer.own_rows(trainer, number, size)] += 1  # type: ignore[arg-type]
        loads.append(taken.sum() - before)
    assert (taken == 1).all()
    assert max(loads) - min(loads) <= 1


def test_a_rank_makes_only_the_batches_it_has_a_part_of(run: Path, corpus: Path) -> None:
    from tinyalbert.data.shards import Shards
    shards = Shards(next((run / "shards").iterdir()))
    config = settings(corpus, gradient_accumulation_steps=5)
    alone = Trainer(run, MODEL, config, shards)
    made = [next(alone.batches) for _ in range(10)]                 # of two steps
    for rank, own in enumerate(([0, 1], [1, 2, 3], [3, 4])):
        trainer = Trainer(run, MODEL, config, shards, rank_of(rank, 3))
        for step in (0, 5):
            for number in own:
                for got, expected in zip(next(trainer.batches), made[step + number], strict=True):
                    np.testing.assert_array_equal(got, expected)
        assert trainer.batches.cursor == alone.batches.cursor


def test_more_ranks_than_sequences(run: Path, corpus: Path) -> None:
    from tinyalbert.data.shards import Shards
    shards = Shards(next((run / "shards").iterdir()))
    with pytest.raises(InputError, match="^5 ranks cannot share the 4 sequences of a step"):
        Trainer(run, MODEL, settings(corpus), shards, rank_of(0, 5))


# --- the same shards ------------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Files of very different sizes, an empty one among them."""
    rng, folder = random.Random(0), tmp_path / "texts"
    folder.mkdir()
    for i, documents in enumerate([1, 1, 30, 2, 0, 1, 12, 1]):
        (folder / f"{i}.txt").write_text("\n\n\n".join(
            f"Document {d} of file {i}. " + "It goes on. " * rng.randrange(20)
            for d in range(documents)))
    return folder


@pytest.mark.parametrize("size", [200, 1500, 1 << 24])
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_the_ranks_divide_the_text(ranks: int, size: int, texts: Path, monkeypatch) -> None:
    monkeypatch.setattr(tokenizing, "SHARD_CHARACTERS", size)
    files = tokenizing.corpus_files(texts)
    whole = dict(tokenizing._own_blocks(files, str(texts), None, ALONE))
    parts = [dict(tokenizing._own_blocks(files, str(texts), None, rank_of(rank, ranks)))
             for rank in range(ranks)]
    assert {name: block for part in parts for name, block in part.items()} == whole
    assert sum(map(len, parts)) == len(whole)
    assert list(whole) == sorted(whole)
    if size == 200:
        assert max(map(len, parts)) <= 1.5 * len(whole) / ranks + 1


SHARDS = """
import sys
import tinyalbert.data.tokenizing as tokenizing
from tinyalbert.training.ranks import start_ranks
from word_tokenizer import WordTokenizer
tokenizing.SHARD_CHARACTERS = 300
with start_ranks() as ranks:
    tokenizing.build_shards(sys.argv[1], WordTokenizer(), sys.argv[2], ranks=ranks)
"""


def test_the_shards_are_the_same_files(mpi, texts: Path, tmp_path: Path, monkeypatch) -> None:
    found = []
    for ranks in (1, 2, 4):
        folder = tmp_path / f"shards {ranks}"
        succeed(subprocess.run(**command(ranks, "-c", SHARDS, texts, folder),
                               capture_output=True, text=True))
        found.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")})
    assert len(found[0]) > 30
    assert found[0] == found[1] == found[2]


# --- stopped and resumed --------------------------------------------------------------------------


def test_resumed_on_another_number_of_ranks(mpi, corpus: Path, tmp_path: Path) -> None:
    """Two ranks, then one, then four."""
    folder = write_settings(tmp_path / "settings", NO_DROPOUT,
                            settings(corpus, learning_rate=1e-3, gradient_accumulation_steps=3))
    expected, run = tmp_path / "expected", tmp_path / "run"
    succeed(train_on(1, folder, expected))
    result = train_on(2, folder, run, "stop", 1, 30)
    assert result.returncode == 130 and result.stderr.count("stopped after step") == 1
    step = int(checkpoints(run)[-1].removeprefix("step-"))
    assert 0 < step < 10
    config = settings(corpus, learning_rate=1e-3, gradient_accumulation_steps=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", lambda self, rate, original=Trainer.step: (
            signal.raise_signal(signal.SIGINT) if self.steps == 10 else None, original(self, rate)))
        with pytest.raises(KeyboardInterrupt):
            pretrain(run, NO_DROPOUT, config, resume=True, log=quiet)
    assert checkpoints(run)[-1] == "step-00000011"
    succeed(train_on(4, folder, run))
    assert largest_difference(run, expected) < 1e-6
    assert_like(lines_without_times(run), lines_without_times(expected))


@pytest.mark.parametrize("ranks, number", [(2, signal.SIGINT), (4, signal.SIGTERM)])
def test_ctrl_c_stops_all_quietly(ranks: int, number: int, mpi, corpus, tmp_path) -> None:
    endless = settings(corpus, max_steps=1_000_000, save_every=1_000_000, eval_every=1_000_000)
    folder, run = write_settings(tmp_path / "settings", MODEL, endless), tmp_path / "run"
    log, program = run / "metrics.jsonl", Path(__file__).with_name("ranked.py")
    launched = subprocess.Popen(**command(ranks, program, folder, run), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (log.exists() and '"train"' in log.read_text()):
        assert time.monotonic() < deadline and launched.poll() is None
        time.sleep(0.05)
    launched.send_signal(number)
    _, errors = launched.communicate(timeout=20)
    assert launched.returncode == 130
    assert errors.count("stopping after this step") == errors.count("stopped after step") == 1
    assert "Traceback" not in errors and "error" not in errors
    step, = checkpoints(run)
    assert f"stopped after step {int(step.removeprefix('step-'))}," in errors


def test_killed_at_random_moments(mpi, corpus: Path, tmp_path: Path) -> None:
    """SIGKILL of one of two ranks, a dozen times: the others end within seconds, and the resumed
    training ends as one that nothing disturbed, bit for bit."""
    folder = write_settings(tmp_path / "settings", MODEL, settings(corpus, save_every=2))
    undisturbed = tmp_path / "undisturbed"
    succeed(train_on(2, folder, undisturbed))
    rng, kills, steps, trainings = random.Random(0), 0, set(), 0
    while kills < 12:
        run, trainings = tmp_path / f"run {trainings}", trainings + 1
        while True:
            result = train_on(2, folder, run, "kill", rng.randrange(2), rng.randrange(10, 60))
            if result.returncode == 0:
                break
            assert result.returncode == 9 and "Killed (signal 9)" in result.stdout, result.stderr
            kills += 1
            steps.add(max(checkpoints(run), default=""))
        expected = weights(undisturbed)
        for name, array in weights(run).items():
            np.testing.assert_array_equal(array, expected[name])
        assert lines_without_times(run) == lines_without_times(undisturbed)
    assert len(steps) > 4


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.fixture
def toy(corpus: Path, tmp_path: Path) -> Path:
    return write_settings(tmp_path / "settings", MODEL, settings(corpus))


@pytest.mark.parametrize("ranks, failing", [(2, 1), (4, 2)])
def test_an_error_on_one_rank_stops_all(ranks: int, failing: int, mpi, toy, tmp_path) -> None:
    started = time.monotonic()
    result = train_on(ranks, toy, tmp_path / "run", "fail", failing, 50)
    assert result.returncode == 1 and time.monotonic() - started < 20
    assert result.stderr.count("Traceback") == 1
    assert result.stderr.count(f"error: rank {failing} of {ranks}: nobody expected this; all ranks "
                               "are stopped\n") == 1


def test_an_error_on_every_rank_is_said_once(mpi, corpus: Path, tmp_path: Path) -> None:
    folder = write_settings(tmp_path / "settings", MODEL.replace(vocab_size=3000), settings(corpus))
    result = train_on(4, folder, tmp_path / "run")
    assert result.returncode in (1, 3)                      # 1 on rank 0, 2 on the others
    assert result.stderr.count("error: vocab_size 3000 is too large") == 1
    assert result.stderr.count("error") == 1 and "Abort" not in result.stderr


def test_weights_that_are_no_longer_the_same(mpi, toy: Path, tmp_path: Path) -> None:
    """Nothing of it is saved."""
    result = train_on(2, toy, tmp_path / "run", "spoil", 1, 6)
    assert result.returncode == 1
    assert result.stderr.count("error: after step 8 the weights of rank 1 are not those of rank 0"
                               ) == 1
    assert checkpoints(tmp_path / "run") == ["step-00000004"]


def test_the_command_line(mpi, corpus: Path, tmp_path: Path) -> None:
    """Rank 0 alone speaks, and a mistake in the settings is one sentence."""
    small = [flag for name in ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers",
                               "intermediate_size", "max_position_embeddings")
             for flag in (f"--{name.replace('_', '-')}", str(getattr(MODEL, name)))]

    def tinyalbert(*flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**command(
            2, "-m", "tinyalbert", "pretrain", "--corpus", corpus, "--out", tmp_path / "run",
            *small, "--max-seq-length", "16", "--batch-size", "4", "--max-steps", "3", *flags),
            capture_output=True, text=True)

    result = tinyalbert()
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("The model is in") == 1
    assert result.stdout.count("on 2 ranks") == 1
    result = tinyalbert()
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert "is not empty" in result.stderr


# --- the launcher ---------------------------------------------------------------------------------


@pytest.mark.parametrize("environment, expected", [
    ({}, None),
    ({"PMI_RANK": "3", "PMI_SIZE": "8"}, Place(3, 8)),
    ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, Place(1, 2)),
    ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_NTASKS": "6"}, Place(5, 6)),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "6"}, None),         # in the script, outside srun
])
def test_launchers(environment: dict[str, str], expected: Place | None) -> None:
    assert place(environment) == expected


def test_a_process_on_its_own_needs_no_mpi(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)        # what makes an import fail
    for _, size in (("PMI_RANK", "PMI_SIZE"),):
        monkeypatch.setenv("PMI_RANK", "0")
        monkeypatch.setenv(size, "1")
    assert start_ranks() is ALONE


@pytest.mark.parametrize("rank", ["0", "3"])
def test_several_processes_without_mpi4py(rank: str, monkeypatch) -> None:
    """One of them says it."""
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", rank)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    if rank == "0":
        with pytest.raises(InputError, match=r"need mpi4py: pip install 'tinyalbert\[mpi\]'"):
            start_ranks()
    else:
        with pytest.raises(SystemExit):
            start_ranks()


def test_a_launcher_of_another_mpi(monkeypatch) -> None:
    """Every process would take itself for the only one, and all would write to the same folder."""
    mpi4py = SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1, rank=0),
                             Get_library_version=lambda: "MPICH Version:      5.0.2\nand more")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi4py)
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(InputError, match="the launcher started 4 processes, mpi4py sees 1: .*use "
                                         "the mpiexec of MPICH Version: +5.0.2, which is mpi4py's"):
        start_ranks()


@pytest.mark.parametrize("cores, expected", [
    ([{0, 1, 2, 3}] * 2, [2, 2]),                               # not bound
    ([{0, 1}, {2, 3}], [2, 2]),                                 # bound by the launcher
    ([{0, 1, 2}] * 3 + [{3}], [1, 1, 1, 1]),
    ([{0, 1}] * 5, [1] * 5),                                    # more ranks than cores
])
def test_the_cores_are_shared(cores: list[set[int]], expected: list[int]) -> None:
    assert [threads_of_a_rank(cores, rank) for rank in range(len(cores))] == expected


def test_arrays_of_a_gpu_go_through_nccl(monkeypatch) -> None:
    """Without a GPU: which device a rank takes, and what NCCL is asked to do."""
    calls: list[tuple] = []

    class Communicator:
        def __init__(self, *args: Any) -> None:
            calls.append(("new", *args))

        def allReduce(self, *args: Any) -> None:
            calls.append(("allReduce", *args))

    monkeypatch.setitem(sys.modules, "cupy.cuda.nccl", SimpleNamespace(
        available=True, NCCL_FLOAT32=7, NCCL_FLOAT64=8, NCCL_SUM=0, NcclCommunicator=Communicator,
        get_unique_id=lambda: ("unique",)))
    machine = SimpleNamespace(rank=5, allgather=lambda cores: [cores] * 8)
    world = SimpleNamespace(rank=0, size=16, Dup=lambda: None, Split_type=lambda kind: machine,
                            bcast=lambda value: value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ranks = MPIRanks(SimpleNamespace(COMM_WORLD=world, COMM_TYPE_SHARED=1))
    cuda = SimpleNamespace(
        Device=lambda number: SimpleNamespace(use=lambda: calls.append(("use", number))),
        runtime=SimpleNamespace(getDeviceCount=lambda: 4),
        get_current_stream=lambda: SimpleNamespace(ptr=99))
    ranks.use_device(SimpleNamespace(name="cupy", xp=SimpleNamespace(cuda=cuda)))  # type: ignore
    array = SimpleNamespace(data=SimpleNamespace(ptr=1234), size=10, dtype=np.dtype("float32"))
    ranks.sum(array)
    ranks.sum(array)
    reduced = ("allReduce", 1234, 1234, 10, 7, 0, 99)
    assert calls == [("use", 1), ("new", 16, ("unique",), 0), reduced, reduced]
