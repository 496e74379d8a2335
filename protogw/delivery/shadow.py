"""Shadow diff: a share of the calls is asked of a second upstream too, and both answers are compared, field by field.

The second may be described by another schema and speak another protocol; both answers are told as canonical JSON. The
client gets the first answer and waits for nothing. What is kept of differences are the fields' paths; values only where
the config says so.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from protogw.call import Call, Payload, Reply
from protogw.delivery.bridge import canonical
from protogw.delivery.compare import Difference, Rules, differences
from protogw.delivery.copies import Copies, ignored
from protogw.delivery.measured import Latencies
from protogw.descriptors.model import Method, Type
from protogw.errors import Code, GatewayError, InvalidRequest
from protogw.policies.base import Target

MOST_BYTES = 1 << 20
"""The largest answer that is compared."""
MOST_PATHS = 200
_SHOWN = 200

STATUS = "(status)"
"""The path of a difference in how the calls ended."""

_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one side answered."""

    code: Code
    payload: Payload | None
    kind: Type
    seconds: float


class Differences:
    """What comparisons of one route have found."""

    def __init__(self, samples: int, values: bool) -> None:
        self.compared = 0
        self.different = 0
        self.unsaid = 0
        """Not compared: an answer was too large, or was no message of its type."""
        self.partial = 0
        """Compared as far as they came when the copy's time was over: streams that went on. They are in `compared`."""
        self.messages = 0
        """Messages of streams that were compared."""
        self.by_path: Counter[str] = Counter()
        self.samples: deque[dict[str, Any]] = deque(maxlen=samples)
        self.first = Latencies()
        self.second = Latencies()
        self._values = values

    def add(self, method: Method, found: list[Difference]) -> None:
        self.compared += 1
        if not found:
            return
        self.different += 1
        # What is counted of the messages of a stream does not tell them apart: `[].price` for `[3].price`.
        for path in {_INDEX.sub("[]", one.path, count=1) if one.path[:1] == "[" else one.path for one in found}:
            # A service that makes up field names must not fill the memory.
            known = path in self.by_path or len(self.by_path) < MOST_PATHS
            self.by_path[path if known else "(others)"] += 1
        sample: dict[str, Any] = {"at": time.time(), "method": method.full_name}
        if self._values:
            sample["fields"] = {one.path: [_short(one.first), _short(one.second)] for one in found}
        else:
            sample["fields"] = sorted({one.path for one in found})
        self.samples.append(sample)

    @property
    def rate(self) -> float:
        """The share of comparisons that found a difference, from 0 to 1."""
        return self.different / self.compared if self.compared else 0.0

    def shown(self) -> dict[str, Any]:
        return {
            "compared": self.compared,
            "different": self.different,
            "rate": round(self.rate, 6),
            "partial": self.partial,
            "unsaid": self.unsaid,
            "messages": self.messages,
            "fields": dict(self.by_path.most_common()),
            "latency": {"first": self.first.shown(), "second": self.second.shown()},
            "samples": list(self.samples),
        }


def _short(value: Any) -> Any:
    text = orjson.dumps(value, default=str).decode()
    return value if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class Shadow:
    """A Target whose calls, unary ones, are asked of a second one too."""

    def __init__(self, target: Target, copies: Copies, other: Method, rules: Rules, found: Differences) -> None:
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._copies = copies
        self._other = other
        self._rules = rules
        self._found = found

    async def send(self, call: Call) -> Reply:
        if not self._copies.taken(call):
            return await self._target.send(call)
        method = call.method
        assert method is not None
        first: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._copies.start(partial(self._compare, self._copies.copy(call), method, first))
        began = time.perf_counter()
        try:
            reply = await self._target.send(call)
        except GatewayError as error:
            _set(first, Outcome(code=error.status.code, payload=None, kind=method.output, seconds=_since(began)))
            raise
        except BaseException:  # the client is gone: there is nothing to compare
            first.cancel()
            raise
        if reply.payloads is None:
            outcome = Outcome(code=reply.status.code, payload=reply.payload, kind=method.output, seconds=_since(began))
            _set(first, outcome)
        else:
            first.cancel()
        return reply

    async def _compare(self, copy: Call, method: Method, first: asyncio.Future[Outcome]) -> None:
        began = time.perf_counter()
        reply = await self._copies.to.send(copy)
        second = Outcome(code=reply.status.code, payload=reply.payload, kind=self._other.output, seconds=_since(began))
        await ignored(reply)
        await asyncio.wait((first,))
        if first.cancelled():
            return
        self._judge(method, first.result(), second)

    def _judge(self, method: Method, first: Outcome, second: Outcome) -> None:
        found = self._found
        found.first.add(first.seconds)
        found.second.add(second.seconds)
        if first.code is not second.code:
            found.add(method, [Difference(STATUS, first.code.name, second.code.name)])
            return
        different = answers_differ((first.payload, first.kind), (second.payload, second.kind), self._rules)
        if different is None:
            found.unsaid += 1
        else:
            found.add(method, different)


def _since(began: float) -> float:
    return time.perf_counter() - began


def _set(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


Answer = tuple[Payload | None, Type]


def answers_differ(first: Answer, second: Answer, rules: Rules) -> list[Difference] | None:
    """Where two messages differ; None when one is too large to look at, or none of its type."""
    try:
        told = [_told(*answer) for answer in (first, second)]
    except InvalidRequest:
        return None
    return None if None in told else differences(told[0], told[1], rules)


def _told(payload: Payload | None, kind: Type) -> Any:
    """What an answer says, {} for none; None when it is too large to look at."""
    if payload is None:
        return {}
    if len(payload.data) > MOST_BYTES:
        return None
    return orjson.loads(canonical(payload, kind))
