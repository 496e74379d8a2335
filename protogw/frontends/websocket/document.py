"""What is offered to sockets, told to whoever writes its AsyncAPI document."""

from __future__ import annotations

from collections.abc import Iterable

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.to_asyncapi import Channel, Manner, Said, Sessions, asyncapi
from protogw.frontends.websocket.handshake import CALLS, JSON, JSON_RPC, PROTO
from protogw.frontends.websocket.table import Binding

_METADATA = {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}}
_STATUS = Said(
    name="Status",
    schema={
        "type": "object",
        "properties": {
            "code": {"type": "integer", "description": "A google.rpc.Code."},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object"}},
            "metadata": _METADATA,
            "trailers": _METADATA,
        },
        "required": ["code", "message", "details", "metadata", "trailers"],
    },
    doc="How the call ended, after an empty text message and before the close frame; for clients that name a "
    "subprotocol.",
)
_NO_MORE = Said(
    name="NoMore",
    schema={"type": "string", "const": ""},
    doc="An empty text message: the client has no further request.",
    content_type="text/plain",
)


def document(catalog: Catalog, bindings: Iterable[Binding], sessions: str | None, about: About) -> Document:
    """The AsyncAPI document of compiled bindings; `sessions` is the path of sockets that carry many calls."""
    manner = Manner(
        subprotocols=(JSON, PROTO),
        no_more=_NO_MORE,
        status=_STATUS,
        sessions=Sessions(
            path=sessions,
            subprotocols=(CALLS, *JSON_RPC),
            doc="Calls of any methods over one socket, each message an object with what it is for, or JSON-RPC 2.0",
        )
        if sessions is not None
        else None,
    )
    channels = (
        Channel(method=one.method, template=one.template, starts=one.starts, streams=one.streams) for one in bindings
    )
    return asyncapi(catalog, channels, manner, about)
