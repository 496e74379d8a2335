"""What expressions can read of a call, root by root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from protogw.call import Call, Payload
from protogw.wire.spelling import host_of, network_of, path_of

if TYPE_CHECKING:
    from protogw.identity import Identity

Reader = Callable[[Call, "Payload | None"], Any]
"""Reads a value of a call; the payload is the message at hand where that is not the call's own."""


class ExpressionError(Exception):
    """An expression that has no value for this call; the message says why."""


def identity_as_data(who: Identity) -> dict[str, Any]:
    """A caller as plain data, under the names that expressions have for it."""
    return {
        "subject": who.subject,
        "consumer": who.consumer,
        "issuer": who.issuer,
        "scheme": who.scheme,
        "groups": sorted(who.groups),
        "scopes": sorted(who.scopes),
        "claims": dict(who.claims),
        "metadata": dict(who.metadata),
    }


def _identity(call: Call, payload: Payload | None) -> Mapping[str, Any]:
    who: Identity | None = call.identity
    return _NOBODY if who is None else {"key": who.key, **identity_as_data(who)}


_NOBODY: Final[Mapping[str, Any]] = {
    "key": "",
    "subject": "",
    "consumer": "",
    "issuer": "",
    "scheme": "",
    "groups": [],
    "scopes": [],
    "claims": {},
    "metadata": {},
}


def _headers(call: Call, payload: Payload | None) -> Mapping[str, str]:
    found: dict[bytes, bytes] = {}
    for name, value in call.metadata.pairs:
        before = found.get(name)
        found[name] = value if before is None else before + between(name) + value
    return {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in found.items()}


def between(name: bytes) -> bytes:
    """What stands between the values of a field that is there more than once (RFC 9110 section 5.3, RFC 9113 section
    8.2.3). Services take the first, the last or all of them: with one of them alone, a condition would be asked of
    another value than the service reads."""
    return b"; " if name == b"cookie" else b", "


def _peer(call: Call, payload: Payload | None) -> Mapping[str, str]:
    host = call.peer.host
    return {"address": host, "network": network_of(host), "identity": call.peer.identity}


def _method(call: Call, payload: Payload | None) -> str:
    return call.method.full_name if call.method is not None else ""


def _service(call: Call, payload: Payload | None) -> str:
    return call.method.service if call.method is not None else ""


def _front_end(call: Call, payload: Payload | None) -> str:
    return call.front_end


def _host(call: Call, payload: Payload | None) -> str:
    if call.head is None:
        return ""
    return host_of(call.head.authority).decode("latin-1")


def _path(call: Call, payload: Payload | None) -> str:
    return path_of(call.head.path) if call.head is not None else ""


def _cost(call: Call, payload: Payload | None) -> Any:
    return 1 if call.attributes is None else call.attributes.get("cost", 1)


def _message(call: Call, payload: Payload | None) -> Any:
    if payload is None:
        if call.payload is None:
            return {}
        # Whatever is decided by it, the service gets the message that it was decided by.
        payload = call.payload = call.payload.settled()
    if payload.codec is None:
        raise ExpressionError("message: an opaque body has no fields")
    return orjson.loads(payload.codec.canonical.to_json(payload.proto()))


ROOTS: Final[Mapping[str, Reader]] = {
    "identity": _identity,
    "peer": _peer,
    "header": _headers,
    "metadata": _headers,
    "method": _method,
    "service": _service,
    "front_end": _front_end,
    "host": _host,
    "path": _path,
    "cost": _cost,
    "message": _message,
}

MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "identity": frozenset(_NOBODY),
    "peer": frozenset(("address", "network", "identity")),
}
"""The roots whose members are known beforehand."""


def _identity_key(call: Call, payload: Payload | None) -> str:
    return call.identity.key if call.identity is not None else ""


def _subject(call: Call, payload: Payload | None) -> str:
    return call.identity.subject if call.identity is not None else ""


def _consumer(call: Call, payload: Payload | None) -> str:
    return call.identity.consumer if call.identity is not None else ""


def address(call: Call, payload: Payload | None = None) -> str:
    return call.peer.host


def _network(call: Call, payload: Payload | None) -> str:
    return network_of(call.peer.host)


def _name(call: Call, payload: Payload | None) -> str:
    return call.peer.identity


QUICK: Final[Mapping[str, Callable[[Call, Payload | None], str]]] = {
    "identity.key": _identity_key,
    "identity.subject": _subject,
    "identity.consumer": _consumer,
    "peer.address": address,
    "peer.network": _network,
    "peer.identity": _name,
}
"""The usual values, read without making what is around them."""
