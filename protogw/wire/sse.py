"""Server-sent events, both ways (WHATWG HTML, section 9.2). Sans-I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from protogw.errors import BodyTooLarge

HEARTBEAT = b":\n\n"
"""A comment: keeps proxies from giving up on a silent stream, and is no event to the client."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Event(NamedTuple):
    """One event as received; `type` is "message" unless the stream named another."""

    type: bytes
    data: bytes
    last_id: bytes


def event(data: bytes, type: bytes = b"") -> bytes:
    """The bytes of one event; `type` must hold no line end."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    if type:
        return b"event: %b\ndata: %b\n\n" % (type, data)
    return b"data: %b\n\n" % data


class SseReader:
    """Bytes in whatever pieces they come → events; `limit` bounds one event's data and one line."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._scanned = 0
        self._started = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""
        self._id = b""

    def feed(self, data: bytes) -> list[Event]:
        """The events that this piece completes; raises BodyTooLarge."""
        rest = self._rest
        rest += data
        if not self._started:
            if rest[:3] == b"\xef\xbb\xbf":
                del rest[:3]
            elif len(rest) < 3 and b"\xef\xbb\xbf".startswith(rest):
                return []
            self._started = True
        events: list[Event] = []
        start = 0
        scan = self._scanned
        while found := _LINE_END.search(rest, scan):
            if found.group() == b"\r" and found.end() == len(rest):
                break  # The next piece may begin with the "\n" of a "\r\n".
            self._line(bytes(rest[start : found.start()]), events)
            start = scan = found.end()
        end = len(rest) - (rest[-1:] == b"\r")
        del rest[:start]
        self._scanned = max(0, end - start)
        if len(rest) > self._limit:
            raise BodyTooLarge(f"an event is over {self._limit} bytes")
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append(Event(self._type or b"message", b"\n".join(self._data), self._id))
            self._data = []
            self._size = 0
            self._type = b""
            return
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._limit + 1:
                raise BodyTooLarge(f"an event is over {self._limit} bytes")
            self._data.append(value)
        elif name == b"event":
            self._type = value
        elif name == b"id" and b"\0" not in value:
            self._id = value
