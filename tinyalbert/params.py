"""How many parameters an ALBERT has, and why so few: counted from the configuration alone.

    ALBERT-base: 108 M in BERT's layout  ->  89 M with a factorized table  ->  12 M shared

Nothing is allocated. Left out: what else a size costs (arithmetic, memory).
"""

from __future__ import annotations

from collections.abc import Mapping

from .config import AlbertConfig

ENCODER_COMPONENTS = ("word embeddings", "position embeddings", "token type embeddings",
                      "embedding norm", "embedding-to-hidden map", "attention", "feed-forward",
                      "layer norms")
HEAD_COMPONENTS = ("masked-LM head", "sentence-order head")


def parameter_table(config: AlbertConfig) -> dict[str, int]:
    """Parameters of each component of `AlbertForPreTraining(config)`, in the order of a forward
    pass. What is shared between layers, or tied, is counted once, where it first occurs.

    A group of layers owns inner_group_num blocks; `sharing` says which half of a block the layers
    of a group share (paper, Table 4)."""
    vocab, size, hidden = config.vocab_size, config.embedding_size, config.hidden_size
    groups = config.num_hidden_groups * config.inner_group_num
    layers = config.num_hidden_layers * config.inner_group_num
    attentions = groups if config.sharing in ("all", "attention") else layers
    feed_forwards = groups if config.sharing in ("all", "ffn") else layers
    return {
        "word embeddings": vocab * size,
        "position embeddings": config.max_position_embeddings * size,
        "token type embeddings": config.type_vocab_size * size,
        "embedding norm": norm(size),
        "embedding-to-hidden map": linear(size, hidden),
        "attention": attentions * 4 * linear(hidden, hidden),     # query, key, value, output
        "feed-forward": feed_forwards * (linear(hidden, config.intermediate_size)
                                         + linear(config.intermediate_size, hidden)),
        "layer norms": (attentions + feed_forwards) * norm(hidden),
        "pooler": linear(hidden, hidden),
        "masked-LM head": linear(hidden, size) + norm(size) + vocab,    # its matrix is tied
        "sentence-order head": linear(hidden, 2),
    }


def linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def norm(size: int) -> int:
    return 2 * size


def parameter_totals(config: AlbertConfig) -> dict[str, int]:
    """The three sums that are quoted as "the parameters" of an ALBERT, and what they would be
    without its two savings: every layer with its own parameters; a table of V x H instead of
    V x E and a map. The paper's tables quote the first or second sum."""
    table = parameter_table(config)
    encoder = sum(table[name] for name in ENCODER_COMPONENTS)
    total = sum(table.values())
    factorized = config.vocab_size * config.embedding_size
    factorized += config.embedding_size * config.hidden_size
    return {
        "without pooler and heads": encoder,
        "with pooler (AlbertModel)": encoder + table["pooler"],
        "with heads (AlbertForPreTraining)": total,
        "the same, nothing shared": sum(parameter_table(config.replace(sharing="none")).values()),
        "word table as V x E + E x H": factorized,
        "word table as V x H": config.vocab_size * config.hidden_size,
    }


def format_table(configs: Mapping[str, AlbertConfig]) -> str:
    """Components and totals of several configurations side by side, as text."""
    columns = [{**parameter_table(config), **parameter_totals(config)}
               for config in configs.values()]
    components = len(parameter_table(AlbertConfig()))
    rows = [[name, *(f"{column[name]:,}" for column in columns)] for name in columns[0]]
    rows = [["", *configs], *rows]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]),
                        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:],
                                                                   strict=True))]).rstrip()
             for row in rows]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    for place in (1 + components, 1):
        lines.insert(place, rule)
    return "\n".join(lines)
