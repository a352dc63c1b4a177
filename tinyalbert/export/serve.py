"""A web server for this computer: just what it takes to look at a page that was exported.

Left out: everything that a server for others needs. Put the folder on one of those.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..errors import InputError


class Handler(SimpleHTTPRequestHandler):
    # Not what the system says: on some, .mjs is no script, and browsers then refuse it.
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript",
                      ".mjs": "text/javascript", ".wasm": "application/wasm",
                      ".json": "application/json", ".onnx": "application/octet-stream"}

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")       # ask whether it has changed
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):    # a page left while it loads is none
            super().handle_error(request, client_address)


def make_server(site: str | Path, host: str = "127.0.0.1", port: int = 8000) -> Server:
    """A server of a folder that `tinyalbert export web` wrote; port 0 takes any that is free.

    It listens, and answers as soon as `serve_forever` is called; `server_port` is its port.
    InputError if the folder is no such site, or the address cannot be had.
    """
    site = Path(site)
    if not (site / "site.json").is_file():
        raise InputError(f"{site} is no site, it holds no site.json: give a folder that tinyalbert "
                         "export web wrote")
    try:
        return Server((host, port), partial(Handler, directory=str(site)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; give another --port, "
                         "0 for any that is free") from error
