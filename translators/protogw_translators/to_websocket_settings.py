"""What an upstream's `websocket_options` may say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from protogw.values import Bytes, Positive, Seconds, refuse

Scalar: TypeAlias = str | int | float | bool | None

_Path = Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=2048)]
_Member = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$", max_length=256)]
_Token = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$", max_length=128)]
_Value = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?$", max_length=8192)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _marker(value: object) -> object:
    """Each member with the list of the values that it may have."""
    if not isinstance(value, Mapping) or not value:
        refuse('is not a mark: write the members that a message is known by, {type: done}, with "*" for any value')
    return {name: tuple(one) if isinstance(one, (list, tuple)) else (one,) for name, one in value.items()}


def _pair(value: object) -> object:
    return {"request": value, "reply": value} if isinstance(value, str) else value


Marker = Annotated[
    Mapping[_Member, tuple[Scalar, ...]],
    BeforeValidator(_marker),
    WithJsonSchema({"type": "object", "examples": [{"type": "done"}, {"error": "*"}]}),
]


class Strict(BaseModel):
    """Frozen, with no keys but its own; a field's docstring is its line in the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Pair(Strict):
    """The members of a request and of its reply that are equal."""

    request: _Member
    """The member of the request, dotted where it is nested."""
    reply: _Member
    """The member of the reply."""


_Paired = Annotated[
    Pair | None,
    BeforeValidator(_pair),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}], "examples": ["id"]}),
]


class MethodOptions(Strict):
    """How one method's messages travel, where it is not as the upstream's others do."""

    path: _Path | None = None
    """Where its sockets are opened, below the address; `{service}` and `{method}` stand for the method's names.
    Default: the address itself, or `/{service}/{method}` where it has no path."""
    encoding: Literal["json", "proto"] = "json"
    """Messages are JSON in text frames, or protobuf in binary frames."""
    sockets: Literal["per_call", "shared"] = "per_call"
    """A socket for each call, or sockets that unary calls and server streams share."""
    correlation: _Paired = None
    """The member by which a reply finds its request on a shared socket, which the gateway fills with an id of its own;
    `{request: id, reply: inReplyTo}` where it has two names."""
    topic: _Paired = None
    """Instead of `correlation`: the member that says what a call is about; all messages about it are for that call."""
    end: Marker | None = None
    """What a message is known by that says that there are no more; it is not passed on."""
    last: Marker | None = None
    """What a message is known by that is passed on and has none after it."""
    error: Marker | None = None
    """What a message is known by that says that the call failed. Default: an object with `error` and nothing else."""
    ignore: Marker | None = None
    """What messages are known by that are for nobody, such as greetings and heartbeats."""
    half_close: Annotated[str, Field(max_length=4096)] | None = None
    """The message that tells the service that the client's messages have ended, or `close` to close the socket then.
    Default: the service is not told, and ends the call itself."""
    cancel: Annotated[str, Field(max_length=4096)] | None = None
    """The message that tells the service on a shared socket that a call is no longer wanted; `{id}` stands for what the
    call was known by, as JSON. Default: the service is not told."""


class WebSocketOptions(MethodOptions):
    """How a WebSocket service is spoken to."""

    methods: Mapping[str, MethodOptions] = {}
    """Methods (`package.Service/Method`) that are spoken to otherwise; what they leave out is the upstream's."""
    subprotocols: tuple[_Token, ...] = ()
    """Offered in the handshake, the most wanted first."""
    headers: Mapping[_Token, _Value] = {}
    """Fields of every handshake, such as an API key."""
    sockets_per_endpoint: _Count = 4
    """Shared sockets of one path that an endpoint has at the most."""
    calls_per_socket: _Count = 1000
    """Calls in flight on a shared socket before another one is opened."""
    queue: _Count = 256
    """Messages that wait for a client on a shared socket."""
    queue_bytes: Annotated[Bytes, Field(ge=1024, le=1 << 40)] = 4 << 20
    """Bytes of messages that wait for a client on a shared socket."""
    slow: Literal["close", "drop_oldest", "block"] = "close"
    """When a client's queue is full: its call fails, the oldest message is lost, or the whole socket waits."""
    handshake_timeout: Positive = 10.0
    """From the handshake to the service's answer."""
    ping: Seconds = 20.0
    """Between pings, which keep a socket open and find out that it is dead; 0 for none."""
    pong_timeout: Positive = 20.0
    """A socket is dead when a ping is not answered for so long."""
    idle: Positive = 300.0
    """A socket on which no message has come for so long is closed."""
    compression: bool = False
    """Offer permessage-deflate."""


def settled(settings: WebSocketOptions, method: str, described: Mapping[str, Any]) -> MethodOptions:
    """What holds for a method: what is written for it, else for the upstream, else what its schema says."""
    said = dict(described)
    for source in (settings, settings.methods.get(method)):
        if source is not None:
            said |= {name: getattr(source, name) for name in source.model_fields_set if name in _OF_METHODS}
    return MethodOptions.model_construct(**said)


_OF_METHODS = frozenset(MethodOptions.model_fields)
