"""How likely is a sentence? Pseudo-log-likelihood, and which of two sentences a model prefers.

A masked language model has no probability for a whole sentence. It has one for each token, given
all the others; Salazar et al. (2020, "Masked Language Model Scoring") add up their logarithms:

    the cat sat   ->   [MASK] cat sat       log P(the)
                       the [MASK] sat     + log P(cat)
                       the cat [MASK]     + log P(sat)   =  PLL, in nats

That is no logarithm of a probability (over all sentences, exp(PLL) does not sum to 1), but of two
sentences that differ in one point, the grammatical one should have the higher PLL: such minimal
pairs are BLiMP (Warstadt et al. 2020).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from .backend import Array, array_module, backend_of
from .errors import InputError
from .pipelines.batches import by_length, encode, pad, word_logits
from .tokenization.base import PreTrainedTokenizer

TIE = 1e-4      # nats: closer PLLs are equal; float32 is not exact enough to tell them apart


class SentenceScore(NamedTuple):
    tokens: list[str]           # n of them: [CLS] and [SEP] are not scored
    log_probs: np.ndarray       # [n] of each token given the others, nats

    @property
    def total(self) -> float:
        """The pseudo-log-likelihood of the sentence, nats."""
        return float(self.log_probs.sum())

    @property
    def per_token(self) -> float:
        """Its mean over the tokens, nats."""
        return float(self.log_probs.mean())


def pseudo_log_likelihood(model: Any, tokenizer: PreTrainedTokenizer, texts: str | list[str], *,
                          whole_words: bool = False, batch_size: int = 32,
                          progress: bool = False) -> Any:
    """The `SentenceScore` of a text, or a list of them for a list of texts.

    whole_words: with each token, hide the later pieces of its word too (PLL-word-l2r of Kauf &
        Ivanova 2023, "A Better Way to Do Masked Language Model Scoring"). Without that, rare words
        of several pieces seem too likely: given "so" and "##ir", little but "##uven" fits between.
        Words are those that pretraining masks whole.
    batch_size: sentences with a hidden token, of which a text has as many as it has tokens.

    Raises InputError for a text without tokens, with a [MASK], or too long for the model.
    """
    sentences = [texts] if isinstance(texts, str) else texts
    rows, places = scored_places(model, tokenizer, sentences)
    starts = np.ones(len(tokenizer), bool)
    if whole_words:
        starts = tokenizer.word_start_table()
        starts[tokenizer.all_special_ids] = True
    copies = [(i, place) for i, scored in enumerate(places) for place in scored]
    log_probs = np.empty(len(copies))
    with tqdm(total=len(copies), unit="token", desc="scoring",
              disable=None if progress else True) as bar:
        for batch in by_length([len(rows[i]) for i, _ in copies], batch_size):
            chosen = [copies[copy] for copy in batch]
            hidden = [hide(rows[i], place, starts, tokenizer.mask_token_id) for i, place in chosen]
            ids, mask = pad(hidden, tokenizer.pad_token_id)                     # [B, T]
            tokens = np.arange(len(batch)) * ids.shape[1] + [place for _, place in chosen]
            logits = word_logits(model, ids, mask, tokens)                      # [B, V]
            log_probs[batch] = log_prob(logits, np.array([rows[i][place] for i, place in chosen]))
            bar.update(len(batch))
    of_each = np.split(log_probs, np.cumsum([len(scored) for scored in places])[:-1])
    scores = [SentenceScore(list(tokenizer.convert_ids_to_tokens(row[scored])), of_text)
              for row, scored, of_text in zip(rows, places, of_each, strict=True)]
    return scores[0] if isinstance(texts, str) else scores


def scored_places(model: Any, tokenizer: PreTrainedTokenizer,
                  texts: list[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each text its ids [T], and where among them the tokens to be scored are [n]."""
    encoding = encode(model, tokenizer, texts)
    rows = [np.array(ids) for ids in encoding["input_ids"]]
    places = [np.flatnonzero(np.array(added) == 0) for added in encoding["special_tokens_mask"]]
    for text, ids, scored in zip(texts, rows, places, strict=True):
        if not len(scored):
            raise InputError(f"there is nothing to score in {text!r:.80}: it has no tokens")
        if tokenizer.mask_token_id in ids:
            raise InputError(f"there is a {tokenizer.mask_token} in {text!r:.80}: scoring hides "
                             "one token after the other by itself")
    return rows, places


def hide(ids: np.ndarray, place: int, starts: np.ndarray, mask_token_id: int) -> np.ndarray:
    """A copy with one token hidden, and those after it up to the next that starts a word.

    starts: bool [V]; the [SEP] at the end of every row must be one.
    """
    end = place + 1
    while not starts[ids[end]]:
        end += 1
    hidden = ids.copy()
    hidden[place:end] = mask_token_id
    return hidden


def log_prob(logits: Array, ids: np.ndarray) -> np.ndarray:
    """log softmax(logits)[id] for each row: logits [B, V], ids [B] -> [B], on the host."""
    xp, backend = array_module(logits), backend_of(logits)
    shifted = logits - logits.max(-1, keepdims=True)                        # [B, V]
    of_ids = shifted[xp.arange(len(ids)), backend.asarray(ids)]             # [B]
    return backend.to_numpy(of_ids - xp.log(xp.exp(shifted).sum(-1)))


# --- minimal pairs ------------------------------------------------------------------------------


class MinimalPair(NamedTuple):
    good: str
    bad: str
    paradigm: str           # BLiMP's UID, one of 67
    phenomenon: str         # its linguistics_term, one of 12
    field: str              # morphology, syntax, semantics, ...


KEYS = ("sentence_good", "sentence_bad", "UID", "linguistics_term", "field")


def read_blimp(path: str | Path, limit: int | None = None) -> list[MinimalPair]:
    """The pairs of a BLiMP file, one JSON object a line; of them the first `limit`.

    InputError, naming file and line, if it is anything else.
    """
    try:
        with open(path, encoding="utf-8") as lines:
            pairs = [read_pair(line, f"line {number} of {path}")
                     for number, line in enumerate(islice(lines, limit), 1)]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text, as a BLiMP file must be") from error
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return pairs


def read_pair(line: str, where: str) -> MinimalPair:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: {error}") from error
    for key in KEYS:
        value = values.get(key) if isinstance(values, dict) else None
        if not isinstance(value, str) or not value:
            raise InputError(f"{where} has no text as {key!r}, which BLiMP's files have")
    return MinimalPair(*(values[key] for key in KEYS))


def prefers_good(model: Any, tokenizer: PreTrainedTokenizer, pairs: Sequence[MinimalPair],
                 **options: Any) -> np.ndarray:
    """For each pair [P]: 1 where the good sentence has the higher PLL, 0 where the bad one has,
    1/2 where they are equal. options: of `pseudo_log_likelihood`."""
    scores = pseudo_log_likelihood(model, tokenizer, [text for pair in pairs for text in pair[:2]],
                                   **options)
    totals = np.array([score.total for score in scores]).reshape(-1, 2)     # [P, 2] good, bad
    difference = totals[:, 0] - totals[:, 1]
    return np.where(abs(difference) < TIE, 0.5, difference > 0)


class Accuracy(NamedTuple):
    pairs: int
    accuracy: float             # the mean preference, in [0, 1]
    standard_error: float       # of that mean: standard deviation / sqrt(pairs)


def accuracy(preferences: np.ndarray) -> Accuracy:
    return Accuracy(len(preferences), float(preferences.mean()),
                    float(preferences.std() / np.sqrt(len(preferences))))
