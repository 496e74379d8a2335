"""What a listener's `websocket` section may say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from protogw.frontends.base import FrontEndSettings
from protogw.frontends.origins import Origin
from protogw.values import Bytes, Positive, Seconds, refuse


def _path(value: Any) -> Any:
    if value is False or value == "off":
        return None
    if isinstance(value, str) and not re.match(r"/[A-Za-z0-9._~/-]*\Z", value):
        refuse("is not a path: write /calls, or off")
    return value


SessionPath = Annotated[
    str | None, BeforeValidator(_path), WithJsonSchema({"anyOf": [{"type": "string"}, {"const": False}]})
]
TokenPlace = Literal["header", "subprotocol", "query", "message"]


class WebSocketSettings(FrontEndSettings):
    """Who may open sockets, and how much one of them may take."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1)] = ("same",)
    """Pages that may connect: `same` for the gateway's own host, origins such as `https://app.example` or
    `https://*.app.example`, or `*` for every page. Clients that are no pages send no origin and may always connect,
    unless they send cookies."""
    token: tuple[TokenPlace, ...] = ("header", "subprotocol", "query")
    """Where a client may put its token: the Authorization field, the subprotocols `bearer, TOKEN`, the query parameter
    `access_token`, or the first message, `{"access_token": "…"}`, which is then waited for when there is none
    elsewhere."""
    message: Annotated[Bytes, Field(ge=125, le=1 << 40)] | None = None
    """The largest message. Default: the listener's `body`."""
    in_flight: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Messages of one call that wait for the service before its client must wait."""
    sockets: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Sockets open at once."""
    first_message: Positive = 30.0
    """How long a socket may be open before its first message, where one is needed."""
    idle: Positive = 300.0
    """A socket without a message either way, pings aside, ends after this."""
    ping: Positive = 20.0
    """Between pings, which keep a socket open through proxies and find out who is gone."""
    pong: Positive = 20.0
    """How long the answer to a ping may take."""
    drain: Seconds = 5.0
    """How long streams may go on when the gateway stops, before their clients are told to connect again (1001)."""
    compression: bool = True
    """Agree to permessage-deflate with clients that offer it."""
    sessions: SessionPath = "/protogw.calls.v1"
    """Where a socket carries many calls (subprotocols protogw.calls.v1 and jsonrpc); `off` for nowhere."""
    calls: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Calls under way at once on one session."""
    admin: bool = False
    """List the sockets under `/@connections` on the admin address, where they can be pushed to and closed."""
