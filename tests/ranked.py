"""A toy training on several ranks, and something that happens to one of them at an exact moment.

    mpiexec -n 2 python ranked.py SETTINGS RUN [ACTION RANK NUMBER]

resumes the training in RUN, or begins it, with the settings in the folder SETTINGS. ACTION happens
on that rank at the NUMBER-th call of what computes, sends or reaches the disk. "double" is no
action: all ranks compute in float64.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinyalbert.config import AlbertConfig
from tinyalbert.errors import InputError
from tinyalbert.files import write_json
from tinyalbert.layer import flat_gradients
from tinyalbert.pretraining.config import PretrainConfig
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.training.numbers import TrainingError
from tinyalbert.training.ranks import MPIRanks, start_ranks

FOLDERS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
MPIEXEC = shutil.which("mpiexec", path=FOLDERS)     # the wheel `mpich` puts it beside Python


def command(ranks: int, *program: str | Path) -> dict[str, Any]:
    """The arguments of subprocess.run for a program on so many ranks; one needs no MPI. Without
    Numba, which takes longer to load than such a training."""
    launcher = [MPIEXEC, "-n", str(ranks)] if ranks > 1 else []
    return {"args": [*launcher, sys.executable, *map(str, program)], "env": {
        **os.environ, "OPENBLAS_NUM_THREADS": "1", "TINYALBERT_TEXTBOOK": "1",
        "PYTHONPATH": os.pathsep.join(sys.path)}}


def train_on(ranks: int, settings: Path, run: Path,
             *action: str | int) -> subprocess.CompletedProcess[str]:
    """This file as a program, to its end."""
    return subprocess.run(**command(ranks, __file__, settings, run, *map(str, action)),
                          capture_output=True, text=True, timeout=60)


def write_settings(folder: Path, model: AlbertConfig, config: PretrainConfig) -> Path:
    write_json(folder / "config.json", model.to_dict())
    write_json(folder / "pretrain.json", config.to_dict())
    return folder


# --- the program ----------------------------------------------------------------------------------


def fail() -> None:
    raise ValueError("nobody expected this")


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: signal.raise_signal(signal.SIGINT),
    "fail": fail,
}


def at_call(number: int, action: Callable[[], None]) -> None:
    calls = itertools.count(1)

    def counted(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == number:
                action()
            return function(*args, **kwargs)
        return call

    Trainer.accumulate = counted(Trainer.accumulate)
    MPIRanks.sum, MPIRanks.gather = counted(MPIRanks.sum), counted(MPIRanks.gather)
    os.fsync, os.replace, os.rename = counted(os.fsync), counted(os.replace), counted(os.rename)


def spoil_a_weight(step: int) -> None:
    """Before that step a weight of this rank becomes another, as if the memory were broken."""
    original = Trainer.step

    def patched(trainer: Trainer, rate: float) -> None:
        if trainer.steps == step - 1:
            trainer.model.named_parameters()["predictions.bias"].data[3] += 1e-3
        original(trainer, rate)

    Trainer.step = patched


def compute_in_float64() -> None:
    original = Trainer.__init__

    def patched(trainer: Trainer, *args: Any) -> None:
        original(trainer, *args)
        model, optimizer = trainer.model, trainer.optimizer
        for parameter in optimizer.parameters.values():
            parameter.data = parameter.data.astype(float)
        for moments in (optimizer.m, optimizer.v):
            moments.update({name: array.astype(float) for name, array in moments.items()})
        model.dtype = model.albert.dtype = np.dtype(float)
        trainer.gradients = flat_gradients(optimizer.parameters)

    Trainer.__init__ = patched


def main(settings: Path, run: Path, action: str = "", rank: str = "0", number: str = "0") -> None:
    with start_ranks() as ranks:
        if action == "double":
            compute_in_float64()
        elif action and ranks.rank == int(rank):
            if action == "spoil":
                spoil_a_weight(int(number))
            else:
                at_call(int(number), ACTIONS[action])
        pretrain(run, AlbertConfig.from_json_file(settings / "config.json"),
                 PretrainConfig.from_dict(json.loads((settings / "pretrain.json").read_bytes())),
                 resume=True, log=lambda message: print(message, file=sys.stderr), ranks=ranks)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
    except (InputError, TrainingError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
