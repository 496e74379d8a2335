"""What each balancer does under uneven latency: a simulation of ten servers, the same for every balancer.

    python -m benchmarks.balancers                the table, and docs/balancers.svg

Seeded, and on a clock of its own: it gives the same figures on every machine. A server works on so many calls at once
as it has places and lets others wait. Calls come at random moments (Poisson), their work is drawn from a log-normal
distribution, and a slow server needs longer for the same. Keys for the hashing balancers are drawn by Zipf's law, so
that some are asked for far more often than others.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protogw.balancers import BALANCERS

SERVERS, PLACES = 10, 8
WORK_S, SPREAD = 0.010, 0.5
"""Of one call: the median of its work, and the sigma of its logarithm."""
LOAD = 0.6
"""Calls come as fast as would keep so much of all places busy if every server were quick."""
CALLS = 60_000
KEYS = 5_000
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "balancers.svg"

SCENARIOS: Mapping[str, Callable[[int, float], float]] = {
    "all are alike": lambda server, now: 1.0,
    "one is 5 times slower": lambda server, now: 5.0 if server == 0 else 1.0,
    "one stalls for a while": lambda server, now: 40.0 if server == 0 and 3.0 <= now < 4.0 else 1.0,
    "half are 2 times slower": lambda server, now: 2.0 if server < SERVERS // 2 else 1.0,
}
"""By name: how much slower a server is at a time."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class Server:
    """What a balancer sees of it, and the calls that wait."""

    label: str
    weight: int = 1
    active: int = 0
    busy: int = 0
    calls: int = 0
    waiting: deque[tuple[float, float]] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in milliseconds, and the share of calls that the first server got."""

    p50: float
    p99: float
    share: float


def simulate(kind: str, slower: Callable[[int, float], float], *, seed: int = 1, calls: int = CALLS) -> Outcome:
    """One balancer in one scenario."""
    chance = random.Random(seed)
    now = 0.0
    made: Any = BALANCERS[kind]
    names = made.__init__.__code__.co_varnames
    options: dict[str, Any] = {}
    if "source" in names:
        options["source"] = random.Random(seed + 1)
    if "clock" in names:
        options["clock"] = lambda: now
    balancer = made(**options)
    observe = getattr(balancer, "observe", None)
    servers = tuple(Server(f"10.0.0.{number}:80") for number in range(SERVERS))
    index = {server: number for number, server in enumerate(servers)}
    keys = [b"user %d" % number for number in range(KEYS)]
    popular = [1.0 / (number + 10) for number in range(KEYS)]
    drawn = iter(chance.choices(keys, popular, k=calls))
    mean = WORK_S * math.exp(SPREAD * SPREAD / 2)
    pause = mean / (SERVERS * PLACES * LOAD)
    ends: list[tuple[float, int, Server, float]] = []
    latencies: list[float] = []
    number = 0
    comes = 0.0

    def begin(server: Server, came: float, work: float) -> None:
        nonlocal number
        number += 1
        server.busy += 1
        heapq.heappush(ends, (now + work * slower(index[server], now), number, server, came))

    sent = 0
    while sent < calls or ends:
        if ends and (sent >= calls or ends[0][0] <= comes):
            now, _, server, came = heapq.heappop(ends)
            server.busy -= 1
            server.active -= 1
            latencies.append(now - came)
            if observe is not None:
                observe(server, now - came, now)
            if server.waiting:
                begin(server, *server.waiting.popleft())
            continue
        now = comes
        sent += 1
        comes = now + chance.expovariate(1.0) * pause
        work = WORK_S * math.exp(chance.gauss(0.0, SPREAD))
        server = balancer.pick(servers, next(drawn))
        server.active += 1
        server.calls += 1
        if server.busy < PLACES:
            begin(server, now, work)
        else:
            server.waiting.append((now, work))
    latencies.sort()
    return Outcome(
        p50=latencies[len(latencies) // 2] * 1e3,
        p99=latencies[len(latencies) * 99 // 100] * 1e3,
        share=servers[0].calls / calls,
    )


def table(found: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The figures as Markdown."""
    head = "| p50 / p99 in ms, share of the first of ten | " + " | ".join(found) + " |"
    lines = [head, "|---" * (len(found) + 1) + "|"]
    for kind in BALANCERS:
        cells = (f"{one[kind].p50:.0f} / {one[kind].p99:.0f}, {one[kind].share:.1%}" for one in found.values())
        lines.append(f"| `{kind}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: Mapping[str, Mapping[str, Outcome]], path: Path) -> None:
    """The 99th percentile and the first server's share, for each balancer in each scenario."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "balancers"  # the same file each time
    from matplotlib import pyplot

    figure, rows = pyplot.subplots(2, len(found), figsize=(3.4 * len(found), 5.4), sharey="row", squeeze=False)
    kinds = list(BALANCERS)
    for column, (scenario, outcomes) in enumerate(found.items()):
        above, below = rows[0][column], rows[1][column]
        above.barh(kinds, [outcomes[kind].p99 for kind in kinds], color="#4477aa", label="p99")
        above.barh(kinds, [outcomes[kind].p50 for kind in kinds], color="#88ccee", label="p50")
        above.set_xscale("log")
        above.set_title(scenario, fontsize=10)
        above.set_xlabel("ms")
        below.barh(kinds, [outcomes[kind].share * 100 for kind in kinds], color="#cc6677")
        below.axvline(100 / SERVERS, color="#555555", linewidth=0.8, linestyle="--")
        below.set_xlabel("% of calls to the first server")
        for axes in (above, below):
            axes.tick_params(labelsize=8)
    # The first balancer on top; the rows share their axis.
    rows[0][0].invert_yaxis()
    rows[1][0].invert_yaxis()
    rows[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    found = {scenario: {kind: simulate(kind, slower) for kind in BALANCERS} for scenario, slower in SCENARIOS.items()}
    print(table(found))
    try:
        draw(found, PICTURE)
    except ImportError:
        print("matplotlib is not installed: no picture")


if __name__ == "__main__":
    main()
