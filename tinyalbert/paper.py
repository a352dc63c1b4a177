"""The parameter counts in the paper's Tables 1, 3, 4 and 12, next to exact ones.

The paper prints millions and does not say of what. With 30,000 words throughout and no E -> H map
where E = H, one rule gives 21 of its 26 figures; the notes are about the other five.
"""

from __future__ import annotations

from typing import NamedTuple

from .config import AlbertConfig, Sharing
from .params import parameter_table, parameter_totals
from .published import albert

RULE = """\
Parameters without heads. The rule: with the pooler if anything is shared,
without it if nothing is, to the nearest million. No single sum fits both kinds
of rows. Where E = H, the map from E to H is not counted."""
NOTES = """\
[1] as if the position and segment tables were H wide, 514 (H - E) more: 59.7M,
    224.6M, 498.6M. A guess that fits; in the released code and checkpoints they
    are E wide.
[2] unexplained. For these weights the paper has 235M (Tables 1 and 2), 233M
    (section 3.2) and 225M (Table 12). Its "70 % of BERT-large" is 235/334; the
    exact counts make it 66.7 %."""


class Row(NamedTuple):
    model: str
    config: AlbertConfig
    printed: int            # millions, in the paper
    note: str = ""


def base(size: int, sharing: Sharing) -> AlbertConfig:
    return albert(768, 12, 12, embedding_size=size, sharing=sharing)


TABLES: dict[str, list[Row]] = {
    "Table 1: the models": [
        Row("BERT-base", base(768, "none"), 108),
        Row("BERT-large", albert(1024, 24, 16, embedding_size=1024, sharing="none"), 334),
        Row("ALBERT-base", base(128, "all"), 12),
        Row("ALBERT-large", albert(1024, 24, 16), 18),
        Row("ALBERT-xlarge", albert(2048, 24, 16), 60, "[1]"),
        Row("ALBERT-xxlarge", albert(4096, 12, 64), 235, "[2]"),
    ],
    "Table 3: embeddings (ALBERT-base)": [
        Row("not shared, E = 64", base(64, "none"), 87),
        Row("not shared, E = 128", base(128, "none"), 89),
        Row("not shared, E = 256", base(256, "none"), 93),
        Row("not shared, E = 768", base(768, "none"), 108),
        Row("all shared, E = 64", base(64, "all"), 10),
        Row("all shared, E = 128", base(128, "all"), 12),
        Row("all shared, E = 256", base(256, "all"), 16),
        Row("all shared, E = 768", base(768, "all"), 31),
    ],
    "Table 4: sharing (ALBERT-base)": [
        Row("E = 768, all", base(768, "all"), 31),
        Row("E = 768, attention", base(768, "attention"), 83),
        Row("E = 768, feed-forward", base(768, "ffn"), 57),
        Row("E = 768, nothing", base(768, "none"), 108),
        Row("E = 128, all", base(128, "all"), 12),
        Row("E = 128, attention", base(128, "attention"), 64),
        Row("E = 128, feed-forward", base(128, "ffn"), 38),
        Row("E = 128, nothing", base(128, "none"), 89),
    ],
    "Table 12: width (3 shared layers)": [
        Row("H = 1024", albert(1024, 3, 16), 18),
        Row("H = 2048", albert(2048, 3, 32), 60, "[1]"),
        Row("H = 4096", albert(4096, 3, 64), 225, "[1]"),
        Row("H = 6144", albert(6144, 3, 96), 499, "[1]"),
    ],
}


def exact_counts(config: AlbertConfig) -> tuple[int, int]:
    """Parameters without and with the pooler, both without heads, as the paper has the model:
    without a map where E = H."""
    without, pooled = list(parameter_totals(config).values())[:2]
    if config.embedding_size == config.hidden_size:
        unused = parameter_table(config)["embedding-to-hidden map"]
        return without - unused, pooled - unused
    return without, pooled


def by_the_rule(config: AlbertConfig) -> int:
    """The millions that the rule gives."""
    without, pooled = exact_counts(config)
    return round((without if config.sharing == "none" else pooled) / 1e6)


def format_tables() -> str:
    """All four tables, the rule and the notes, as text."""
    lines = [RULE]
    for title, rows in TABLES.items():
        lines += ["", f"{title:<34}{'without pooler':>16}{'with pooler':>13}  rule  paper"]
        for model, config, printed, note in rows:
            without, pooled = exact_counts(config)
            lines.append(f"  {model:<32}{without:>16,}{pooled:>13,}"
                         f"{by_the_rule(config):>5}M{printed:>6}M {note}".rstrip())
    return "\n".join([*lines, "", NOTES])
