"""Writing `tokenizer.json`: the whole tokenizer in one file, for Node, browsers, Rust and others.

Two libraries run such files: `tokenizers` (Rust, Python, and what is built on it) and
Transformers.js. They do not read their steps quite alike, so only steps are used here that mean the
same in both, and the same as ours: the ids are equal. Known limits, in both unless said otherwise:

- A piece that ends in a digit and a comma, such as "2000,", is cut in two here after the best
  pieces were found; no step of the format can do that. It gets a score there that no way to spell
  the text can be worse than, so another best way without it is found. Few numbers come out
  different: 4 of 8,890 in speeches, news and articles with Google's vocabulary, "21,038" for one.
- Ways to split of the same score: which one wins is a matter of rounding.
- A character that Unicode has changed lately, where the libraries' tables are of another year.
- ALBERT with accents kept: a full-width tilde becomes "~", and a second accent joins its letter.
- Added tokens that are looked for in any case are found under any accent too. Transformers.js does
  not know of tokens that must stand alone (single_word).
- Half a character (a lone surrogate) is unknown in Transformers.js, and a space here.
- Transformers 5 takes only the vocabulary and the special tokens from such a file, and for the rest
  its own steps for ALBERT and BERT; its `PreTrainedTokenizerFast` takes all. This package reads
  the vocabulary that lies beside the file.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import InputError
from ..files import read_json_object, write_atomically, write_json
from ..tokenization.albert import AlbertTokenizer
from ..tokenization.base import PreTrainedTokenizer
from ..tokenization.bert import BertTokenizer
from ..tokenization.directory import CONFIG_FILE
from ..tokenization.normalization import Normalizer
from ..tokenization.pieces import PieceModel
from ..tokenization.wordpiece import CHINESE, MAX_CHARACTERS

FILE = "tokenizer.json"
# A Σ at the end of a word. Lower-cased it is ς, for Python and JavaScript; not for Rust.
FINAL_SIGMA = (r"(?<=\p{Cased}|\p{Cased}\p{Case_Ignorable})Σ"
               r"(?!\p{Case_Ignorable}*\p{Cased})")


def write_tokenizer_json(tokenizer: PreTrainedTokenizer, directory: Path) -> None:
    """Write tokenizer.json, and beside it the files of `save_pretrained`.

    InputError if `tokenizers` is not installed, if a file cannot be written, or if the format has
    no way to say what the tokenizer does.
    """
    content = tokenizer_json(tokenizer)
    tokenizer.save_pretrained(directory)
    settings = read_json_object(directory / CONFIG_FILE)
    # Left out, Transformers.js would put "don ' t" together, which tokenizers here leave as it is.
    write_json(directory / CONFIG_FILE, settings | {"clean_up_tokenization_spaces": False})
    write_atomically(directory / FILE, content.encode())


def tokenizer_json(tokenizer: PreTrainedTokenizer) -> str:
    """The content of tokenizer.json."""
    library = import_tokenizers()
    if isinstance(tokenizer, AlbertTokenizer):
        made = _albert(library, tokenizer)
    elif isinstance(tokenizer, BertTokenizer):
        made = _bert(library, tokenizer)
    else:
        raise InputError(f"a {type(tokenizer).__name__} cannot be written as {FILE}: only an "
                         f"AlbertTokenizer or a BertTokenizer can")
    _add_tokens(library, made, tokenizer)
    cls, sep = tokenizer.cls_token, tokenizer.sep_token
    made.post_processor = library.processors.TemplateProcessing(
        single=[cls, "$A", sep], pair=[cls, "$A", sep, "$B:1", f"{sep}:1"],
        special_tokens=[(cls, tokenizer.cls_token_id), (sep, tokenizer.sep_token_id)])
    return made.to_str()


def import_tokenizers() -> ModuleType:
    """InputError if it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(f"{FILE} needs the tokenizers library: "
                         f"pip install 'tinyalbert[onnx]'") from error
    return tokenizers


def _add_tokens(library: ModuleType, made: Any, tokenizer: PreTrainedTokenizer) -> None:
    """The special and the added tokens, in the order of their ids: new ones get the next id."""
    takes_space = tokenizer.mask_token if tokenizer.mask_takes_space else None
    tokens = [library.AddedToken(content, special=True, normalized=False,
                                 lstrip=content == takes_space)
              for content in tokenizer.special_tokens.values()]
    # What is found in normalized text takes the space before it: nothing else would.
    tokens += [library.AddedToken(token.content, special=token.special, normalized=token.normalized,
                                  single_word=token.single_word, lstrip=token.normalized)
               for token in tokenizer.vocabulary.added_tokens]
    for token in sorted(tokens, key=lambda token: tokenizer.vocabulary.ids[token.content]):
        (made.add_special_tokens if token.special else made.add_tokens)([token])


# ---- BERT


def _bert(library: ModuleType, tokenizer: BertTokenizer) -> Any:
    normalizers, steps, basic = library.normalizers, library.pre_tokenizers, tokenizer.basic
    pieces = tokenizer.vocabulary.tokens[:tokenizer.vocab_size]
    made = library.Tokenizer(library.models.WordPiece(
        {piece: i for i, piece in enumerate(pieces)}, unk_token=tokenizer.unk_token,
        max_input_chars_per_word=MAX_CHARACTERS))
    normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=basic.tokenize_chinese_chars,
        strip_accents=basic.strip_accents, lowercase=basic.do_lower_case)
    words = steps.BertPreTokenizer()
    if basic.do_lower_case:             # JavaScript would end a Greek word with ς
        normalizer = normalizers.Sequence([normalizers.Replace("Σ", "σ"), normalizer])
    if basic.tokenize_chinese_chars:    # in JavaScript they are separate words only up to U+FFFF
        chinese = _any_of(chr(c) for first, last in CHINESE for c in range(first, last + 1))
        words = steps.Sequence([steps.Split(library.Regex(chinese), "isolated"), words])
    made.normalizer, made.pre_tokenizer = normalizer, words
    made.decoder = library.decoders.WordPiece(prefix="##", cleanup=True)
    return made


# ---- ALBERT


def _albert(library: ModuleType, tokenizer: AlbertTokenizer) -> Any:
    made = library.Tokenizer(library.models.Unigram(
        _scores(tokenizer.model), unk_id=tokenizer.unk_token_id, byte_fallback=False))
    made.normalizer = library.normalizers.Sequence(
        [*_our_steps(library, tokenizer.normalizer), *_their_steps(library, tokenizer.model)])
    space = {"replacement": "▁", "prepend_scheme": "always", "split": False}
    made.pre_tokenizer = library.pre_tokenizers.Metaspace(**space)
    made.decoder = library.decoders.Metaspace(**space)
    return made


def _scores(model: PieceModel) -> list[tuple[str, float]]:
    """The pieces with scores by which the best way to split a text is SentencePiece's."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=model.content)
    ids = range(len(model.pieces))
    scores = [processor.get_score(i) for i in ids]
    hidden = {i for i in ids if processor.is_control(i) or processor.is_unknown(i)
              or processor.is_unused(i)}
    # Symbols that the user defined have a score of 0, by which they win everywhere.
    normal = [score for i, score in enumerate(scores) if i not in hidden and score < 0]
    if any(processor.is_byte(i) for i in ids) or all(score % 1 == 0 for score in normal):
        raise InputError(f"{FILE} cannot be written: the tokenizer's SentencePiece model is not of "
                         f"the unigram kind, or writes unknown characters as bytes")
    never = min(normal) * (1 + max(map(len, model.pieces)))         # worse than letter by letter
    for i, piece in enumerate(model.pieces):
        if i in hidden or (piece.endswith(",") and piece[-2:-1].isdigit()):
            scores[i] = never
    return list(zip(model.pieces, scores, strict=True))


def _our_steps(library: ModuleType, ours: Normalizer) -> list[Any]:
    """`Normalizer.normalize`."""
    replace, regex = library.normalizers.Replace, library.Regex
    steps = [replace("``", '"'), replace("''", '"')]
    if ours.remove_space:
        steps.insert(0, replace(regex(_any_of(filter(str.isspace, _every_character()))), " "))
    if not ours.keep_accents:
        accents = _any_of(filter(unicodedata.combining, _every_character()))
        steps += [library.normalizers.NFKD(), replace(regex(accents), "")]
    if ours.do_lower_case:
        steps += [replace(regex(FINAL_SIGMA), "ς"), library.normalizers.Lowercase()]
    return steps


def _their_steps(library: ModuleType, model: PieceModel) -> list[Any]:
    """What SentencePiece itself does to a text, by the map of characters in its model.

    The format has a step for such a map, Precompiled, but each library does something else for it:
    in Rust no Korean syllable is put together, in JavaScript the joiner of emoji is a space. So the
    model is asked what becomes of the characters that only its map changes.
    """
    replace, regex = library.normalizers.Replace, library.Regex
    becomes = {c: "".join(model.split(f"a{c}b")) for c in ["Ａ", "  ", *_invisible()]}
    if (becomes["Ａ"], becomes["  "], becomes["\x01"]) != ("▁aAb", "▁a▁b", "▁ab"):
        raise InputError(f"{FILE} cannot be written: the tokenizer's SentencePiece model prepares "
                         f"text in a way of its own, not by nmt_nfkc with single spaces")

    def all_that_become(result: str, content: str) -> Any:
        found = _any_of(c for c in becomes if len(c) == 1 and becomes[c] == result)
        return replace(regex(found), content)

    return [library.normalizers.NFKC(), all_that_become("▁ab", ""), all_that_become("▁a▁b", " "),
            replace(regex(" {2,}"), " "), library.normalizers.Strip()]


# ---- classes of characters


def _every_character() -> Iterable[str]:
    return map(chr, range(sys.maxunicode + 1))


def _invisible() -> list[str]:
    """Spaces and controls, and two that some software has for them."""
    return [c for c in _every_character() if c in "▁\N{REPLACEMENT CHARACTER}"
            or unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Zs")]


def _any_of(characters: Iterable[str]) -> str:
    r"""A regular expression for one of them: [\x{300}-\x{34E}...]."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in runs) + "]"
