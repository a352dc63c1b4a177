"""The whole pretraining model, made tiny, and checked: what `tinyalbert gradcheck` runs.

Sequences of 5, 3 and 0 tokens: one full, one padded, one that is nothing but padding. No two sizes
are equal, so that a factor or a transposition cannot hide behind another.
"""

from __future__ import annotations

import numpy as np

from ..config import Activation, AlbertConfig, DropoutSites, Sharing
from ..functional import IGNORED
from ..tasks import AlbertForPreTraining
from . import check_gradients
from .report import Report

LENGTHS = (5, 3, 0)


def run(*, hidden_act: Activation = "gelu_new", num_hidden_layers: int = 3,
        num_hidden_groups: int = 1, inner_group_num: int = 1, sharing: Sharing = "all",
        dropout: float = 0.1, dropout_sites: DropoutSites = "google",
        gradient_checkpointing: bool = False, elements: int = 32, seed: int = 0) -> Report:
    """Print the gradient check of a tiny `AlbertForPreTraining`, one row for each tensor.

    dropout is the probability at every place that has any; elements as in `check_gradients`; the
    other arguments are those of `AlbertConfig`. InputError if they contradict each other.
    """
    config = AlbertConfig(
        vocab_size=17, embedding_size=4, hidden_size=6, num_attention_heads=2, intermediate_size=10,
        max_position_embeddings=8, initializer_range=0.4, hidden_act=hidden_act,
        num_hidden_layers=num_hidden_layers, num_hidden_groups=num_hidden_groups,
        inner_group_num=inner_group_num, sharing=sharing, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, classifier_dropout_prob=dropout,
        dropout_sites=dropout_sites, gradient_checkpointing=gradient_checkpointing)
    rng = np.random.default_rng(seed)
    shape = len(LENGTHS), max(LENGTHS)
    mask = (np.arange(shape[1]) < np.array(LENGTHS)[:, None]).astype(int)      # [B, T]
    ids = rng.integers(1, config.vocab_size, shape) * mask
    types = rng.integers(0, config.type_vocab_size, shape) * mask
    report = check_gradients(
        AlbertForPreTraining(config, dtype=np.float64, seed=seed), ids, mask, types,
        labels=np.where((rng.random(shape) < 0.5) & (mask == 1), ids, IGNORED),
        sentence_order_label=np.array([0, 1, IGNORED]), seed=seed, elements=elements)
    print(report)
    return report
