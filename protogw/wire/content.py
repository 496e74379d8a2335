"""Content negotiation and content coding of plain HTTP (RFC 9110 sections 8.4 and 12.5). Sans-I/O.

Decoding is bounded by what comes out, not by what goes in: a decoder stops at its limit before it has produced more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import brotli

from protogw.errors import BodyTooLarge, InvalidRequest, UnsupportedMedia
from protogw.wire import zstd


class MediaType(NamedTuple):
    """`type` is lower case, "type/subtype"; `charset` is lower case or empty."""

    type: bytes
    charset: bytes


_CHARSET = re.compile(rb';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)


def media_type(value: bytes) -> MediaType:
    """A Content-Type's type and charset."""
    name = value.partition(b";")[0].strip().lower()
    found = _CHARSET.search(value)
    return MediaType(name, found.group(1).lower() if found else b"")


class Preference(NamedTuple):
    """One element of an Accept field."""

    range: bytes
    quality: float


_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def preferences(value: bytes) -> list[Preference]:
    """The elements of an Accept or Accept-Encoding field as they stand; a weight that is none counts as 0."""
    found: list[Preference] = []
    for part in value.split(b","):
        name, *parameters = part.split(b";")
        name = name.strip().lower()
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            key, _, weight = parameter.partition(b"=")
            if key.strip().lower() == b"q":
                weight = weight.strip()
                quality = float(weight) if _WEIGHT.fullmatch(weight) else 0.0
        found.append(Preference(name, quality))
    return found


def quality_of(offer: bytes, wanted: Sequence[Preference]) -> float:
    """How much a media type is wanted: by the most specific range that covers it, 0 when none does."""
    kind = offer.partition(b"/")[0] + b"/*"
    best = (0, 0.0)
    for one, quality in wanted:
        rank = 3 if one == offer else 2 if one == kind else 1 if one == b"*/*" else 0
        if rank:
            best = max(best, (rank, quality))
    return best[1]


def choose_type(accept: bytes | None, offers: Sequence[bytes]) -> bytes | None:
    """The offer that Accept wants most, the first of equals; None when it wants none. No Accept wants anything."""
    if accept is None or not accept.strip():
        return offers[0]
    wanted = preferences(accept)
    best = max(offers, key=lambda offer: quality_of(offer, wanted))
    return best if quality_of(best, wanted) > 0 else None


CODINGS = (b"zstd", b"br", b"gzip")
"""The content codings that are read and written, the preferred first: zstd is about as small as br, in a third of the
time."""


def choose_coding(accept_encoding: bytes | None, offers: Sequence[bytes] = CODINGS) -> bytes:
    """The coding to answer in: one of the offers, or b"" for none (identity), which is never refused."""
    if not accept_encoding:
        return b""
    if accept_encoding == b"gzip":
        return b"gzip" if b"gzip" in offers else b""
    weights = {b"gzip" if one == b"x-gzip" else one: quality for one, quality in preferences(accept_encoding)}
    rest = weights.get(b"*", 0.0)
    best = max(offers, key=lambda coding: weights.get(coding, rest))
    quality = weights.get(best, rest)
    return best if quality > 0 and quality >= weights.get(b"identity", 0.0) else b""


BROTLI_QUALITY, GZIP_LEVEL = 4, 5
"""Speed before size."""


def compress(data: bytes, coding: bytes) -> bytes:
    """A whole body, encoded."""
    if coding == b"zstd":
        return zstd.compress(data)
    if coding == b"br":
        return brotli.compress(data, quality=BROTLI_QUALITY)  # type: ignore[no-any-return]
    return zlib.compress(data, level=GZIP_LEVEL, wbits=31)


class Encoder(Protocol):
    """Encodes one body piece by piece. Each piece can be decoded as soon as it has come: streams stay live."""

    def encode(self, data: bytes) -> bytes:
        """What this piece becomes."""
        ...

    def end(self, data: bytes = b"") -> bytes:
        """The last piece and the end."""
        ...


class _GzipEncoder:
    __slots__ = ("_inner",)

    def __init__(self, level: int) -> None:
        self._inner = zlib.compressobj(level, zlib.DEFLATED, 31)

    def encode(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)

    def end(self, data: bytes = b"") -> bytes:
        return self._inner.compress(data) + self._inner.flush()


class _BrotliEncoder:
    __slots__ = ("_inner",)

    def __init__(self, quality: int) -> None:
        self._inner = brotli.Compressor(quality=quality)

    def encode(self, data: bytes) -> bytes:
        return self._inner.process(data) + self._inner.flush()  # type: ignore[no-any-return]

    def end(self, data: bytes = b"") -> bytes:
        return self._inner.process(data) + self._inner.finish()  # type: ignore[no-any-return]


def encoder(coding: bytes, level: int) -> Encoder:
    """What encodes one body in this coding, one of CODINGS."""
    if coding == b"zstd":
        return zstd.ZstdEncoder(level)
    return _BrotliEncoder(level) if coding == b"br" else _GzipEncoder(level)


class Decoder(Protocol):
    """Decodes one body piece by piece, never much more at once than asked for: brotli's buffers double."""

    pending: bool
    """More output is to be had by `decode(b"", …)` before the next piece goes in."""

    def decode(self, data: bytes, room: int) -> bytes:
        """What this piece decodes to, up to about `room` bytes; raises InvalidRequest."""
        ...

    def end(self) -> None:
        """The body is complete; raises InvalidRequest when the coding is not."""
        ...


_MEMBERS = 8
"""gzip members in one body: each costs a copy of what follows it, so their number is bounded."""


class _Gzip:
    """gzip, in one member or several (RFC 1952 section 2.2)."""

    def __init__(self) -> None:
        self.pending = False
        self._inner = zlib.decompressobj(31)
        self._rest = b""
        self._members = 1
        self._begun = False

    def decode(self, data: bytes, room: int) -> bytes:
        if self._rest:
            data = self._rest + data
        out: list[bytes] = []
        while data or self.pending:
            if self._inner.eof:
                self._members += 1
                if self._members > _MEMBERS:
                    raise InvalidRequest(f"content-encoding: more than {_MEMBERS} gzip members")
                self._inner = zlib.decompressobj(31)
            self._begun = True
            try:
                piece = self._inner.decompress(data, room)
            except zlib.error as error:
                raise InvalidRequest(f"content-encoding: not gzip ({error})") from error
            out.append(piece)
            room -= len(piece)
            data = self._inner.unconsumed_tail or self._inner.unused_data
            # A full buffer may leave output inside the decoder although all input is used up.
            self.pending = bool(data) if self._inner.eof else room <= 0
            if room <= 0:
                break
        self._rest = data
        return b"".join(out)

    def end(self) -> None:
        if self._begun and not self._inner.eof:
            raise InvalidRequest("content-encoding: the gzip body is cut short")


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self.pending = False
        self._inner = brotli.Decompressor()
        self._begun = False

    def decode(self, data: bytes, room: int) -> bytes:
        if data:
            self._begun = True
            if self._inner.is_finished():
                raise InvalidRequest("content-encoding: the body goes on after its br end")
        try:
            piece: bytes = self._inner.process(data, output_buffer_limit=room)
        except brotli.error as error:
            raise InvalidRequest("content-encoding: not br") from error
        # As with gzip, a full buffer may leave output inside; can_accept_more_data speaks of the input alone.
        self.pending = not self._inner.is_finished() and (len(piece) >= room or not self._inner.can_accept_more_data())
        return piece

    def end(self) -> None:
        if self._begun and not self._inner.is_finished():
            raise InvalidRequest("content-encoding: the br body is cut short")


def decoder(coding: bytes) -> Decoder | None:
    """What decodes a body of this Content-Encoding; None for identity.

    Raises UnsupportedMedia, with the codings that are read in its Accept-Encoding (RFC 9110 section 12.5.3).
    """
    name = coding.strip().lower()
    if name in (b"", b"identity"):
        return None
    if name in (b"gzip", b"x-gzip"):
        return _Gzip()
    if name == b"br":
        return _Brotli()
    if name == b"zstd":
        return zstd.ZstdDecoder()
    raise UnsupportedMedia(
        f"content-encoding: {coding[:100].decode('latin-1')} is not offered",
        headers=((b"accept-encoding", b", ".join(CODINGS)),),
    )


_STEP = 1 << 20


def decompress(data: bytes, coding: bytes, limit: int) -> bytes:
    """A whole body, decoded; an empty one is empty in any coding. Raises BodyTooLarge over `limit` bytes."""
    inner = decoder(coding)
    if inner is None or not data:
        return data
    out: list[bytes] = []
    room = limit + 1  # One byte more than fits, to tell full from over.
    # In steps, between which other threads run; as large as the input at least, since each step copies its rest.
    step = max(len(data), _STEP)
    while True:
        piece = inner.decode(data, min(room, step))
        out.append(piece)
        room -= len(piece)
        if room <= 0:
            raise BodyTooLarge(f"the decoded body is over {limit} bytes")
        if not inner.pending:
            break
        data = b""
    inner.end()
    return b"".join(out)
