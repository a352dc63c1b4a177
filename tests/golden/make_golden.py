"""Make the golden files from Hugging Face's ALBERT in PyTorch: python tests/golden/make_golden.py

Each file holds, for one tiny model: the configuration (JSON), inputs/*, weights/* (float32, exact
in both precisions), outputs/* of an evaluation, and training/*: loss, sop_logits and the gradient
of each parameter. Everything is computed in float64: it is the truth for both precisions, and a
float32 reference would only add its own rounding. `versions` says what computed it.

Dropout masks are not stored. They follow from `dropout_seed`; `first_draws` holds the first numbers
that the seed gave, so that a NumPy whose streams have changed is told apart from a wrong gradient.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "reference"), str(HERE.parents[1])]

import torch  # noqa: E402
import transformers  # noqa: E402
from hugging_face import loss, same_dropout, summed_gradients, tensors, twin  # noqa: E402
from tiny import make_batch, randomize, tiny_config  # noqa: E402

from tinyalbert import AlbertForPreTraining  # noqa: E402

DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3,
           "classifier_dropout_prob": 0.4}
GOLDEN: dict[str, dict[str, Any]] = {
    "albert": {},
    "gelu_inner_groups": {"hidden_act": "gelu", "inner_group_num": 2, "num_hidden_layers": 2},
    "relu_not_shared": {"hidden_act": "relu", "sharing": "none", "num_hidden_layers": 3},
    "shared_attention": {"sharing": "attention", "num_hidden_layers": 3},
    "dropout_huggingface": {"dropout_sites": "huggingface", **DROPOUT},
    "dropout_google": {"dropout_sites": "google", **DROPOUT},
}
DROPOUT_SEED = 7


def golden(changes: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    config = tiny_config(**changes)
    model = randomize(AlbertForPreTraining(config, dtype="float64"), seed)
    batch, theirs = make_batch(config, seed=seed), twin(model)
    with torch.no_grad():
        evaluated = theirs.eval()(**tensors(batch), output_hidden_states=True,
                                  output_attentions=True)
    with same_dropout(model, DROPOUT_SEED, batch):
        trained_loss, trained = loss(theirs.train(), batch)
    trained_loss.backward()
    return {
        "config": np.array(json.dumps(config.to_dict())),
        "versions": np.array(json.dumps({"torch": torch.__version__,
                                         "transformers": transformers.__version__,
                                         "numpy": np.__version__})),
        "dropout_seed": np.array(DROPOUT_SEED),
        "first_draws": first_draws(DROPOUT_SEED),
        **{f"inputs/{name}": value for name, value in batch.items()},
        **{f"weights/{name}": value.astype(np.float32)
           for name, value in model.state_dict().items()},
        **{f"outputs/{name}": evaluated[name].numpy()
           for name in ("loss", "prediction_logits", "sop_logits")},
        "outputs/hidden_states": torch.stack(evaluated.hidden_states).numpy(),
        "outputs/attentions": torch.stack(evaluated.attentions).numpy(),
        "training/loss": trained_loss.detach().numpy(),
        "training/sop_logits": trained.sop_logits.detach().numpy(),
        **{f"gradients/{name}": g for name, g in summed_gradients(model, theirs).items()},
    }


def first_draws(seed: int) -> np.ndarray:
    """What dropout draws from a generator: numbers in [0, 1) and seeds for other generators."""
    rng = np.random.default_rng(seed)
    return np.array([*rng.random(3, dtype=np.float32), float(rng.integers(2**63))])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for seed, (name, changes) in enumerate(GOLDEN.items()):
        np.savez_compressed(HERE / f"{name}.npz", **golden(changes, seed))
        print(name, (HERE / f"{name}.npz").stat().st_size, "bytes")
