"""Compression of plain HTTP's replies, for clients that accept it, where the service has not done it.

Calls with messages are no business of this: the front ends compress what they write, each in its protocol's own way.
A reply that holds a secret beside text that a client chooses should not be compressed (BREACH, CVE-2013-3587): its size
tells whether both are alike. `no-transform`, or a policy on fewer routes, keeps such replies as they are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from protogw.aside import encoded
from protogw.call import Call, Encoding, PassingPayloads, Payload, Reply
from protogw.policies.base import Handler, PolicySettings
from protogw.values import LISTED, Bytes
from protogw.wire import zstd
from protogw.wire.content import BROTLI_QUALITY, GZIP_LEVEL, Encoder, choose_coding, encoder
from protogw.wire.http import Header, ResponseHead

_TYPES = (
    "text/*",
    "application/json",
    "application/*+json",
    "application/xml",
    "application/*+xml",
    "application/javascript",
    "application/wasm",
    "application/x-ndjson",
    "image/svg+xml",
)

_ABOUT_THE_BYTES = frozenset((b"content-length", b"accept-ranges", b"content-md5", b"digest", b"repr-digest"))
"""Fields that say something of the body which is no longer so once it is encoded (RFC 9110 section 8.4, RFC 9530)."""

_WITHOUT_BODY = frozenset((204, 205, 206, 304))
"""Statuses that have none, and 206: a part of what is encoded is no encoded part."""

ContentType = Annotated[str, Field(pattern=r"^[a-z0-9.+*-]+/[a-z0-9.+*-]+$", max_length=100)]


class CompressSettings(PolicySettings):
    """Which replies are compressed, and how."""

    codings: Annotated[tuple[Literal["zstd", "br", "gzip"], ...], LISTED, Field(min_length=1, max_length=3)] = (
        "zstd",
        "br",
        "gzip",
    )
    """The content codings that are offered, the preferred first."""
    types: Annotated[tuple[ContentType, ...], LISTED, Field(min_length=1, max_length=100)] = _TYPES
    """The content types that are compressed; `*` stands for any part of one."""
    min_bytes: Bytes = 1024
    """Bodies below this are not worth it. One whose length is not known beforehand is compressed."""
    gzip_level: Annotated[int, Field(ge=1, le=9)] = GZIP_LEVEL
    """1 is fast, 9 is small."""
    brotli_quality: Annotated[int, Field(ge=0, le=11)] = BROTLI_QUALITY
    """0 is fast, 11 is small and very slow."""
    zstd_level: Annotated[int, Field(ge=1, le=9)] = zstd.LEVEL
    """1 is fast, 9 is small: it takes some 10 MB for each reply that streams, 3 takes 2 MB."""


class Compress:
    """Compresses replies of plain HTTP for clients that accept it; messages are their front ends' to compress."""

    kind: ClassVar[str] = "compress"
    Settings: ClassVar[type[PolicySettings]] = CompressSettings
    of_head: ClassVar[bool] = True

    def __init__(self, settings: CompressSettings) -> None:
        self._codings = tuple(coding.encode() for coding in settings.codings)
        self._types = re.compile("|".join(re.escape(kind).replace(r"\*", "[^/;]*") for kind in settings.types).encode())
        self._least = settings.min_bytes
        self._levels = {
            b"zstd": settings.zstd_level,
            b"br": settings.brotli_quality,
            b"gzip": settings.gzip_level,
        }

    async def __call__(self, call: Call, forward: Handler) -> Reply:
        # Read before the call goes on: what follows may change its fields.
        asked = call.metadata
        accepted = asked.get(b"accept-encoding")
        reply = await forward(call)
        head = reply.head
        if head is not None and head.status == 304 and self._may_fit(head):
            reply.head = ResponseHead(304, _unchanged(head, asked.get_all(b"if-none-match")))
            return reply
        if head is None or not self._fits(call, reply, head):
            return reply
        coding = choose_coding(accepted, self._codings)
        reply.head = ResponseHead(head.status, _fields(head, coding))
        if not coding:
            return reply
        writer = encoder(coding, self._levels[coding])
        if reply.payload is not None:
            reply.payload = Payload(await encoded(writer.end, reply.payload.data), Encoding.RAW)
        elif reply.payloads is not None:
            reply.payloads = _Encoded(reply.payloads, writer)
        return reply

    def _may_fit(self, head: ResponseHead) -> bool:
        """Whether the answer that still holds may have been compressed; a 304 seldom says what type it is of."""
        media = head.get(b"content-type")
        return media is None or self._types.fullmatch(media.partition(b";")[0].strip().lower()) is not None

    def _fits(self, call: Call, reply: Reply, head: ResponseHead) -> bool:
        """Whether this reply is compressed for those who accept it."""
        if head.status < 200 or head.status in _WITHOUT_BODY or (call.head is not None and call.head.method == b"HEAD"):
            return False
        if head.get(b"content-encoding") is not None or b"no-transform" in (head.get(b"cache-control") or b"").lower():
            return False
        media = (head.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if self._types.fullmatch(media) is None:
            return False
        if reply.payload is not None:
            return len(reply.payload.data) >= self._least
        if reply.payloads is None:
            return False
        length = head.get(b"content-length")
        return length is None or not length.isdigit() or len(length) > 18 or int(length) >= self._least


def _unchanged(head: ResponseHead, held: Sequence[bytes]) -> tuple[Header, ...]:
    """A 304's fields: what the answer's own would have been (RFC 9110 section 15.4.5), its ETag the one that the client
    has of what was encoded, since a strong one would be another answer's (RFC 9111 section 4.3.4)."""
    etag = head.get(b"etag") or b""
    weak = b"W/" + etag
    known = any(weak == one.strip() for value in held for one in value.split(b","))
    return _fields(head, b"", weak=known and etag.startswith(b'"'))


def _fields(head: ResponseHead, coding: bytes, *, weak: bool = False) -> tuple[Header, ...]:
    """The reply's fields: that it depends on Accept-Encoding, and how it is encoded."""
    fields: list[Header] = []
    varied = False
    for name, value in head.headers:
        if coding and name in _ABOUT_THE_BYTES:
            continue
        if name == b"vary":
            varied = varied or any(one.strip().lower() in (b"*", b"accept-encoding") for one in value.split(b","))
        elif (coding or weak) and name == b"etag" and not value.startswith(b"W/"):
            value = b"W/" + value  # the same content in other bytes
        fields.append((name, value))
    if not varied:
        fields.append((b"vary", b"accept-encoding"))
    if coding:
        fields.append((b"content-encoding", coding))
    return tuple(fields)


class _Encoded(PassingPayloads):
    """A body's pieces, each encoded as it comes."""

    __slots__ = ("_encoder", "_ended")

    def __init__(self, payloads: AsyncIterator[Payload], encoder: Encoder) -> None:
        super().__init__(payloads)
        self._encoder = encoder
        self._ended = False

    async def __anext__(self) -> Payload:
        if self._ended:
            raise StopAsyncIteration
        try:
            payload = await self._payloads.__anext__()
        except StopAsyncIteration:
            self._ended = True
            return Payload(self._encoder.end(), Encoding.RAW)
        return Payload(await encoded(self._encoder.encode, payload.data), Encoding.RAW)

    async def aclose(self) -> None:
        self._ended = True
        await super().aclose()
