"""What gRPC-Web has of its own: trailers in the body, and bodies in base64 text. Sans-I/O.

Source: grpc/doc/PROTOCOL-WEB.md.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable

from protogw.errors import Malformed
from protogw.wire.envelope import envelope
from protogw.wire.grpc import OK_TRAILERS
from protogw.wire.http import Header

TRAILERS = 0x80
"""The flag of the envelope that carries the trailers, which is the last one."""


def trailer_frame(trailers: Iterable[Header]) -> bytes:
    """The trailers as an HTTP/1 header block within an envelope; no value can add a line, since none has CR or LF."""
    return envelope(b"".join([b"%b: %b\r\n" % pair for pair in trailers]), TRAILERS)


OK_FRAME = trailer_frame(OK_TRAILERS)


def encode_text(data: bytes) -> bytes:
    """One flushed chunk as padded base64."""
    return binascii.b2a_base64(data, newline=False)


class TextReader:
    """Decodes a body of base64 text: chunks that may each be padded, cut anywhere into pieces."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, text: bytes) -> bytes:
        """The bytes that this piece completes; raises Malformed when it is not base64."""
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        out: list[bytes] = []
        start = 0
        try:
            while start < whole:
                padding = text.find(b"=", start, whole)
                # Padding ends its quantum, and a new chunk may follow it.
                end = whole if padding < 0 else padding - padding % 4 + 4
                out.append(binascii.a2b_base64(text[start:end], strict_mode=True))
                start = end
        except binascii.Error as error:
            raise Malformed(f"the body is not base64 ({error})") from error
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self) -> None:
        """The body is complete; raises Malformed when it ends within a quantum."""
        if self._rest:
            raise Malformed("the body ends within a base64 quantum")
