"""What the request that opens a socket says: who asks, with what token, in which subprotocol. Decides; answers nothing.

A browser lets a page set neither fields nor much else, so a token may come as a subprotocol or in the query as well.
Wherever it came from, it goes on as the metadata `authorization`, and nowhere else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from urllib.parse import unquote_to_bytes

from protogw.call import Metadata
from protogw.errors import InvalidRequest
from protogw.frontends.origins import Origins
from protogw.frontends.websocket.settings import WebSocketSettings
from protogw.wire.grpc import decode_timeout
from protogw.wire.http import Header, RequestHead
from protogw.wire.metadata import forwardable

JSON = "protogw.json"
PROTO = "protogw.proto"
CALLS = "protogw.calls.v1"
JSON_RPC = ("jsonrpc", "jsonrpc.2.0")
BEARER = "bearer"
CONNECTION_ID = b"x-connection-id"
"""The metadata in which a service is told which socket a call came by."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CREDENTIAL = re.compile(rb"[A-Za-z0-9._~+/-]+=*\Z")
_SECONDS = re.compile(rb"[0-9]{1,10}(?:\.[0-9]{0,9})?")
_MAX_OFFERED = 32


class Opening:
    """What the head of an opening request says; raises InvalidRequest or ForeignOrigin for one that is refused.

    `subprotocol` is the first of those offered that is in `known`, "" without one. `answer` is what the client is told:
    that, or "bearer" where a client offered nothing but its token, since browsers take no answer without one.
    """

    __slots__ = ("answer", "metadata", "query", "subprotocol", "timeout", "token")

    def __init__(
        self, head: RequestHead, settings: WebSocketSettings, origins: Origins, known: Collection[str], connection: str
    ) -> None:
        origins.check(head)
        offered = _offered(head)
        places = settings.token
        tokens: list[bytes] = []
        given = False
        if BEARER in offered:
            at = offered.index(BEARER)
            if "subprotocol" not in places or at + 1 == len(offered):
                raise InvalidRequest("sec-websocket-protocol: a token is not taken here")
            tokens.append(_bearer(offered.pop(at + 1).encode()))
            offered.remove(BEARER)
            given = True
        self.query, in_query = _without_token(head.query)
        if in_query is not None:
            if "query" not in places:
                raise InvalidRequest("access_token: a token is not taken from the query here")
            tokens.append(_bearer(in_query))
        field = head.get(b"authorization")
        if field is not None and "header" in places:
            tokens.append(field)
        if len(tokens) > 1:
            raise InvalidRequest("a token is given in more than one place")
        self.token = tokens[0] if tokens else None
        self.subprotocol = next((one for one in offered if one in known), "")
        if offered and not self.subprotocol:
            raise InvalidRequest(f"sec-websocket-protocol: only {', '.join(known)} are offered here")
        self.answer = self.subprotocol or (BEARER if given else "")
        self.timeout = _timeout(head)
        self.metadata = Metadata((*_metadata(head), (CONNECTION_ID, connection.encode())))
        if self.token is not None:
            self.metadata = self.metadata.adding((b"authorization", self.token))


def authorized(metadata: Metadata, token: str) -> Metadata:
    """The metadata with a token that came later; raises InvalidRequest when it is none."""
    return metadata.setting(b"authorization", _bearer(token.encode()))


def _bearer(token: bytes) -> bytes:
    if not _CREDENTIAL.match(token):
        raise InvalidRequest("the token is none")
    return b"Bearer " + token


def _offered(head: RequestHead) -> list[str]:
    """The subprotocols in the client's order; raises InvalidRequest."""
    values = head.get_all(b"sec-websocket-protocol")
    if not values:
        return []
    offered = [one.strip() for one in b",".join(values).decode("latin-1").split(",")]
    if len(offered) > _MAX_OFFERED or not all(map(_TOKEN.match, offered)):
        raise InvalidRequest("sec-websocket-protocol: not a list of subprotocols")
    return offered


def _without_token(query: bytes) -> tuple[bytes, bytes | None]:
    """The query without `access_token` (RFC 6750 section 2.3), and what that was."""
    if b"access" not in query and b"%" not in query:
        return query, None
    kept: list[bytes] = []
    found: list[bytes] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if unquote_to_bytes(name.replace(b"+", b" ")) == b"access_token":
            found.append(unquote_to_bytes(value.replace(b"+", b" ")))
        else:
            kept.append(part)
    if len(found) > 1:
        raise InvalidRequest("access_token: given more than once")
    return b"&".join(kept), found[0] if found else None


def _metadata(head: RequestHead) -> tuple[Header, ...]:
    return tuple(
        pair
        for pair in forwardable(head.headers)
        if pair[0] != b"authorization" and not pair[0].startswith(b"sec-websocket-")
    )


def _timeout(head: RequestHead) -> float | None:
    """The seconds that a call may take, as other clients of plain HTTP say it; raises InvalidRequest."""
    written = head.get(b"grpc-timeout")
    if written is not None:
        try:
            seconds = decode_timeout(written)
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        return seconds if math.isfinite(seconds) else None
    written = head.get(b"x-server-timeout")
    if written is None:
        return None
    if _SECONDS.fullmatch(written) is None:
        raise InvalidRequest("x-server-timeout: not a number of seconds")
    return float(written)
