"""Train a SentencePiece vocabulary as ALBERT's, and see what it does to a text.

`pretrain` trains one by itself and leaves it in its folder, which `encode` and `decode` read too.

examples:
  tinyalbert tokenizer train sotu --vocab-size 8000 --out vocabulary
  tinyalbert tokenizer encode vocabulary "We the people"
  tinyalbert tokenizer decode vocabulary 2 48 25 3
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from ..errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    train = actions.add_parser("train", help="learn a vocabulary",
                               description=train_tokenizer.__doc__)
    train.add_argument("corpus", metavar="CORPUS", help="as --corpus of tinyalbert pretrain")
    train.add_argument("--vocab-size", metavar="N", type=int, required=True, help="pieces")
    train.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to save it")
    train.add_argument("--character-coverage", metavar="X", type=float, default=0.99995,
                       help="share of the characters in the text that get a piece [%(default)s]")
    train.add_argument("--do-lower-case", action=argparse.BooleanOptionalAction, default=True,
                       help="make everything lower case [yes]")
    train.add_argument("--keep-accents", action=argparse.BooleanOptionalAction, default=False,
                       help="keep accents [no]")
    train.set_defaults(work=train_tokenizer)

    encode = actions.add_parser("encode", help="text to pieces", description=encode_text.__doc__)
    encode.add_argument("directory", metavar="DIR", help="a tokenizer's or a training's folder")
    encode.add_argument("text", metavar="TEXT")
    encode.set_defaults(work=encode_text)

    decode = actions.add_parser("decode", help="ids to text", description=decode_ids.__doc__)
    decode.add_argument("directory", metavar="DIR", help="a tokenizer's or a training's folder")
    decode.add_argument("ids", metavar="ID", type=int, nargs="+")
    decode.set_defaults(work=decode_ids)


def run(args: argparse.Namespace) -> None:
    args.work(args)


def train_tokenizer(args: argparse.Namespace) -> None:
    """Learn a vocabulary of N pieces from a text and save it in DIR, as Hugging Face does."""
    from ..data.corpus import read_documents
    from ..tokenization.training import train_tokenizer
    if (args.out / "spiece.model").exists():
        raise InputError(f"{args.out} already holds a tokenizer: give another --out")
    train_tokenizer(chain.from_iterable(read_documents(args.corpus)), args.out,
                    vocab_size=args.vocab_size, character_coverage=args.character_coverage,
                    do_lower_case=args.do_lower_case, keep_accents=args.keep_accents)
    print(f"{args.vocab_size} pieces in {args.out}")


def encode_text(args: argparse.Namespace) -> None:
    """Print one line for each piece: its id, the piece ("▁" begins a word), the characters of TEXT
    that it covers and where they start and end."""
    from ..tokenization.albert import AlbertTokenizer
    tokenizer = AlbertTokenizer.from_pretrained(args.directory)
    encoded = tokenizer(args.text, return_offsets_mapping=True)
    for id, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        piece = tokenizer.convert_ids_to_tokens(id)
        place = f"{start}:{end}  {args.text[start:end]!r}" if end > start else ""
        print(f"{id:6}  {piece:16}  {place}".rstrip())


def decode_ids(args: argparse.Namespace) -> None:
    """Print the text that ids stand for."""
    from ..tokenization.albert import AlbertTokenizer
    print(AlbertTokenizer.from_pretrained(args.directory).decode(args.ids))
