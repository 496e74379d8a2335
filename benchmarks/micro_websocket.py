"""What the translator to WebSocket services costs a unary call over a shared socket, without the network.

The service is played in memory: it sends each message back, which is measured alone as "echo" and is part of the rest.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import uvloop
from protogw_translators.to_websocket import ToWebSocket
from protogw_translators.to_websocket_settings import WebSocketOptions

from protogw.balancers.round_robin import RoundRobin
from protogw.call import NO_METADATA, Call, Encoding, Payload
from protogw.descriptors.from_proto import load
from protogw.pools.pool import Address, Pool
from protogw.wire.http import Peer, ResponseHead
from protogw.wire.websocket import BINARY, TEXT, Reader, Writer
from protogw.wire.websocket_handshake import KEY, accept_of

CALLS, ROUNDS, AT_ONCE = 20_000, 3, 32
_PROTO = Path(__file__).parents[1] / "tests" / "support" / "feed.proto"
_PEER = Peer("127.0.0.1", 1)
_JSON = b'{"text":"a note of some fifty characters, as notes are","number":"7"}'


class _Echo:
    """A service at the end of a switched connection."""

    def __init__(self) -> None:
        self._reader = Reader(masked=True, message_bytes=1 << 20)
        self._writer = Writer(masked=False)
        self._ready: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self.switched_head: ResponseHead | None = None

    def answer(self, data: bytes) -> list[bytes]:
        self._reader.feed(data)
        found = []
        while (event := self._reader.next()) is not None:
            if isinstance(event, str):
                found.append(self._writer.frame(TEXT, event.encode()))
            elif isinstance(event, bytes):
                found.append(self._writer.frame(BINARY, event))
        return found

    async def read(self) -> bytes:
        while not self._ready:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = b"".join(self._ready)
        self._ready.clear()
        return data

    async def write(self, data: bytes) -> None:
        self._ready += self.answer(data)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None: ...

    def abort(self) -> None:
        if self._waiter is not None:
            self._waiter.cancel()

    async def switched(self, protocol: bytes) -> _Echo:
        return self

    def cancel(self) -> None: ...


class _Line:
    """A connection that switches whatever is asked."""

    closed, room, active, on_change = False, 1, 0, None

    def open(self, head: bytes, body: bytes | None) -> _Echo:
        key = next(line[len(KEY) + 2 :] for line in head.split(b"\r\n") if line.startswith(KEY))
        echo = _Echo()
        echo.switched_head = ResponseHead(101, ((b"sec-websocket-accept", accept_of(key)),))
        return echo

    def drain(self) -> None: ...

    def close(self) -> None: ...


class _Dialer:
    async def connect(self, host: str, port: int) -> _Line:
        return _Line()


async def measure(name: str, payload: Payload, method: Any, **said: Any) -> None:
    options = WebSocketOptions.model_validate({"sockets": "shared", "correlation": "id", **said})
    translator = ToWebSocket("feed:9", settings=options)
    dialer: Any = _Dialer()
    pool = Pool("feed", [Address(host="h", port=9)], translator, dialer, RoundRobin(), max_connections=8, shared=False)

    async def calls(count: int) -> None:
        for _ in range(count):
            call = Call(method, NO_METADATA, front_end="bench", peer=_PEER, started=0.0, payload=payload)
            reply = await pool.send(call)
            assert reply.payload is not None

    best = 1e9
    for _ in range(ROUNDS):
        started = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(calls(CALLS // AT_ONCE))
        best = min(best, (time.process_time() - started) / CALLS)
    print(f"{name:16} {best * 1e6:6.2f} µs a call")
    pool.close()


def echo() -> None:
    """What the played service itself costs."""
    service = _Echo()
    frame = Writer(masked=True).frame(TEXT, b'{"id":"0123abcd-1",' + _JSON[1:])
    started = time.process_time()
    for _ in range(CALLS):
        service.answer(frame)
    print(f"{'echo':16} {(time.process_time() - started) / CALLS * 1e6:6.2f} µs a call")


async def main() -> None:
    method = load([_PROTO]).services["feed.v1.Feed"].methods["Ask"]
    codec = method.input.codec
    echo()
    json = Payload(_JSON, Encoding.JSON, codec)
    proto = Payload(codec.from_json(_JSON), Encoding.PROTO, codec)
    await measure("json to json", json, method)
    await measure("proto to json", proto, method)
    await measure("proto to proto", proto, method, encoding="proto")


if __name__ == "__main__":
    uvloop.run(main())
