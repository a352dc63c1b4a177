"""The folder of an exported model, as Transformers.js and Optimum expect it.

    DIR/config.json                         the model, as Hugging Face describes it
        tokenizer.json                      the whole tokenizer, see tokenizer_file.py
        tokenizer_config.json, ...          and its usual files
        onnx/model.onnx                     the graph with its weights
             model_quantized.onnx           the same in 8 bits
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..files import delete, read_json_object, write_atomically
from ..hub import local_directory
from ..pipelines.loading import load
from ..tokenization.base import PreTrainedTokenizer
from ..weights import open_tensors
from .graph import import_onnx
from .quantized import quantize
from .tasks import DEFAULT_OPSET, TASKS, build_graph

GRAPH, QUANTIZED = "onnx/model.onnx", "onnx/model_quantized.onnx"
# All that an export writes, and therefore all that overwrite may delete.
WRITTEN = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
           "spiece.model", "vocab.txt", GRAPH, QUANTIZED)


class Exported(NamedTuple):
    task: str
    model: Any                      # which is in the graph
    files: dict[str, int]           # in the folder, and their bytes


def export_onnx(name_or_directory: str | Path, out: str | Path, *, task: str | None = None,
                attentions: bool = False, int8: bool = False, opset: int = DEFAULT_OPSET,
                overwrite: bool = False) -> Exported:
    """Write a trained model to the folder `out`, for every language with an ONNX runtime.

    name_or_directory: a run, a model's folder, or a name on the hub.
    task: one of TASKS; None means what it was trained as, and fill-mask for a pretrained one.
    attentions: give them out, too. int8: write the graph in 8 bits, too. opset: an older one, for
    an older runtime. overwrite: replace the exported model that is in `out`.

    Nothing is written or deleted before everything is made and checked. InputError if the model
    has no head for the task, its tokenizer cannot be expressed, the folder holds something else or
    cannot be written, or a package is missing.
    """
    out = Path(out)
    onnx = import_onnx()
    replaced = files_to_replace(out, overwrite)
    task = task or trained_task(name_or_directory)
    model, tokenizer = load_for(name_or_directory, task)
    graph = build_graph(model, attentions=attentions, opset=opset)
    onnx.checker.check_model(graph, full_check=True)
    contents = {**described(model, tokenizer), GRAPH: graph.SerializeToString()}
    if int8:
        contents[QUANTIZED] = quantize(graph).SerializeToString()
    for path in replaced:
        delete(path)
    for name, content in contents.items():
        write_atomically(out / name, content)
    return Exported(task, model, {name: len(content) for name, content in contents.items()})


def trained_task(name_or_directory: str | Path) -> str:
    """By `architectures` in config.json; InputError if that is none of TASKS."""
    directory = local_directory(name_or_directory, ["config.json"])
    values = read_json_object(directory / "config.json")
    trained = str((values.get("architectures") or ["nothing that its config.json names"])[0])
    for task, kind in TASKS.items():
        if trained.endswith(kind):
            return "fill-mask" if task == "pretraining" else task
    raise InputError(f"{name_or_directory} was trained as {trained}, for which there is no ONNX "
                     f"graph here: with --task it can be exported as {', '.join(TASKS)}, if it has "
                     "the weights for it")


def load_for(name_or_directory: str | Path, task: str) -> tuple[Any, PreTrainedTokenizer]:
    """The model that has this task's head, with trained weights. InputError if it has none."""
    if task not in TASKS:
        raise InputError(f"unknown task {task!r}: known are {', '.join(TASKS)}")
    model, tokenizer = load(name_or_directory, TASKS[task])
    if task == "feature-extraction":
        directory = local_directory(name_or_directory, ["config.json"])     # it has been loaded
        if not any("pooler." in name for name in open_tensors(directory)):
            model.pooler = None         # type: ignore[attr-defined]    # else a random one
    return model, tokenizer


def described(model: Any, tokenizer: PreTrainedTokenizer) -> dict[str, bytes]:
    """The configuration's and the tokenizer's files."""
    from .tokenizer_file import write_tokenizer_json
    tokenizer.model_max_length = min(tokenizer.model_max_length,
                                     model.config.max_position_embeddings)
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder, architectures=[type(model).__name__], dtype="float32")
        write_tokenizer_json(tokenizer, Path(folder))
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def files_to_replace(out: Path, overwrite: bool) -> list[Path]:
    """What is in the folder; InputError if it may not be deleted."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give a folder to write to")
    try:
        held = sorted(path for path in out.rglob("*") if not path.is_dir())
    except OSError as error:
        raise InputError(f"cannot read the folder {out}: {error.strerror}") from error
    if held and not overwrite:
        raise InputError(f"{out} is not empty: add --overwrite to replace the exported model in "
                         "it, or give another --out")
    for path in held:
        if (name := path.relative_to(out).as_posix()) not in WRITTEN:
            raise InputError(f"{out} holds {name!r}, which is not of an exported model: nothing "
                             "was deleted, give another --out")
    return held
