"""A cache policy with a clock that tests turn, and a service behind it that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.model import Method
from protogw.identity import Identity
from protogw.policies.cache import Cache, CacheSettings
from protogw.stores.cache_memory import MemoryCache
from protogw.stores.entries import CacheStore
from protogw.wire.http import Header, Peer, RequestHead, ResponseHead
from tests.support import rpc
from tests.support.counted import Counted


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Tools(Counted):
    name = "kept"

    def __init__(self, store: CacheStore) -> None:
        super().__init__()
        self._store = store

    def cache(self, url: str, *, most_bytes: int, most_entry: int) -> CacheStore:
        return self._store


class Service:
    """Answers every call with its number and these fields, or as `answer` says; `asked` are the calls it saw."""

    def __init__(self, *fields: tuple[str, str]) -> None:
        self.fields = rpc.headers(fields)
        self.asked: list[tuple[Metadata, Payload | None]] = []
        self.answer: Any = None
        self.gate: asyncio.Event | None = None

    @property
    def count(self) -> int:
        return len(self.asked)

    async def __call__(self, call: Call) -> Reply:
        self.asked.append((call.metadata, call.payload))
        number = b"%d" % len(self.asked)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            made: Reply = self.answer()
            return made
        if call.method is None:
            return Reply(head=ResponseHead(200, self.fields), payload=Payload(b"body " + number, Encoding.RAW))
        message = rpc.UNARY.output.message(text=number.decode())
        payload = Payload(message.SerializeToString(), Encoding.PROTO, call.method.output.codec)
        return Reply(Metadata(self.fields), payload=payload)


class Kept:
    """The policy in front of the service."""

    def __init__(self, *fields: tuple[str, str], store: CacheStore | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.service = Service(*fields)
        self.policy = Cache(CacheSettings.model_validate(settings), self.clock)
        self.tools = Tools(store or MemoryCache(1 << 20, self.clock))
        self.policy.equip(self.tools)

    async def ask(self, made: Call) -> Reply:
        return await self.policy(made, self.service)

    async def texts(self, calls: Iterable[Call]) -> list[str]:
        return [text(await self.ask(one)) for one in calls]


def text(reply: Reply) -> str:
    assert reply.payload is not None
    if reply.payload.encoding is Encoding.RAW:
        return reply.payload.data.decode()
    found: str = rpc.UNARY.output.message.FromString(reply.payload.proto()).text
    return found


def call(
    message: str = '{"text":"x"}',
    *fields: tuple[str, str],
    method: Method = rpc.LOOK,
    who: str = "",
    verb: str = "POST",
) -> Call:
    """A call of a method, its message written as JSON."""
    made = Call(
        method,
        Metadata(rpc.headers(fields)),
        front_end="rest",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        head=RequestHead(verb.encode(), b"/v1/look/x", b"", b"gw.test", (), 20),
        payload=Payload(message.encode(), Encoding.JSON, method.input.codec),
    )
    made.identity = Identity(subject=who, scheme="test") if who else None
    return made


def get(
    target: str = "/page",
    *fields: tuple[str, str],
    verb: str = "GET",
    host: str = "gw.test",
    body: bytes = b"",
    who: str = "",
    peer: Peer | None = None,
) -> Call:
    """A request that is carried opaque."""
    path, _, query = target.partition("?")
    made = Call(
        None,
        Metadata(rpc.headers(fields)),
        front_end="http",
        peer=peer or Peer("192.0.2.1", 1),
        started=0.0,
        head=RequestHead(verb.encode(), path.encode(), query.encode(), host.encode(), rpc.headers(fields), 11),
        payload=Payload(body, Encoding.RAW),
    )
    made.identity = Identity(subject=who, scheme="test") if who else None
    return made


async def pieces(parts: Sequence[bytes]) -> AsyncIterator[Payload]:
    for part in parts:
        yield Payload(part, Encoding.RAW)


def fields(reply: Reply) -> dict[bytes, bytes]:
    """Everything that the client sees beside the body."""
    pairs: tuple[Header, ...] = reply.metadata.pairs
    return dict((*(reply.head.headers if reply.head is not None else ()), *pairs))
