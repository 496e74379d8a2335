"""How a streamed reply is written: as server-sent events, as lines, or as a JSON array. Every one ends in a record
that tells a failure from the end.

| form   | a message         | the end                          | a failure                                       |
|--------|-------------------|----------------------------------|-------------------------------------------------|
| SSE    | `data: {…}`       | `event: end`, `data: {}`         | `event: error`, `data: {the error}`             |
| NDJSON | `{…}` and newline | the body's end                   | a last line `{"error": {…}}`                    |
| array  | an element        | `]`                              | a last element `{"error": {…}}`, then `]`       |

Where a message of the method may itself have a field named "error", lines and arrays are cut off behind the failure's
record (a reset stream, chunks without their end), so that it cannot be taken for a message.
"""

from __future__ import annotations

from typing import Protocol

from protogw.frontends.rest.head import Form
from protogw.wire import ndjson, sse
from protogw.wire.http import Header

_NO_STORE: Header = (b"cache-control", b"no-store")
_UNBUFFERED: Header = (b"x-accel-buffering", b"no")
_VARY: Header = (b"vary", b"accept")


class Framing(Protocol):
    """Writes one reply's messages; one object per reply."""

    headers: tuple[Header, ...]
    ambiguous: bool
    """A failure's record could be taken for a message."""

    def message(self, data: bytes) -> bytes:
        """A message's JSON, framed."""
        ...

    def end(self) -> bytes:
        """What follows the last message of a stream that ended well."""
        ...

    def failure(self, body: bytes, record: bytes) -> bytes:
        """What follows the last message of one that did not: the error itself, or wrapped as `{"error": …}`."""
        ...


class Events:
    """Server-sent events."""

    headers: tuple[Header, ...] = ((b"content-type", b"text/event-stream"), _NO_STORE, _UNBUFFERED, _VARY)
    ambiguous = False

    def message(self, data: bytes) -> bytes:
        return sse.event(data)

    def end(self) -> bytes:
        return sse.event(b"{}", b"end")

    def failure(self, body: bytes, record: bytes) -> bytes:
        return sse.event(body, b"error")


class Lines:
    """Newline-delimited JSON."""

    headers: tuple[Header, ...] = ((b"content-type", b"application/x-ndjson"), _NO_STORE, _UNBUFFERED, _VARY)
    ambiguous = True

    def message(self, data: bytes) -> bytes:
        return ndjson.line(data)

    def end(self) -> bytes:
        return b""

    def failure(self, body: bytes, record: bytes) -> bytes:
        return ndjson.line(record)


class Array:
    """A JSON array, an element at a time."""

    headers: tuple[Header, ...] = ((b"content-type", b"application/json"), _NO_STORE, _UNBUFFERED, _VARY)
    ambiguous = True

    def __init__(self) -> None:
        self._before = b"["

    def message(self, data: bytes) -> bytes:
        before = self._before
        self._before = b","
        return before + data

    def end(self) -> bytes:
        return b"]" if self._before == b"," else b"[]"

    def failure(self, body: bytes, record: bytes) -> bytes:
        return self._before + record + b"]"


def framing(form: Form) -> Framing:
    if form is Form.SSE:
        return Events()
    return Lines() if form is Form.NDJSON else Array()
