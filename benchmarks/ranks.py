"""What several ranks cost and give on one machine: the all-reduce, the training, the tokenizing.

    python benchmarks/ranks.py [--repeats 3] [--out FILE.json]

Needs `pip install 'tinyalbert[mpi,demo]' mpich`. Prints JSON:

    all_reduce   seconds of one all-reduce, median, and the bytes per second that go through a rank,
                 for arrays from one number to the gradients of ALBERT-base and BERT-base
    training     seconds of a step of the preset small, 32 x 128 tokens of the presidents' messages:
                 one process with all cores against ranks that share them
    tokenizing   seconds for the same messages, in 16 files, with blocks of a mebibyte

All ranks are on this machine and talk through its memory; between machines there is a network, see
many_machines.py. Runs of different numbers of ranks take turns. Four ranks on fewer cores wait for
their turn on one, which is what their all-reduce then measures.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import tinyalbert.data.tokenizing as tokenizing
from tinyalbert.data.corpus import read_documents
from tinyalbert.params import parameter_totals
from tinyalbert.pretraining.config import PRESETS
from tinyalbert.pretraining.pretrain import get_tokenizer, make_tokenizer
from tinyalbert.pretraining.trainer import Trainer
from tinyalbert.published import PUBLISHED
from tinyalbert.training.ranks import Ranks, start_ranks, usable_cores

NUMBERS = [1, 1 << 10, 1 << 16, 1 << 20] + [
    parameter_totals(PUBLISHED[name])["with heads, for pretraining"]
    for name in ("albert-base-v2", "bert-base-uncased")]
MODEL, CONFIG = PRESETS["small"]
CONFIG = CONFIG.replace(first_seq_length=None, max_steps=1000)
STEPS = 8


# --- on every rank --------------------------------------------------------------------------------


def all_reduce(ranks: Ranks, folder: Path) -> dict[str, Any]:
    result = {}
    for numbers in NUMBERS:
        array = np.zeros(numbers, np.float32)
        times = seconds_of(lambda array=array: ranks.sum(array), ranks, max(1 << 23, numbers * 5)
                           // max(numbers, 1 << 16))
        sent = 2 * (ranks.size - 1) / ranks.size * array.nbytes
        result[array.nbytes] = {"seconds": times, "megabytes_per_second": sent / times / 1e6}
    return result


def training(ranks: Ranks, folder: Path) -> float:
    shards, _ = tokenizing.build_shards(CONFIG.corpus, get_tokenizer(folder, MODEL),
                                        folder / "shards", ranks=ranks).split()
    trainer = Trainer(folder, MODEL, CONFIG, shards, ranks)
    return seconds_of(lambda: trainer.step(1e-4), ranks, STEPS)


def tokenize(ranks: Ranks, folder: Path) -> float:
    tokenizing.SHARD_CHARACTERS = 1 << 20
    tokenizer = get_tokenizer(folder, MODEL)
    ranks.any(False)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        directory = ranks.first(lambda: temporary)
        tokenizing.build_shards(folder / "texts", tokenizer, directory, ranks=ranks)
        ranks.any(False)
        return time.perf_counter() - start


def seconds_of(work: Callable[[], Any], ranks: Ranks, repeats: int) -> float:
    """Median over the repeats of the slowest rank's seconds."""
    times = []
    for _ in range(repeats + 2):
        ranks.any(False)                # all begin together
        start = time.perf_counter()
        work()
        times.append(max(ranks.gather(time.perf_counter() - start)))
    return median(times[2:])


# --- from outside ---------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """A tokenizer, the shards, and the messages in 16 files."""
    make_tokenizer(folder, MODEL, CONFIG, print_aside)
    tokenizing.build_shards(CONFIG.corpus, get_tokenizer(folder, MODEL), folder / "shards")
    documents = list(read_documents(CONFIG.corpus))
    (folder / "texts").mkdir()
    for i in range(16):
        texts = ("\n".join(document) for document in documents[i::16])
        (folder / "texts" / f"{i:02}.txt").write_text("\n\n".join(texts), encoding="utf-8")


def print_aside(message: str) -> None:
    print(message, file=sys.stderr)


def on(ranks: int, job: str, folder: Path) -> Any:
    """The result of a job on so many ranks."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    mpiexec = shutil.which("mpiexec", path=path)
    launcher = [mpiexec, "-n", str(ranks)] if ranks > 1 else []
    output = subprocess.run([*launcher, sys.executable, __file__, "--job", job, str(folder)],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)


def measure(repeats: int, folder: Path) -> dict[str, Any]:
    load = round(os.getloadavg()[0], 1)
    prepare(folder)
    times: dict[str, dict[int, list[float]]] = {"training": {}, "tokenize": {}}
    for _ in range(repeats):
        for job, seconds in times.items():
            for ranks in (1, 2):
                seconds.setdefault(ranks, []).append(on(ranks, job, folder))
    medians = {job: {ranks: round(median(all), 4) for ranks, all in seconds.items()}
               for job, seconds in times.items()}
    return {
        "load_before": load, "machine": {"processor": platform.processor() or platform.machine(),
                    "cores": len(usable_cores()), "python": platform.python_version(),
                    "numpy": np.__version__},
        "all_reduce": {f"{ranks} ranks": rounded(on(ranks, "all_reduce", folder))
                       for ranks in (2, 4)},
        **{job: {"median_seconds": seconds, "speedup_of_2_ranks": round(seconds[1] / seconds[2], 3)}
           for job, seconds in medians.items()}}


def rounded(values: Any) -> Any:
    """Four digits of every number."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    return float(f"{values:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--job", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        job = {"all_reduce": all_reduce, "training": training, "tokenize": tokenize}[args.job[0]]
        with start_ranks() as ranks:
            result = job(ranks, Path(args.job[1]))
        if ranks.rank == 0:
            print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(measure(args.repeats, Path(folder)), indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
