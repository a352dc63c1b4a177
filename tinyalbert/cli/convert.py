"""Turn a checkpoint that Google released for TensorFlow into a directory as Hugging Face keeps one.

SOURCE is the folder of a model, its .tar.gz or .zip, or one checkpoint in a folder. ALBERT's head
for sentence order, which the Hugging Face hub's versions lack, comes along. Reading needs
TensorFlow: pip install 'tinyalbert[tensorflow]'.

examples:
  tinyalbert convert albert_base_v2.tar.gz --out models/albert-base-v2
  tinyalbert convert uncased_L-12_H-768_A-12.zip --out models/bert-base-uncased
  tinyalbert convert albert_base/model.ckpt-best --out models/mine --overwrite
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from ..convert import convert_checkpoint

# TensorFlow's greetings; neither setting changes what it reads.
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", type=Path,
                        help="folder, .tar.gz, .zip, or checkpoint (.../model.ckpt-best)")
    parser.add_argument("--out", metavar="DIRECTORY", type=Path, required=True,
                        help="where the model goes")
    case = parser.add_mutually_exclusive_group()
    case.add_argument("--cased", dest="do_lower_case", action="store_false", default=None,
                      help="the vocabulary has capitals [as the name of the model says]")
    case.add_argument("--uncased", dest="do_lower_case", action="store_true", default=None,
                      help="the vocabulary has none")
    parser.add_argument("--overwrite", action="store_true",
                        help="replace the model that is in DIRECTORY")


def run(args: argparse.Namespace) -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    converted = convert_checkpoint(args.source, args.out, do_lower_case=args.do_lower_case,
                                   overwrite=args.overwrite)
    print(f"{converted.architecture}: {len(converted.shapes)} tensors, "
          f"{converted.num_parameters:,} parameters")
    for note in converted.notes:
        print(f"note: {note}")
    if converted.ignored:
        print(f"not part of the model, left out: {', '.join(converted.ignored)}")
    print(f"\nThe model is in {args.out}:\n"
          f"  tinyalbert params {shlex.quote(str(args.out))}")
