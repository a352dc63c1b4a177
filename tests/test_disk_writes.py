"""What the package does to the disk: every write in one safe manner, nothing outside the folder
that was asked for, and nothing loaded that could run code."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import tinyalbert

PACKAGE = Path(tinyalbert.__file__).parent
UNSAFE = re.compile(r"pickle|marshal|shelve|dill|joblib|allow_pickle")
WRITING = re.compile(r"(write_text|write_bytes|tofile|savefig|save_file|memmap|copyfile|copytree)$"
                     r"|^(np\.save|json\.dump$|shutil\.move)")
# Besides files.write_atomically: what is appended to, and what is renamed when it is complete or
# thrown away after use.
WRITERS = {"files.py", "training/metrics_log.py", "data/tokenizing.py", "google_files.py",
           "estimators.py", "report/figures.py"}
EVALUATING = {"course/block_view.py"}       # the lines of code that it shows, and no others


def test_no_module_unpickles_or_writes_in_its_own_way() -> None:
    found = []
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        found += [f"{name}, line {node.lineno}: {ast.unparse(node)}"
                  for node in ast.walk(ast.parse(path.read_text("utf-8")))
                  if isinstance(node, ast.Import | ast.ImportFrom)
                  and UNSAFE.search(ast.unparse(node)) or isinstance(node, ast.Call)
                  and (name not in EVALUATING and runs_code(node)
                       or name not in WRITERS and writes(node))]
    assert found == []


def runs_code(call: ast.Call) -> bool:
    return (ast.unparse(call.func) in ("eval", "exec")
            or any(UNSAFE.search(keyword.arg or "") for keyword in call.keywords))


def writes(call: ast.Call) -> bool:
    if ast.unparse(call.func) != "open":
        return bool(WRITING.search(ast.unparse(call.func)))
    modes = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
    return any(set("wax+") & set(ast.literal_eval(mode)) for mode in modes)


RECORDED = """
import json, os, sys
from tinyalbert.cli import main
paths = set()

def note(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(path, (str, bytes)) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            paths.add(os.path.abspath(os.fsdecode(path)))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"):
        if arguments[-1] == -1:                 # else relative to a folder that was noted before
            paths.update(os.path.abspath(os.fsdecode(path)) for path in arguments
                         if isinstance(path, (str, bytes, os.PathLike)))

sys.addaudithook(note)
run, corpus = sys.argv[1:]
small = ("--vocab-size 36 --hidden-size 32 --intermediate-size 64 --num-attention-heads 2 "
         "--max-seq-length 16 --first-seq-length 8 --batch-size 4 --save-every 2 --max-steps 6")
for argv in (["pretrain", "--corpus", corpus, *small.split(), "--out", run],
             ["pretrain", "--resume", "--max-steps", "8", "--out", run], ["report", run],
             ["fill-mask", run, "ba [MASK] ba"]):
    assert main(argv) == 0, argv
print("\\n" + json.dumps(sorted(paths)))
"""


def test_nothing_is_written_outside_the_folder(corpus: Path, tmp_path: Path) -> None:
    """By pretraining, going on, the report and a question. What they put into the folder for
    temporary files is gone in the end."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    here, temporary, matplotlib = (elsewhere / name for name in ("here", "tmp", "matplotlib"))
    for folder in (here, temporary, matplotlib):
        folder.mkdir(parents=True)
    result = subprocess.run(
        [sys.executable, "-B", "-c", RECORDED, run, corpus], capture_output=True, text=True,
        cwd=here, env={**os.environ, "TINYALBERT_TEXTBOOK": "1", "TMPDIR": str(temporary),
                       "MPLCONFIGDIR": str(matplotlib)})
    assert result.returncode == 0, result.stderr
    written = {Path(path) for path in json.loads(result.stdout.splitlines()[-1])}
    assert written >= {run / "report.html", run / "model.safetensors", run / "metrics.jsonl"}
    assert [path for path in written if not any(
        map(path.is_relative_to, (run, temporary, matplotlib)))] == []
    assert [*temporary.iterdir(), *here.iterdir()] == []
