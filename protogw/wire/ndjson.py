"""Newline-delimited JSON, both ways (ndjson.org, jsonlines.org). Sans-I/O; whether a line is JSON is for its reader."""

from __future__ import annotations

from protogw.errors import BodyTooLarge

MEDIA_TYPES = frozenset(
    (
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/jsonlines",
        b"application/x-jsonlines",
        b"application/json-lines",
    )
)

_NO_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")


def line(data: bytes) -> bytes:
    """One value as a line. Line ends inside JSON are white space, for a string may not hold one raw."""
    if b"\n" in data or b"\r" in data:
        data = data.translate(_NO_LINE_ENDS)
    return data + b"\n"


class NdjsonReader:
    """Bytes in whatever pieces they come → lines; blank ones are skipped, `limit` bounds one line."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that this piece completes; raises BodyTooLarge."""
        if b"\n" not in data:
            self._rest += data
            if len(self._rest) > self._limit:
                raise self._too_large()
            return []
        lines = data.split(b"\n")
        if self._rest:
            lines[0] = bytes(self._rest) + lines[0]
        self._rest = bytearray(lines.pop())
        kept = [stripped for one in lines if (stripped := one.strip(b" \t\r"))]
        if len(self._rest) > self._limit or any(len(one) > self._limit for one in kept):
            raise self._too_large()
        return kept

    def end(self) -> list[bytes]:
        """What is left: a last line without its newline is a line."""
        last = bytes(self._rest).strip(b" \t\r")
        self._rest = bytearray()
        return [last] if last else []

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a line is over {self._limit} bytes")
