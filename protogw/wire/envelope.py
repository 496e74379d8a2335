"""Length-prefixed messages: one byte of flags, four of length, the message. Sans-I/O; what a flag means beyond
"compressed" is its protocol's business.

Shared by gRPC (PROTOCOL-HTTP2.md, Length-Prefixed-Message), gRPC-Web (PROTOCOL-WEB.md) and Connect's streams
(connectrpc.com/docs/protocol, Enveloped-Message).
"""

from __future__ import annotations

import struct

from protogw.errors import BodyTooLarge, GatewayError

_PREFIX = struct.Struct(">BI")
_pack = _PREFIX.pack
_unpack = _PREFIX.unpack_from

PREFIX = 5
"""Bytes before each message."""

COMPRESSED = 0x01


def envelope(data: bytes, flags: int = 0) -> bytes:
    """One message with its prefix."""
    return _pack(flags, len(data)) + data


def only_message(body: bytes) -> bytes | None:
    """The message of a body that is exactly one uncompressed envelope, else None."""
    if len(body) >= PREFIX:
        flags, length = _unpack(body)
        if not flags and length == len(body) - PREFIX:
            return body[PREFIX:]
    return None


class EnvelopeReader:
    """Cuts a body into its envelopes, whatever the pieces it comes in.

    A message over `limit` bytes raises BodyTooLarge as soon as its prefix is seen. What an incomplete envelope at
    the end raises is for the caller to say: it knows which side is at fault.
    """

    __slots__ = ("_data", "_fault", "_limit", "_need", "_offset", "_parts", "_waiting")

    def __init__(self, limit: int, fault: type[GatewayError]) -> None:
        self._limit = limit
        self._fault = fault
        self._data = b""
        self._offset = 0
        # Pieces that came after _data are joined only once the envelope they belong to is complete, so that a
        # large message costs one copy and not one for each piece.
        self._parts: list[bytes] = []
        self._waiting = 0
        self._need = PREFIX

    def push(self, data: bytes) -> None:
        """Add the next piece of the body."""
        if self._offset == len(self._data) and not self._parts:
            self._data = data
            self._offset = 0
        else:
            self._parts.append(data)
            self._waiting += len(data)

    def next(self) -> tuple[int, bytes] | None:
        """The flags and bytes of the next envelope, or None when it is not complete yet."""
        while True:
            data, offset = self._data, self._offset
            have = len(data) - offset
            if have < self._need:
                if have + self._waiting < self._need:
                    return None
                self._data = data = b"".join((data[offset:], *self._parts))
                self._parts.clear()
                self._waiting = 0
                self._offset = offset = 0
                have = len(data)
            flags, length = _unpack(data, offset)
            end = length + PREFIX
            if have >= end and length <= self._limit:
                self._offset = offset + end
                self._need = PREFIX
                return flags, data[offset + PREFIX : offset + end]
            if length > self._limit:
                raise BodyTooLarge(f"a message of {length} bytes is over the limit of {self._limit}")
            self._need = end

    @property
    def empty(self) -> bool:
        """Nothing is left that was pushed."""
        return self._offset == len(self._data) and not self._parts

    def end(self) -> None:
        """The body is complete; raises the fault when it ends within an envelope."""
        if not self.empty:
            raise self._fault("the body ends within a message")
