"""Streamed replies of REST services: lines of JSON, server-sent events, a JSON array, or raw pieces.

The content type says which. A terminal error record ends the stream with its status; a body that ends inside a record
was cut short, whatever its framing says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import orjson

from protogw.call import MESSAGES_A_TURN, Payload, PayloadStream, Reply
from protogw.descriptors.model import Type
from protogw.errors import BadUpstream, GatewayError, InvalidRequest, Status, UpstreamError, UpstreamReset
from protogw.wire import ndjson
from protogw.wire.content import Decoder, decoder
from protogw.wire.json_stream import JsonReader
from protogw.wire.sse import SseReader
from protogw_translators.error_records import status_of_record
from protogw_translators.to_rest_reply import ReplyHead, bad_reply

if TYPE_CHECKING:
    from protogw.translator import HttpStream

PIECE = 64 << 10
"""How much of a compressed body is decoded at once."""

ERROR_BYTES = 64 << 10
"""How much of an error's body is read from a streamed reply."""


class Records(Protocol):
    """Bytes in whatever pieces they come → the records of a stream.

    `final` is set by a terminal record: the stream's status, after which nothing more counts.
    """

    final: Status | None

    def feed(self, data: bytes) -> list[bytes]: ...

    def end(self) -> list[bytes]:
        """The body is complete; raises UpstreamReset when its last record is not."""
        ...


class _Ends:
    """Which records are messages and which are the end; common to lines and arrays.

    A stream's terminal error is an object that holds `error` alone, with a code in it. Where messages have a field of
    that name there is no telling the two apart, and it is taken as a message. grpc-gateway wraps messages in `result`.
    """

    def __init__(self, output: Type) -> None:
        self.final: Status | None = None
        self._types = output.types
        self._terminal = output.field("error") is None
        self._wrapped = output.field("result") is None

    def messages(self, records: list[bytes]) -> list[bytes]:
        for place, record in enumerate(records):
            if record[:1] != b"{":
                continue
            start = record[1:].lstrip()[:9]
            if self._terminal and start.startswith(b'"error"') and _holds(record, "error"):
                self.final = status_of_record(record, self._types)
                return records[:place]
            if self._wrapped and start.startswith(b'"result"') and _holds(record, "result"):
                records[place] = _inside(record)
        return records


def _holds(record: bytes, name: str) -> bool:
    """Whether the record is an object with an object under this one name."""
    try:
        tree = orjson.loads(record)
    except orjson.JSONDecodeError:
        return False
    return len(tree) == 1 and isinstance(tree.get(name), dict)


def _inside(record: bytes) -> bytes:
    """The one value in a record that is known to be an object of one member; its bytes are kept as they are."""
    return record[record.index(b":") + 1 : record.rindex(b"}")].strip()


class _Lines(_Ends):
    def __init__(self, output: Type, limit: int) -> None:
        super().__init__(output)
        self._reader = ndjson.NdjsonReader(limit)

    def feed(self, data: bytes) -> list[bytes]:
        return self.messages(self._reader.feed(data))

    def end(self) -> list[bytes]:
        last = self._reader.end()
        for line in last:
            try:
                orjson.loads(line)
            except orjson.JSONDecodeError:
                raise UpstreamReset("the upstream's stream ends inside a line") from None
        return self.messages(last)


class _Values(_Ends):
    def __init__(self, output: Type, limit: int) -> None:
        super().__init__(output)
        self._reader = JsonReader(limit)

    def feed(self, data: bytes) -> list[bytes]:
        return self.messages(self._reader.feed(data))

    def end(self) -> list[bytes]:
        try:
            return self.messages(self._reader.end())
        except InvalidRequest as error:
            raise UpstreamReset("the upstream's stream ends inside its JSON") from error


class _Events:
    """Server-sent events: those named `error` and `end` (or `complete`) are terminal, all others are messages."""

    def __init__(self, output: Type, limit: int) -> None:
        self.final: Status | None = None
        self._types = output.types
        self._reader = SseReader(limit)
        self._tail = b"\n\n"

    def feed(self, data: bytes) -> list[bytes]:
        self._tail = (self._tail + data[-4:])[-4:]
        found: list[bytes] = []
        for event in self._reader.feed(data):
            if event.type == b"error":
                self.final = status_of_record(event.data, self._types)
                break
            if event.type in (b"end", b"complete"):
                self.final = Status()
                break
            if event.data:
                found.append(event.data)
        return found

    def end(self) -> list[bytes]:
        # An event that its blank line does not close is not whole.
        tail = self._tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not tail.endswith(b"\n\n") and tail.strip(b"\n"):
            raise UpstreamReset("the upstream's stream ends inside an event")
        return []


class _Pieces:
    """A raw body, whose pieces are its records as they come."""

    final: Status | None = None

    def feed(self, data: bytes) -> list[bytes]:
        return [data]

    def end(self) -> list[bytes]:
        return []


def records_of(head: ReplyHead, output: Type, limit: int, *, raw: bool) -> Records:
    """What reads the records of a reply; raises BadUpstream for a content type that holds no messages."""
    if raw:
        return _Pieces()
    media = head.media
    if media in ndjson.MEDIA_TYPES:
        return _Lines(output, limit)
    if media == b"text/event-stream":
        return _Events(output, limit)
    if head.json:
        return _Values(output, limit)
    said = head.content_type[:100].decode("latin-1")
    raise BadUpstream(f"the upstream's content type is {said!r}, which is no stream of JSON")


class Messages(PayloadStream):
    """The messages of a streamed reply, each read when it is asked for; at their end its status is set."""

    __slots__ = ("_coding", "_ended", "_limit", "_make", "_ready", "_records", "_reply", "_stream", "_turn", "_whole")

    def __init__(
        self,
        stream: HttpStream,
        reply: Reply,
        records: Records,
        coding: bytes,
        make: Callable[[bytes], Payload],
    ) -> None:
        """Raises BadUpstream for a content coding that was not offered."""
        self._stream = stream
        self._reply = reply
        self._records = records
        self._make = make
        self._ready: deque[bytes] = deque()
        self._ended = False
        self._whole = False
        self._turn = MESSAGES_A_TURN
        self._coding: Decoder | None = None
        if coding:
            try:
                self._coding = decoder(coding)
            except GatewayError as error:
                raise bad_reply(error) from error

    async def __anext__(self) -> Payload:
        ready = self._ready
        try:
            self._turn -= 1
            if not self._turn:
                self._turn = MESSAGES_A_TURN
                await asyncio.sleep(0)
            while not ready:
                if self._ended:
                    raise StopAsyncIteration
                if self._records.final is not None:
                    self._reply.status = self._records.final
                    await self.aclose()
                    raise StopAsyncIteration
                if self._whole:
                    self._ended = True
                    raise StopAsyncIteration
                await self._read()
            return self._make(ready.popleft())
        except UpstreamError:
            await self.aclose()
            raise
        except GatewayError as error:
            await self.aclose()
            raise bad_reply(error) from error

    async def _read(self) -> None:
        coding = self._coding
        if coding is not None and coding.pending:
            data = coding.decode(b"", PIECE)
            await asyncio.sleep(0)
        else:
            data = await self._stream.read()
            if not data:
                self._whole = True
                if coding is not None:
                    try:
                        coding.end()
                    except InvalidRequest as error:
                        raise UpstreamReset(f"the upstream's reply: {error.status.message}") from error
                self._ready.extend(self._records.end())
                return
            if coding is not None:
                data = coding.decode(data, PIECE)
        if data:
            self._ready.extend(self._records.feed(data))

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._ready.clear()
            if not self._whole:
                self._stream.cancel()


async def error_body(stream: HttpStream) -> bytes:
    """What an error's body says, as far as it is of interest; the rest is not waited for."""
    pieces: list[bytes] = []
    size = 0
    while size < ERROR_BYTES:
        data = await stream.read()
        if not data:
            return b"".join(pieces)
        pieces.append(data)
        size += len(data)
    stream.cancel()
    return b"".join(pieces)[:ERROR_BYTES]
