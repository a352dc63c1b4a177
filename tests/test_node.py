"""Exported models in Node, with the npm packages that examples/node asks for.

`make test-web` installs them. Without them these tests are skipped, unless TINYALBERT_TEST_NODE
is set: then that is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from nasty_texts import NASTY
from test_export_tokenizer import (
    ADDED,
    LONG,
    MORE_FOR_BERT,
    TEXTS,
    WITH_ADDED,
    train_on_nasty_texts,
    write_vocabulary,
)
from toy_finetuning import FAST, pretrained, quiet, voices

from tinyalbert.export.folder import export_onnx
from tinyalbert.export.tokenizer_file import write_tokenizer_json
from tinyalbert.finetuning.classification import TextExample
from tinyalbert.finetuning.finetune import finetune
from tinyalbert.pipelines import pipeline
from tinyalbert.tokenization.albert import AlbertTokenizer
from tinyalbert.tokenization.bert import BertTokenizer

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "node"
TOKENIZE = """
import { readFileSync } from "node:fs";
import { AutoTokenizer, env } from "@huggingface/transformers";
env.localModelPath = "";
env.allowRemoteModels = false;
const [folder, file] = process.argv.slice(1);
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const all = JSON.parse(readFileSync(file, "utf8")).map(([text, text_pair]) => {
  const { input_ids, token_type_ids } = tokenizer(text, { text_pair, return_tensor: false });
  return [input_ids, token_type_ids, tokenizer.decode(input_ids)];
});
console.log(JSON.stringify(all));
"""


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    problem = None
    if shutil.which("node") is None:
        problem = "there is no `node` on this machine"
    elif not (EXAMPLES / "node_modules" / "@huggingface" / "transformers").is_dir():
        problem = "the npm packages are not installed: make test-web"
    if problem and os.environ.get("TINYALBERT_TEST_NODE"):
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)


def node(*arguments: object) -> str:
    done = subprocess.run(["node", *map(str, arguments)], cwd=EXAMPLES, text=True,
                          capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def differing(tokenizer: Any, folder: Path, pairs: list[tuple[str, str | None]]) -> list[Any]:
    """The pairs of texts of which Node has other ids, token types or decoded text."""
    write_tokenizer_json(tokenizer, folder)
    (folder / "texts.json").write_text(json.dumps(pairs))
    theirs = json.loads(node("--input-type=module", "--eval", TOKENIZE, folder,
                             folder / "texts.json"))
    ours = [tokenizer(*pair) for pair in pairs]
    return [pair for pair, mine, other in zip(pairs, ours, theirs, strict=True) if other != [
        mine.input_ids, mine.token_type_ids, tokenizer.decode(mine.input_ids)]]


def nasty_pairs(texts: list[str]) -> list[tuple[str, str | None]]:
    """For Transformers.js an empty second text is none."""
    return [*((text, None) for text in texts),
            *((a, b) for a, b in product(texts, texts[::9]) if b)]


def test_albert_tokenizer(tmp_path):
    cased = train_on_nasty_texts(tmp_path)
    assert differing(cased, tmp_path / "cased", nasty_pairs(TEXTS)) == []
    uncased = AlbertTokenizer(tmp_path / "spiece.model")
    assert differing(uncased, tmp_path / "uncased", nasty_pairs(TEXTS)) == []


def test_released_vocabulary(tmp_path, shared_data):
    released = AlbertTokenizer(shared_data / "albert-spiece" / "spiece.model")
    texts = [text for text in NASTY if text not in LONG]
    assert differing(released, tmp_path, nasty_pairs(texts)) == []


@pytest.mark.parametrize("cased", [False, True])
def test_bert_tokenizer(tmp_path, cased):
    write_vocabulary(tmp_path / "vocab.txt")
    tokenizer = BertTokenizer(tmp_path / "vocab.txt", do_lower_case=not cased)
    assert differing(tokenizer, tmp_path, nasty_pairs([*NASTY, *MORE_FOR_BERT])) == []


def test_added_tokens(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nab\nx\ny\n##s")
    known = [token for token in ADDED if not token.single_word]     # which it does not know of
    tokenizer = BertTokenizer(tmp_path / "vocab.txt", added_tokens=known)
    assert differing(tokenizer, tmp_path, nasty_pairs(WITH_ADDED)) == []


# ---- the examples


def assert_same(printed: str, expected: list[Any], name: str) -> None:
    """The same candidates in the same order, each with its score before it, to six digits."""
    lines = [line.split(" ", 1) for line in printed.splitlines()]
    assert [candidate for _, candidate in lines] == [each[name] for each in expected]
    scores = [float(score) for score, _ in lines]
    assert scores == pytest.approx([each["score"] for each in expected], abs=2e-6)


def test_fill_mask(tmp_path, finished):
    export_onnx(finished, tmp_path)
    fill_mask = pipeline("fill-mask", finished)
    for text in ("bado [MASK] bado.", "[MASK]", "Ba (do) [MASK] é"):
        assert_same(node("fill_mask.mjs", tmp_path, text), fill_mask(text), "token_str")


def test_classify(tmp_path):
    examples = [TextExample(text, label=label) for text, label in voices(40)]
    finetune("classify", pretrained(tmp_path / "model"), examples, None, tmp_path / "run", FAST,
             log=quiet, progress=False)
    export_onnx(tmp_path / "run", tmp_path / "out")
    classify = pipeline("text-classification", tmp_path / "run")
    for text in ("ba do la", "Mu ru, po!"):
        assert_same(node("classify.mjs", tmp_path / "out", text), classify(text, top_k=None),
                    "label")
