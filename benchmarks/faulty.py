"""A service over HTTP/1.1 that goes wrong on demand: `python -m benchmarks.faulty PORT`.

`GET /mode/NAME` says how every other request is answered from now on, and `GET /count` how many there were.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

import uvloop

MODES = ("well", "fails", "slow", "hangs", "cuts", "resets")
NEEDS_S, SLOW_S = 0.02, 0.3
"""How long an answer takes: long enough that calls are in flight when something happens."""
_BODY = b"x" * 512
_WELL = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
_FAILS = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Service:
    """What the service does now, and how much it has done."""

    def __init__(self) -> None:
        self.mode = "well"
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode("latin-1")
                if path.startswith("/mode/"):
                    self.mode = path.removeprefix("/mode/")
                    writer.write(_WELL)
                elif path == "/count":
                    text = b"%d" % self.count
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text))
                elif not await self._answer(writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection lives on."""
        self.count += 1
        mode = self.mode
        if mode == "hangs":
            await asyncio.sleep(3600)
        await asyncio.sleep(SLOW_S if mode == "slow" else NEEDS_S)
        if mode in ("cuts", "resets"):
            writer.write(_WELL[: len(_WELL) // 2])
            await writer.drain()
            if mode == "resets":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            return False
        writer.write(_FAILS if mode == "fails" else _WELL)
        return True


async def main(port: int) -> None:
    server = await asyncio.start_server(Service().serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
