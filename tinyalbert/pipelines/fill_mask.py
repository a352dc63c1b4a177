"""The task "fill-mask": which pieces fit where the text has a [MASK].

Several [MASK] in one text are predicted independently of each other, all from the text with every
one of them hidden, as in pretraining: the best candidates need not fit together.
"""

from __future__ import annotations

import logging
from typing import Any, TypedDict

import numpy as np

from ..errors import InputError
from ..functional import softmax
from ..tokenization.base import PreTrainedTokenizer
from .batches import by_length, encode, pad, word_logits

logger = logging.getLogger("tinyalbert")


class Proposal(TypedDict):
    score: float            # the probability of this piece at this place, in [0, 1]
    token: int
    token_str: str
    sequence: str           # the text with the [MASK] filled in, as the tokenizer decodes it


def fill_masks(model: Any, tokenizer: PreTrainedTokenizer, texts: str | list[str], *,
               top_k: int = 5, targets: str | list[str] | None = None, batch_size: int = 32) -> Any:
    """The top_k likeliest pieces for every [MASK], likeliest first, as `Proposal`s.

    A list of them for a text with one [MASK]; a list of such lists for a text with several; and a
    list of either for several texts. (For a list of a single text the same as for the text, as in
    Hugging Face.) The scores are shares of the whole vocabulary, with targets too.

    targets: the only pieces to choose from. One that is in the vocabulary is that piece: for
        ALBERT "▁he" is the word, and "he" is found inside words, which a warning says. One that is
        not is the word, if that is a single piece.

    Raises InputError if a text holds no [MASK], is too long for the model, or a target is no piece.
    """
    if top_k < 1:
        raise InputError(f"top_k must be at least 1, not {top_k}")
    texts = [texts] if isinstance(texts, str) else texts
    allowed = np.arange(len(tokenizer)) if targets is None else target_ids(tokenizer, targets)
    rows = encode(model, tokenizer, texts)["input_ids"]
    for text, row in zip(texts, rows, strict=True):
        if tokenizer.mask_token_id not in row:
            raise InputError(f"there is no {tokenizer.mask_token} in {text!r:.80}: put one where a "
                             "word is to be guessed")
    answers: list[Any] = [None] * len(rows)
    for batch in by_length([len(row) for row in rows], batch_size):
        ids, mask = pad([rows[i] for i in batch], tokenizer.pad_token_id)   # [B, T]
        masked = ids == tokenizer.mask_token_id
        probs = softmax(word_logits(model, ids, mask, np.flatnonzero(masked)))      # [M, V]
        scores = model.backend.to_numpy(probs)[:, allowed]
        each = np.split(scores, masked.sum(1).cumsum()[:-1])                # of each text
        for i, of_text in zip(batch, each, strict=True):
            answers[i] = proposals(tokenizer, rows[i], of_text, allowed, top_k)
    return answers[0] if len(answers) == 1 else answers


def proposals(tokenizer: PreTrainedTokenizer, ids: list[int], scores: np.ndarray,
              allowed: np.ndarray, top_k: int) -> list[Any]:
    """For one text: scores [M, K] of the K allowed pieces at its M masks."""
    places = [place for place, i in enumerate(ids) if i == tokenizer.mask_token_id]
    only = len(places) == 1             # where there are others, they are to be seen
    answer = []
    for place, row in zip(places, scores, strict=True):
        best = np.argsort(-row)[:top_k]
        proposed = []
        for score, token in zip(row[best].tolist(), allowed[best].tolist(), strict=True):
            filled = [*ids[:place], token, *ids[place + 1:]]
            shown = [i for i in filled if i != tokenizer.pad_token_id]
            proposed.append(Proposal(score=score, token=token, token_str=tokenizer.decode([token]),
                                     sequence=tokenizer.decode(shown, skip_special_tokens=only)))
        answer.append(proposed)
    return answer[0] if only else answer


def target_ids(tokenizer: PreTrainedTokenizer, targets: str | list[str]) -> np.ndarray:
    """The ids [K] of the pieces or words that are asked for, each once."""
    targets = [targets] if isinstance(targets, str) else targets
    if not targets:
        raise InputError("targets is empty: name the words to choose from, or leave it out")
    vocabulary = tokenizer.get_vocab()
    ids: dict[int, None] = {}           # in the order asked for
    for target in targets:
        pieces = tokenizer.tokenize(target)
        if target not in vocabulary and (len(pieces) != 1 or pieces[0] not in vocabulary
                                         or pieces[0] == tokenizer.unk_token):
            raise InputError(f"the target {target!r} is not one piece of this vocabulary but "
                             f"{' '.join(pieces) or 'none'}: only a single one can fill a [MASK]")
        piece = target if target in vocabulary else pieces[0]
        if len(pieces) == 1 and piece != pieces[0]:
            logger.warning("the target %r is a piece inside words; the word is %r", piece,
                           pieces[0])
        ids[vocabulary[piece]] = None
    return np.array(list(ids))
