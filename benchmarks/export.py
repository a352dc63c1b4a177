"""Seconds to read a batch with albert-base: our NumPy, and ONNX Runtime with the exported graph.

    python benchmarks/export.py [--repeats 9] [--threads 2] [--out FILE.json]

Encoder and pooler, random weights, the same ids, the same threads; side by side as race.py says.
The graph is in float32 and in 8 bits. Latency is that of one text of 32 tokens, throughput that of
32 texts: all of 128 tokens, or of mixed lengths padded to the longest, where our model leaves the
padding out and a graph computes it.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from inference import LENGTHS, make_batch
from race import arguments, median, race, show, versions

from tinyalbert import AlbertModel
from tinyalbert.export.quantized import quantize
from tinyalbert.export.session import open_session
from tinyalbert.export.tasks import build_graph
from tinyalbert.published import PUBLISHED

CONFIG = PUBLISHED["albert-base-v2"]
SHAPES = ("1 x 32", "32 x 128", "32 x 16..128")
CONTESTANTS = ("tinyalbert", "onnx float32", "onnx int8")


def graph(whose: str) -> bytes:
    made = build_graph(AlbertModel(CONFIG))
    return (quantize(made) if whose == "onnx int8" else made).SerializeToString()


def prepare(name: str) -> Callable[[], Any]:
    """The name of a contestant is "whose, which batch, how many threads"."""
    whose, shape, threads = name.split(", ")
    batch = make_batch(LENGTHS[shape], CONFIG.vocab_size)
    if whose == "tinyalbert":
        model = AlbertModel(CONFIG)
        model.freeze()
        return lambda: model(**batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(graph(whose))
        session = open_session(path, int(threads))
    batch["token_type_ids"] = np.zeros_like(batch["input_ids"])
    return lambda: session.run(None, batch)


def main() -> None:
    args = arguments(__doc__).parse_args()
    results: dict[str, Any] = {}
    for shape in SHAPES:
        names = [f"{whose}, {shape}, {args.threads}" for whose in CONTESTANTS]
        seconds = dict(zip(CONTESTANTS, map(median, race(
            prepare, names, repeats=args.repeats, threads=args.threads).values()),
            strict=True))
        results[shape] = {
            "milliseconds": {whose: round(1000 * s, 1) for whose, s in seconds.items()},
            "tokens_per_second": {whose: round(sum(LENGTHS[shape]) / s)
                                  for whose, s in seconds.items()}}
        print(shape, results[shape], flush=True)
    sizes = {"checkpoint, float32": 4 * AlbertModel(CONFIG).num_parameters(),
             **{whose: len(graph(whose)) for whose in CONTESTANTS[1:]}}
    show({"threads": args.threads, "repeats": args.repeats,
          "versions": {**versions(), "onnx": onnx.__version__,
                       "onnxruntime": onnxruntime.__version__},
          "bytes": sizes, "results": results}, args.out)


if __name__ == "__main__":
    main()
