"""The zstd content coding (RFC 8878, RFC 9659). Sans-I/O.

The library is Python's own `compression.zstd`, and its backport before 3.14: it bounds what one piece may come to.
"""

from __future__ import annotations

import sys

from protogw.errors import InvalidRequest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LEVEL = 3

_WINDOW_LOG_MAX = 23
"""RFC 9659 section 3: a frame whose window is over 8 MiB is no content coding; a decoder must not have to hold more."""
_WINDOW_LOG = 20
"""Of what is written in pieces: more takes memory for each stream, and finds little more to leave out."""
_FRAMES = 64
"""Frames in one body, skippable ones too: each costs a decoder, so their number is bounded."""
_PART = 64 << 10
"""Bytes given to a decoder at once: what follows a frame's end is copied, and must not be all of a large body."""


def compress(data: bytes, level: int = LEVEL) -> bytes:
    """A whole body, in one frame that tells its size."""
    return zstd.compress(data, level)


class ZstdEncoder:
    """Encodes one body piece by piece, as content.Encoder."""

    __slots__ = ("_inner", "_level")

    def __init__(self, level: int) -> None:
        self._level = level
        self._inner: zstd.ZstdCompressor | None = None

    def encode(self, data: bytes) -> bytes:
        if self._inner is None:
            parameter = zstd.CompressionParameter
            options: dict[int, int] = {parameter.compression_level: self._level, parameter.window_log: _WINDOW_LOG}
            self._inner = zstd.ZstdCompressor(options=options)
        return self._inner.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self, data: bytes = b"") -> bytes:
        if self._inner is None:
            return compress(data, self._level)
        return self._inner.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


class ZstdDecoder:
    """Decodes one body piece by piece, as content.Decoder: one frame or several, and skippable ones between them."""

    def __init__(self) -> None:
        self.pending = False
        self._inner = _decoder()
        self._rest = b""
        self._frames = 1
        self._begun = False

    def decode(self, data: bytes, room: int) -> bytes:
        if self._rest:
            data = self._rest + data
        out: list[bytes] = []
        at = 0
        while at < len(data) or self.pending:
            if self._inner.eof:
                self._frames += 1
                if self._frames > _FRAMES:
                    raise InvalidRequest(f"content-encoding: more than {_FRAMES} zstd frames")
                self._inner = _decoder()
            self._begun = True
            # What was left inside for want of room comes first: more input would only be heaped upon it.
            part = data[at : at + _PART] if self._inner.needs_input else b""
            try:
                piece = self._inner.decompress(part, room)
            except zstd.ZstdError as error:
                raise InvalidRequest(f"content-encoding: not zstd, or with a window over 8 MiB ({error})") from error
            at += len(part)
            if self._inner.eof:
                unused = self._inner.unused_data
                # More than was given to it now: it had kept the rest of an earlier piece.
                data, at = (data, at - len(unused)) if len(unused) <= at else (unused + data[at:], 0)
            self.pending = not self._inner.eof and not self._inner.needs_input
            out.append(piece)
            room -= len(piece)
            if room <= 0:
                break
        self._rest = data[at:]
        self.pending = self.pending or bool(self._rest)
        return b"".join(out)

    def end(self) -> None:
        if self._begun and not self._inner.eof:
            raise InvalidRequest("content-encoding: the zstd body is cut short")


def _decoder() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_MAX})
