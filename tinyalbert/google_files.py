"""The files of a model that Google released: a checkpoint, its configuration, its vocabulary.

    albert_config.json  30k-clean.model  model.ckpt-best.index  model.ckpt-best.data-00000-of-00001
    bert_config.json    vocab.txt        bert_model.ckpt.index  bert_model.ckpt.data-00000-of-00001

They are in one folder, or in an archive of that folder; in a TF-Hub module in `assets` and
`variables`. The checkpoint itself is read by TensorFlow, which verifies its checksums.
"""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from .config import AnyConfig, config_from_dict
from .errors import InputError
from .files import read_json_object

if TYPE_CHECKING:
    from .tokenization.albert import AlbertTokenizer
    from .tokenization.bert import BertTokenizer

FAMILIES = {"albert_config.json": "albert", "bert_config.json": "bert"}
LARGEST_ARCHIVE = 16 * 2**30            # bytes unpacked; the largest model with its optimizer: 4e9
OPTIMIZER = re.compile(r"/(adam|lamb)_[mv]$")


def find_checkpoint(source: Path, temporary: Path) -> tuple[Path, Path]:
    """The checkpoint, as TensorFlow names it (`.../bert_model.ckpt`), and the folder of the model;
    an archive is unpacked into `temporary` first. InputError if there is not just one."""
    prefix = Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", str(source)))
    if Path(f"{prefix}.index").is_file():
        return prefix, prefix.parent
    if source.is_file():
        unpack(source, temporary)
    elif not source.is_dir():
        raise InputError(f"there is no {source}: give the folder of a model, its archive, or a "
                         "checkpoint without its .index")
    folder = temporary if source.is_file() else source
    found = [Path(str(path).removesuffix(".index")) for path in files_in(folder, "*.index")]
    if not found:
        raise InputError(f"{source} holds no TensorFlow checkpoint (a file that ends in .index)")
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise InputError(f"{source} holds several checkpoints, give one of them: {names}")
    return found[0], folder


def files_in(folder: Path, pattern: str) -> list[Path]:
    """In the folder and in the folders in it, but for what macOS adds to archives (`._*`)."""
    return sorted(path for depth in ("", "*/") for path in folder.glob(depth + pattern)
                  if path.is_file() and not path.name.startswith("."))


# ---- archives


def unpack(archive: Path, folder: Path) -> None:
    """The regular files of a .tar.gz or .zip; InputError if it is neither, if it is damaged, larger
    than LARGEST_ARCHIVE or the disk, or names a file outside the folder."""
    room = min(LARGEST_ARCHIVE, shutil.disk_usage(folder).free)
    try:
        for name, size, file in members(archive):
            if "\0" in name or not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{archive} names a file outside its folder, {name!r}: it is not "
                                 "an archive of Google's, and nothing of it was used")
            room -= size
            if room < 0:
                raise InputError(f"{archive} unpacks to more than there is room for in {folder}: "
                                 "unpack it elsewhere and give the folder")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with file, open(folder / name, "wb") as copy:
                shutil.copyfileobj(file, copy)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
            RuntimeError) as error:
        reason = (getattr(error, "strerror", None)
                  or "it is not a .tar.gz or .zip, or damaged: download it again")
        raise InputError(f"cannot unpack {archive}: {reason}") from error


def members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size and content of each regular file."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for entry in zipped.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, zipped.open(entry)
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and (content := tar.extractfile(member)):
                    yield member.name, member.size, content


# ---- what is in the folder


def read_config(folder: Path) -> AnyConfig:
    """From `albert_config.json` or `bert_config.json`.

    Both say "gelu". Google's ALBERT has only ever computed the tanh form, "gelu_new" here. Google's
    BERT computed the exact form when its models were released and the tanh form from 2019 on; they
    are taken as exact, as Hugging Face's configurations of them do.
    """
    found = [path for name in FAMILIES for path in files_in(folder, name)]
    if len(found) != 1:
        many = "more than one" if found else "no"
        raise InputError(f"there is {many} {' or '.join(FAMILIES)} beside the checkpoint: it needs "
                         "the one that it was trained with")
    values = read_json_object(found[0])
    family = FAMILIES[found[0].name]
    if family == "albert" and values.get("hidden_act", "gelu") == "gelu":
        values["hidden_act"] = "gelu_new"
    try:
        return config_from_dict({**values, "model_type": family})
    except InputError as error:
        raise InputError(f"{found[0]}: {error}") from error


def read_tokenizer(folder: Path, model_name: str,
                   do_lower_case: bool | None) -> AlbertTokenizer | BertTokenizer | None:
    """From the SentencePiece model (`*.model`) or the WordPiece vocabulary (`vocab*.txt`) in the
    folder; None if it has neither. For do_lower_case see `convert_checkpoint`."""
    pieces, words = files_in(folder, "*.model"), files_in(folder, "vocab*.txt")
    if len(pieces + words) > 1:
        raise InputError("there are several vocabularies beside the checkpoint, keep the model's "
                         f"own: {', '.join(path.name for path in pieces + words)}")
    if pieces:
        from .tokenization.albert import AlbertTokenizer
        return AlbertTokenizer(pieces[0], do_lower_case=do_lower_case is not False)
    if words:
        from .tokenization.bert import BertTokenizer
        lower = guess_case(f"{model_name} {words[0].name}") if do_lower_case is None \
            else do_lower_case
        return BertTokenizer(words[0], do_lower_case=lower)
    return None


def guess_case(model_name: str) -> bool:
    """do_lower_case, by the list in validate_case_matches_checkpoint of Google's tokenization.py:
    the models called uncased, the Chinese ones and the first multilingual one."""
    if re.search("uncased|chinese|multilingual_L", model_name):
        return True
    if "cased" in model_name:
        return False
    raise InputError(f"{model_name!r} does not say whether the vocabulary is cased or uncased: add "
                     "--cased or --uncased")


def read_variables(prefix: Path) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name, float32, without those of the optimizer and without
    TF-Hub's `module/`. InputError if it is damaged, or TensorFlow is not installed."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError("reading Google's checkpoints needs TensorFlow: "
                         "pip install 'tinyalbert[tensorflow]'") from error
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {name.removeprefix("module/"): np.asarray(reader.get_tensor(name), np.float32)
                for name, dtype in reader.get_variable_to_dtype_map().items()
                if dtype.is_floating and not OPTIMIZER.search(name)}
    except (tf.errors.OpError, IndexError) as error:        # IndexError: a data file ends too soon
        reason = str(error).partition("\n")[0]
        raise InputError(f"the checkpoint {prefix} is damaged or incomplete ({reason}): download "
                         "it again") from error
