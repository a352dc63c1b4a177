"""Exercises of notebook 03: tokens."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..tokenization.normalization import Normalizer
from ..tokenization.wordpiece import WordPiece
from .exercise import Exercise, call, function, number

Pieces = list[str]
SCORES = {"▁no": -2.0, "▁now": -2.5, "where": -3.0, "here": -2.6, "w": -5.0, "▁": -3.0, "n": -5.0,
          "o": -5.0, "h": -5.0, "e": -4.0, "r": -5.0, "re": -3.5, "er": -3.5, "▁he": -1.5,
          "he": -2.0}
WORDS = ("▁nowhere", "▁now", "▁here", "▁hero", "▁noon", "r")
VOCABULARY = frozenset({"now", "no", "##where", "##w", "he", "her", "##e", "##ro", "##o", "##r",
                        "a", "ab", "##bc", "##c", "##now"})
RAW_WORDS = ("nowhere", "now", "hero", "abc", "her", "heart", "nowo")
CHARGES = (["▁2", "000,"], ["▁and", ",", "▁1863,"], ["▁so,", "▁it"], ["▁a1,", "b,"], [",", "3,4"])
TEXTS = ("Naïve  cafés", "ÉTÉ\n", "  The ﬁrst\tCongress ", "Ångström", "cafe\u0301", "Straße",
         "Brand™", "plain text")
FEW_SCORES = {"a": -2.0, "b": -2.5, "ab": -1.5, "ba": -3.0}


# --- the right answers


def best_path(text: str, scores: dict[str, float]) -> Pieces:
    best, origin = [0.0] + [-np.inf] * len(text), [0] * (len(text) + 1)
    for stop in range(1, len(text) + 1):
        for start in range(stop):
            score = best[start] + scores.get(text[start:stop], -np.inf)
            if score > best[stop]:
                best[stop], origin[stop] = score, start
    pieces: Pieces = []
    while text:
        pieces.insert(0, text[origin[len(text)]:])
        text = text[:origin[len(text)]]
    return pieces


def longest_match(word: str, vocabulary: frozenset[str]) -> Pieces:
    return WordPiece(vocabulary, "[UNK]").split(word)


def digits_and_comma(pieces: Pieces) -> Pieces:
    return [part for piece in pieces for part in
            ((piece[:-1], ",") if piece[-1] == "," and piece[-2:-1].isdigit() else (piece,))]


def expected_counts(text: str, scores: dict[str, float]) -> np.ndarray:
    """One number for each piece, in the order of the table."""
    place = {piece: i for i, piece in enumerate(scores)}
    total, counts = 0.0, np.zeros(len(scores))
    for path in all_paths(text, scores):
        weight = np.exp(sum(scores[piece] for piece in path))
        total += weight
        for piece in path:
            counts[place[piece]] += weight
    return counts / total


def all_paths(text: str, scores: dict[str, float]) -> Iterator[Pieces]:
    if not text:
        yield []
    for stop in range(1, len(text) + 1):
        if text[:stop] in scores:
            for rest in all_paths(text[stop:], scores):
                yield [text[:stop], *rest]


# --- the usual wrong ones


def fewest_pieces(text: str, scores: dict[str, float]) -> Pieces:
    return best_path(text, dict.fromkeys(scores, -1.0))


def greedy(text: str, scores: dict[str, float]) -> Pieces:
    pieces: Pieces = []
    while text:
        stop = next(n for n in range(len(text), -1, -1) if text[:n] in scores or n == 1)
        pieces.append(text[:stop])
        text = text[stop:]
    return pieces


def match(word: str, vocabulary: frozenset[str], *, inside: str = "##", shortest: bool = False,
          keep: bool = False) -> Pieces:
    """Right as it stands; keep: [UNK] for the rest of the word only."""
    found: Pieces = []
    while word:
        prefix = inside if found else ""
        stops = [n for n in range(len(word), 0, -1) if prefix + word[:n] in vocabulary]
        if not stops:
            return [*found, "[UNK]"] if keep else ["[UNK]"]
        stop = stops[-1 if shortest else 0]
        found.append(prefix + word[:stop])
        word = word[stop:]
    return found


def without_marks(word: str, vocabulary: frozenset[str]) -> Pieces:
    return [piece.removeprefix("##") for piece in longest_match(word, vocabulary)]


def counts_of_the_best(text: str, scores: dict[str, float]) -> np.ndarray:
    path = best_path(text, scores)
    return np.array([float(path.count(piece)) for piece in scores])


def counts_alike(text: str, scores: dict[str, float]) -> np.ndarray:
    return expected_counts(text, dict.fromkeys(scores, 0.0))


def unnormalized_counts(text: str, scores: dict[str, float]) -> np.ndarray:
    total = sum(np.exp(sum(scores[p] for p in path)) for path in all_paths(text, scores))
    return expected_counts(text, scores) * total


def paths_with(text: str, scores: dict[str, float]) -> np.ndarray:
    """The probability of a path that has the piece, once or more often."""
    paths = list(all_paths(text, scores))
    weights = np.exp([sum(scores[piece] for piece in path) for path in paths])
    return np.array([weights[[piece in path for path in paths]].sum() for piece in scores]
                    ) / weights.sum()


def shares(text: str, scores: dict[str, float]) -> np.ndarray:
    counts = expected_counts(text, scores)
    return counts / counts.sum()


def plain(text: str, form: str | None = "NFKD", lower: bool = True, drop: bool = True) -> str:
    text = " ".join(text.split())
    text = unicodedata.normalize(form, text) if form else text      # type: ignore[arg-type]
    text = "".join(c for c in text if not (drop and unicodedata.combining(c)))
    return text.lower() if lower else text


# --- the exercises


def pieces(name: str, reference: Callable[..., Pieces], inputs: list[tuple],
           mistakes: dict[str, Callable[..., Pieces]]) -> Exercise:
    """Write a function that divides something into pieces."""

    def test(answer: Any) -> str:
        for given in inputs:
            got, expected = call(answer, given), reference(*given)
            if not isinstance(got, list | tuple):
                return f"it should return a list of pieces, not {got!r}"
            if list(got) != expected:
                return f"{given[0]!r} gives {got!r} instead of {expected!r}"
        return ""

    def same(answer: Any, mistake: Any) -> bool:
        answers = [answer(*given) for given in inputs]
        return all(isinstance(got, list | tuple) and list(got) == mistake(*given)
                   for got, given in zip(answers, inputs, strict=True))

    return Exercise(name, test, mistakes=mistakes, same=same)


EXERCISES = [
    number("ways_to_cut", 2.0**11, mistakes={
        "between 12 letters there are 11 places for a cut, not 12": 2.0**12,
        "every place is cut or not, whatever the others are: the choices multiply": 12,
        "every place is cut or not, whatever the others are: the choices multiply, 2 * 2 * ...": 11,
    }),
    pieces("viterbi", best_path, [(word, SCORES) for word in WORDS], mistakes={
        "this is the longest match from the left; the best path may begin with a short piece":
            greedy,
        "this counts pieces and not their scores": fewest_pieces,
        "the pieces are in the order of the walk back: turn them round":
            lambda word, scores: best_path(word, scores)[::-1],
        "this is the worst path: log p is negative, and the largest is the best":
            lambda word, scores: best_path(word, {p: -s for p, s in scores.items()}),
    }),
    pieces("wordpiece", longest_match, [(word, VOCABULARY) for word in RAW_WORDS], mistakes={
        "a word of which one part is unknown is [UNK] as a whole, not only its rest":
            lambda word, vocabulary: match(word, vocabulary, keep=True),
        "every piece but the first must be looked up, and returned, with ## before it":
            without_marks,
        "this takes the shortest piece that fits; try the longest first":
            lambda word, vocabulary: match(word, vocabulary, shortest=True),
        "what follows is looked up as if it began the word: put ## before it":
            lambda word, vocabulary: match(word, vocabulary, inside=""),
    }),
    function("piece_counts", expected_counts,
             lambda rng: iter([(word, FEW_SCORES) for word in ("abab", "ab", "baa")]), mistakes={
        "these are the counts of the best path alone; EM asks every path, by its probability":
            counts_of_the_best,
        "every path has the same say here; weigh each by the product of its probabilities":
            counts_alike,
        "the weights of the paths must be divided by their sum, so that they are probabilities":
            unnormalized_counts,
        "a path that uses a piece twice counts twice for it": paths_with,
        "these add up to 1: that is the M step; the counts are asked for": shares,
    }),
    function("plain_text", lambda text: Normalizer().normalize(text),
             lambda rng: iter([(text,) for text in TEXTS]), mistakes={
        "nothing is decomposed yet: é is one character, and only NFKD makes an accent of its own":
            lambda text: plain(text, form=None),
        "NFC puts letter and accent together; it is NFKD that takes them apart":
            lambda text: plain(text, form="NFC"),
        "NFD leaves ﬁ (one character) as it is; the K stands for such look-alikes":
            lambda text: plain(text, form="NFD"),
        "the accents are still there, as characters of their own":
            lambda text: plain(text, drop=False),
        "it is not in lower case": lambda text: plain(text, lower=False),
        "characters without an ASCII form are lost: only combining ones are to be dropped":
            lambda text: plain(text).encode("ascii", "ignore").decode(),
        "this folds ß to ss: lower() leaves it": lambda text: plain(text).casefold(),
        "lower case comes last: NFKD makes capitals of ™":
            lambda text: plain(text.lower(), lower=False),
        "runs of spaces, tabs and line ends are one space, and none at the ends":
            lambda text: "".join(c for c in unicodedata.normalize("NFKD", text)
                                 if not unicodedata.combining(c)).lower(),
    }),
    pieces("digit_comma", digits_and_comma, [(charge,) for charge in CHARGES], mistakes={
        "only a comma after a digit is cut off; ▁so, stays as it is":
            lambda pieces: [part for piece in pieces for part in
                            ((piece[:-1], ",") if piece[-1] == "," and piece != "," else (piece,))],
        "the comma must be the last character of the piece; 3,4 stays as it is":
            lambda pieces: [part for piece in digits_and_comma(pieces) for part in
                            (piece.replace(",", " , ").split() if piece[:1].isdigit() else
                             (piece,))],
        "the comma is a piece of its own afterwards; it is not lost":
            lambda pieces: [piece[:-1] if piece[-2:-1].isdigit() and piece[-1] == "," else piece
                            for piece in pieces],
        "only the character before the comma must be a digit; before it may stand anything":
            lambda pieces: [part for piece in pieces for part in
                            ((piece[:-1], ",") if piece[-1] == "," and piece[:-1].isdigit() else
                             (piece,))],
    }),
]
