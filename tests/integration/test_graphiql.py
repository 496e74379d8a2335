"""GraphiQL in a real browser: the page shows itself, and its own policy lets all that it needs through."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hello
from tests.support.gateway import Running, config_of, gateway
from tests.support.hello import hello_service
from tests.support.processes import require_tool


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Running]:
    with hello_service() as behind:
        upstream = {"grpc": [f"127.0.0.1:{behind.port}"], "schema": str(hello.PROTO)}
        with gateway(config_of({"hello": upstream}), tmp_path) as made:
            yield made


def test_the_page_works_in_a_browser(page: Running, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    argv = [
        require_tool("chromium"),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--window-size=1000,700",
        "--virtual-time-budget=8000",
        f"--screenshot={shot}",
        "--dump-dom",
        f"http://127.0.0.1:{page.port}/graphql",
    ]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in said if re.search(r"Refused|violat|Error", line)], said
    assert 'class="graphiql-container"' in done.stdout, done.stdout[:500] + done.stderr[-2000:]
    assert "Welcome to GraphiQL" in done.stdout
    # A blank page packs into far less.
    assert shot.stat().st_size > 20_000
