"""Show the built site on this machine: python -m utils.tools.serve [port]."""

from __future__ import annotations

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from utils import ROOT

SITE = ROOT / "_build" / "html"


def server(port: str) -> ThreadingHTTPServer:
    """A server of the site that answers this machine alone. Exits with a line where the port cannot be had."""
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        sys.exit(f"PORT is {port!r}; it must be a number from 1 to 65535, as in: make serve PORT=8000")
    try:
        return ThreadingHTTPServer(
            ("127.0.0.1", int(port)), functools.partial(SimpleHTTPRequestHandler, directory=str(SITE))
        )
    except OSError as error:
        sys.exit(f"port {port} cannot be had ({error.strerror}): choose another, as in: make serve PORT=8001")


def main() -> None:
    with server(sys.argv[1] if len(sys.argv) > 1 else "8000") as serving:
        print(f"The book: http://127.0.0.1:{serving.server_port} (Ctrl-C ends it)", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
