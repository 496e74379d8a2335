"""A WebSocket echo server on our own network layer: `python -m tests.support.echo_socket` for other programs.

Prints the port it listens on, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import uvloop

from protogw.errors import GatewayError
from protogw.net.limits import Limits
from protogw.net.listener import Listener
from protogw.websocket import SocketClosed, SocketOptions, accept

if TYPE_CHECKING:
    from protogw.frontends.base import Exchange


class Echo:
    """Answers each message with the same message."""

    def __init__(self, options: SocketOptions, subprotocols: Sequence[str] = ()) -> None:
        self.options = options
        self.subprotocols = subprotocols
        self.ended: list[SocketClosed] = []

    async def serve(self, exchange: Exchange) -> None:
        try:
            socket = await accept(exchange, self.options, self.subprotocols)
        except GatewayError as error:
            exchange.respond(error.http_status or 400, error.headers, error.message.encode())
            return
        try:
            while True:
                await socket.send(await socket.receive())
        except SocketClosed as closed:
            self.ended.append(closed)
        except asyncio.CancelledError:
            socket.abort()
            raise


async def _main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    echo = Echo(SocketOptions(message_bytes=64 << 20))
    listener = Listener("echo", "127.0.0.1", port, echo.serve, Limits())
    await listener.start()
    print(listener.address[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await listener.drain(1.0)


if __name__ == "__main__":
    uvloop.run(_main())
