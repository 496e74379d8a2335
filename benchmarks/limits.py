"""python -m benchmarks.limits: what a rate limit lets through, by one process and by two that share it.

More is asked than may pass, for a few seconds; what passed is set against the most that may: the rate times the time,
and the burst, which for sliding windows is one window's worth.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.backends import Backends
from benchmarks.processes import Missing, Program, free_port, tool

SECONDS = 5
RATES = (10, 40, 100, 400, 1500)
CLIENTS = 16


def admitted(folder: Path, backends: Backends, workers: int, rate: int, algorithm: str) -> float:
    """What passed, as a share of what may."""
    port = free_port()
    burst = max(1, rate // 10)
    limit = {"rate": f"{rate}/s", "algorithm": algorithm, "headers": False}
    if algorithm == "token_bucket":
        limit["burst"] = burst
    config = {
        "listeners": {"public": {"address": f"127.0.0.1:{port}"}},
        "upstreams": {"www": {"http": [f"127.0.0.1:{backends.http}"]}},
        "policies": {"fair": {"rate_limit": limit}},
        "routes": [{"match": {"path": "/**"}, "to": "www", "use": ["fair"]}],
        "access_log": "off",
        "admin": "off",
        "workers": workers,
    }
    path = folder / f"limit-{workers}-{rate}-{algorithm}.yaml"
    path.write_text(json.dumps(config))
    program = Program([sys.executable, "-m", "protogw", "serve", str(path)], folder, path.stem)
    try:
        program.wait_for_port(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30):
            pass  # workers may come up after their port
        argv = [tool("h2load"), "--h1", "-D", str(SECONDS), "-c", str(CLIENTS), "-t", "1", f"http://127.0.0.1:{port}/"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    finally:
        program.stop()
    passed = int(re.search(r"status codes: (\d+) 2xx", done.stdout)[1])  # type: ignore[index]
    refused = int(re.search(r"(\d+) 4xx", done.stdout)[1])  # type: ignore[index]
    if not refused:
        raise Missing(f"{rate}/s is more than was asked for: {done.stdout}")
    may = rate * SECONDS + (burst if algorithm == "token_bucket" else rate)
    return passed / may


def main() -> int:
    console = Console()
    table = Table(title="What a limit lets through, of what it may")
    for column in ("limit", "a second", "1 process", "2 workers", "2 : 1"):
        table.add_column(column, justify="left" if column == "limit" else "right")
    cases = [(algorithm, rate) for algorithm in ("token_bucket", "sliding_window") for rate in RATES]
    with tempfile.TemporaryDirectory(prefix="protogw-limits-") as name:
        folder = Path(name)
        backends = Backends(folder)
        try:
            for algorithm, rate in track(cases, "asking", console=console, transient=True):
                shares = [admitted(folder, backends, workers, rate, algorithm) for workers in (1, 2)]
                shares.append(shares[1] / shares[0])
                table.add_row(algorithm, str(rate), *(f"{share:.3f}" for share in shares))
        except Missing as error:
            console.print(f"[red]{error}[/]", highlight=False)
            return 1
        finally:
            backends.stop()
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
