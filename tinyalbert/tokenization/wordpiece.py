"""BERT's way from a text to pieces: cut it into words, and each word into the longest known pieces.

    "Embeddings, naïve!"  ->  embeddings , naive !  ->  em ##bed ##ding ##s , naive !

"##" marks a piece that continues a word. Both steps are those of Google's `tokenization.py`. Where
Hugging Face changed it, this follows Hugging Face: private-use characters are dropped, words of
more than 100 characters unknown (200 in Google's), and a sigma at the end of a Greek word is
lower-cased like any other. Left out: the options to skip step 1 or to keep some words whole.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterator

MAX_CHARACTERS = 100
CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
           (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


class BasicTokenizer(dict[int, str]):
    """Step 1, a text to words: what stands between spaces, punctuation marks, Chinese characters.

    Each character is rewritten by itself, so this is a table from code points to strings, filled in
    as characters turn up: what `str.translate` takes. Spaces in the strings separate words.
    """

    def __init__(self, do_lower_case: bool, tokenize_chinese_chars: bool,
                 strip_accents: bool) -> None:
        self.do_lower_case = do_lower_case
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.strip_accents = strip_accents

    def words(self, text: str) -> list[str]:
        return text.translate(self).split()

    def words_with_origins(self, text: str) -> Iterator[tuple[str, list[int]]]:
        """The same words, each with the place in the text of each of its characters."""
        word, origins = "", []
        for i, character in enumerate(text + " "):
            for c in self[ord(character)]:
                if c != " ":
                    word += c
                    origins.append(i)
                elif word:
                    yield word, origins
                    word, origins = "", []

    def __missing__(self, code: int) -> str:
        self[code] = self.rewrite(chr(code))
        return self[code]

    def rewrite(self, character: str) -> str:
        if is_control(character):
            return ""
        if character.isspace():
            return " "
        stands_alone = self.tokenize_chinese_chars and is_chinese(character)
        if self.strip_accents:          # "é" is "e" and a combining accent, which is a mark (Mn)
            character = "".join(c for c in unicodedata.normalize("NFD", character)
                                if unicodedata.category(c) != "Mn")
        if self.do_lower_case:
            character = character.lower()
        text = "".join(f" {c} " if is_punctuation(c) else c for c in character)
        return f" {text} " if stands_alone else text


class WordPiece(dict[str, list[str]]):
    """Step 2, a word to pieces: the longest piece it begins with, then the longest "##" piece that
    the rest begins with, and so on. If no piece fits somewhere, the whole word is unknown.

    A table again, so that each word is searched for only once.
    """

    def __init__(self, pieces: Container[str], unk_token: str) -> None:
        self.pieces = pieces
        self.unk_token = unk_token

    def __missing__(self, word: str) -> list[str]:
        if len(self) >= 2**17:          # some memory for the frequent words, not for every one
            self.clear()
        self[word] = self.split(word)
        return self[word]

    def split(self, word: str) -> list[str]:
        if len(word) > MAX_CHARACTERS:
            return [self.unk_token]
        found: list[str] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                if prefix + word[start:end] in self.pieces:
                    break
            else:
                return [self.unk_token]
            found.append(prefix + word[start:end])
            start = end
        return found


def is_control(character: str) -> bool:
    """Invisible, and no space: such characters are dropped, and so is what stands for broken text.

    Vertical tab, form feed and U+0085 are among them, so they join the words around them.
    """
    if character in "\t\n\r":
        return False
    return (unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")
            or character == "\N{REPLACEMENT CHARACTER}")


def is_chinese(character: str) -> bool:
    """The ideographs of Chinese, Japanese and Korean; not Hangul nor kana, which have words."""
    return any(first <= ord(character) <= last for first, last in CHINESE)


def is_punctuation(character: str) -> bool:
    """Everything in ASCII but letters, digits and spaces, "$" and "^" too; elsewhere class P."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character).startswith("P")
