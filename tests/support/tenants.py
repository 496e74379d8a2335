"""Policies as users write them, good and bad."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from protogw.policy import Call, Forbidden, Handler, Payload, PayloadStream, Policy, Reply, Settings, read, write


class TenantSettings(Settings):
    header: str = "x-tenant"
    """Where a call says whose it is."""
    most: int = 3


class Tenant(Policy[TenantSettings]):
    """Lets through calls that say whose they are."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        tenant = call.metadata.get(self.settings.header.encode())
        if tenant is None:
            raise Forbidden("whose call is this?")
        call.metadata = call.metadata.setting(b"x-seen-by", self.name.encode())
        reply = await forward(call)
        reply.metadata = reply.metadata.adding((b"x-tenant-seen", tenant))
        return reply


class Shouting(Policy[Settings]):
    """Changes the request's message, and the reply's."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        if call.payload is not None:
            message = read(call.payload)
            call.payload = write(call.payload, {**message, "text": message.get("text", "").upper()})
        reply = await forward(call)
        if reply.payload is not None:
            reply.payload = write(reply.payload, {**read(reply.payload), "tags": ["shouted"]})
        return reply


class Raising(Policy[Settings]):
    async def __call__(self, call: Call, forward: Handler) -> Reply:
        raise KeyError("a secret of the policy")


class Leaving(Policy[Settings]):
    async def __call__(self, call: Call, forward: Handler) -> Reply:
        sys.exit(3)


class Panicking(Policy[Settings]):
    """Fails as libraries in Rust do."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        raise BaseException("a secret of the library")


class Abandoned(Policy[Settings]):
    """Waits for what somebody else has cancelled."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        waited = asyncio.get_running_loop().create_future()
        waited.cancel()
        await waited
        return await forward(call)


class Breaking(Policy[Settings]):
    """Fails at the second message of a stream."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        reply = await forward(call)
        if reply.payloads is not None:
            reply.payloads = _Broken(reply.payloads)
        return reply


class _Broken(PayloadStream):
    def __init__(self, payloads: AsyncIterator[Payload]) -> None:
        self._payloads = payloads
        self._read = 0

    async def __anext__(self) -> Payload:
        self._read += 1
        if self._read == 2:
            raise KeyError("a secret of the policy")
        return await anext(self._payloads)

    async def aclose(self) -> None:
        """Nothing is open here."""


class Nonsense(Policy[Settings]):
    async def __call__(self, call: Call, forward: Handler) -> Any:
        return {"status": 200}


class Hanging(Policy[Settings]):
    async def __call__(self, call: Call, forward: Handler) -> Reply:
        await asyncio.Event().wait()
        return await forward(call)


class Fussy(Policy[Settings]):
    def __init__(self, settings: Settings) -> None:
        raise ValueError("the moon is not full")


class Working(Policy[Settings]):
    """Has work in the background."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.worked = asyncio.Event()

    async def run(self) -> None:
        self.worked.set()


class Plain:
    """No policy."""
