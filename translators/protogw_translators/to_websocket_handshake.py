"""The request that opens a socket, and what its answer means for the call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from protogw.call import NO_METADATA, Metadata
from protogw.errors import BadUpstream, Code, UpstreamError, UpstreamReset
from protogw.websocket import SocketOptions, WebSocket, connected, request_fields
from protogw.wire.http import Header, ResponseHead
from protogw.wire.http1_chunked import encode_fields
from protogw.wire.metadata import forwardable
from protogw_translators.call_fields import CallFields
from protogw_translators.error_records import bounded, code_of, parsed_object, read_error
from protogw_translators.to_websocket_settings import WebSocketOptions

if TYPE_CHECKING:
    from protogw.call import Call
    from protogw.translator import HttpConnection, HttpStream

NEVER_S = 365 * 86_400.0

ERROR_BYTES = 64 << 10
"""How much is read of what a service says beside its refusal."""


class Refused(UpstreamError):
    """The service answered the handshake with something else than a socket."""


class Handshakes:
    """Opens sockets to one upstream."""

    def __init__(self, authority: str, settings: WebSocketOptions, *, message_limit: int, user_agent: str) -> None:
        self._version = b" HTTP/1.1\r\nhost: " + authority.encode() + b"\r\n"
        self._own = encode_fields([(name.lower().encode(), value.encode()) for name, value in settings.headers.items()])
        self._written = frozenset(name.lower().encode() for name in settings.headers)
        self._fields = CallFields(user_agent)
        self._subprotocols = settings.subprotocols
        self._timeout = settings.handshake_timeout
        self._options = SocketOptions(
            message_bytes=message_limit,
            deflate=settings.compression,
            ping_interval_s=settings.ping or NEVER_S,
            pong_timeout_s=settings.pong_timeout,
            idle_s=settings.idle,
            close_timeout_s=1.0,
        )
        # A shared socket rests when it has no calls, not when they have nothing to say.
        self._shared_options = replace(self._options, idle_s=NEVER_S)

    async def open(
        self, connection: HttpConnection, target: bytes, call: Call | None = None, extra: Sequence[Header] = ()
    ) -> tuple[WebSocket, Metadata]:
        """A socket, and the metadata that the service opened it with.

        `call` is whom it is for, where it is for one call alone. Raises Refused, UpstreamError; the connection is then
        given up, as it is when the task is cancelled.
        """
        options = self._options if call is not None else self._shared_options
        asking = request_fields(options, self._subprotocols)
        head = b"GET " + target + self._version + encode_fields(asking) + self._own
        if call is not None:
            head += self._metadata(call) + encode_fields(extra)
        stream = connection.open(head, b"")
        try:
            async with asyncio.timeout(self._timeout):
                switched = await stream.switched(b"websocket")
                if isinstance(switched, ResponseHead):
                    raise await _refusal(stream, switched)
            answered = stream.switched_head
            assert answered is not None
            socket = connected(switched, answered, asking, options)
        except TimeoutError:
            stream.cancel()
            raise UpstreamReset(f"the upstream did not answer the handshake in {self._timeout:g} s") from None
        except BaseException:
            stream.cancel()
            raise
        return socket, _lead(answered)

    def _metadata(self, call: Call) -> bytes:
        """The call's metadata as fields, and who asks."""
        if not self._written:
            return self._fields.block(call)
        asked = call.head.authority if call.head is not None else b""
        fields = self._fields.fields(call.metadata, call.peer, asked)
        return encode_fields([pair for pair in fields if pair[0] not in self._written])


def _lead(head: ResponseHead) -> Metadata:
    pairs = forwardable(head.headers)
    return Metadata(pairs) if pairs else NO_METADATA


async def _refusal(stream: HttpStream, head: ResponseHead) -> Refused | BadUpstream:
    """What an answer that is no socket says."""
    status = head.status
    if not 400 <= status < 600:
        stream.cancel()
        return BadUpstream(f"the upstream answered the handshake with HTTP {status}, which opens no socket")
    body = await _error_body(stream)
    # Nothing is served there at all, which is not to say that what the call asks for does not exist.
    code = Code.UNIMPLEMENTED if status == 404 else code_of(status, b"GET")
    message = ""
    said = parsed_object(body)
    if said is not None:
        code, message, _ = read_error(said, code, b"GET", [], {})
    elif (head.get(b"content-type") or b"").startswith(b"text/plain"):
        message = bounded(body.decode("utf-8", "replace"))
    return Refused(message or f"the upstream answered the handshake with HTTP {status}", code=code)


async def _error_body(stream: HttpStream) -> bytes:
    body = b""
    while len(body) < ERROR_BYTES and (data := await stream.read()):
        body += data
    stream.cancel()
    return body[:ERROR_BYTES]
