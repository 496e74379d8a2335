"""A server that a policy asks over HTTP: it answers as it is told to and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from protogw.fetching import Fetcher
from protogw.policies.tools import PolicyTools
from protogw.stores.registry import Stores


@dataclass(slots=True)
class Asked:
    """One request."""

    line: str
    fields: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Server:
    """Where it is, what it answers from now on (status None for never), and what it was asked."""

    url: str = ""
    status: int | None = 200
    fields: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    asked: list[Asked] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *rest = head.rstrip("\r\n").split("\r\n")
                pairs = [one.partition(":") for one in rest]
                fields = {name.lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                self.asked.append(Asked(line, fields, body))
                if self.status is None:
                    await reader.read()
                    break
                lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(self.body)}"]
                lines += [f"{name}: {value}" for name, value in self.fields]
                writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def asked_server() -> AsyncIterator[tuple[Server, Any]]:
    """The server, and tools for a policy that asks it."""
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    made.url = f"http://{host}:{port}"
    fetcher = Fetcher()
    try:
        yield made, PolicyTools("outside", Stores(), fetcher, {}, {})
    finally:
        await fetcher.close()
        listening.close()
        await listening.wait_closed()
