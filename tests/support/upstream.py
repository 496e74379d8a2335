"""A REST or plain HTTP service, played: an HTTP/1.1 connection that answers what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from protogw.errors import BodyTooLarge, UpstreamReset
from protogw.wire.http import Answer, Header, ResponseHead

JSON = (("content-type", "application/json"),)

Fields = Sequence[tuple[str, str]]


class Stream:
    """One reply: `pieces` come one by one; `cut` is raised where they end; `hang` waits for ever in its place.

    With `at_once`, the reply is whole before its head is asked for.
    """

    def __init__(
        self,
        status: int = 200,
        fields: Fields = JSON,
        *pieces: bytes,
        trailers: Fields = (),
        cut: BaseException | None = None,
        refuse: BaseException | None = None,
        hang: bool = False,
        at_once: bool = False,
        head: ResponseHead | None = None,
    ) -> None:
        self._head = head or ResponseHead(status, _headers(fields))
        self._pieces = list(pieces)
        self._after = _headers(trailers)
        self._cut = cut
        self._refuse = refuse
        self._hang = hang
        self._at_once = at_once
        self.trailers: tuple[Header, ...] = self._after if at_once else ()
        self.cancelled = asyncio.Event()
        self.ended = asyncio.Event()
        self.written: list[bytes] = []
        self.head_bytes = b""
        self.body: bytes | None = None

    # What is asked of a stream.

    async def whole(self, limit: int) -> Answer:
        await self.head()
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        body = b"".join(pieces)
        if len(body) > limit:
            raise BodyTooLarge(f"reply body: over the limit of {limit} bytes")
        return Answer(self._head, body, self.trailers)

    async def head(self) -> ResponseHead:
        await asyncio.sleep(0)
        if self._refuse is not None:
            raise self._refuse
        if self._hang and not self._pieces:
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if self._pieces:
            return self._pieces.pop(0)
        if self._hang:
            await self._wait()
        if self._cut is not None:
            raise self._cut
        self.trailers = self._after
        return b""

    def buffered(self) -> bytes | None:
        return b"".join(self._pieces) if self._at_once else None

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.written.append(data)

    def end(self) -> None:
        self.ended.set()

    def cancel(self) -> None:
        self.cancelled.set()

    async def _wait(self) -> None:
        await self.cancelled.wait()
        raise UpstreamReset("the request was cancelled")

    # What tests ask.

    @property
    def line(self) -> str:
        """The request's first line, without its version."""
        first = self.head_bytes.split(b"\r\n", 1)[0].decode()
        assert first.endswith(" HTTP/1.1")
        return first.removesuffix(" HTTP/1.1")

    @property
    def fields(self) -> list[tuple[str, str]]:
        assert self.head_bytes.endswith(b"\r\n")
        assert b"\r\n\r\n" not in self.head_bytes
        lines = self.head_bytes.decode("latin-1").split("\r\n")[1:-1]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name]
        assert len(values) < 2, f"{name} is sent more than once"
        return values[0] if values else None


class Connection:
    """Plays one Stream for each request."""

    def __init__(self, *streams: Stream) -> None:
        self._streams = list(streams)

    def open(self, head: bytes, body: bytes | None) -> Stream:
        stream = self._streams.pop(0)
        stream.head_bytes = head
        stream.body = body
        return stream


def _headers(fields: Iterable[tuple[str, str]]) -> tuple[Header, ...]:
    return tuple((name.encode(), value.encode("latin-1")) for name, value in fields)
