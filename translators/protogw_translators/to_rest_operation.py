"""One operation of an OpenAPI document, compiled: its message becomes a request line, header fields and a body.

A body that is the whole message in the service's own JSON passes untouched; all else is taken from the message's JSON,
so that what is sent has been held against the schema.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias
from urllib.parse import quote

import orjson

from protogw.call import Encoding, Payload
from protogw.descriptors.model import Field, Method
from protogw.descriptors.openapi_binding import Operation, Parameter
from protogw.errors import InvalidRequest
from protogw.wire.http import Header
from protogw.wire.path_safety import check_path
from protogw_translators.to_rest_forms import body_of
from protogw_translators.to_rest_request import Request, Settings
from protogw_translators.to_rest_styles import in_cookie, in_header, in_path, in_query

Json: TypeAlias = Any

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_LITERAL = "!$%&'()*+,/:;=@-._~"
_PLAIN = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*")


class OperationRule:
    """An operation, as what reads its replies knows it."""

    __slots__ = (
        "_base",
        "_codec",
        "_fixed",
        "_operation",
        "_pieces",
        "_query",
        "_untouched",
        "accept",
        "body",
        "reply_field",
        "reply_http_body",
        "verb",
        "wrap",
    )

    def __init__(self, method: Method, operation: Operation, settings: Settings) -> None:
        self._operation = operation
        self._codec = method.input.codec
        self.verb = operation.verb.encode()
        self.accept = operation.accept.encode()
        self.body = ""  # what a request holds, its own content type says
        self.wrap = b""
        self.reply_field: Field | None = None
        self.reply_http_body = operation.raw_reply
        base = settings.base_path or operation.base_path
        path, question, query = operation.path.partition("?")
        self._query = [quote(query, safe=_LITERAL + "?")] if question else []
        by_name = {one.name: one for one in operation.parameters if one.place == "path"}
        parts = _VARIABLE.split(path)
        self._pieces: list[tuple[str, Parameter | None]] = [
            (quote(base + part if not place else part, safe=_LITERAL), by_name.get(name))
            for place, (part, name) in enumerate(zip(parts[::2], [*parts[1::2], ""], strict=True))
        ]
        whole = operation.body is not None and not operation.body.member and not operation.parameters
        self._untouched = operation.body is not None and whole and operation.body.form == "json"
        self._fixed = self._line("".join(literal for literal, _ in self._pieces), self._query) if whole else b""

    def _line(self, path: str, query: list[str]) -> bytes:
        target = f"{path}?{'&'.join(query)}" if query else path
        return b"%b %b" % (self.verb, target.encode())

    def encode(self, payload: Payload) -> Request:
        """Raises InvalidRequest naming the parameter or member."""
        body = self._operation.body
        if self._untouched:
            assert body is not None
            return Request(self._fixed, self._json(payload), body.media.encode())
        tree = orjson.loads(self._codec.to_json(payload.proto()))
        if not self._operation.parameters and body is not None and not body.member:
            return Request(self._fixed, *body_of(body, tree))
        values = tree if isinstance(tree, dict) else {}
        query = list(self._query)
        fields: list[Header] = []
        cookies: list[str] = []
        for one in self._operation.parameters:
            value = values.get(one.member)
            if value is None or one.place == "path":
                continue
            if one.json:
                value = orjson.dumps(value).decode()
            if one.place == "query":
                query += in_query(one.style, one.explode, one.name, value, reserved=one.reserved)
            elif one.place == "header":
                fields.append((one.name.lower().encode(), in_header(one.explode, one.name, value).encode()))
            else:
                cookies += in_cookie(one.explode, one.name, value)
        if cookies:
            fields.append((b"cookie", "; ".join(cookies).encode()))
        line = self._line(self._path(values), query)
        data = content_type = b""
        if body is not None and (held := values.get(body.member)) is not None:
            data, content_type = body_of(body, held)
        return Request(line, data, content_type, tuple(fields))

    def _json(self, payload: Payload) -> bytes:
        """The service's own JSON; a payload that came as such is sent as it came."""
        if payload.encoding is Encoding.JSON:
            codec = payload.codec
            if codec is self._codec or (codec is not None and codec.canonical is not codec):
                return payload.data
        return self._codec.to_json(payload.proto())

    def _path(self, values: dict[str, Json]) -> str:
        written: list[str] = []
        plain = True
        for literal, one in self._pieces:
            written.append(literal)
            if one is None:
                continue
            value = values.get(one.member)
            if value is not None and one.json:
                value = orjson.dumps(value).decode()
            shown = in_path(one.style, one.explode, one.name, value)
            if value is None or value in ("", [], {}):
                raise InvalidRequest(f"{one.name}: it must be set, for it is part of the path {self._operation.path}")
            plain = plain and _PLAIN.fullmatch(shown) is not None
            written.append(shown)
        path = "".join(written)
        if not plain:
            try:
                check_path(path.encode(), forwarded=False)
            except InvalidRequest as error:
                names = ", ".join(one.name for _, one in self._pieces if one is not None)
                raise InvalidRequest(f"{names}: {error.message.removeprefix('path: ')} in the path") from error
        return path


class OperationRequests:
    """The one rule of a method that an OpenAPI document describes."""

    __slots__ = ("first", "rules")

    def __init__(self, method: Method, operation: Operation, settings: Settings) -> None:
        self.first = OperationRule(method, operation, settings)
        self.rules = (self.first,)

    def encode(self, payload: Payload) -> tuple[Request, OperationRule]:
        return self.first.encode(payload), self.first
