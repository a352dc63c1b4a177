"""Names and directories, with a small server that answers as the Hugging Face Hub does.

`huggingface_hub` reads its settings when it is imported: what needs a server, a cache or none of
either runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from tinyalbert.errors import InputError
from tinyalbert.hub import local_directory

FILES = ["config.json", "model*.safetensors"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = {"config.json": b"{}", "model.safetensors": bytes(100_000),
              "pytorch_model.bin": b"pickle", "onnx/model.safetensors": b"another"}

# --- without a hub --------------------------------------------------------------------------------


@pytest.fixture
def not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


@pytest.mark.usefixtures("not_installed")
def test_a_directory_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "albert" / "albert-base-v2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in (".", "albert", "albert/", "./albert", "albert/albert-base-v2", str(tmp_path)):
        assert local_directory(name, FILES) == Path(name)
        assert local_directory(Path(name), FILES) == Path(name)


@pytest.mark.parametrize("name", [
    "/nowhere/at/all", "./albert-base-v2", "../albert-base-v2", "albert-base-v2/", "runs/x/y",
    "runs/first", "runs/first@main", "a/b/c@main", Path("albert-base-v2")])
def test_what_can_only_be_a_directory(name: str | Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^no such directory: ") as caught:
        local_directory(name, FILES)
    assert str(caught.value).endswith(str(name))


@pytest.mark.usefixtures("not_installed")
@pytest.mark.parametrize("name", ["albert-base-v2", "albert/albert-base-v2", "albert/x@refs/pr/1"])
def test_a_name_needs_a_package(name: str) -> None:
    with pytest.raises(InputError, match=rf"^'{name}' is no directory here, .* a package is "
                                         r"needed: pip install 'tinyalbert\[hub\]'$"):
        local_directory(name, FILES)


@pytest.mark.parametrize("name", ["", "my model", "~/model", "..x", "a--b/c", "C:\\model", "x" * 97,
                                  "a\0b", "@main", "albert.git"])
def test_no_name_and_no_directory(name: str) -> None:
    with pytest.raises(InputError) as caught:
        local_directory(name, FILES)
    assert str(caught.value) == (f"{name!r} is no directory here, and no name on the Hugging Face "
                                 "Hub: those look like 'albert/albert-base-v2'")


# --- with a hub -----------------------------------------------------------------------------------


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as `huggingface_hub` asks for; `requests` are kept."""

    requests: list[str] = []

    def do_GET(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        for old in ("/api/models/albert-base-v2/", "/albert-base-v2/"):
            if self.path.startswith(old):
                new = old.replace("albert-base-v2", "albert/albert-base-v2")
                return self.answer(307, Location=self.path.replace(old, new, 1))
        path, _, _ = self.path.partition("?")
        if path.startswith("/api/models/"):
            *_, owner, model, what, revision = path.split("/")
            return self.describe(f"{owner}/{model}", what, revision)
        if "/resolve/" not in path:
            return self.answer(404)
        _, owner, model, _, _, name = path.split("/", 5)
        if model == "gated":
            return self.answer(403, X_Error_Code="GatedRepo")
        content = REPOSITORY[name]
        self.answer(200, content, ETag=f'"{len(content)}-{len(name)}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET

    def describe(self, repository: str, what: str, revision: str) -> None:
        """The commit of a revision, or the files of a commit."""
        if repository == "owner/down":
            return self.answer(503)
        if repository == "owner/private":       # without a token; the same for one that is missing
            return self.answer(401, X_Error_Code="RepoNotFound")
        if repository == "owner/expired":
            return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
        if repository not in ("albert/albert-base-v2", "owner/gated", "owner/other"):
            return self.answer(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = {"README.md": b""} if repository == "owner/other" else REPOSITORY
        self.answer(200, json.dumps(
            {"id": repository, "sha": COMMIT, "siblings": []} if what == "revision" else
            [{"type": "file", "path": name, "size": len(content), "oid": 40 * "0"}
             for name, content in files.items()]).encode())

    def answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


PROGRAM = """
import json, sys
from tinyalbert.errors import InputError
from tinyalbert.hub import local_directory
files, names, limit = json.loads(sys.argv[1])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
answers = {}
for name in names:
    try:
        directory = local_directory(name, files)
        answers[name] = {str(path.relative_to(directory)): path.stat().st_size
                         for path in directory.rglob("*") if path.is_file()}
    except InputError as error:
        answers[name] = str(error)
print(json.dumps(answers))
"""


class Process(NamedTuple):
    """Where the hub is and where the cache, for processes that ask for directories."""

    endpoint: str
    home: Path

    def ask(self, *names: str, limit: int = 0, files: list[str] = FILES,
            **environment: str) -> dict[str, str | dict[str, int]]:
        """What `local_directory` gives for each: its files and their sizes, or what is wrong."""
        clean = {name: value for name, value in os.environ.items()
                 if not name.upper().startswith("HF_") and not name.upper().endswith("_PROXY")}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps([files, names, limit])], check=True,
            capture_output=True, text=True, timeout=120, cwd=self.home, env=clean | environment | {
                "HF_ENDPOINT": self.endpoint, "HF_HOME": str(self.home),
                "PYTHONPATH": str(Path(__file__).resolve().parents[1])})
        return json.loads(done.stdout)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Process]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Hub.requests.clear()
        yield Process(f"http://127.0.0.1:{server.server_port}", tmp_path)
        server.shutdown()


@pytest.fixture
def no_hub(tmp_path: Path) -> Process:
    """A port at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Process(f"http://127.0.0.1:{probe.getsockname()[1]}", tmp_path)


def test_from_the_hub_to_the_cache(hub: Process) -> None:
    """By old and new names and revisions; what was not asked for is not downloaded."""
    expected = {"config.json": 2, "model.safetensors": 100_000}
    names = ("albert-base-v2", "albert/albert-base-v2", "albert/albert-base-v2@v1",
             f"albert/albert-base-v2@{COMMIT}")
    assert hub.ask(*names) == dict.fromkeys(names, expected)
    downloads = [request for request in Hub.requests if "/resolve/" in request]
    assert downloads and not any("pytorch" in request or "onnx" in request for request in downloads)
    Hub.requests.clear()
    assert hub.ask(*names) == dict.fromkeys(names, expected)
    assert not any("/resolve/" in request for request in Hub.requests)
    Hub.requests.clear()
    assert hub.ask(*names, HF_HUB_OFFLINE="1") == dict.fromkeys(names, expected)
    assert Hub.requests == []


def test_what_the_hub_refuses(hub: Process) -> None:
    missing = ("the Hugging Face Hub has no such model: check the spelling, and `hf auth login` if "
               "it is a private one")
    expected = {
        "owner/missing": missing, "missing": missing, "owner/private": missing,
        "owner/gated": "its owner on the Hugging Face Hub asks for consent: give it on the model's "
                       "page there, then `hf auth login`",
        "owner/expired": "the Hugging Face Hub does not accept the token: `hf auth login` stores a "
                         "new one",
        "albert/albert-base-v2@v9": "the model on the Hugging Face Hub has no such revision",
        "owner/down": f"{hub.endpoint} cannot be reached, nor are its files all in the cache: "
                      "check the network"}
    answers = hub.ask(*expected)
    assert answers == {name: f"{name!r} is no directory here, and {why}"
                       for name, why in expected.items()}


def test_a_repository_of_something_else(hub: Process) -> None:
    assert hub.ask("owner/other") == {"owner/other": (
        "'owner/other' on the Hugging Face Hub has none of config.json, model*.safetensors")}


def test_a_full_disk(hub: Process) -> None:
    """A limit on the size of files fails as a full disk does; afterwards it is all there."""
    pytest.importorskip("resource")
    answer, = hub.ask("albert-base-v2", limit=50_000).values()
    assert answer == ("'albert-base-v2' is no directory here, and the download from the Hugging "
                      "Face Hub failed: File too large")
    answer, = hub.ask("albert-base-v2").values()
    assert answer == {"config.json": 2, "model.safetensors": 100_000}


def test_no_network(no_hub: Process) -> None:
    names = ("albert-base-v2", "albert/albert-base-v2@v1")
    begin = time.perf_counter()
    answers = no_hub.ask(*names)
    assert time.perf_counter() - begin < 20
    assert answers == {name: (
        f"{name!r} is no directory here, and {no_hub.endpoint} cannot be reached, nor are its "
        "files all in the cache: check the network") for name in names}


def test_no_network_but_a_cache(no_hub: Process) -> None:
    """The cache of somebody else, laid out by hand."""
    cached = no_hub.home / "hub" / "models--owner--small"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "snapshots" / COMMIT / "config.json").write_text("{}")
    expected = {"owner/small": {"config.json": 2}}
    assert no_hub.ask("owner/small") == expected
    assert no_hub.ask("owner/small", HF_HUB_OFFLINE="1") == expected
    assert no_hub.ask("owner/small@v1", "owner/large", HF_HUB_OFFLINE="1") == {name: (
        f"{name!r} is no directory here, and its files are not all in the cache, while "
        "HF_HUB_OFFLINE forbids the network") for name in ("owner/small@v1", "owner/large")}
