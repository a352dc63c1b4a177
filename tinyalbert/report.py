"""The page of a training: did it learn, what it says, where it looks, how it was made.

One file, RUN/report.html, that needs nothing else and no network; the pictures are in it, and also
in RUN/figures. A training that has only begun has a page too, with less on it. How a page looks is
in report.html beside this file.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from . import figures, introspection
from .config import AlbertConfig
from .convergence import MARGIN
from .errors import InputError
from .figures import Metrics
from .files import write_atomically
from .fill_mask import fill_mask
from .model import AlbertForPreTraining
from .params import parameter_table, parameter_totals
from .pretrain_config import PRESETS, PretrainConfig
from .run import load_run, read_metrics
from .samples import PROMPTS, Sample, held_out_samples
from .tokenizer import AlbertTokenizer

TASKS = {"sop": "sentence order", "nsp": "next sentence", "none": ""}


def write_report(run: str | Path, sentence: str | None = None) -> Path:
    """Write RUN/report.html and RUN/figures/*.png, each in one step; returns the page's path.

    sentence: one to look into, instead of one from the corpus; with [MASK], to complete as well.
    Raises InputError if the folder is not a run or Matplotlib is missing.
    """
    run = Path(run)
    ...
