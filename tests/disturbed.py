"""A training in a process of its own, and something that happens to it at an exact moment.

    python disturbed.py pretrain|finetune SOURCE RUN [kill|full PHASE NUMBER]

resumes the training in RUN, or begins it, as `begin_with` prepares it in SOURCE. The moment is an
event within a phase, given by its number; events are the calls and returns of all functions, in
Python and in C. How many there were of each phase is printed as JSON, when all has gone well.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from toy_finetuning import FAST, pretrained, voices
from toy_run import MODEL, TIMES, settings, write_corpus

from tinyalbert.config import AlbertConfig
from tinyalbert.errors import InputError
from tinyalbert.files import PARTIAL, write_json
from tinyalbert.finetuning.classification import TextExample
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.pretraining.config import PretrainConfig
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.training.metrics_log import read_metrics

PHASES = {"train_tokenizer": "tokenizer", "build_shards": "shards", "Trainer.step": "step",
          "Trainer.evaluate": "evaluation", "Dev.evaluate": "evaluation",
          "save_checkpoint": "checkpoint", "write_tensors": "model", "MetricsLog.write": "log",
          "judge": "judge"}
BETWEEN = "between"         # the phases
DISK = "disk"               # what reaches the disk, in whichever phase
REACHES_DISK = {"mkdir", "open", "BufferedWriter.write", "BufferedWriter.writelines",
                "BufferedWriter.flush", "fsync", "rename", "replace", "unlink", "rmdir"}


def begin_with(kind: str, folder: Path) -> Path:
    """The folder, filled with what a training begins with: text and settings, or a model."""
    if kind == "finetune":
        return pretrained(folder)
    write_json(folder / "config.json", MODEL.to_dict())
    corpus = write_corpus(folder / "toy.txt")
    half = len(corpus.read_bytes()) // 2
    corpus.write_bytes(corpus.read_bytes()[:half])
    write_json(folder / "pretrain.json", settings(corpus).to_dict())
    return folder


def contents(run: Path) -> dict[str, Any]:
    """Every file, the log without the times. Left out is what a dead process had begun to write."""
    files = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*")
             if path.is_file() and PARTIAL not in path.as_posix()}
    return files | {"metrics.jsonl": [
        {key: value for key, value in line.items()
         if key not in (*TIMES, "examples_per_second")} for line in read_metrics(run)]}


def run_disturbed(*arguments: str | int | Path) -> subprocess.CompletedProcess[str]:
    """This file as a program. Without Numba, which takes longer to load than such a training."""
    return subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True,
        env={**os.environ, "TINYALBERT_TEXTBOOK": "1", "PYTHONPATH": os.pathsep.join(sys.path)})


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk() -> None:
    """No file may become larger than the log and half a line."""
    log = Path(sys.argv[3], "metrics.jsonl")
    room = 40 + (log.stat().st_size if log.exists() else 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def watch(action: Callable[[], None] | None, where: str, number: int) -> Counter[str]:
    """From now on count the events of each phase, and act at the given one."""
    counts: Counter[str] = Counter()
    phases = [BETWEEN]

    def happened(phase: str) -> None:
        counts[phase] += 1
        if action and phase == where and counts[phase] == number:
            action()

    def on_event(frame: FrameType, event: str, function: Any) -> None:
        phase = PHASES.get(frame.f_code.co_qualname)
        if phase and event == "call":
            phases.append(phase)
        happened(phases[-1])
        if event.startswith("c_") and function.__qualname__ in REACHES_DISK:
            happened(DISK)
        if phase and event == "return":
            phases.pop()

    sys.setprofile(on_event)
    return counts


def log(message: str) -> None:
    print(message, file=sys.stderr)


def main(kind: str, source: Path, run: Path, action: str = "", phase: str = "",
         number: str = "0") -> None:
    if kind == "finetune":
        import sklearn.metrics  # noqa: F401  so long an import would hide the other events
    counts = watch({"kill": kill, "full": fill_the_disk}.get(action), phase, int(number))
    if kind == "pretrain":
        pretrain(run, AlbertConfig.from_json_file(source / "config.json"),
                 PretrainConfig.from_dict(json.loads((source / "pretrain.json").read_bytes())),
                 resume=True, log=log)
    else:
        train, dev = ([TextExample(text, label=label) for text, label in voices(count, seed)]
                      for seed, count in ((0, 40), (1, 20)))
        finetune("classify", source, train, dev, run, FAST, resume=True, log=log)
    sys.setprofile(None)
    print(json.dumps(counts))


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
    except InputError as error:
        sys.exit(f"error: {error}")
