"""Carries bytes between a client and a service that have both left HTTP, until both directions have ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from protogw.errors import GatewayError

if TYPE_CHECKING:
    from protogw.wire.http import ByteStream


async def relay(client: ByteStream, service: ByteStream) -> None:
    """Each direction ends alone; what breaks one breaks both, and the error that broke it is raised."""
    faults: list[GatewayError] = []

    async def carry(source: ByteStream, into: ByteStream) -> None:
        try:
            while data := await source.read():
                await into.write(data)
            into.end()
        except GatewayError as error:
            faults.append(error)
            source.abort()
            into.abort()

    upwards = asyncio.get_running_loop().create_task(carry(client, service))
    try:
        await carry(service, client)
        await upwards
    finally:
        if not upwards.done():
            upwards.cancel()
            await asyncio.wait((upwards,))
        client.abort()
        service.abort()
    if faults:
        raise faults[0]
