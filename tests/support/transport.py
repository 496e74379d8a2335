"""A transport in memory: what a protocol writes is kept, and what the kernel would do is done by the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


class FakeSocket:
    """As much of a socket as a connection asks for."""

    def __init__(self) -> None:
        self.error = 0
        self.options: list[tuple[int, int, object]] = []

    def getsockopt(self, level: int, option: int) -> int:
        return self.error

    def setsockopt(self, level: int, option: int, value: object) -> None:
        self.options.append((level, option, value))


class MemoryTransport(asyncio.Transport):
    """Takes everything at once, unless `stuck`: then it holds what is written, as for a peer that does not read."""

    def __init__(self, protocol: asyncio.Protocol, extra: dict[str, Any] | None = None) -> None:
        self.socket = FakeSocket()
        super().__init__({"socket": self.socket, "peername": ("192.0.2.1", 40000), **(extra or {})})
        self.protocol = protocol
        self.written = bytearray()
        self.writes = 0
        self.reading = True
        self.eof = False
        self.closed = False
        self.aborted = False
        self.stuck = False
        self.held = 0
        self._high = 64 << 10
        self._lost = False
        protocol.connection_made(self)

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        assert not self.eof, "a write after the end"
        if self.closed:
            return
        self.writes += 1
        self.written += data
        if self.stuck:
            self.held += len(data)
            if self.held > self._high:
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.eof = True

    def can_write_eof(self) -> bool:
        return self.get_extra_info("sslcontext") is None

    def close(self) -> None:
        self.closed = True
        self.lose()

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else 64 << 10

    def get_write_buffer_size(self) -> int:
        return self.held

    # What the test does.

    def feed(self, *pieces: bytes) -> None:
        """The peer sends."""
        for piece in pieces:
            if not self.closed:
                assert self.reading, "the peer must wait"
                self.protocol.data_received(piece)

    def end(self) -> None:
        """The peer ends its side."""
        if not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone, as the protocol will learn in the next turn of the loop."""
        if not self._lost:
            self._lost = True
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, error)

    def unstick(self) -> None:
        """The peer reads everything."""
        self.stuck = False
        self.held = 0
        self.protocol.resume_writing()

    def take(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self.written)
        self.written.clear()
        return data


async def settle() -> None:
    """Let everything that is ready run, and what that makes ready."""
    for _ in range(10):
        await asyncio.sleep(0)


def without_date(answer: bytes) -> bytes:
    """An answer less its Date lines."""
    lines = answer.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"date: "))
