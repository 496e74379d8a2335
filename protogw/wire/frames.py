"""Counts the messages of a WebSocket in bytes that only pass (RFC 6455 section 5.2). Sans-I/O; who reads messages uses
wire.websocket.
"""

from __future__ import annotations

_DATA = (1, 2)
"""Opcodes that begin a message: those of its further frames, and of control frames, are others."""


class Frames:
    """One direction of a socket. Nothing is held but the head of a frame, and nothing is checked."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        """Bytes of the frame's payload that are still to come."""

    def begun(self, data: bytes) -> int:
        """How many messages begin in the next bytes."""
        found = at = 0
        head = self._head
        while at < len(data):
            if self._left:
                passed = min(self._left, len(data) - at)
                self._left -= passed
                at += passed
                continue
            wanted = _size(head)
            piece = data[at : at + wanted - len(head)]
            head += piece
            at += len(piece)
            if len(head) == _size(head):
                found += head[0] & 0x0F in _DATA
                self._left = _payload(head)
                head.clear()
        return found


def _size(head: bytearray) -> int:
    """How long the head is, as far as its beginning says."""
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    return 2 + (8 if length == 127 else 2 if length == 126 else 0) + (4 if head[1] & 0x80 else 0)


def _payload(head: bytearray) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:10] if length == 127 else head[2:4], "big")
