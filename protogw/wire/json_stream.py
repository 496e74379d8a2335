"""Splits a JSON array, or JSON values one after another, into its values as the bytes arrive. Sans-I/O.

It finds where each value ends and no more: time is linear in the input, memory is one value, and nesting costs
nothing. Whether a value is JSON is for its reader; what lies between values is checked here.
"""

from __future__ import annotations

import re
from enum import Enum

from protogw.errors import BodyTooLarge, InvalidRequest


class _State(Enum):
    GAP = "between values"
    SCALAR = "in a number or literal"
    STRING = "in a string"
    NESTED = "in an object or array, outside its strings"


_TOKEN = re.compile(rb'["\[\]{}]')
_IN_STRING = re.compile(rb'["\\]')
_AFTER_SCALAR = re.compile(rb'[ \t\n\r"\[\]{},]')
_NOT_WHITE = re.compile(rb"[^ \t\n\r]")

_QUOTE, _BACKSLASH, _COMMA, _ARRAY, _ARRAY_END = b'"\\,[]'
_OPEN, _CLOSE = frozenset(b"[{"), frozenset(b"]}")


class JsonReader:
    """Bytes in whatever pieces they come → the bytes of each value.

    A first "[" makes it an array, whose elements are the values; otherwise the top-level values themselves are.
    `limit` bounds one value.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scan = 0
        self._state = _State.GAP
        self._depth = 0
        self._array: bool | None = None
        self._closed = False
        self._count = 0
        self._comma = False
        """A comma has been read since the last element."""

    def feed(self, data: bytes) -> list[bytes]:
        """The values that this piece completes; raises InvalidRequest or BodyTooLarge."""
        buffer = self._buffer
        buffer += data
        size = len(buffer)
        values: list[bytes] = []
        state, scan = self._state, self._scan
        start = 0
        while scan < size:
            if state is _State.NESTED:
                found = _TOKEN.search(buffer, scan)
                if found is None:
                    scan = size
                    break
                scan = found.end()
                byte = buffer[scan - 1]
                if byte == _QUOTE:
                    state = _State.STRING
                    continue
                if byte in _OPEN:
                    self._depth += 1
                    continue
                self._depth -= 1
                if self._depth:
                    continue
            elif state is _State.STRING:
                found = _IN_STRING.search(buffer, scan)
                if found is None:
                    scan = size
                    break
                scan = found.end()
                if buffer[scan - 1] == _BACKSLASH:
                    if scan == size:
                        scan -= 1  # What it escapes is in the next piece.
                        break
                    scan += 1
                    continue
                if self._depth:
                    state = _State.NESTED
                    continue
            elif state is _State.GAP:
                found = _NOT_WHITE.search(buffer, scan)
                if found is None:
                    scan = size
                    break
                start = found.start()
                state = self._begin(buffer[start])
                scan = start if state is _State.SCALAR else start + 1
                continue
            else:
                found = _AFTER_SCALAR.search(buffer, scan)
                if found is None:
                    scan = size
                    break
                scan = found.start()
            values.append(self._value(start, scan))
            state = _State.GAP
        if state is _State.GAP:
            start = scan
        del buffer[:start]
        self._state, self._scan = state, scan - start
        if len(buffer) > self._limit:
            raise self._too_large()
        return values

    def end(self) -> list[bytes]:
        """The body is complete; raises InvalidRequest when it stops inside a value or an array."""
        if self._state is _State.SCALAR and not self._array:
            self._state = _State.GAP
            return [self._value(0, len(self._buffer))]
        if self._state is not _State.GAP or (self._array and not self._closed):
            raise InvalidRequest("the body ends inside its JSON")
        return []

    def _begin(self, byte: int) -> _State:
        """What the first byte outside any value begins; GAP when it is the array's own punctuation."""
        if self._array is None:
            self._array = byte == _ARRAY
            if self._array:
                return _State.GAP
        if self._closed:
            raise InvalidRequest("the body goes on after its JSON array")
        if self._array:
            if byte == _ARRAY_END and not self._comma:
                self._closed = True
                return _State.GAP
            if byte == _COMMA and self._count and not self._comma:
                self._comma = True
                return _State.GAP
            if self._count and not self._comma and byte != _COMMA:
                raise InvalidRequest(f'"," or "]" is expected in the JSON array, got "{chr(byte)}"')
        if byte in _CLOSE or byte == _COMMA:
            raise InvalidRequest(f'a JSON value is expected, got "{chr(byte)}"')
        self._comma = False
        self._count += 1
        if byte in _OPEN:
            self._depth = 1
            return _State.NESTED
        self._depth = 0
        return _State.STRING if byte == _QUOTE else _State.SCALAR

    def _value(self, start: int, end: int) -> bytes:
        if end - start > self._limit:
            raise self._too_large()
        return bytes(self._buffer[start:end])

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"a message is over {self._limit} bytes")
