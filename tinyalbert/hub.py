"""The name of a model, of this machine or of the Hugging Face Hub, becomes a local directory.

Downloading, its cache and its progress bars are those of `huggingface_hub`, and so are its
settings: HF_HOME, HF_HUB_OFFLINE=1, HF_TOKEN. A directory needs none of it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError


def local_directory(name_or_directory: str | Path, files: Sequence[str]) -> Path:
    """A directory as it is; for a name on the hub, one with those of `files` that exist there.

    A name is "albert-base-v2" or "albert/albert-base-v2", and "@revision" may follow: a branch, a
    tag or a commit. What exists here as a directory is never looked up on the hub, nor is what can
    only be meant as one (`means_a_directory`). `files` are names or patterns such as "model*.json".
    InputError if there is no such directory, or the files cannot be had.
    """
    name = os.fspath(name_or_directory)
    if os.path.isdir(name):
        return Path(name)
    if isinstance(name_or_directory, Path) or means_a_directory(name):
        raise InputError(f"no such directory: {name}")
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise InputError(f"{name!r} is no directory here, and to look for it on the Hugging Face "
                         "Hub a package is needed: pip install 'tinyalbert[hub]'") from error
    repository, _, revision = name.partition("@")
    try:
        directory = Path(snapshot_download(repository, revision=revision or None,
                                           allow_patterns=list(files)))
    except Exception as error:          # of the network library too, which may be one or another
        raise InputError(f"{name!r} is no directory here, and {why_not(error)}") from error
    if not any(path for pattern in files for path in directory.glob(pattern)):
        raise InputError(f"{name!r} on the Hugging Face Hub has none of {', '.join(files)}")
    return directory


def means_a_directory(name: str) -> bool:
    """Absolute, ends with a slash, has several, or begins with a directory that is there: "./x",
    "runs/x" where there is a "runs"."""
    parent, slash, last = name.partition("@")[0].rpartition("/")
    return bool(slash) and (not parent or not last or "/" in parent or os.path.isdir(parent))


def why_not(error: Exception) -> str:
    """What went wrong at the hub, and what to look at."""
    from huggingface_hub import constants, errors
    if isinstance(error, errors.HFValidationError):
        return "no name on the Hugging Face Hub: those look like 'albert/albert-base-v2'"
    if isinstance(error, errors.GatedRepoError):
        return ("its owner on the Hugging Face Hub asks for consent: give it on the model's page "
                "there, then `hf auth login`")
    if isinstance(error, errors.RepositoryNotFoundError):
        return ("the Hugging Face Hub has no such model: check the spelling, and `hf auth login` "
                "if it is a private one")
    if isinstance(error, errors.RevisionNotFoundError):
        return "the model on the Hugging Face Hub has no such revision"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return "its files are not all in the cache, while HF_HUB_OFFLINE forbids the network"
        return (f"{constants.ENDPOINT} cannot be reached, nor are its files all in the cache: "
                "check the network")
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code == 401:
        return "the Hugging Face Hub does not accept the token: `hf auth login` stores a new one"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"the download from the Hugging Face Hub failed: {' '.join(str(reason).split())}"
