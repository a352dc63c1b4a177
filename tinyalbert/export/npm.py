"""What the page in the browser runs on, from npm: ONNX Runtime for WebAssembly, and a tokenizer.

Two packages in exact versions, each tarball checked against its SHA-512 and kept in the user's
cache; only the files named here are unpacked. Left out: npm itself (the files need no other
package) and registries that ask for a password: npm can ask those, and its node_modules be used.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..files import read_json_object, write_atomically

REGISTRY = "https://registry.npmjs.org"
PATIENCE = 60           # seconds without a byte


class Package(NamedTuple):
    name: str
    version: str
    integrity: str              # of the tarball, as npm writes it: sha512, base64
    files: dict[str, str]       # path in the package: name in the site

    @property
    def tarball(self) -> str:
        return f"{self.name.split('/')[-1]}-{self.version}.tgz"


PACKAGES = (
    Package("onnxruntime-web", "1.30.0",
            "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1Sig"
            "qR4CXAfKYQ==",
            {"dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.mjs",
             "dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm"}),
    Package("@huggingface/tokenizers", "0.2.0",
            "sha512-LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneV"
            "qMRxrr99pg==",
            {"dist/tokenizers.min.mjs": "tokenizers.min.mjs",
             "LICENSE": "tokenizers-LICENSE.txt"}),
)
INSTALL = "npm install " + " ".join(f"{package.name}@{package.version}" for package in PACKAGES)


def npm_files(node_modules: Path | None = None) -> dict[str, bytes]:
    """The files of the packages, by their names in the site.

    From the cache, else from the npm registry (NPM_CONFIG_REGISTRY names another than npm's own);
    or, offline, from a node_modules folder. InputError if they cannot be had, or are not those
    that the page was made with.
    """
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        content = unpacked(package) if node_modules is None else installed(package, node_modules)
        files |= {name: content[path] for path, name in package.files.items()}
    return files


def installed(package: Package, node_modules: Path) -> dict[str, bytes]:
    """The package's files that npm has put into a node_modules folder."""
    folder = node_modules / package.name
    if not (folder / "package.json").exists():
        raise InputError(f"{node_modules} holds no {package.name}: {INSTALL} puts it into the "
                         "node_modules of the folder where you call it")
    version = read_json_object(folder / "package.json").get("version")
    if version != package.version:
        raise InputError(f"{folder} has version {version}, and the page is made for "
                         f"{package.version}: {INSTALL}")
    try:
        return {path: (folder / path).read_bytes() for path in package.files}
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error


def unpacked(package: Package) -> dict[str, bytes]:
    """The package's files in its tarball: into memory, so that no path in it counts."""
    with tarfile.open(fileobj=io.BytesIO(verified_tarball(package)), mode="r:gz") as archive:
        return {path: archive.extractfile(f"package/{path}").read()     # type: ignore[union-attr]
                for path in package.files}


def verified_tarball(package: Package) -> bytes:
    """From the cache if it is there and undamaged, else from the registry."""
    kept = cache_folder() / package.tarball
    with contextlib.suppress(OSError):
        if integrity(content := kept.read_bytes()) == package.integrity:
            return content
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or REGISTRY
    url = f"{registry.rstrip('/')}/{package.name}/-/{package.tarball}"
    content = download(url)
    if integrity(content) != package.integrity:
        raise InputError(f"{url} is not the file that this page was made with, its SHA-512 differs:"
                         f" try again, or {other_ways()}")
    with contextlib.suppress(InputError):       # a cache that cannot be written is none
        write_atomically(kept, content)
    return content


def integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def cache_folder() -> Path:
    """Of the user, as each system has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "tinyalbert" / "npm"


def download(url: str) -> bytes:
    """With a progress bar on a terminal; InputError if it fails."""
    from tqdm import tqdm
    content = io.BytesIO()
    try:
        if not url.startswith(("https://", "http://")):
            raise ValueError("a registry's address begins with https://")
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=url.split("/")[-1], leave=False,
                      disable=None) as bar:
                while chunk := answer.read(1 << 18):
                    bar.update(content.write(chunk))
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        reason = getattr(reason, "strerror", None) or reason
        raise InputError(f"cannot fetch {url}: {reason}; {other_ways()}") from error
    return content.getvalue()


def other_ways() -> str:
    return ("set NPM_CONFIG_REGISTRY to a registry that you can reach, or give --runtime "
            f"node_modules after {INSTALL}")
