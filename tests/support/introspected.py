"""An introspection endpoint (RFC 7662) that calls every token active: one for all tests of a process."""

from __future__ import annotations

import json
import threading
from functools import cache
from http.server import ThreadingHTTPServer

from tests.support.plain import Plain


class _Endpoint(Plain):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.answer(json.dumps({"active": True, "sub": "ann"}).encode())


@cache
def endpoint() -> str:
    """Its address, up to the end of the process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="introspection", daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"
