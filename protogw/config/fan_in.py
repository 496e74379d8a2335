"""What a route says of calls that share one upstream stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from protogw.config.strict import LISTED, Strict
from protogw.values import Seconds, refuse

_FIELD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){0,31}\Z", re.ASCII)
_HEADER = re.compile(r"[0-9a-z_.-]{1,256}\Z")


def _path(value: str) -> str:
    if not _FIELD.match(value):
        refuse("is not a field: write its name, or client.id for one of a message in it")
    return value


def _header(value: str) -> str:
    if not _HEADER.match(value.lower()):
        refuse("is not a header name")
    return value.lower()


FieldName = Annotated[str, AfterValidator(_path)]
HeaderName = Annotated[str, AfterValidator(_header)]
SlowRule = Literal["block", "drop_oldest", "close"]
Example = Annotated[Mapping[str, Any], Field(json_schema_extra={"additionalProperties": True})]


class FanIn(Strict):
    """How the clients of one streaming method share one upstream stream, or a unary method takes a call a message."""

    key: FieldName | None = None
    """The request field in which the service is told who sent it. The gateway writes it, over whatever is there."""
    identify: Literal["connection", "identity"] = "connection"
    """What a client's key is: the id of its connection, or who it is, as a policy found out."""
    reply_key: FieldName | None = None
    """The reply field with the keys of those whom a reply is for."""
    reply_topic: FieldName | None = None
    """The reply field with the topics that a reply is about; who subscribed to one of them gets it."""
    subscribe: FieldName | None = None
    """The request field with topics that its sender wants from now on. A path may give it."""
    unsubscribe: FieldName | None = None
    """The request field with topics that its sender wants no more."""
    unaddressed: Literal["broadcast", "drop"] | None = None
    """What becomes of a reply that names nobody. Default: it is for everyone where no field is there to name anybody,
    else for nobody; of a unary method it is for whom it answers."""
    buffer: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Replies that wait for one client."""
    slow: SlowRule = "drop_oldest"
    """What a client gets for which more would wait: `block` makes everyone wait for it, `drop_oldest` makes it miss
    some, `close` ends its call."""
    pending: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Requests of all clients that wait for the service before clients must wait."""
    replay: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Requests that are sent again when the stream broke and was opened anew: those sent last."""
    linger: Seconds = 5.0
    """How long the stream stays open without a client."""
    connect: Example | None = None
    """The request that the service gets for each client that comes, and again for those present on a new stream."""
    disconnect: Example | None = None
    """The request that the service gets for each client that goes."""
    lost: Example | None = None
    """The reply that every client gets when the stream breaks."""
    resumed: Example | None = None
    """The reply that every client gets when the stream is open again."""


class Share(Strict):
    """How equal server streams are opened once and given to all who ask."""

    by: Annotated[tuple[HeaderName, ...], LISTED] = ("authorization", "cookie")
    """Fields in which callers must be equal; they alone go to the service. An empty list: whoever calls is equal."""
    buffer: Annotated[int, Field(ge=1, le=100_000)] = 64
    """Replies that wait for one client."""
    slow: SlowRule = "drop_oldest"
    """What a client gets for which more would wait; as for `fan_in`."""
