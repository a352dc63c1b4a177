"""ROUGE (Lin 2004): how much a summary has in common with the one that was asked for.

By Google's rouge_score. Its words are runs of a to z and 0 to 9 in small letters, less their
endings (Porter's stemmer): it is made for English, and a text in other letters has no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError

NAMES = ("rouge1", "rouge2", "rougeL")      # words, pairs of words, longest common subsequence


def rouge(references: Sequence[str], summaries: Sequence[str]) -> dict[str, float]:
    """F, the harmonic mean of precision and recall, in [0, 1]: the mean over the summaries."""
    scores = [scorer().score(reference, summary)
              for reference, summary in zip(references, summaries, strict=True)]
    return {name: float(np.mean([score[name].fmeasure for score in scores])) for name in NAMES}


def words(text: str) -> list[str]:
    """What ROUGE counts."""
    found: list[str] = tokenizer().tokenize(text)
    return found


@cache
def scorer() -> Any:
    tokens = tokenizer()                    # which says so if the package is missing
    from rouge_score.rouge_scorer import RougeScorer
    return RougeScorer(NAMES, tokenizer=tokens)


@cache
def tokenizer() -> Any:
    try:
        from rouge_score.tokenizers import DefaultTokenizer
    except ImportError as error:
        raise InputError("measuring summaries needs rouge-score: pip install 'tinyalbert[finetune]'"
                         ) from error
    return DefaultTokenizer(use_stemmer=True)
