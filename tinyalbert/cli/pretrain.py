"""Train an ALBERT from scratch on a text: tokenizer, sentence pairs, masks, training, evaluation.

A preset gives every setting a value, a file may change some (--config; the flags' names are its
keys), and flags change them last. The values in brackets are those of the preset demo.

RUN, the folder of the training, holds the model (as Hugging Face Transformers reads it), the
tokenizer, the metrics, checkpoints and the tokenized text. Ctrl-C saves before it stops. Under
mpiexec or srun the processes share every step (docs/many_machines.md).

examples:
  tinyalbert pretrain
  tinyalbert pretrain --corpus books/ --minutes 30 --out runs/books
  tinyalbert pretrain --preset small --config recipe.toml --learning-rate 5e-4
  tinyalbert pretrain --out runs/books --resume
  tinyalbert pretrain --preset albert-base-v2 --corpus "wiki/*.jsonl.gz" --backend cupy
  mpiexec -n 8 tinyalbert pretrain --corpus books/
"""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ..backend import get_backend
from ..config import AlbertConfig
from ..data.corpus import corpus_files
from ..errors import InputError
from ..pretraining.config import PRESETS, PretrainConfig
from ..training.ranks import start_ranks
from .flags import parse_file
from .folders import add_existing, prepare_folder
from .settings import add_settings, given_settings, read_settings, split_settings

# What a training leaves in its folder, and therefore all that --overwrite may delete.
RUN_FILES = ("config.json", "pretrain.json", "spiece.model", "tokenizer_config.json",
             "special_tokens_map.json", "model.safetensors", "metrics.jsonl", "checkpoints",
             "shards", "tensorboard", "report.html", "figures")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = ("tinyalbert pretrain [--preset NAME] [--config FILE] [--out RUN] "
                    "[--resume | --overwrite] [SETTINGS]")
    parser.add_argument("--preset", metavar="NAME", help=f"{', '.join(PRESETS)} [demo]")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings, .toml or .json")
    parser.add_argument("--out", metavar="RUN", type=Path,
                        help="folder of the training [runs/<corpus>]")
    add_existing(parser)
    parser.add_argument("--ranks", choices=["mpi"], metavar="mpi",
                        help="one of several processes, by a launcher that is not recognized")
    add_settings(parser, *PRESETS["demo"])


def run(args: argparse.Namespace) -> int | None:
    from ..pretraining.pretrain import pretrain
    from ..training.numbers import TrainingError
    try:
        with start_ranks(mpi=args.ranks == "mpi") as ranks:
            model_config, config, out = ranks.first(lambda: prepare(args))
            pretrain(out, model_config, config, resume=args.resume, ranks=ranks)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if ranks.rank == 0:
        folder = shlex.quote(str(out))
        print(f"\nThe model is in {out}. Now look at it:\n"
              f"  tinyalbert report {folder}\n"
              f"  tinyalbert fill-mask {folder} \"We the [MASK] of the United States\"")
    return None


def prepare(args: argparse.Namespace) -> tuple[AlbertConfig, PretrainConfig, Path]:
    """`resolve`, and make or empty the folder."""
    model_config, config, out = resolve(args)
    corpus_files(config.corpus)         # better to fail now than after a folder is made or emptied
    get_backend(config.backend).set_precision(config.precision)
    prepare_folder(out, RUN_FILES, resume=args.resume, overwrite=args.overwrite)
    return model_config, config, out


def resolve(args: argparse.Namespace) -> tuple[AlbertConfig, PretrainConfig, Path]:
    """The settings in force and the folder. In a training that is resumed, its own settings stand
    in the place of a preset's."""
    changes = read_settings(args.config) if args.config else {}
    preset = args.preset or changes.pop("preset", "demo")
    changes = {key: value for key, value in changes.items() if key != "preset"}
    changes |= given_settings(args)
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1)
        raise InputError(f"unknown preset {preset!r}: "
                         + (f"did you mean {near[0]!r}?" if near else f"{', '.join(PRESETS)}"))
    model_config, config = PRESETS[preset]
    out = args.out or Path("runs", name_of(changes.get("corpus", config.corpus)))
    if args.resume and (out / "pretrain.json").exists():
        model_config = AlbertConfig.from_json_file(out / "config.json")
        config = PretrainConfig.from_dict(parse_file(out / "pretrain.json"))
    model_changes, training_changes = split_settings(changes)
    return model_config.replace(**model_changes), replace(config, **training_changes), out


def name_of(corpus: str) -> str:
    """sotu -> sotu, books/dickens.txt.gz -> dickens, wiki/*.jsonl -> wiki"""
    parts = [part for part in re.split(r"[\\/]", corpus) if not re.search(r"[*?\[]", part)]
    names = [re.sub(r"[^\w-]", "", part.split(".")[0]) for part in parts]
    return next((name for name in reversed(names) if name), "corpus")
