"""A service that answers in memory: what stands behind a pool's endpoints in a test."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.errors import GatewayError, Status
from protogw.pools.base import PooledConnection
from protogw.translator import HttpConnection

Message: TypeAlias = dict[str, Any]
Said: TypeAlias = "Message | Sequence[Message] | Status | GatewayError | Callable[[Seen], Message | Awaitable[Message]]"
"""What a service answers: a message, a stream's messages, a status, an error of the way there, or what makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One call as it reached the service."""

    method: str
    messages: tuple[Message, ...]
    metadata: Metadata

    def header(self, name: str) -> str | None:
        """The first value of a field."""
        value = self.metadata.get(name.lower().encode())
        return value.decode() if value is not None else None


class PlayedService:
    """Keeps the calls that reach it. Without other word it answers with what it is asked, where that is of the reply's
    type, and else with an empty message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Seen] = []
        self.headers: Mapping[str, str] = {}
        """Metadata that every reply begins with."""
        self._said: dict[str, Said] = {}

    def answers(self, method: str, said: Said) -> None:
        """Answer calls of `package.Service/Method` so from now on."""
        self._said[method] = said

    async def send(self, call: Call) -> Reply:
        method = call.method
        if method is None:
            raise GatewayError("a played service answers calls of methods, not plain HTTP")
        payloads = [call.payload] if call.payload is not None else []
        if call.payloads is not None:
            payloads += [payload async for payload in call.payloads]
        messages = tuple(message_of(payload) for payload in payloads)
        seen = Seen(method=method.full_name, messages=messages, metadata=call.metadata)
        self.calls.append(seen)
        said = self._said.get(method.full_name)
        if callable(said):
            made = said(seen)
            said = await made if inspect.isawaitable(made) else made
        metadata = Metadata(tuple((name.lower().encode(), text.encode()) for name, text in self.headers.items()))
        if isinstance(said, GatewayError):
            raise said
        if isinstance(said, Status):
            return Reply(metadata, status=said)
        if said is None:
            said = list(messages) if method.input is method.output else {}
        wanted = [said] if isinstance(said, dict) else list(said)
        answers = [payload_of(method, message) for message in wanted]
        if method.server_streaming:
            return Reply(metadata, payloads=_each(answers))
        return Reply(metadata, payload=answers[-1] if answers else payload_of(method, {}))


def message_of(payload: Payload) -> Message:
    """A message's fields, as ProtoJSON writes them."""
    if payload.codec is None:
        raise ValueError("an opaque body has no fields")
    found: Message = json.loads(payload.codec.canonical.to_json(payload.proto()))
    return found


def payload_of(method: Method, message: Message, *, asks: bool = False) -> Payload:
    """A message of the method's reply type, or of its request type."""
    codec = method.input.codec if asks else method.output.codec
    return Payload(codec.canonical.from_json(json.dumps(message).encode()), Encoding.PROTO, codec)


async def _each(payloads: Sequence[Payload]) -> AsyncIterator[Payload]:
    for payload in payloads:
        yield payload


class Carrier:
    """Stands for an upstream's translator: hands its calls to the service."""

    kind: ClassVar[str] = "played"
    default_schema: ClassVar[str] = "none"
    transport: ClassVar[str] = "memory"

    def __init__(self, service: PlayedService) -> None:
        self._service = service

    async def send(self, call: Call, connection: HttpConnection) -> Reply:
        return await self._service.send(call)


class Connected:
    """A connection to nowhere, with room for every call."""

    closed = False
    on_change: Callable[[PooledConnection], None] | None = None
    room = 1 << 20
    active = 0

    def drain(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True

    def open(self, head: bytes, body: bytes | None) -> Any:
        raise GatewayError("there is no network here")


class Connecting:
    """Stands for an upstream's connector."""

    async def connect(self, host: str, port: int) -> PooledConnection:
        return Connected()
