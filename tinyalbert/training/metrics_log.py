"""What a training writes down as it goes: metrics.jsonl, one JSON object a line."""

from __future__ import annotations

import json
import os
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically


class MetricsLog:
    """metrics.jsonl, and TensorBoard events beside it if asked for.

    resume_at: lines of later steps, and those from the final evaluation on, are dropped: the
    resumed run writes them again. `kept` are the others; 0 starts an empty file.
    """

    def __init__(self, run: Path, *, resume_at: int = 0, tensorboard: bool = False) -> None:
        self.path = run / "metrics.jsonl"
        self.kept = list(takewhile(
            lambda line: line["step"] <= resume_at and not line.get("final"),
            read_metrics(run))) if resume_at else []
        write_atomically(self.path, b"".join(map(encoded, self.kept)))
        self.seconds = self.kept[-1]["seconds"] if self.kept else 0.0       # of the run so far
        self.started = time.perf_counter()
        self.last_step = self.kept[-1]["step"] if self.kept else 0
        self.events = None
        if tensorboard:
            from tensorboardX import SummaryWriter
            self.events = SummaryWriter(str(run / "tensorboard"))

    def write(self, kind: str, step: int, **values: Any) -> dict[str, Any]:
        """Append a line and return it."""
        seconds = self.seconds + time.perf_counter() - self.started
        self.last_step = step
        line = {"kind": kind, "step": step, **values, "seconds": round(seconds, 2)}
        try:
            with open(self.path, "ab") as file:
                file.write(encoded(line))
                file.flush()
                os.fsync(file.fileno())         # a checkpoint after it must not outlive it
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror}") from error
        for name, value in values.items():
            if self.events and isinstance(value, (int, float)):
                self.events.add_scalar(f"{kind}/{name}", value, step)
        return line


def encoded(line: dict[str, Any]) -> bytes:
    return (json.dumps(line) + "\n").encode()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line that a crash cut short is left out."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.exists() else []
    metrics = []
    for number, line in enumerate(lines, 1):
        try:
            metrics.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is not JSON: {error}; delete that line, "
                                 "which is of use to the report only") from error
    return metrics
