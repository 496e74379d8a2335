"""Request bodies of OpenAPI operations that are no JSON: forms, their parts, and raw bytes."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from typing import Any, TypeAlias

import orjson

from protogw.descriptors.openapi_binding import Body, Part
from protogw.errors import InvalidRequest
from protogw_translators.to_rest_styles import in_query, text

Json: TypeAlias = Any

_PLAIN = Part()
_CONTENT_TYPE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?")
_QUOTED = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def body_of(body: Body, value: Json) -> tuple[bytes, bytes]:
    """The bytes of a body and its content type; raises InvalidRequest naming the member that does not fit."""
    if body.form == "json":
        return orjson.dumps(value), body.media.encode()
    if body.form == "raw":
        return _raw(body, value)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{body.member or 'body'}: expected an object, for the service takes a form")
    return _form(body, value) if body.form == "form" else _multipart(body, value)


def _raw(body: Body, value: Json) -> tuple[bytes, bytes]:
    """The data of a google.api.HttpBody as its JSON has it."""
    held: Mapping[str, str] = value if isinstance(value, dict) else {}
    content_type = held.get("contentType", "")
    if not _CONTENT_TYPE.fullmatch(content_type):
        content_type = body.media
    return _bytes(body.member or "body", held.get("data", "")), content_type.encode()


def _bytes(name: str, value: Json) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise InvalidRequest(f"{name}: not base64") from error


def _form(body: Body, value: dict[str, Json]) -> tuple[bytes, bytes]:
    pairs: list[str] = []
    for name, one in value.items():
        part = body.parts.get(name, _PLAIN)
        if part.json and one is not None:
            one = orjson.dumps(one).decode()
        pairs += in_query(part.style, part.explode, name, one, reserved=part.reserved)
    return "&".join(pairs).encode(), body.media.encode()


def _multipart(body: Body, value: dict[str, Json]) -> tuple[bytes, bytes]:
    """multipart/form-data (RFC 7578): a part for each member, and for each item of a list."""
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []
    for name, one in value.items():
        part = body.parts.get(name, _PLAIN)
        for item in one if isinstance(one, list) and not part.json else [one]:
            if item is None:
                continue
            head, data = _part(name, part, item)
            pieces.append(f"--{boundary}\r\n{head}\r\n".encode() + data + b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), f"multipart/form-data; boundary={boundary}".encode()


def _part(name: str, part: Part, value: Json) -> tuple[str, bytes]:
    """The head of a part, its lines closed, and its bytes."""
    shown = name.translate(_QUOTED)
    head = f'content-disposition: form-data; name="{shown}"'
    media = part.media
    if part.binary:
        # A file has a name to those who read forms: without, they would take it for text.
        head += f'; filename="{shown}"'
        media = media or "application/octet-stream"
        data = _bytes(name, value)
    elif part.json or isinstance(value, (dict, list)):
        media = media or "application/json"
        data = orjson.dumps(value)
    else:
        data = text(value).encode()
    return head + (f"\r\ncontent-type: {media}\r\n" if media else "\r\n"), data
