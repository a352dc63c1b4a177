"""The published models by name: paper, Table 1; values of the hubs' config.json.

ALBERT v2 was trained longer, with more data and without dropout. The paper's rule (one head for
every 64 units) gives xlarge 32 heads; Google and Hugging Face both have 16.
"""

from typing import Any

from .config import AlbertConfig, AnyConfig, BertConfig


def albert(hidden: int, layers: int, heads: int, **rest: Any) -> AlbertConfig:
    return AlbertConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
                        intermediate_size=4 * hidden, **rest)


def bert(hidden: int, layers: int, vocab_size: int) -> BertConfig:
    return BertConfig(hidden_size=hidden, num_hidden_layers=layers, vocab_size=vocab_size,
                      num_attention_heads=hidden // 64, intermediate_size=4 * hidden)


V1 = {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}

PUBLISHED: dict[str, AnyConfig] = {
    "albert-base-v1": albert(768, 12, 12, **V1),
    "albert-large-v1": albert(1024, 24, 16, **V1),
    "albert-xlarge-v1": albert(2048, 24, 16, **V1),
    "albert-xxlarge-v1": albert(4096, 12, 64, hidden_act="gelu"),
    "albert-base-v2": albert(768, 12, 12),
    "albert-large-v2": albert(1024, 24, 16),
    "albert-xlarge-v2": albert(2048, 24, 16),
    "albert-xxlarge-v2": albert(4096, 12, 64),
    "bert-base-uncased": bert(768, 12, 30522),
    "bert-large-uncased": bert(1024, 24, 30522),
    "bert-base-cased": bert(768, 12, 28996),
    "bert-large-cased": bert(1024, 24, 28996),
}
