"""The chunked transfer coding, strict, and the trailers that follow it (RFC 9112 section 7.1). Sans-I/O.

Every message body whose length is not told beforehand is cut by this one decoder, in requests and in replies: a decoder
more lenient than its neighbour's is how requests are smuggled. Nothing here is tolerated that the grammar does not
name: no white space around the size, no bare CR or LF, no extension without its semicolon.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from protogw.errors import GatewayError
from protogw.wire.http import Header

EXTENSION_BYTES = 4 << 10
"""The longest chunk extension of one chunk; over a whole body, also what they may add up to beyond its own bytes."""
TRAILER_BYTES = 8 << 10
TRAILER_COUNT = 64

LAST_CHUNK = b"0\r\n\r\n"

UNTRUSTED_TRAILERS = frozenset(
    (
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"pragma",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-real-ip",
    )
)
"""What a trailer may not carry: framing, routing, credentials, how to read the body (RFC 9110 section 6.5.1)."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_NEXT_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})(;[\t\x20-\x7e\x80-\xff]*+)?\r\n")
_SIZE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?\Z")
_NEXT_SIZE_BEGUN = re.compile(rb"(?:\r(?:\n(?:[0-9A-Fa-f]{1,16}(?:;[\t\x20-\x7e\x80-\xff]*+)?\r?)?)?)?\Z")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n")

_FIRST, _DATA, _NEXT, _TRAILER, _DONE = range(5)


class ChunkedDecoder:
    """Decodes one body, however its bytes are cut; raises a `fault` when they break the coding."""

    __slots__ = ("_fault", "_held", "_left", "_spare", "_state", "trailers")

    def __init__(self, fault: type[GatewayError]) -> None:
        self.trailers: tuple[Header, ...] = ()
        """Final once the body has ended, without the names that a trailer may not carry."""
        self._fault = fault
        self._state = _FIRST
        self._left = 0
        self._held = b""
        # What extensions may still cost: each byte of body earns one, so that a body made of nothing but chunk
        # headers is refused and one that signs its chunks is not.
        self._spare = EXTENSION_BYTES

    @property
    def done(self) -> bool:
        return self._state == _DONE

    def feed(self, data: bytes, pieces: list[bytes]) -> bytes:
        """Append the body bytes in `data` to `pieces`; returns what follows the body's end, b"" until then."""
        if self._held:
            data = self._held + data
            self._held = b""
        position, end = 0, len(data)
        state = self._state
        while True:
            if state == _DATA:
                left = self._left
                if end - position < left:
                    if position < end:
                        pieces.append(data[position:] if position else data)
                        self._left = left - (end - position)
                        self._spare += end - position
                    self._state = _DATA
                    return b""
                pieces.append(data[position : position + left])
                self._spare += left
                position += left
                state = _NEXT
            if state == _TRAILER:
                self._state = _TRAILER
                return self._trailer_section(data, position)
            match = (_SIZE if state == _FIRST else _NEXT_SIZE).match(data, position)
            if match is None:
                self._state = state
                self._hold(data, position)
                return b""
            size, extension = match.groups()
            if extension is not None:
                self._spare -= len(extension)
                if len(extension) > EXTENSION_BYTES or self._spare < 0:
                    raise self._fault("chunked body: chunk extensions are too long")
            position = match.end()
            self._left = int(size, 16)
            state = _DATA if self._left else _TRAILER

    def _hold(self, data: bytes, position: int) -> None:
        """Keep the beginning of a chunk's size line for the next feed; refuse what can never become one."""
        begun = (_SIZE_BEGUN if self._state == _FIRST else _NEXT_SIZE_BEGUN).match(data, position)
        if begun is None:
            what = "the size of a chunk" if self._state == _FIRST else "what follows a chunk"
            raise self._fault(f"chunked body: {what} is malformed")
        if len(data) - position > EXTENSION_BYTES + 32:
            raise self._fault("chunked body: chunk extensions are too long")
        self._held = data[position:] if position else data

    def _trailer_section(self, data: bytes, position: int) -> bytes:
        if data.startswith(b"\r\n", position):
            self._state = _DONE
            return data[position + 2 :]
        end = data.find(b"\r\n\r\n", position, position + TRAILER_BYTES + 4)
        if end < 0:
            if len(data) - position > TRAILER_BYTES:
                raise self._fault(f"trailers: longer than {TRAILER_BYTES} bytes")
            self._held = data[position:]
            return b""
        section = data[position : end + 4]
        if _TRAILERS.fullmatch(section) is None:
            raise self._fault("trailers: malformed")
        lines = section[:-4].split(b"\r\n")
        if len(lines) > TRAILER_COUNT:
            raise self._fault(f"trailers: more than {TRAILER_COUNT} fields")
        kept = []
        for line in lines:
            name, _, value = line.partition(b":")
            name = name.lower()
            if name not in UNTRUSTED_TRAILERS and not name.startswith(b"x-forwarded-"):
                kept.append((name, value.strip(b" \t")))
        self.trailers = tuple(kept)
        self._state = _DONE
        return data[end + 4 :]


def encode_chunk(data: bytes) -> bytes:
    """One chunk; nothing for no bytes, since an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def encode_last_chunk(trailers: Sequence[Header] = ()) -> bytes:
    """The end of the body and its trailers."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % encode_fields(trailers)


def encode_fields(fields: Sequence[Header]) -> bytes:
    """Field lines; a CR, LF or NUL within a name or value becomes a space, so that no value begins a line."""
    if not fields:
        return b""
    lines = [*map(b": ".join, fields)]  # no bytecode runs for each field
    text = b"".join(lines)
    # By their numbers: `b"\0" in text` first fails to read that as one, and so costs five times as much.
    if 10 in text or 13 in text or 0 in text:
        lines = [_one_line(line) for line in lines]
    lines.append(b"")
    return b"\r\n".join(lines)


_LINE_BREAKS = bytes.maketrans(b"\r\n\0", b"   ")


def _one_line(text: bytes) -> bytes:
    return text.translate(_LINE_BREAKS)
