"""One line per request, in JSON or for the eye. Recording keeps a tuple; lines are made in batches, written elsewhere.

What a client sends is never written as it came: control characters are escaped, secrets in queries are cut out.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from protogw.call import Composite
from protogw.errors import Code
from protogw.observe.printable import recurring, text
from protogw.observe.query_secrets import redacted
from protogw.observe.trace_context import trace_of

if TYPE_CHECKING:
    from protogw.call import Call
    from protogw.errors import GatewayError
    from protogw.frontends.base import Recorded
    from protogw.observe.line_sink import LineSink
    from protogw.passthrough.base import Carried
    from protogw.wire.http import Header, RequestHead

log = logging.getLogger("protogw")

FLUSH_S: Final = 0.05
FLUSH_LINES: Final = 128
HANDED_BYTES: Final = 256 << 10
"""So many lines are made in one go, and so much is handed over together: each time wakes another thread."""
MAX_VERB, MAX_PATH, MAX_QUERY, MAX_AGENT, MAX_ID, MAX_ERROR = 32, 1024, 512, 200, 128, 300
_LONGEST: Final = MAX_VERB + MAX_PATH + MAX_QUERY + 2
COMPLAIN_S: Final = 10.0
"""A destination that fails is told of in the program's own log this often."""


class Entry(NamedTuple):
    """What is kept of a request until its line is made."""

    at: float
    head: RequestHead
    client: str
    port: int
    front_end: str
    method: str
    upstream: str
    status: int
    code: int
    bytes_in: int
    bytes_out: int
    elapsed_s: float
    identity: Any
    more: More | None


class More:
    """What there is to say of few requests only: how they failed, their trace, their tries, what they are made of."""

    __slots__ = ("calls", "error", "left_ms", "operation", "reply", "trace_id", "tries")

    def __init__(self, call: Call | None, elapsed_s: float, error: GatewayError | None, *, wants: bool) -> None:
        self.error = error.message if error is not None else ""
        self.trace_id = self.operation = ""
        self.tries, self.calls = 1, 0
        self.left_ms: float | None = None
        self.reply: tuple[Header, ...] = ()
        if call is None:
            return
        reply = call.reply
        if not self.error and reply is not None:
            self.error = reply.status.message
        if call.trace is not None:
            self.trace_id = f"{call.trace.trace_id:032x}"
        if call.tries is not None:
            self.tries = call.tries.number
        if isinstance(call, Composite):
            self.operation, self.calls = f"{call.kind} {call.name}".strip(), call.calls
        if call.deadline is not None and (wants or error is not None):
            self.left_ms = round((call.deadline - call.started - elapsed_s) * 1e3, 3)
        if wants and reply is not None:
            self.reply = (*reply.metadata.pairs, *(reply.head.headers if reply.head is not None else ()))


class Facts:
    """What a head says, as it may be logged."""

    __slots__ = ("host", "request", "request_id", "trace_id", "user_agent")

    def __init__(self, head: RequestHead) -> None:
        get = head.first.get
        self.request = requested(head)
        self.host = recurring(head.authority, MAX_PATH)
        agent, request_id, traceparent = get(b"user-agent"), get(b"x-request-id"), get(b"traceparent")
        self.user_agent = None if agent is None else recurring(agent, MAX_AGENT)
        self.request_id = None if request_id is None else text(request_id, MAX_ID)
        self.trace_id = None if traceparent is None else trace_of(traceparent)


def facts_of(head: RequestHead, known: dict[int, Facts]) -> Facts:
    """What a head says; said once for each of a batch, since connections share the heads of equal requests."""
    said = known.get(id(head))
    if said is None:
        said = known[id(head)] = Facts(head)
    return said


def each(line: Callable[[Entry, Facts], bytes]) -> Callable[[Iterable[Entry]], bytes]:
    """Lines of which each is made by itself."""

    def lines(entries: Iterable[Entry]) -> bytes:
        facts: dict[int, Facts] = {}
        return b"".join([line(entry, facts_of(entry[1], facts)) for entry in entries])

    return lines


class AccessLog:
    """Records what the gateway's doors answered. `lines` makes a batch's lines (json_line's, or `each` of those of
    console_line or of log_fields'), `connection` one of a connection that was passed through (connection_log's)."""

    def __init__(
        self,
        sink: LineSink,
        lines: Callable[[Iterable[Entry]], bytes],
        connection: Callable[[float, Carried], bytes] | None = None,
        *,
        wants: bool = False,
        share: float = 1.0,
        slow_s: float = math.inf,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """`wants` that more is noted of every request than most lines need. `share` of the requests are logged (0 to
        1); those that failed, or took `slow_s` seconds, always are."""
        self._sink = sink
        self._wants = wants
        self._share = share
        self._slow_s = slow_s
        self._chance = chance
        self._lines = lines
        self._connection = connection
        self._clock = clock
        self._loop = loop or asyncio.get_running_loop()
        self._entries: list[Entry] = []
        self._append = self._entries.append
        self._made: list[bytes] = []
        self._made_bytes = self._made_lines = 0
        self._timer: asyncio.TimerHandle | None = None
        self._told_dropped = 0
        self._told_at = 0.0

    def record(self, exchange: Recorded, elapsed_s: float, error: GatewayError | None, front_end: str) -> None:
        """Keep what the line will say; called for every request."""
        call = exchange.call
        peer = exchange.peer
        status = exchange.status
        identity = more = None
        upstream = name = ""
        code = -1 if error is None else error.status.code
        if call is not None:
            method = call.method
            upstream = call.upstream
            identity = call.identity
            composite = type(call) is Composite
            if method is not None and not composite:
                name = method.full_name
            if error is None:
                # By its reply, unless its client went away before there was one.
                reply = call.reply
                if reply is None:
                    code = -1 if status else Code.CANCELLED
                elif method is not None:
                    code = reply.status.code
            if code > 0 or call.trace is not None or call.tries is not None or composite or self._wants:
                more = More(call, elapsed_s, error, wants=self._wants)
        elif error is not None:
            more = More(None, elapsed_s, error, wants=False)
        if self._share < 1.0 and self._chance() >= self._share and not self._matters(status, code, elapsed_s):
            return
        # A tuple made here costs a third of a NamedTuple's own constructor.
        self._append(
            (  # type: ignore[arg-type]
                self._clock(),
                exchange.head,
                peer.host,
                peer.port,
                front_end,
                name,
                upstream,
                status,
                code,
                exchange.bytes_in,
                exchange.bytes_out,
                elapsed_s,
                identity,
                more,
            )
        )
        if self._timer is None or len(self._entries) >= FLUSH_LINES:
            self._flush_soon(len(self._entries))

    def _matters(self, status: int, code: int, elapsed_s: float) -> bool:
        """Whether a line is written of a request that is not in the sample."""
        return code > 0 or status >= 400 or not status or elapsed_s >= self._slow_s

    def called(self, call: Call, elapsed_s: float, error: GatewayError | None) -> None:
        """The line of the request says it."""

    def carried(self, what: Carried) -> None:
        """Keep the line of a connection that was passed through."""
        if self._connection is not None:
            self._keep(self._connection(self._clock(), what), 1)
            self._flush_soon(0)

    def _flush_soon(self, waiting: int) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(FLUSH_S, self.flush)
        elif waiting >= FLUSH_LINES:
            self._make()

    def _make(self) -> None:
        """Make the lines of what was recorded."""
        entries = self._entries
        if entries:
            try:
                self._keep(self._lines(entries), len(entries))
            finally:
                # What cannot be written must not keep the lines of later requests from being made.
                entries.clear()

    def _keep(self, block: bytes, lines: int) -> None:
        self._made.append(block)
        self._made_lines += lines
        self._made_bytes += len(block)
        if self._made_bytes >= HANDED_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._made:
            self._sink.write(b"".join(self._made), self._made_lines)
            self._made.clear()
            self._made_bytes = self._made_lines = 0

    def flush(self) -> None:
        """Make the lines of what was recorded, and hand them over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._make()
        self._hand_over()
        if self._sink.dropped != self._told_dropped:
            self._complain()

    def reopen(self) -> None:
        """The log file has been moved away: go on in a new one of the same name."""
        self._sink.reopen()

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._sink.close()

    def _complain(self) -> None:
        now = self._loop.time()
        if self._told_at and now - self._told_at < COMPLAIN_S:
            return
        lost = self._sink.dropped - self._told_dropped
        reason = self._sink.error or "it is too slow"
        log.warning("access log %s: %d lines dropped: %s", self._sink.path, lost, reason)
        self._told_at = now
        self._told_dropped = self._sink.dropped

    @property
    def dropped(self) -> int:
        return self._sink.dropped


CODES = {int(code): code.name for code in Code}


def timestamp(at: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    since = at - _second[0]
    if not 0.0 <= since < 1.0:
        _second[0] = second = math.floor(at)
        _prefix[0] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        since = at - second
    return _prefix[0] + _MILLISECONDS[int(since * 1000)]


# The second last written, and its text: most lines share it with the line before.
_second, _prefix = [-math.inf], [""]
_MILLISECONDS: Final = [f".{number:03}Z" for number in range(1000)]


def requested(head: RequestHead) -> str:
    """Verb, path and query as they may be logged."""
    query = redacted(head.query) if head.query else b""
    if len(head.path) <= MAX_PATH and len(query) <= MAX_QUERY and len(head.method) <= MAX_VERB:
        line = head.method + b" " + head.path
        return text(line + b"?" + query if query else line, _LONGEST)
    line_cut = f"{text(head.method, MAX_VERB)} {text(head.path, MAX_PATH)}"
    return f"{line_cut}?{text(query, MAX_QUERY)}" if query else line_cut
