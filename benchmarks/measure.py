"""Rounds in which every peer does the same job in turn; only ratios within a round are compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Burst, probe, send
from benchmarks.peers import Peer
from benchmarks.rows import Row

CALIBRATION = 400
"""Requests of a row's first burst, which warms caches and says how many fill a round."""


@dataclass(slots=True, kw_only=True)
class Score:
    """What one peer's rounds of one row came to. CPU in seconds for each unit."""

    peer: str
    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    failed: int = 0
    refused: str = ""
    """Why it was not measured."""

    @property
    def cpu_us(self) -> float:
        return statistics.median(self.cpu) * 1e6

    @property
    def per_core_second(self) -> float:
        return 1 / statistics.median(self.cpu)

    def as_json(self) -> dict[str, Any]:
        if self.refused:
            return {"peer": self.peer, "refused": self.refused}
        return {
            "peer": self.peer,
            "cpu_us": round(self.cpu_us, 2),
            "per_core_second": round(self.per_core_second),
            "per_second": round(statistics.median(self.rate)),
            "p50_ms": round(statistics.median(self.p50) * 1e3, 3),
            "p99_ms": round(statistics.median(self.p99) * 1e3, 3),
            "failed": self.failed,
            "rounds_cpu_us": [round(one * 1e6, 2) for one in self.cpu],
        }


@dataclass(slots=True, kw_only=True)
class Outcome:
    """A row with every peer's score."""

    row: Row
    scores: dict[str, Score]

    def ratio(self, ours: str, theirs: str) -> float | None:
        """How many times as much our CPU second does as theirs: the median over the rounds."""
        mine, other = self.scores.get(ours), self.scores.get(theirs)
        if mine is None or other is None or not mine.cpu or not other.cpu:
            return None
        return statistics.median(b / a for a, b in zip(mine.cpu, other.cpu, strict=True))


def measure(
    row: Row, peers: Sequence[Peer], *, rounds: int, seconds: float, folder: Path, tell: Callable[[str], None]
) -> Outcome:
    """Run one row. Peers that cannot do its job are left out; one that answers wrongly is listed as refused."""
    outcome = Outcome(row=row, scores={})
    amounts: dict[str, int] = {}
    for peer in peers:
        if row.job not in peer.ports:
            continue
        port = peer.ports[row.job]
        score = outcome.scores[peer.name] = Score(peer=peer.name, refused=probe(row.load, port))
        if score.refused:
            continue
        tell(f"{row.title}: {peer.name} warms up")
        first = send(
            row.load, port, max(row.load.connections * 2, (row.first or CALIBRATION) // row.per_request), folder
        )
        second = send(row.load, port, max(row.load.connections * 2, int(first.requests / first.wall_s)), folder)
        amounts[peer.name] = max(row.load.connections, int(second.requests / second.wall_s * seconds))
    able = [peer for peer in peers if peer.name in amounts]
    for number in range(rounds):
        # Whoever goes first meets a machine in another state: take turns.
        for peer in able if number % 2 == 0 else reversed(able):
            tell(f"{row.title}: {peer.name}, round {number + 1} of {rounds}")
            before = peer.program.cpu_s()
            burst = send(row.load, peer.ports[row.job], amounts[peer.name], folder)
            _add(outcome.scores[peer.name], row, burst, peer.program.cpu_s() - before)
    return outcome


def _add(score: Score, row: Row, burst: Burst, cpu_s: float) -> None:
    if burst.requests == 0:
        raise RuntimeError(f"{row.key}: {score.peer} answered none of {burst.failed} requests")
    units = burst.requests * row.per_request
    score.failed += burst.failed
    score.cpu.append(cpu_s / units)
    score.rate.append(units / burst.wall_s)
    score.p50.append(burst.p50)
    score.p99.append(burst.p99)
