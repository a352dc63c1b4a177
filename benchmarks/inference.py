"""Seconds to read a batch with albert-base and bert-base: ours against Hugging Face under PyTorch.

    python benchmarks/inference.py [--repeats 9] [--threads 2] [--out FILE.json]

Float32, encoder and pooler, random weights, the same ids, the same threads; side by side as race.py
says. Latency is that of one text of 32 or 128 tokens. Throughput is that of 32 texts: all of 128
tokens, or of mixed lengths (uniform from 16 to 128) padded to the longest, as real texts come.
PyTorch runs under inference_mode with its default attention, our models are frozen, as those of
pipelines are.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from race import arguments, median, race, show, versions

from tinyalbert import AlbertModel, BertModel
from tinyalbert.published import PUBLISHED

MODELS = {"albert-base": ("albert-base-v2", AlbertModel, transformers.AlbertModel),
          "bert-base": ("bert-base-uncased", BertModel, transformers.BertModel)}
LENGTHS = {"1 x 32": [32], "1 x 128": [128], "32 x 128": [128] * 32,
           "32 x 16..128": np.random.default_rng(0).integers(16, 129, 32).tolist()}


def make_batch(lengths: list[int], vocab_size: int) -> dict[str, np.ndarray]:
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)     # [B, T]
    ids = np.random.default_rng(0).integers(5, vocab_size, mask.shape)
    return {"input_ids": ids * mask, "attention_mask": mask}


def prepare(name: str) -> Callable[[], Any]:
    """The name of a contestant is "whose, which model, which batch"."""
    whose, model_name, shape = name.split(", ")
    published, ours, theirs = MODELS[model_name]
    config = PUBLISHED[published]
    batch = make_batch(LENGTHS[shape], config.vocab_size)
    if whose == "tinyalbert":
        model: Any = ours(config)
        model.freeze()
        return lambda: model(**batch)
    values = {key: value for key, value in config.to_dict().items()
              if key not in ("sharing", "dropout_sites", "gradient_checkpointing")}
    peer = theirs(theirs.config_class(**values)).eval()
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}

    def run() -> None:
        with torch.inference_mode():
            peer(**tensors)
    return run


def main() -> None:
    args = arguments(__doc__).parse_args()
    results: dict[str, Any] = {}
    for model in MODELS:
        for shape, lengths in LENGTHS.items():
            names = [f"{whose}, {model}, {shape}" for whose in ("tinyalbert", "pytorch")]
            ours, theirs = map(median, race(prepare, names, repeats=args.repeats,
                                            threads=args.threads).values())
            results[f"{model}, {shape}"] = {
                "milliseconds": {"tinyalbert": round(1000 * ours, 1),
                                 "pytorch_eager": round(1000 * theirs, 1)},
                "tokens_per_second": round(sum(lengths) / ours),
                "times_as_fast": round(theirs / ours, 3)}
            print(f"{model}, {shape}: {theirs / ours:.2f} times as fast", flush=True)
    show({"threads": args.threads, "repeats": args.repeats, "versions": versions(),
          "results": results}, args.out)


if __name__ == "__main__":
    main()
