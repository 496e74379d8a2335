"""google.api.HttpBody, the message that stands for raw bytes: content_type = 1, data = 2."""

from __future__ import annotations

from protogw.errors import BadUpstream
from protogw.wire.protowire import delimited, fields

HTTP_BODY = "google.api.HttpBody"


def http_body(content_type: bytes, data: bytes) -> bytes:
    """The message of these bytes; a content type that is not ASCII is left out."""
    named = delimited(1, content_type) if content_type.isascii() and content_type else b""
    return named + delimited(2, data) if data else named


def read_http_body(message: bytes, field_number: int = 0) -> tuple[bytes, bytes]:
    """Content type and data of an HttpBody, or of the one in a field of the message. Raises BadUpstream."""
    content_type = data = b""
    try:
        if field_number:
            # Occurrences of a message field merge, which is what joining their bytes does.
            message = b"".join(
                value for number, value in fields(message) if number == field_number and isinstance(value, bytes)
            )
        for number, value in fields(message):
            if number == 1 and isinstance(value, bytes):
                content_type = value
            elif number == 2 and isinstance(value, bytes):
                data = value
    except ValueError as error:
        raise BadUpstream(f"google.api.HttpBody: {error}") from None
    if not content_type or not content_type.isascii() or not content_type.decode().isprintable():
        content_type = b"application/octet-stream"
    return content_type, data
