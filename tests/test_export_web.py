"""The page's folder: what npm gives, what is written, and the server. In a browser it is tested by
test_export_page.py. The npm registry is a small one here: no test uses the network."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import struct
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_line import error
from nonsense import sentences

from tinyalbert import AlbertConfig, AlbertForSequenceClassification, AlbertForTokenClassification
from tinyalbert.cli import main
from tinyalbert.config import BertConfig
from tinyalbert.errors import InputError
from tinyalbert.export import npm, web
from tinyalbert.export.serve import make_server
from tinyalbert.export.web import export_web, sharing, site_settings
from tinyalbert.report.samples import Sample
from tinyalbert.tokenization.training import train_tokenizer

SMALL = AlbertConfig(vocab_size=60, embedding_size=8, hidden_size=16, num_hidden_layers=3,
                     num_attention_heads=2, intermediate_size=32, max_position_embeddings=16)


@pytest.fixture
def node_modules(tmp_path: Path) -> Path:
    """As npm would have made it, but for what is in the files."""
    folder = tmp_path / "node_modules"
    for package in npm.PACKAGES:
        for path in package.files:
            (folder / package.name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / package.name / path).write_text(f"{package.name} {path}")
        (folder / package.name / "package.json").write_text(
            json.dumps({"version": package.version}))
    return folder


# ---- npm


def tarball(members: dict[str, str]) -> bytes:
    """A .tgz; a text that begins with "->" makes a link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            if text.startswith("->"):
                member.type, member.linkname = tarfile.SYMTYPE, text[2:]
            member.size = 0 if member.issym() else len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


class Registry:
    """An npm registry of one package, @toy/code, and how often it was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.folder, self.cache = folder / "registry", folder / "cache"
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                asked.append(self.path)

        def handler(*args: Any) -> Handler:
            return Handler(*args, directory=str(self.folder))

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", self.url + "/")
        monkeypatch.setattr(npm, "cache_folder", lambda: self.cache)
        self.patch = monkeypatch

    def publish(self, members: dict[str, str]) -> Path:
        """Returns the published file."""
        content = tarball(members)
        package = npm.Package("@toy/code", "1.2.3", npm.integrity(content),
                              {"dist/a.mjs": "a.mjs", "LICENSE": "code-LICENSE.txt"})
        self.patch.setattr(npm, "PACKAGES", (package,))
        path = self.folder / "@toy" / "code" / "-" / "code-1.2.3.tgz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    made = Registry(tmp_path, monkeypatch)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


PUBLISHED = {"package/package.json": "{}", "package/dist/a.mjs": "code", "package/LICENSE": "free"}
FILES = {"a.mjs": b"code", "code-LICENSE.txt": b"free"}


def test_a_package_is_fetched_once(registry: Registry) -> None:
    registry.publish(PUBLISHED)
    assert npm.npm_files() == FILES
    assert npm.npm_files() == FILES
    assert registry.asked == ["/@toy/code/-/code-1.2.3.tgz"]
    [kept] = registry.cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])            # damaged
    assert npm.npm_files() == FILES
    assert len(registry.asked) == 2


def test_another_tarball_than_the_pinned_one_is_refused(registry: Registry) -> None:
    path = registry.publish(PUBLISHED)
    path.write_bytes(tarball({**PUBLISHED, "package/dist/a.mjs": "evil"}))
    with pytest.raises(InputError, match=r"code-1.2.3.tgz is not the file .* SHA-512 differs.*"
                                         r"NPM_CONFIG_REGISTRY.*--runtime"):
        npm.npm_files()
    assert not registry.cache.exists()


def test_nothing_but_the_named_files_is_unpacked(registry: Registry, tmp_path: Path) -> None:
    registry.publish({"../up.mjs": "evil", f"{tmp_path}/absolute.mjs": "evil",
                      "package/link": f"->{tmp_path}", "package/link/through.mjs": "evil",
                      "package/dist/../../../dots.mjs": "evil", **PUBLISHED})
    before = {path for path in tmp_path.rglob("*")}
    assert npm.npm_files() == FILES
    made = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before}
    assert made == {"cache", "cache/code-1.2.3.tgz"}


def test_a_cache_that_cannot_be_written_is_done_without(registry: Registry) -> None:
    registry.publish(PUBLISHED)
    registry.cache.write_text("a file where the folder should be")
    assert npm.npm_files() == FILES


@pytest.mark.parametrize(("address", "reason"), [
    ("{url}/elsewhere", "File not found"), ("http://127.0.0.1:9", "Connection refused"),
    ("ftp://127.0.0.1", "begins with https://"), ("/home", "begins with https://")])
def test_a_download_that_fails_says_what_else_to_do(
        registry: Registry, monkeypatch: pytest.MonkeyPatch, address: str, reason: str) -> None:
    registry.publish(PUBLISHED)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", address.format(url=registry.url))
    with pytest.raises(InputError) as caught:
        npm.npm_files()
    message = str(caught.value)
    assert message.startswith("cannot fetch ") and reason in message and "\n" not in message
    assert "NPM_CONFIG_REGISTRY" in message and "--runtime node_modules" in message


def test_the_pins_are_whole() -> None:
    for package in npm.PACKAGES:
        assert re.fullmatch(r"\d+\.\d+\.\d+", package.version)
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package.integrity)
        assert f"{package.name}@{package.version}" in npm.INSTALL


def test_node_modules_are_taken_as_they_are(node_modules: Path) -> None:
    files = npm.npm_files(node_modules)
    assert files["ort-wasm-simd-threaded.wasm"] == (b"onnxruntime-web "
                                                    b"dist/ort-wasm-simd-threaded.wasm")
    assert files["tokenizers-LICENSE.txt"] == b"@huggingface/tokenizers LICENSE"


def test_node_modules_of_other_versions_are_refused(node_modules: Path) -> None:
    package = node_modules / "onnxruntime-web"
    (package / "dist" / "ort.wasm.bundle.min.mjs").unlink()
    with pytest.raises(InputError, match="cannot read .*ort.wasm.bundle.min.mjs: No such file"):
        npm.npm_files(node_modules)
    (package / "package.json").write_text('{"version": "1.2.0"}')
    with pytest.raises(InputError, match="has version 1.2.0.*npm install onnxruntime-web@"):
        npm.npm_files(node_modules)
    with pytest.raises(InputError, match="holds no onnxruntime-web: npm install"):
        npm.npm_files(node_modules.parent)


# ---- the folder


def save(model_class: Any, folder: Path, **changes: Any) -> Path:
    """A model of random weights and its tokenizer."""
    train_tokenizer(sentences(), folder, vocab_size=60)
    model_class(SMALL.replace(**changes), seed=1).save_pretrained(folder)
    return folder


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_whole_and_written_again(finished: Path, node_modules: Path,
                                               tmp_path: Path) -> None:
    site = tmp_path / "site"
    for _ in range(2):
        assert main(["export", "web", str(finished), "--out", str(site),
                     "--runtime", str(node_modules)]) == 0
    assert names(site) >= {
        "index.html", "style.css", "page.js", "model.js", "attention.js", "NOTICE.txt",
        "site.json", "model/config.json", "model/tokenizer.json", "model/tokenizer_config.json",
        "model/onnx/model.onnx", "runtime/ort.wasm.bundle.min.mjs", "runtime/tokenizers.min.mjs",
        "runtime/ort-wasm-simd-threaded.wasm", "runtime/tokenizers-LICENSE.txt"}
    settings = json.loads((site / "site.json").read_text())
    assert settings["task"] == "fill-mask" and settings["positions"] == 32
    assert settings["sharing"].startswith("One set of weights, applied 2 times")
    assert settings["weights"] == "model/onnx/model.onnx"
    assert all("___" in example for example in settings["examples"])


def test_the_page_names_no_other_host() -> None:
    for path in Path(npm.__file__).with_name("page").iterdir():
        if path.suffix != ".txt":
            assert "//" not in re.sub(r"(^|\s)//\s.*", "", path.read_text(), flags=re.M), path


@pytest.mark.parametrize(("config", "says"), [
    (SMALL, "One set of weights, applied 3 times:"),
    (SMALL.replace(num_hidden_groups=3), "3 sets of weights, applied 3 times in all."),
    (SMALL.replace(inner_group_num=2), "2 sets of weights, applied 6 times in all."),
    (SMALL.replace(sharing="attention"),
     "One set of weights for the attention, applied 3 times; the feed-forward part has 3 sets."),
    (SMALL.replace(sharing="ffn"),
     "One set of weights for the feed-forward part, applied 3 times; the attention has 3 sets."),
    (SMALL.replace(sharing="none"), "3 layers, each with weights of its own."),
    (BertConfig(), "12 layers, each with weights of its own.")])
def test_what_is_shared_is_said(config: Any, says: str) -> None:
    assert sharing(config).startswith(says)


def test_tasks_without_bars_are_refused(tmp_path: Path, node_modules: Path) -> None:
    words = save(AlbertForTokenClassification, tmp_path / "words")
    number = save(AlbertForSequenceClassification, tmp_path / "number", num_labels=1,
                  problem_type="regression")
    for folder, task in ((words, "token-classification"), (number, "text-classification")):
        with pytest.raises(InputError, match=f"{folder.name} is for {task}, and the page shows "
                                             "masked language models, and classifiers that"):
            export_web(folder, tmp_path / "site", node_modules=node_modules)
    assert not (tmp_path / "site").exists()


def test_a_classifier_has_examples_that_it_was_not_taught(tmp_path: Path) -> None:
    folder = save(AlbertForSequenceClassification, tmp_path / "run",
                  id2label={0: "low", 1: "high"})
    assert site_settings(folder)["labels"] == ["low", "high"]
    predictions = folder / "predictions.jsonl"
    lines = [{"example": {"text": text, "text_pair": None}, "prediction": {}}
             for text in ("ba do ki", "ba")]
    predictions.write_text("\n".join(map(json.dumps, lines)))
    assert site_settings(folder)["examples"] == ["ba", "ba do ki"]
    predictions.write_text('{"example": {')
    with pytest.raises(InputError, match="predictions.jsonl is damaged"):
        site_settings(folder)
    predictions.write_text(json.dumps({"example": {"text": "ba", "text_pair": "do"},
                                       "prediction": {}}))
    with pytest.raises(InputError, match="classifies pairs of texts"):
        site_settings(folder)


def test_examples_are_of_the_corpus_if_that_is_at_hand(
        finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    long = Sample(60 * "badoki ", "la", ".")                    # than the model has positions
    with monkeypatch.context() as patch:
        patch.setattr(web, "held_out_samples", lambda *_: [Sample("ba", "do", " ki."), long])
        assert site_settings(run)["examples"] == ["ba ___ ki."]
    [index] = run.glob("shards/*/index.json")
    index.write_text("{}")                                      # damaged
    assert "Good night, and good ___!" in site_settings(run)["examples"]
    settings = json.loads((run / "pretrain.json").read_text()) | {"corpus": "sotu"}
    (run / "pretrain.json").write_text(json.dumps(settings))
    assert "God bless ___." in site_settings(run)["examples"]


def test_an_export_that_failed_can_be_repeated(
        finished: Path, node_modules: Path, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *content: bytes) -> None:
        raise InputError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(web, "write_atomically", full)        # the model is written, the page is not
        with pytest.raises(InputError, match="No space left"):
            export_web(finished, tmp_path / "site", node_modules=node_modules)
    site = export_web(finished, tmp_path / "site", node_modules=node_modules)
    assert (site / "index.html").exists()


def test_a_large_model_comes_in_8_bits(finished: Path, node_modules: Path, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FLOAT32", 1000)
    site = export_web(finished, tmp_path / "site", node_modules=node_modules)
    assert json.loads((site / "site.json").read_text())["weights"].endswith("_quantized.onnx")
    assert names(site / "model" / "onnx") == {"model_quantized.onnx"}


def test_other_folders_are_left_alone(finished: Path, node_modules: Path, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    def refused(out: Path) -> str:
        return error(capsys, "export", "web", finished, "--out", out, "--runtime", node_modules)

    assert "holds something else than a page: give a new folder" in refused(node_modules)
    file = tmp_path / "file"
    file.write_text("mine")
    assert "holds something else than a page" in refused(file)
    assert "cannot write" in refused(file / "site")
    assert file.read_text() == "mine"


# ---- the server


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    for name in ("site.json", "index.html", "page.js", "a.mjs", "a.wasm", "model.onnx"):
        (folder / name).write_text("{}")
    return folder


def test_types_are_those_that_browsers_ask_for(site: Path) -> None:
    (site.parent / "secret").write_text("outside")
    with make_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        types = {"": "text/html", "page.js": "text/javascript", "a.mjs": "text/javascript",
                 "a.wasm": "application/wasm", "site.json": "application/json"}
        for name, kind in types.items():
            with urllib.request.urlopen(url + name) as answer:
                assert answer.headers["Content-Type"] == kind
                assert answer.headers["Cache-Control"] == "no-cache"
        for path in ("../secret", "%2e%2e/secret", "missing"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + path)
        server.shutdown()
        thread.join()


def test_a_browser_that_leaves_early_is_no_error(site: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    """It resets the connection while the model is on its way."""
    (site / "model.onnx").write_bytes(bytes(30 << 20))
    with make_server(site, port=0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with socket.create_connection(("127.0.0.1", server.server_port)) as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            browser.sendall(b"GET /model.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert browser.recv(100).startswith(b"HTTP/1.0 200")
        server.shutdown()
        thread.join()
    assert capsys.readouterr().err == ""                # the server has waited for its threads


def test_addresses_that_cannot_be_had(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with make_server(site, port=0) as server:
        port = str(server.server_port)
        assert (f"cannot listen on 127.0.0.1, port {port}: Address already in use; give another "
                "--port") in error(capsys, "serve", site, "--port", port)
    assert "port 70000" in error(capsys, "serve", site, "--port", "70000")
    assert "cannot listen on no.such.host" in error(capsys, "serve", site, "--host", "no.such.host")
    assert "is no site, it holds no site.json" in error(capsys, "serve", site.parent)
    assert "is no site" in error(capsys, "serve", site / "missing")


def test_ctrl_c_ends_it_quietly(site: Path, capsys: pytest.CaptureFixture[str],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(server: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    assert main(["serve", str(site), "--port", "0"]) == 0
    captured = capsys.readouterr()
    assert re.fullmatch(r".*site is at http://127\.0\.0\.1:\d+/ \(Ctrl-C ends\)\n", captured.out)
    assert captured.err == ""
