"""python -m benchmarks.chain: what each policy of the usual chain adds to a call, and what Envoy's filters add to one.

Every gateway has the same load in turn, in many bursts of a fraction of a second: whatever else runs on a machine only
ever adds to a burst, so the quickest tenth says what the work itself takes. A machine's microseconds are its own; what
can be carried to another one is the ratio to what nginx needs for a call at the same time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import shop
from benchmarks.backends import Backends
from benchmarks.load import send
from benchmarks.peers import Envoy, Nginx
from benchmarks.processes import Missing, Program, Programs, free_port
from benchmarks.report import machine
from benchmarks.rows import ROWS

RESULTS = Path(__file__).with_name("results")
REQUESTS = 2500
"""In one burst: about a sixth of a second."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "bare": (),
    "API key": ("keys",),
    "API key, limit": ("keys", "fair"),
    "metrics": ("metrics",),
    "access log": ("log",),
    "all of it": ("keys", "fair", "metrics", "log"),
    "all, no RateLimit fields": ("keys", "quiet", "metrics", "log"),
}
"""What is switched on. Envoy's filter tells clients nothing of what is left; the last one does not either."""


@dataclass(slots=True)
class Gateway:
    """One that is measured, and how long a call took in each burst, in microseconds of CPU."""

    name: str
    program: Program | Programs
    port: int
    after: str = ""
    """The one that it adds to."""
    bursts: list[float] = field(default_factory=list)

    @property
    def least(self) -> float:
        return statistics.quantiles(self.bursts, n=10)[0]

    @property
    def median(self) -> float:
        return statistics.median(self.bursts)


def config(backends: Backends, folder: Path, port: int, parts: Sequence[str]) -> dict[str, Any]:
    policies: dict[str, dict[str, Any]] = {
        "keys": {"api_key": {"keys": [{"consumer": "bench", "key": shop.API_KEY}]}},
        "fair": {"rate_limit": {"rate": "1000000/s", "by": "identity.consumer"}},
        "quiet": {"rate_limit": {"rate": "1000000/s", "by": "identity.consumer", "headers": False}},
    }
    used = [name for name in parts if name in policies]
    log = {"format": "json", "path": str(folder / f"{port}.log")}
    return {
        "listeners": {"bench": {"address": f"127.0.0.1:{port}"}},
        "upstreams": {
            "shop": {"grpc": [f"127.0.0.1:{backends.grpc}"], "schema": "shop.pb"},
            "www": {"http": [f"http://127.0.0.1:{backends.http}"]},
        },
        "policies": {name: policies[name] for name in used},
        "use": used,
        "routes": [{"match": {"path": "/raw/**"}, "to": "www"}],
        "access_log": log if "log" in parts else "off",
        "admin": f"127.0.0.1:{free_port()}" if "metrics" in parts else "off",
    }


def started(backends: Backends, folder: Path) -> list[Gateway]:
    """This gateway with each part of the chain."""
    (folder / "shop.pb").write_bytes(shop.DESCRIPTOR_SET)
    found = []
    for name, parts in PARTS.items():
        port = free_port()
        path = folder / f"{port}.yaml"
        path.write_text(json.dumps(config(backends, folder, port, parts)))
        program = Program([sys.executable, "-m", "protogw", "serve", str(path)], folder, path.stem)
        found.append(Gateway(f"protogw, {name}", program, port, "" if name == "bare" else "protogw, bare"))
    for gateway in found:
        assert isinstance(gateway.program, Program)
        gateway.program.wait_for_port(gateway.port)
    return found


def measured(job: str, gateways: Sequence[Gateway], rounds: int, folder: Path, console: Console) -> None:
    load = next(row.load for row in ROWS if row.job == f"{job}-chain")
    for gateway in gateways:
        gateway.bursts.clear()
        send(load, gateway.port, REQUESTS, folder)
    for number in track(range(rounds), f"{job}: bursts", console=console, transient=True):
        first = number % len(gateways)
        for gateway in (*gateways[first:], *gateways[:first]):
            before = gateway.program.cpu_s()
            burst = send(load, gateway.port, REQUESTS, folder)
            if burst.failed:
                raise Missing(f"{gateway.name}: {burst.failed} of {REQUESTS} requests failed")
            gateway.bursts.append((gateway.program.cpu_s() - before) / burst.requests * 1e6)


_HEADINGS = ("gateway", "µs a call", "adds µs", "median µs", "adds µs", "of nginx's call", "adds")


def lines(gateways: Sequence[Gateway]) -> list[tuple[str, ...]]:
    known = {gateway.name: gateway for gateway in gateways}
    nginx = known.get("nginx, bare")
    found = []
    for gateway in gateways:
        before = known.get(gateway.after)
        share = f"{gateway.least / nginx.least:.2f}" if nginx is not None else ""
        more = f"{(gateway.least - before.least) / nginx.least:.2f}" if nginx is not None and before is not None else ""
        found.append(
            (
                gateway.name,
                f"{gateway.least:.1f}",
                f"{gateway.least - before.least:.1f}" if before is not None else "",
                f"{gateway.median:.1f}",
                f"{statistics.median(a - b for a, b in zip(gateway.bursts, before.bursts, strict=True)):.1f}"
                if before is not None
                else "",
                share,
                more,
            )
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="bursts for each gateway (default 40)")
    options = parser.parse_args()
    console = Console()
    written = [f"# What the chain adds, measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "", f"{machine()}."]
    written.append(
        f"{options.rounds} bursts of {REQUESTS:,} requests for each gateway, in turn. The first figures are of the "
        "quickest tenth of the bursts, the second of all."
    )
    with tempfile.TemporaryDirectory(prefix="protogw-chain-") as name:
        folder = Path(name)
        stopped: list[Backends | Program | Programs] = []
        try:
            backends = Backends(folder)
            stopped.append(backends)
            ours = started(backends, folder)
            stopped += [gateway.program for gateway in ours]
            envoy, nginx = Envoy(folder, backends), Nginx(folder, backends)
            stopped += [envoy.program, nginx.program]
            for job, title in (("http", "HTTP → HTTP"), ("rest", "REST → gRPC")):
                gateways = [
                    *ours,
                    Gateway("Envoy, bare", envoy.program, envoy.ports[job]),
                    Gateway("Envoy, the same filters", envoy.program, envoy.ports[f"{job}-chain"], "Envoy, bare"),
                ]
                # nginx has no gRPC of its own to translate to: its call is the measure of both.
                if job == "http":
                    gateways.append(Gateway("nginx, bare", nginx.program, nginx.ports[job]))
                measured(job, gateways, options.rounds, folder, console)
                table = Table(*_HEADINGS, title=title)
                found = lines(gateways)
                for line in found:
                    table.add_row(*line)
                console.print(table)
                written += ["", f"## {title}", "", "| " + " | ".join(_HEADINGS) + " |"]
                written += ["| --- |" + " ---: |" * (len(_HEADINGS) - 1)]
                written += ["| " + " | ".join(line) + " |" for line in found]
        except Missing as error:
            console.print(f"[red]{error}[/]", highlight=False)
            return 1
        finally:
            for one in stopped:
                one.stop()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "chain.md"
    path.write_text("\n".join(written) + "\n")
    console.print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
