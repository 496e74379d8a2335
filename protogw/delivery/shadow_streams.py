"""Shadow diff of calls that stream: what the client sends is told to the second upstream too, and the replies are
compared one by one in their order while they come.

The first side is never waited for by the client, and the second waits for the first: what is kept is the first's
replies that the second has not given yet, within bounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator

from protogw.call import Call, Payload, Reply
from protogw.delivery.bridge import alike
from protogw.delivery.compare import MOST, Difference, Rules
from protogw.delivery.copies import Copies
from protogw.delivery.shadow import STATUS, Differences, answers_differ
from protogw.delivery.teed import Feed, Following, Room, followed
from protogw.descriptors.model import Method
from protogw.errors import Code
from protogw.policies.base import Target

LENGTH = "(length)"
"""The path of a difference in how many messages there were."""
GOES_ON = "(goes on)"

_TURN_S = 0.002
"""How long is compared before other calls get their turn: all messages of a stream may be there at once."""


class StreamShadow:
    """A Target whose calls, of one method that streams, are asked of a second one too."""

    def __init__(
        self,
        target: Target,
        copies: Copies,
        methods: tuple[Method, Method],
        rules: Rules,
        found: Differences,
        room: Room,
    ) -> None:
        """`methods`: as either side knows it."""
        self.name = target.name
        self.kind = target.kind
        self._target = target
        self._copies = copies
        self._replies = Replies(methods, rules)
        self._found = found
        self._room = room

    async def send(self, call: Call) -> Reply:
        copies = self._copies
        if not copies.taken(call):
            return await self._target.send(call)
        comparison = Comparison(copies, self._room, call, self._replies, self._found)
        comparison.begin(comparison.run)
        return await followed(self._target, call, call.payloads, comparison)


class Replies:
    """How replies of a method are compared with those of what answers for it."""

    def __init__(self, methods: tuple[Method, Method], rules: Rules) -> None:
        self.method, other = methods
        self._kinds = self.method.output, other.output
        self._alike = alike(*self._kinds)
        self._rules = rules

    def differ(self, first: Payload, second: Payload) -> list[Difference] | None:
        """As answers_differ; what is the same on the wire of both needs no look, which most messages are spared so."""
        if self._alike and first.encoding is second.encoding and first.data == second.data:
            return []
        return answers_differ((first, self._kinds[0]), (second, self._kinds[1]), self._rules)


class Comparison(Following):
    """Of one call and its copy."""

    def __init__(self, copies: Copies, room: Room, call: Call, replies: Replies, found: Differences) -> None:
        super().__init__(copies, room, streams=call.payloads is not None)
        self._copy = copies.copy(call, self.requests)
        self._replies = replies
        self._found = found
        self._firsts = Feed(room)
        """The first side's replies that the second has not come to yet."""
        self._code: Code | None = None
        """How the first side ended."""
        self._pairs = 0
        self._different: list[Difference] = []
        self._began = time.perf_counter()
        self._took: list[float | None] = [None, None]
        """Seconds until either side's first reply, or its end without one."""

    # --- told by those who carry the call, who wait for nothing -------------------------------------------------------

    def answered(self, payload: Payload) -> None:
        if self.over:
            return
        self._came(0)
        if not self._firsts.put(payload):
            self.stop("behind")

    def answered_all(self, code: Code) -> None:
        super().answered_all(code)
        self._came(0)
        self._code = code
        self._firsts.end()

    def _gone(self, task: asyncio.Task[None]) -> None:
        super()._gone(task)
        self._firsts.close()

    def _came(self, side: int) -> None:
        if self._took[side] is None:
            self._took[side] = time.perf_counter() - self._began

    def expire(self) -> bool:
        if self.over:
            return True
        if self._code is not None or not self._pairs:
            return False
        # The time is over while the call itself goes on, as a subscription does for hours.
        if self._firsts.empty:
            self._found.partial += 1
            self._settle()
        else:
            self.over = True
            self._copies.counts.behind += 1
        return True

    # --- the copy's own task ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask the second side, and compare; raises what asking raises."""
        reply = await self._copies.to.send(self._copy)
        seconds = reply.payloads if reply.payloads is not None else _whole(reply)
        try:
            first, second = await self._compare(seconds)
            if not self.over:
                self._end(first, second, reply)
        finally:
            if isinstance(seconds, AsyncGenerator):
                await seconds.aclose()

    async def _compare(self, seconds: AsyncIterator[Payload]) -> tuple[Payload | None, Payload | None]:
        """Compare replies until one side has no more, or it is settled; the next ones then."""
        clock = asyncio.get_running_loop().time
        turn = clock() + _TURN_S
        while True:
            second = await anext(seconds, None)
            self._came(1)
            first = await anext(self._firsts, None)
            if first is None or second is None:
                return first, second
            self._look(first, second)
            if self.over:
                return first, second
            if clock() >= turn:
                await asyncio.sleep(0)
                turn = clock() + _TURN_S

    def _look(self, first: Payload, second: Payload) -> None:
        """Compare two replies; it is settled where one cannot be read, or enough has been found."""
        found = self._replies.differ(first, second)
        if found is None:
            self.over = True
            self._found.unsaid += 1
            return
        place = f"[{self._pairs}]" if self._replies.method.server_streaming else ""
        self._pairs += 1
        self._found.messages += 1
        for one in found:
            path = ".".join(filter(None, (place, one.path)))
            self._different.append(Difference(path, one.first, one.second))
        if len(self._different) >= MOST:
            self._settle()

    def _end(self, first: Payload | None, second: Payload | None, reply: Reply) -> None:
        """Both have ended, or only one has: the other's next message shows it."""
        # The one answer to a client stream is its end too: with it, its status is known.
        streams = self._replies.method.server_streaming
        one = other = GOES_ON
        if first is None or not streams:
            assert self._code is not None
            one = self._code.name
        if second is None or not streams:
            other = reply.status.code.name
        ended = {one, other} - {GOES_ON}
        if one != other and ended != {Code.OK.name}:
            self._different.append(Difference(STATUS, one, other))
        elif one != other:
            lengths = [str(self._pairs) if said != GOES_ON else f"over {self._pairs}" for said in (one, other)]
            self._different.append(Difference(LENGTH, *lengths))
        self._settle()

    def _settle(self) -> None:
        self.over = True
        self._found.add(self._replies.method, self._different[:MOST])
        for latencies, took in zip((self._found.first, self._found.second), self._took, strict=True):
            if took is not None:
                latencies.add(took)


async def _whole(reply: Reply) -> AsyncIterator[Payload]:
    if reply.payload is not None:
        yield reply.payload
