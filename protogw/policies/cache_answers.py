"""Replies become entries, and entries replies. What is said to one client alone, or of one moment, is not kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from hashlib import sha256

from protogw.call import NO_METADATA, Call, Encoding, Metadata, Payload, PayloadStream, Reply, Unchanged
from protogw.counting import Count
from protogw.errors import OK, Code, Detail, Status
from protogw.policies.cache_key import Asked
from protogw.policies.freshness import Freshness, Rules, freshness, matches, unchanged_since
from protogw.stores.entries import Entry, Pairs
from protogw.wire.http import HOP_BY_HOP, ResponseHead

_MOMENTARY = HOP_BY_HOP | frozenset(
    (
        b"age",
        b"set-cookie",
        b"set-cookie2",
        b"x-cache",
        b"x-request-id",
        b"x-correlation-id",
        b"traceparent",
        b"tracestate",
        b"traceresponse",
        b"server-timing",
        b"retry-after",
        b"ratelimit",
        b"ratelimit-policy",
        b"ratelimit-limit",
        b"ratelimit-remaining",
        b"ratelimit-reset",
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
        b"authentication-info",
        b"www-authenticate",
        b"alt-svc",
        b"clear-site-data",
    )
)
"""Fields of a reply that are about one exchange."""

SAID = (b"hit", b"stale", b"revalidated", b"miss")
"""Where a reply came from."""

FAILED = frozenset((Code.UNAVAILABLE, Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.DATA_LOSS))
"""How a service fails, in whose place an older answer may be given."""
_REFUSED = frozenset((Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED, Code.CANCELLED))
_REFUSED_STATUSES = frozenset((400, 401, 403, 407, 408, 429, 431))
_STATUSES = frozenset((200, 203, 204, 301, 308))
_NOT_FOUND = frozenset((404, 410))


class Answers:
    """Makes entries and replies by one policy's settings: the field of tags, the largest entry, what is added."""

    def __init__(self, tags: bytes, most_entry: int, *, etag: bool, report: bool) -> None:
        self._tags = tags
        self._most = most_entry
        self._etag = etag
        self._report = report
        self.counted = {said: Count() for said in SAID}
        """How many replies were which."""

    @staticmethod
    def validators(known: Entry) -> Pairs:
        """The fields that ask the service whether an old answer still holds; none when it gave nothing to ask by."""
        etag = _field(known.fields, b"etag")
        if etag is not None:
            return ((b"if-none-match", etag),)
        modified = _field(known.fields, b"last-modified")
        return ((b"if-modified-since", modified),) if modified is not None else ()

    @staticmethod
    def still_holds(reply: Reply) -> bool:
        if reply.head is not None:
            return reply.head.status == 304
        return reply.__class__ is Unchanged

    @staticmethod
    def failed(reply: Reply) -> bool:
        """Whether the reply says that the service failed."""
        if reply.head is not None:
            return reply.head.status >= 500
        return reply.status.code in FAILED

    @staticmethod
    def refused(reply: Reply) -> bool:
        """Whether the reply is about this client or this moment, not about what was asked for."""
        if reply.head is not None:
            return reply.head.status in _REFUSED_STATUSES
        return reply.status.code in _REFUSED

    def renewed(self, known: Entry, reply: Reply, rules: Rules, now: float) -> Entry | None:
        """The entry that the service says still holds, with what it says of it now (RFC 9111 section 3.2)."""
        told = reply.head.headers if reply.head is not None else reply.metadata.pairs
        said = {name for name, _ in told} - {b"content-length", b"content-encoding", b"content-type"}
        kept = [pair for pair in known.fields if pair[0] not in said]
        news = [pair for pair in told if pair[0] in said]
        fields = self._kept((*kept, *news))
        found = freshness((*kept, *news), rules, now)
        return _dated(replace(known, fields=fields), found, now) if found is not None else None

    async def entry(
        self, call: Call, asked: Asked, reply: Reply, rules: Rules, negative_s: float, now: float
    ) -> Entry | None:
        """The entry to keep of a reply, None when it must not be kept. A body that is still coming is read if it is
        small enough; else, or if it is not to be kept, the reply goes on as it came."""
        if reply.tunnel is not None or reply.withheld:
            return None
        if reply.head is not None:
            return await self._opaque(asked, reply, reply.head, rules, negative_s, now)
        if reply.payloads is not None:
            return None
        payload = reply.payload
        fields = (*reply.metadata.pairs, *reply.trailers.pairs)
        status = reply.status
        if status.code is not Code.OK:
            if not negative_s or status.code is not Code.NOT_FOUND:
                return None
            rules = _negative(rules, negative_s)
        elif payload is None:
            return None
        found = _usable(fields, reply.metadata.pairs, asked, rules, now)
        if found is None or (payload is not None and len(payload.data) > self._most):
            return None
        kept = self._kept(reply.metadata.pairs)
        return self._fitting(
            Entry(
                name=asked.name,
                body=payload.data if payload is not None else b"",
                encoding=payload.encoding.value if payload is not None else "",
                fields=kept,
                trailers=self._kept(reply.trailers.pairs),
                code=int(status.code),
                message=status.message,
                details=tuple((detail.type_url.encode(), detail.value) for detail in status.details),
                tags=self._tags_of(fields),
                etag=self._etag_of(kept, payload.data) if payload is not None else b"",
            ),
            found,
            now,
        )

    async def _opaque(
        self, asked: Asked, reply: Reply, head: ResponseHead, rules: Rules, negative_s: float, now: float
    ) -> Entry | None:
        if head.status in _NOT_FOUND and negative_s:
            rules = _negative(rules, negative_s)
        elif head.status not in _STATUSES:
            return None
        fields = (*head.headers, *reply.metadata.pairs)
        found = _usable(fields, fields, asked, rules, now)
        if found is None or _endless(_field(head.headers, b"content-type") or b""):
            return None
        length = _field(head.headers, b"content-length")
        if length is not None and length.isdigit() and int(length) > self._most:
            return None
        if reply.payloads is not None and not await self._whole(reply, reply.payloads):
            return None
        assert reply.payload is not None
        body = reply.payload.data
        if len(body) > self._most or reply.trailers.pairs:
            return None
        if length is not None and length.isdigit() and int(length) != len(body):
            return None
        return self._fitting(
            Entry(
                name=asked.name,
                body=body,
                encoding=Encoding.RAW.value,
                fields=self._kept(fields),
                status=head.status,
                tags=self._tags_of(fields),
                etag=self._etag_of(fields, body) if head.status in (200, 203) else b"",
            ),
            found,
            now,
        )

    async def _whole(self, reply: Reply, payloads: AsyncIterator[Payload]) -> bool:
        """Read a body that is still coming; False when it is too large, and then goes on as a stream."""
        pieces: list[Payload] = []
        size = 0
        try:
            async for piece in payloads:
                pieces.append(piece)
                size += len(piece.data)
                if size > self._most:
                    reply.payloads = _Resumed(pieces, payloads)
                    return False
        except BaseException:
            await _close(payloads)
            raise
        reply.payloads = None
        reply.payload = Payload(b"".join([piece.data for piece in pieces]), Encoding.RAW)
        return True

    def _etag_of(self, fields: Pairs, body: bytes) -> bytes:
        """A weak ETag for a body whose service gave none; made once, since a hit is not to cost what its size does."""
        if not self._etag or _field(fields, b"etag") is not None:
            return b""
        return b'W/"%b"' % sha256(body).hexdigest()[:22].encode()

    def _fitting(self, entry: Entry, found: Freshness, now: float) -> Entry | None:
        return _dated(entry, found, now) if entry.size <= self._most else None

    def _kept(self, fields: Pairs) -> Pairs:
        return tuple([pair for pair in fields if pair[0] not in _MOMENTARY and pair[0] != self._tags])

    def _tags_of(self, fields: Pairs) -> tuple[str, ...]:
        texts = [value.decode("latin-1") for name, value in fields if name == self._tags]
        return tuple(tag for text in texts for tag in text.replace(",", " ").split())

    # --- replies ------------------------------------------------------------------------------------------------------

    def given(self, call: Call, asked: Asked, entry: Entry, said: bytes, age: float) -> Reply:
        """The reply that an entry is; one without a body for a client that holds it already."""
        self.counted[said].value += 1
        more: Pairs = ((b"x-cache", said),) if self._report else ()
        if said != b"miss" or age >= 1:
            more = (*more, (b"age", b"%d" % age))
        held = False
        fields = entry.fields
        head = call.head
        if head is not None and not entry.code and head.method in (b"GET", b"HEAD"):
            if entry.etag and _field(fields, b"etag") is None:
                fields = (*fields, (b"etag", entry.etag))
            held = asked.fields.conditional and entry.status in (0, 200, 203) and _holds(asked, fields)
        if entry.status:
            if held:
                fields = tuple([pair for pair in fields if not pair[0].startswith(b"content-")])
                return Reply(Metadata(more), head=ResponseHead(304, fields), payload=Payload(b"", Encoding.RAW))
            answer = ResponseHead(entry.status, fields)
            return Reply(Metadata(more), head=answer, payload=Payload(entry.body, Encoding.RAW))
        assert call.method is not None
        metadata = Metadata(fields + more)
        trailers = Metadata(entry.trailers) if entry.trailers else NO_METADATA
        if entry.code:
            details = tuple(Detail(url.decode("latin-1"), value) for url, value in entry.details)
            return Reply(metadata, status=Status(Code(entry.code), entry.message, details), trailers=trailers)
        codec = call.method.output.codec
        if entry.encoding == _JSON:
            codec = codec.lenient
        payload = Payload(entry.body, Encoding(entry.encoding), codec)
        return (Unchanged if held else Reply)(metadata, payload=payload, status=OK, trailers=trailers)

    async def passed(self, asked: Asked, reply: Reply) -> Reply:
        """A reply that is not kept, for a client whose condition the service was not told."""
        head = reply.head
        if head is None or head.status != 200 or not _holds(asked, head.headers):
            return reply
        if reply.payloads is not None:
            await _close(reply.payloads)
        fields = tuple([pair for pair in head.headers if not pair[0].startswith(b"content-")])
        return Reply(reply.metadata, head=ResponseHead(304, fields), payload=Payload(b"", Encoding.RAW))

    @staticmethod
    async def dropped(reply: Reply) -> None:
        """Let go of a reply that nobody gets."""
        if reply.payloads is not None:
            await _close(reply.payloads)


_JSON = Encoding.JSON.value


def _field(fields: Pairs, name: bytes) -> bytes | None:
    for key, value in fields:
        if key == name:
            return value
    return None


def _negative(rules: Rules, negative_s: float) -> Rules:
    """The rules for what was not found."""
    return rules._replace(ttl_s=negative_s, most_s=negative_s, stale_s=0.0, error_s=0.0)


def _usable(fields: Pairs, validating: Pairs, asked: Asked, rules: Rules, now: float) -> Freshness | None:
    """How long an answer with these fields is of use; None when it must not be kept, or its service must be asked first
    and there is nothing to ask by."""
    found = freshness(fields, rules, now)
    if found is None or _varies(fields, asked):
        return None
    if found.asks_first and _field(validating, b"etag") is None and _field(validating, b"last-modified") is None:
        return None
    return found


def _dated(entry: Entry, found: Freshness, now: float) -> Entry:
    return replace(
        entry,
        made_s=now - found.age_s,
        fresh_s=found.fresh_s,
        stale_s=found.stale_s,
        error_s=found.error_s,
        asks_first=found.asks_first,
    )


def _holds(asked: Asked, answer: Pairs) -> bool:
    """Whether the client's own condition says that it has the answer of these fields."""
    fields = asked.fields
    if fields.condition is not None:
        etag = _field(answer, b"etag")
        return etag is not None and matches(fields.condition, etag)
    if fields.since is None:
        return False
    modified = _field(answer, b"last-modified")
    return modified is not None and unchanged_since(fields.since, modified)


def _endless(content_type: bytes) -> bool:
    """Whether a body of this type is a stream, which may never end."""
    media = content_type.partition(b";")[0].strip().lower()
    return media in (b"text/event-stream", b"application/x-ndjson", b"multipart/x-mixed-replace")


def _varies(fields: Pairs, asked: Asked) -> bool:
    """Whether the answer varies by something that the service was sent and that is no part of the key."""
    unkeyed = asked.fields.unkeyed
    return any(
        part.strip().lower() in unkeyed for name, value in fields if name == b"vary" for part in value.split(b",")
    )


async def _close(payloads: AsyncIterator[Payload]) -> None:
    if isinstance(payloads, AsyncGenerator):
        await payloads.aclose()


class _Resumed(PayloadStream):
    """A body of which the beginning was read already."""

    __slots__ = ("_first", "_rest")

    def __init__(self, first: list[Payload], rest: AsyncIterator[Payload]) -> None:
        self._first = first[::-1]
        self._rest = rest

    async def __anext__(self) -> Payload:
        return self._first.pop() if self._first else await self._rest.__anext__()

    async def aclose(self) -> None:
        self._first.clear()
        await _close(self._rest)
