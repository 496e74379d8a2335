"""Calls without a client, and what came of them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from protogw.call import Call, Metadata, Payload, Reply
from protogw.descriptors.from_proto import load
from protogw.descriptors.model import Method, Schema
from protogw.errors import OK, Code, GatewayError
from protogw.identity import Identity
from protogw.testing.service import Message, message_of, payload_of
from protogw.wire.http import Header, Peer, RequestHead

ECHO = """\
syntax = "proto3";

package testing.v1;

// Answers with what it is asked.
service Echo {
  rpc Unary(Message) returns (Message);
  rpc Down(Message) returns (stream Message);
  rpc Up(stream Message) returns (Message);
  rpc Chat(stream Message) returns (stream Message);
}

message Message {
  string text = 1;
  int64 number = 2;
  repeated string tags = 3;
  map<string, string> labels = 4;
  Message inner = 5;
}
"""
"""The service that there is where a test brings none."""


@cache
def echo_schema() -> Schema:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "echo.proto")
        path.write_text(ECHO)
        return load([path])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a call ended, as its caller would be told in whatever protocol."""

    code: Code
    text: str = ""
    """The status's message."""
    messages: tuple[Message, ...] = ()
    metadata: Metadata
    """What the reply began with; of a refusal, the fields that it asks for over HTTP."""
    trailers: Metadata
    error: BaseException | None = None
    """What was raised, where that ended the call."""

    @property
    def message(self) -> Message:
        """The one message; raises ValueError unless there is one."""
        (message,) = self.messages
        return message

    def header(self, name: str) -> str | None:
        """The first value of a field of the metadata."""
        value = self.metadata.get(name.lower().encode())
        return value.decode() if value is not None else None


async def answered(reply: Reply, notes: tuple[Header, ...] = ()) -> Answer:
    """A reply, read to its end, and what policies have for the client beside it; raises what its stream raises."""
    payloads = [reply.payload] if reply.payload is not None else []
    if reply.payloads is not None:
        payloads += [payload async for payload in reply.payloads]
    return Answer(
        code=reply.status.code,
        text=reply.status.message,
        messages=tuple(message_of(payload) for payload in payloads),
        metadata=reply.metadata.adding(*notes),
        trailers=reply.trailers,
    )


def refused(error: GatewayError) -> Answer:
    return Answer(
        code=error.status.code,
        text=error.message,
        metadata=Metadata(tuple(error.headers)),
        trailers=Metadata(),
        error=error,
    )


def call_of(
    method: Method | str = "Unary",
    message: Message | Sequence[Message] = (),
    *,
    headers: Mapping[str, str] | None = None,
    peer: str = "192.0.2.1",
    identity: Identity | None = None,
    front_end: str = "testing",
    timeout: float | None = None,
    started: float = 0.0,
) -> Call:
    """A call as a front end makes one. `method` may be a name of the service `testing.v1.Echo`; `message` is a list
    where the method takes a stream."""
    if isinstance(method, str):
        method = echo_schema().services["testing.v1.Echo"].methods[method.rpartition("/")[2]]
    fields = tuple((name.lower().encode(), text.encode()) for name, text in (headers or {}).items())
    messages = [message] if isinstance(message, dict) else list(message)
    payloads = [payload_of(method, one, asks=True) for one in messages]
    if not method.client_streaming and not payloads:
        payloads = [payload_of(method, {}, asks=True)]
    call = Call(
        method,
        Metadata(fields),
        front_end=front_end,
        peer=Peer(peer, 50000),
        started=started,
        head=RequestHead(b"POST", method.path, b"", b"gateway.test", fields, 20),
        payload=None if method.client_streaming else payloads[0],
        payloads=_each(payloads) if method.client_streaming else None,
        timeout=timeout,
    )
    call.identity = identity
    return call


async def _each(payloads: Sequence[Payload]) -> AsyncIterator[Payload]:
    for payload in payloads:
        yield payload


class Forwarded:
    """What stands behind a policy that is called by itself: `await policy(call, forwarded)`."""

    def __init__(self, message: Message | GatewayError | None = None) -> None:
        self.calls: list[Call] = []
        self.said = message

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        if isinstance(self.said, GatewayError):
            raise self.said
        if self.said is None or call.method is None:
            return Reply(payload=call.payload, status=OK)
        return Reply(payload=payload_of(call.method, self.said))
