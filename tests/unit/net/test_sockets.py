"""Sockets: what a peer that is already gone must not upset."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from protogw.errors import Unreachable
from protogw.net.sockets import dial, half_close


class Gone(asyncio.WriteTransport):
    """The transport of a socket that the peer has reset."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write_eof(self) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


def test_half_closing_towards_a_peer_that_is_gone_closes_for_good() -> None:
    transport = Gone()
    half_close(transport)
    assert transport.aborted


async def test_half_closing_a_real_connection_that_was_reset_raises_nothing() -> None:
    made: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Side(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            made.set_result(transport)

    server = await asyncio.get_running_loop().create_server(Side, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        transport = await made
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Closed with a reset, of which this loop has had no turn to hear.
    half_close(transport)
    with pytest.raises(OSError, match="not connected"):
        transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    transport.abort()
    server.close()
    await server.wait_closed()


async def test_an_address_is_told_to_the_log_and_to_no_client() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Unreachable) as caught:
            await dial("127.0.0.1", port, timeout_s=5.0)
    assert caught.value.message == f"127.0.0.1:{port}: the service cannot be reached: Connection refused"
    assert caught.value.status.message == "the service cannot be reached: Connection refused"
