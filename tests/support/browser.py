"""A headless Chromium, told what to do over its DevTools protocol; skips the test where there is none."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support.processes import Program, missing, running, until

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)


class Page:
    """One page."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._last = 0

    def run(self, script: str) -> Any:
        """The value of a script in the page, waited for if it is a promise."""
        self._last += 1
        parameters = {"expression": script, "awaitPromise": True, "returnByValue": True}
        self._devtools.send(json.dumps({"id": self._last, "method": "Runtime.evaluate", "params": parameters}))
        while (answer := json.loads(self._devtools.recv(timeout=20))).get("id") != self._last:
            pass
        result = answer["result"]
        if "exceptionDetails" in result:
            pytest.fail(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, condition: str, timeout: float = 20.0) -> None:
        """Wait until a script is true."""
        end = time.monotonic() + timeout
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                pytest.fail(f"{condition} did not come true: {self.run('document.body.innerText')}")
            time.sleep(0.02)


@contextlib.contextmanager
def browser(folder: Path, address: str) -> Iterator[Page]:
    """A browser of its own with this page open."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("chromium is not installed")
    profile = folder / "profile"
    port_file = profile / "DevToolsActivePort"
    with running([program, *FLAGS, f"--user-data-dir={profile}", address]) as chromium:
        until(lambda: _written(port_file, chromium), 30, "the browser's port")
        port = port_file.read_text().split()[0]
        pages: list[dict[str, str]] = []

        def found() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                pages[:] = [one for one in json.loads(answer.read()) if one["type"] == "page"]
            return bool(pages)

        until(found, 20, "the page")
        with connect(pages[0]["webSocketDebuggerUrl"], max_size=None, proxy=None) as devtools:
            yield Page(devtools)


def _written(port_file: Path, chromium: Program) -> bool:
    if not chromium.running:
        pytest.fail(f"the browser does not start: {chromium.output[-2000:]}")
    return port_file.exists() and port_file.read_text().count("\n") >= 1
