"""python -m benchmarks.faults: services that go wrong under load, and what clients of the gateway notice of it.

Every scenario starts its own services and gateway on 127.0.0.1, and stops them. A figure that is not what it should be
is marked, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.processes import Missing, Program, free_port

SERVICES = 4
CLIENTS = 32
BEFORE_S, AFTER_S = 1.0, 3.0
"""How long the load runs before something goes wrong, and after."""
SETTLE_S = 1.0
"""So long after that the endpoint must be out."""
START_S = 60.0
"""How long a program may take to start, on a machine that does much else."""
PAUSE_S = 0.01
"""Between two requests of one client: this is about faults, not about speed."""

OUTLIER = {"consecutive_errors": 3, "max_percent": "50%", "ejection": "1m"}


@dataclass(slots=True, kw_only=True)
class Answer:
    """One request: when it was sent, how long it took, its status (0 for a connection that was cut)."""

    at: float
    taken_s: float
    status: int

    @property
    def good(self) -> bool:
        return self.status == 200


@dataclass(slots=True)
class Answers:
    """All requests of a run; times are from the fault on."""

    all: list[Answer] = field(default_factory=list)
    fault_at: float = 0.0

    def bad(self, start: float, end: float = 1e9) -> list[Answer]:
        return [one for one in self.between(start, end) if not one.good]

    def between(self, start: float, end: float = 1e9) -> list[Answer]:
        return [one for one in self.all if start <= one.at - self.fault_at < end]

    def p99_ms(self, start: float, end: float = 1e9) -> float:
        taken = sorted(one.taken_s for one in self.between(start, end) if one.good)
        return taken[int(len(taken) * 0.99)] * 1e3 if taken else 0.0


class Rig:
    """Services, a gateway before them, and clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = [free_port() for _ in range(SERVICES)]
        self.services: list[Program] = []
        self.gateway: Program | None = None
        self.port = 0
        self.admin = 0
        self.answers = Answers()
        self.verb = "GET"
        """With POST nothing is sent again on its own."""
        self._stopping = False

    def start(self, config: dict[str, Any], *, descriptors: int = 0) -> None:
        for number, port in enumerate(self.ports):
            self.services.append(self._service(number, port))
        for program, port in zip(self.services, self.ports, strict=True):
            program.wait_for_port(port, START_S)
        self.port, self.admin = free_port(), free_port()
        upstream = {"http": [f"127.0.0.1:{port}" for port in self.ports], **config.pop("upstream", {})}
        whole = {
            "listeners": {"public": {"address": f"127.0.0.1:{self.port}"}},
            "upstreams": {"service": upstream},
            "access_log": "off",
            "admin": f"127.0.0.1:{self.admin}",
            "routes": [{"match": {"path": "/**"}, "to": "service", **config.pop("route", {})}],
            **config,
        }
        path = self.folder / "gateway.yaml"
        path.write_text(json.dumps(whole))
        command = [sys.executable, "-m", "protogw", "serve", str(path)]
        if descriptors:
            command = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        self.gateway = Program(command, self.folder, "gateway")
        self.gateway.wait_for_port(self.port, START_S)

    def _service(self, number: int, port: int) -> Program:
        return Program([sys.executable, "-m", "benchmarks.faulty", str(port)], self.folder, f"service{number}")

    def kill(self, *numbers: int) -> None:
        for number in numbers:
            os.kill(self.services[number].pid, signal.SIGKILL)

    def revive(self, number: int) -> None:
        self.services[number].stop()
        self.services[number] = self._service(number, self.ports[number])
        self.services[number].wait_for_port(self.ports[number], START_S)

    async def mode(self, name: str, *numbers: int) -> None:
        for number in numbers:
            await fetched(self.ports[number], f"/mode/{name}")

    async def count(self) -> int:
        return sum([int(await fetched(port, "/count")) for port in self.ports])

    async def states(self) -> list[str]:
        found = json.loads(await fetched(self.admin, "/upstreams"))
        return [endpoint["state"] for endpoint in found["service"]["endpoints"]]

    async def load(
        self,
        fault: Callable[[], Awaitable[None]],
        *,
        clients: int = CLIENTS,
        before_s: float = BEFORE_S,
        after_s: float = AFTER_S,
    ) -> None:
        """Send requests all the time; after a while, let something go wrong."""
        self._stopping = False
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client())
            await asyncio.sleep(before_s)
            self.answers.fault_at = time.perf_counter()
            await fault()
            await asyncio.sleep(after_s)
            self._stopping = True

    async def _client(self) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping:
            began = time.perf_counter()
            status = 0
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                status, _, keep = await asked(*connection, "/x", self.verb)
            except (OSError, asyncio.IncompleteReadError):
                keep = False
            self.answers.all.append(Answer(at=began, taken_s=time.perf_counter() - began, status=status))
            if not keep and connection is not None:
                connection[1].close()
                connection = None
            await asyncio.sleep(PAUSE_S)
        if connection is not None:
            connection[1].close()

    def stop(self) -> None:
        for program in (*self.services, *([self.gateway] if self.gateway is not None else [])):
            program.stop()


async def asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, verb: str = "GET"
) -> tuple[int, bytes, bool]:
    """Status and body of a request, and whether the connection lives on."""
    length = "content-length: 0\r\n" if verb == "POST" else ""
    writer.write(f"{verb} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{length}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    size = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
    if size is None:
        return int(head[9:12]), b"", False
    body = await reader.readexactly(size)
    return int(head[9:12]), body, b"connection: close" not in lines


async def fetched(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return (await asked(reader, writer, path))[1].decode()
    finally:
        writer.close()


@dataclass(slots=True)
class Outcome:
    """What a scenario showed: figures, and those expectations that were not met."""

    figures: str
    missed: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str) -> Outcome:
        if not holds:
            self.missed.append(what)
        return self


def told(rig: Rig, after: float = SETTLE_S) -> str:
    answers = rig.answers
    in_flight, first, later = answers.bad(-1e9, 0), answers.bad(0, after), answers.bad(after)
    return (
        f"{len(answers.all)} requests; failed: {len(in_flight)} of those in flight, {len(first)} in the first "
        f"{after:g} s, {len(later)} later; p99 {answers.p99_ms(-1e9, 0):.0f} → "
        f"{answers.p99_ms(after):.0f} ms"
    )


RETRY = {"policies": {"safe": {"retry": {"attempts": 3, "per_try": "500ms"}}}, "use": ["safe"]}


async def kill_half(rig: Rig) -> Outcome:
    rig.verb = "POST"
    rig.start({"upstream": {"health": {"outlier": OUTLIER}}})

    async def fault() -> None:
        rig.kill(0, 1)

    await rig.load(fault)
    first = len(rig.answers.bad(-0.1, SETTLE_S))
    return (
        Outcome(told(rig))
        .expect(not rig.answers.bad(-1e9, -0.5), "none fails before")
        .expect(first <= CLIENTS, "only calls in flight fail")
        .expect(not rig.answers.bad(SETTLE_S), "none fails later")
    )


async def kill_half_retried(rig: Rig) -> Outcome:
    rig.start({"upstream": {"health": {"outlier": OUTLIER}}, **RETRY})

    async def fault() -> None:
        rig.kill(0, 1)

    await rig.load(fault)
    return Outcome(told(rig)).expect(not rig.answers.bad(-1e9), "nobody notices")


async def dies_and_returns(rig: Rig) -> Outcome:
    rig.verb = "POST"
    rig.start({})

    async def fault() -> None:
        rig.kill(0)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(rig.revive, 0)

    await rig.load(fault, after_s=6.0)
    served = int(await fetched(rig.ports[0], "/count"))
    outcome = Outcome(f"{told(rig)}; {served} served by the one that returned")
    outcome.expect(len(rig.answers.bad(0)) <= CLIENTS, "only calls in flight fail")
    return outcome.expect(served > 50, "it is used again")


async def hangs(rig: Rig) -> Outcome:
    rig.start({"upstream": {"health": {"outlier": OUTLIER}}, "route": {"timeout": "500ms"}})

    async def fault() -> None:
        os.kill(rig.services[0].pid, signal.SIGSTOP)

    await rig.load(fault)
    os.kill(rig.services[0].pid, signal.SIGCONT)
    settled = SETTLE_S + 0.5
    return (
        Outcome(told(rig, settled))
        .expect(0 < len(rig.answers.bad(0, settled)) <= CLIENTS, "only calls that were sent to it fail")
        .expect(not rig.answers.bad(settled), "none fails later")
    )


async def hangs_retried(rig: Rig) -> Outcome:
    rig.start({"upstream": {"health": {"outlier": OUTLIER}}, **RETRY})

    async def fault() -> None:
        os.kill(rig.services[0].pid, signal.SIGSTOP)

    await rig.load(fault)
    os.kill(rig.services[0].pid, signal.SIGCONT)
    settled = SETTLE_S + 0.5
    return Outcome(told(rig, settled)).expect(not rig.answers.bad(settled), "none fails later")


async def resets(rig: Rig) -> Outcome:
    rig.start({"upstream": {"health": {"outlier": OUTLIER}}})

    async def fault() -> None:
        await rig.mode("resets", 0)

    await rig.load(fault)
    states = await rig.states()
    return (
        Outcome(f"{told(rig)}; {states[0]}")
        .expect(0 < len(rig.answers.bad(0, SETTLE_S)) <= CLIENTS, "only the first ones are cut")
        .expect(not rig.answers.bad(SETTLE_S), "none fails later")
        .expect(states[0] == "ejected", "it is ejected")
    )


async def slow(rig: Rig) -> Outcome:
    rig.start({"upstream": {"balance": "least_request"}})

    async def fault() -> None:
        await rig.mode("slow", 0)

    await rig.load(fault)
    return Outcome(told(rig)).expect(not rig.answers.bad(-1e9), "none fails")


async def slow_hedged(rig: Rig) -> Outcome:
    policies = {"again": {"hedge": {"delay": "50ms", "budget": "50%"}}}
    rig.start({"policies": policies, "use": ["again"]})

    async def fault() -> None:
        await rig.mode("slow", 0)

    await rig.load(fault)
    late = rig.answers.p99_ms(SETTLE_S)
    outcome = Outcome(told(rig)).expect(not rig.answers.bad(-1e9), "none fails")
    return outcome.expect(late < 250, "the second try is faster than the slow one")


async def _flapping(rig: Rig) -> None:
    for turn in range(10):
        await rig.mode("well" if turn % 2 else "fails", 0)
        await asyncio.sleep(0.3)


async def flaps(rig: Rig) -> Outcome:
    rig.start({"upstream": {"breaker": {"consecutive": 3, "open": "500ms"}}})
    await rig.load(lambda: _flapping(rig), after_s=0.5)
    share = len(rig.answers.bad(0)) / max(1, len(rig.answers.between(0)))
    outcome = Outcome(f"{told(rig)}; {share:.1%} failed from then on (an eighth without a breaker)")
    return outcome.expect(share < 0.06, "the breaker keeps most away")


async def flaps_retried(rig: Rig) -> Outcome:
    rig.start({"upstream": {"breaker": {"consecutive": 3, "open": "500ms"}}, **RETRY})
    await rig.load(lambda: _flapping(rig), after_s=0.5)
    return Outcome(told(rig)).expect(not rig.answers.bad(-1e9), "nobody notices")


async def all_fail(rig: Rig) -> Outcome:
    rig.start({"policies": {"safe": {"retry": {"attempts": 5, "budget": "20%"}}}, "use": ["safe"]})
    before = 0

    async def fault() -> None:
        nonlocal before
        await rig.mode("fails", *range(SERVICES))
        before = await rig.count()

    # A good time before, which must not be saved up; and long enough that what is saved does not hide the share.
    await rig.load(fault, before_s=5.0, after_s=5.0)
    asked_for = len(rig.answers.between(0))
    share = (await rig.count() - before) / max(1, asked_for)
    outcome = Outcome(f"{asked_for} requests, the services saw {share:.2f} of each")
    return outcome.expect(1.0 < share <= 1.25, "at most a quarter more")


async def all_fail_broken(rig: Rig) -> Outcome:
    rig.start({"upstream": {"breaker": {"consecutive": 3, "open": "30s", "max_open": "1m"}}})
    before = 0

    async def fault() -> None:
        nonlocal before
        await rig.mode("fails", *range(SERVICES))
        before = await rig.count()

    await rig.load(fault)
    taken = sorted(one.taken_s for one in rig.answers.between(SETTLE_S))
    median = taken[len(taken) // 2] * 1e3
    seen = await rig.count() - before
    outcome = Outcome(f"{told(rig)}; the services saw {seen}; refused in {median:.1f} ms (median)")
    return outcome.expect(seen <= CLIENTS + 3 * SERVICES, "they are left alone").expect(median < 20, "refused at once")


async def descriptors(rig: Rig) -> Outcome:
    rig.start({}, descriptors=72)
    async with AsyncExitStack() as stack:
        refused = 0
        held = []
        for _ in range(100):
            try:
                pair = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", rig.port), 1)
            except (OSError, TimeoutError):
                refused += 1
                continue
            held.append(pair)
            stack.callback(pair[1].close)

        async def one(pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> int:
            try:
                return (await asyncio.wait_for(asked(*pair, "/x"), 2))[0]
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                return 0

        statuses = await asyncio.gather(*(one(pair) for pair in held))
    await asyncio.sleep(0.5)

    async def nothing() -> None:
        return

    await rig.load(nothing, clients=8, after_s=1.0)
    good, busy = statuses.count(200), statuses.count(503)
    waited = len(statuses) - good - busy
    outcome = Outcome(
        f"of 100 at once {good} answered, {busy} refused with 503, {waited + refused} not taken in; then "
        f"{len(rig.answers.all)} requests, {len(rig.answers.bad(-1e9))} failed; {', '.join(await rig.states())}"
    )
    outcome.expect(not rig.answers.bad(-1e9), "all is well afterwards")
    return outcome.expect(set(await rig.states()) == {"ready"}, "no endpoint is taken for down")


SCENARIOS: Sequence[tuple[str, Callable[[Rig], Awaitable[Outcome]]]] = (
    ("kill -9 of half the endpoints", kill_half),
    ("… with retries", kill_half_retried),
    ("one dies and returns", dies_and_returns),
    ("one hangs (SIGSTOP), 500 ms timeout", hangs),
    ("… with retries, 500 ms a try", hangs_retried),
    ("one resets in mid-reply", resets),
    ("one is slow (300 ms), least_request", slow),
    ("… hedged after 50 ms", slow_hedged),
    ("one flaps every 300 ms, breaker", flaps),
    ("… with retries", flaps_retried),
    ("all fail, retries with a budget", all_fail),
    ("all fail, breaker", all_fail_broken),
    ("72 file descriptors, 100 clients", descriptors),
)


async def run(chosen: str, console: Console) -> int:
    table = Table("scenario", "figures", "as it should be", title=f"{SERVICES} services, {CLIENTS} clients")
    failed = 0
    for name, scenario in SCENARIOS:
        if chosen not in scenario.__name__:
            continue
        with tempfile.TemporaryDirectory(prefix="protogw-faults-") as folder:
            rig = Rig(Path(folder))
            try:
                outcome = await scenario(rig)
            finally:
                rig.stop()
        failed += bool(outcome.missed)
        verdict = "[green]yes" if not outcome.missed else "[red]no: " + "; ".join(outcome.missed)
        table.add_row(name, outcome.figures, verdict)
        console.print(f"{name}: {outcome.figures}", highlight=False)
    console.print(table)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    names = ", ".join(scenario.__name__ for _, scenario in SCENARIOS)
    parser.add_argument("scenario", nargs="?", default="", help=f"part of one of {names}; all by default")
    options = parser.parse_args()
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is stopped
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    try:
        return uvloop.run(run(options.scenario, console))
    except Missing as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
