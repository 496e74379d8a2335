"""HTTP/1.1 answers as bytes: status lines, fields, and the one head that both are joined to. Sans-I/O."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from protogw.errors import GatewayError
from protogw.wire.http import Header
from protogw.wire.http1_chunked import encode_fields
from protogw.wire.recurring import Recurring

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n"
    % (status, HTTPStatus(status).phrase.encode() if status in HTTPStatus._value2member_map_ else b"")
    for status in range(100, 1000)
}

_FRAMING = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive"))
"""Fields of an answer that the connection writes itself."""

_KEPT, _KEPT_BYTES = 256, 1 << 10


class AnswerFields:
    """An answer's fields as they go on the wire, less those of framing, and what they say of framing."""

    __slots__ = ("block", "dated", "length")

    def __init__(self, headers: tuple[Header, ...]) -> None:
        self.length = -1
        """The body's length as the fields tell it."""
        self.dated = False
        kept = []
        for pair in headers:
            name = pair[0]
            if name in _FRAMING:
                if name == b"content-length" and pair[1].isdigit():
                    self.length = int(pair[1])
                continue
            if name == b"date":
                self.dated = True
            elif name == b"upgrade":  # what a 426 asks for
                kept.append((b"connection", b"Upgrade"))
            kept.append(pair)
        self.block = encode_fields(kept)


_fields: Recurring[tuple[Header, ...], AnswerFields] = Recurring(_KEPT)


def answer_fields(headers: tuple[Header, ...]) -> AnswerFields:
    """The fields encoded; answers repeat the same few tuples, so each is soon looked up."""
    fields = _fields.get(headers)
    if fields is None:
        fields = AnswerFields(headers)
        if len(fields.block) <= _KEPT_BYTES:
            _fields.keep(headers, fields)
    return fields


def refusal(error: GatewayError, date: bytes) -> tuple[int, bytes]:
    """The status and the whole answer to a request that never became one: google.rpc.Status as JSON, and a close."""
    status = error.http_status or 400
    body = json.dumps(
        {"code": int(error.status.code), "message": error.message, "details": []}, separators=(",", ":")
    ).encode()
    head = b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%b\r\n" % (
        STATUS_LINES[status],
        date,
        len(body),
        encode_fields(error.headers),
    )
    return status, head + body
