"""A policy of one's own: every call says whose it is, and each tenant sees and names its own items alone."""

from __future__ import annotations

import logging

from protogw.policy import (
    Call,
    Forbidden,
    Handler,
    InvalidRequest,
    Policy,
    Reply,
    Settings,
    Unauthenticated,
    read,
    write,
)

log = logging.getLogger("tenants")


class TenantSettings(Settings):
    header: str = "x-tenant"
    """Where a call says whose it is."""
    known: tuple[str, ...]
    """The tenants that there are."""
    field: str = "parent"
    """The request field that a tenant's name begins."""


class Tenants(Policy[TenantSettings]):
    """Lets through calls of known tenants, and keeps each to its own part of the names."""

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        tenant = self._tenant(call)
        if call.payload is not None and call.payload.codec is not None:
            message = read(call.payload)
            own = f"tenants/{tenant}"
            name = message.get(self.settings.field) or own
            if name != own and not name.startswith(f"{own}/"):
                raise Forbidden(f"{name} is not {tenant}'s")
            if name != message.get(self.settings.field):
                call.payload = write(call.payload, {**message, self.settings.field: name})
        reply = await forward(call)
        reply.metadata = reply.metadata.adding((b"x-served-for", tenant.encode()))
        return reply

    def _tenant(self, call: Call) -> str:
        said = call.metadata.get(self.settings.header.encode())
        if said is None:
            raise Unauthenticated(f"{self.settings.header} is missing", "Tenant")
        if not said.isascii():
            raise InvalidRequest(f"{self.settings.header} is not ASCII")
        tenant = said.decode()
        if tenant not in self.settings.known:
            raise Forbidden(f"{tenant} is not known here")
        return tenant
