"""Messages between the supervisor and a worker: JSON, a line each, over a pair of sockets that nobody else has."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

LIMIT = 16 << 20
"""Bytes of a message."""


class Channel:
    """One end. What is sent never waits: messages are few and small, and the other end reads or is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """Take over one of the two sockets."""
        sock.setblocking(False)
        return cls(*await asyncio.open_connection(sock=sock, limit=LIMIT))

    def send(self, message: Mapping[str, Any]) -> None:
        """Hand over a message; one for an end that is gone is lost."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps(message) + b"\n")

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """What the other end says, until it is gone."""
        while True:
            try:
                line = await self._reader.readline()
            except (OSError, ValueError):
                return
            if not line.endswith(b"\n"):
                return
            yield orjson.loads(line)

    def close(self) -> None:
        self._writer.close()
