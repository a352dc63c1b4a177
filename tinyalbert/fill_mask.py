"""Ask a trained model for hidden words: "the [MASK] of the United States" -> president, 41%.

Several [MASK] in one text are predicted independently of each other, all from the text with every
one of them hidden, as in pretraining: the best candidates need not fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import InputError
from .functional import softmax
from .model import AlbertForPreTraining
from .tokenization.tokenizer import AlbertTokenizer

BAR = 20        # characters that stand for 100%


class Candidate(NamedTuple):
    token: str              # the piece; "▁" begins a word
    token_id: int
    probability: float      # of this piece at this place, in [0, 1]
    sentence: str           # the text with this [MASK] filled in


def fill_mask(model: AlbertForPreTraining, tokenizer: AlbertTokenizer, text: str,
              top_k: int = 5) -> list[list[Candidate]]:
    """The top_k likeliest pieces for every [MASK], in the order of the text, likeliest first.

    Raises InputError if the text holds no [MASK] or is longer than the model's positions.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1, not {top_k}")
    ids = np.array([tokenizer.encode(text)])                                # [1, T]
    places = np.flatnonzero(ids[0] == tokenizer.mask_token_id)              # [M]
    if not len(places):
        raise InputError(f"there is no {tokenizer.mask_token} in {text!r:.80}: put one where a "
                         "word is to be guessed")
    longest = model.config.max_position_embeddings
    if ids.shape[1] > longest:
        raise InputError(f"the text has {ids.shape[1]} tokens and the model {longest} positions: "
                         "shorten the text")
    logits = model.backend.to_numpy(model(ids).prediction_logits)[0, places]   # [M, V]
    probs = softmax(logits)
    best = np.argsort(-probs, axis=-1, kind="stable")[:, :top_k]            # [M, top_k]
    return [[Candidate(token := str(tokenizer.convert_ids_to_tokens(i)), i, float(row[i]),
                       filled(text, tokenizer.mask_token, mask, token))
             for i in chosen.tolist()]
            for mask, (row, chosen) in enumerate(zip(probs, best, strict=True))]


def filled(text: str, mask_token: str, mask: int, token: str) -> str:
    """The text with its mask number `mask` replaced: a piece with "▁" is set off by a space, any
    other joins what is before it."""
    parts = text.split(mask_token)
    before = mask_token.join(parts[:mask + 1]).rstrip()
    return (before + token.replace("▁", " ")).lstrip() + mask_token.join(parts[mask + 1:])


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
