"""Show a page that `tinyalbert export web` wrote, on this computer.

Ctrl-C ends it. To show it to others put the folder on any web server: it is only files.

examples:
  tinyalbert serve site
  tinyalbert serve site --port 0
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", metavar="SITE", type=Path, help="the folder of a page")
    parser.add_argument("--port", metavar="N", type=int, default=8000, help="0 for any [8000]")
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1",
                        help="0.0.0.0 lets the whole network look [127.0.0.1]")


def run(args: argparse.Namespace) -> None:
    from ..export.serve import make_server
    with make_server(args.site, args.host, args.port) as server, contextlib.suppress(
            KeyboardInterrupt):
        print(f"{args.site} is at http://{args.host}:{server.server_port}/ (Ctrl-C ends)",
              flush=True)
        server.serve_forever()
