"""A made-up language for tests that need text: words of open syllables, and a number."""

from __future__ import annotations

import random

SYLLABLES = ["ba", "do", "ki", "la", "mu", "ne", "po", "ru", "si", "ta"]


def sentences(count: int = 300, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=k)) for k in (1, 2, 3, 4) for _ in range(40)]
    return [" ".join(rng.choices(words, k=8)) + " 200, 1000." for _ in range(count)]
