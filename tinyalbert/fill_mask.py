"""The pipeline "fill-mask" for people: "the [MASK] of the United States" -> president, 41%."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .pipelines import pipeline

if TYPE_CHECKING:
    from .tokenization.base import PreTrainedTokenizer

BAR = 20        # characters that stand for 100%


class Candidate(NamedTuple):
    token: str              # the piece; "▁" begins a word of ALBERT's, "##" continues one of BERT's
    token_id: int
    probability: float      # of this piece at this place, in [0, 1]
    sentence: str           # the text, as it was given, with this [MASK] filled in


def fill_mask(model: Any, tokenizer: PreTrainedTokenizer, text: str,
              top_k: int = 5) -> list[list[Candidate]]:
    """The top_k likeliest pieces for every [MASK], in the order of the text, likeliest first.

    Raises InputError if the text holds no [MASK] or is longer than the model's positions.
    """
    answer: list[Any] = pipeline("fill-mask", model, tokenizer)(text, top_k=top_k)
    rows = answer if isinstance(answer[0], list) else [answer]
    return [[Candidate(piece := str(tokenizer.convert_ids_to_tokens(proposal["token"])),
                       proposal["token"], proposal["score"], filled(text, tokenizer, mask, piece))
             for proposal in row] for mask, row in enumerate(rows)]


def filled(text: str, tokenizer: PreTrainedTokenizer, mask: int, piece: str) -> str:
    """The text with its mask number `mask` replaced: what begins a word is set off by a space, any
    other piece joins what is before it."""
    parts = text.split(tokenizer.mask_token)
    before = tokenizer.mask_token.join(parts[:mask + 1]).rstrip()
    after_something = tokenizer.convert_tokens_to_string(["x", piece]).removeprefix("x")
    return (before + after_something).lstrip() + tokenizer.mask_token.join(parts[mask + 1:])


def format_candidates(text: str, predictions: Sequence[Sequence[Candidate]]) -> str:
    """The answer of `fill_mask` as a table for the terminal."""
    lines = [text]
    if len(predictions) > 1:
        lines.append(f"({len(predictions)} masks, each predicted with the others still hidden)")
    width = max(len(candidate.token) for row in predictions for candidate in row)
    for row in predictions:
        lines.append("")
        for candidate in row:
            bar = "█" * round(BAR * candidate.probability)
            lines.append(f"{candidate.probability:7.1%}  {candidate.token:<{width}}  {bar:<{BAR}}  "
                         f"{candidate.sentence}")
    return "\n".join(lines)
