"""What a policy of your own is made of: subclass `Policy`, name the class in the config.

    from protogw.policy import Call, Forbidden, Handler, Policy, Reply, Settings

    class TenantSettings(Settings):
        header: str = "x-tenant"
        \"\"\"Where a call says whose it is.\"\"\"

    class Tenant(Policy[TenantSettings]):
        \"\"\"Lets through calls that say whose they are.\"\"\"

        async def __call__(self, call: Call, forward: Handler) -> Reply:
            if call.metadata.get(self.settings.header.encode()) is None:
                raise Forbidden("whose call is this?")
            return await forward(call)

    policies: { tenant: { python: { class: "tenants:Tenant", settings: { header: x-shop } } } }

This module is the whole of what such a policy may count on; `protogw.testing` runs one without a network.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

import orjson

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, PayloadStream, Reply
from protogw.errors import (
    OK,
    Code,
    DeadlineExceeded,
    Detail,
    Forbidden,
    GatewayError,
    InternalError,
    InvalidRequest,
    LimitReached,
    NotOffered,
    Overloaded,
    Status,
    Unauthenticated,
    UpstreamError,
)
from protogw.expressions import Expression, ExpressionError, ExpressionText
from protogw.identity import Identity
from protogw.policies.base import Handler, Target, Tools
from protogw.policies.base import PolicySettings as Settings
from protogw.values import Bytes, Positive, Seconds

__all__ = [
    "NO_METADATA",
    "OK",
    "Bytes",
    "Call",
    "Code",
    "DeadlineExceeded",
    "Detail",
    "Encoding",
    "Expression",
    "ExpressionError",
    "ExpressionText",
    "Forbidden",
    "GatewayError",
    "Handler",
    "Identity",
    "InternalError",
    "InvalidRequest",
    "LimitReached",
    "Metadata",
    "NotOffered",
    "Overloaded",
    "Payload",
    "PayloadStream",
    "Policy",
    "Positive",
    "Reply",
    "Seconds",
    "Settings",
    "Status",
    "Target",
    "Tools",
    "Unauthenticated",
    "UpstreamError",
    "read",
    "write",
]

S = TypeVar("S", bound=Settings)


class Policy(Generic[S]):
    """One step around a call. `Policy[MySettings]` says what may be written under `settings`.

    One object serves all calls of the gateway, on one thread; it is made when the config is loaded. To be a kind of its
    own (`mine: { tenant: {…} }`), give the class a `kind` and register it as an entry point of `protogw.policies`.
    """

    kind: ClassVar[str] = "python"
    Settings: ClassVar[type[Settings]] = Settings

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in cls.__dict__.get("__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, Policy):
                (settings,) = get_args(base)
                if isinstance(settings, type) and issubclass(settings, Settings):
                    cls.Settings = settings

    def __init__(self, settings: S) -> None:
        """Raise ValueError for settings that cannot be: the config is then refused with that text."""
        self.settings = settings
        self.name = self.kind
        """The policy's name in the config."""

    def equip(self, tools: Tools) -> None:
        """Take what outlives a call: other upstreams, counters, an HTTP client. Called once, before any call."""
        self.name = tools.name

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        """Pass the call on with `await forward(call)`, at most once, or refuse it by raising a GatewayError.

        Anything else that is raised ends this call as INTERNAL, and is logged under the policy's name.
        """
        return await forward(call)

    async def run(self) -> None:
        """Work in the background, from the gateway's start on; cancelled at its end."""


def read(payload: Payload) -> dict[str, Any]:
    """The message's fields, as ProtoJSON writes them (lowerCamelCase; 64-bit integers as text; defaults are left out).

    Raises InvalidRequest when the bytes are no such message, and for an opaque body.
    """
    if payload.codec is None:
        raise InvalidRequest("an opaque body has no fields")
    found: dict[str, Any] = orjson.loads(payload.codec.canonical.to_json(payload.proto()))
    return found


def write(payload: Payload, message: dict[str, Any]) -> Payload:
    """A message of the same type with these fields; raises InvalidRequest naming the one that does not fit."""
    if payload.codec is None:
        raise InvalidRequest("an opaque body has no fields")
    codec = payload.codec
    return Payload(codec.canonical.from_json(orjson.dumps(message)), Encoding.PROTO, codec)
