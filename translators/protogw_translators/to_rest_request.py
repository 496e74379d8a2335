"""One method's google.api.http rules read backwards: its message becomes a request line and a body.

Compiled once for each method. Of several rules the first whose path the message fits is used, as a service lists the
usual one first.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol
from urllib.parse import quote

import orjson

from protogw.call import Encoding, Payload
from protogw.descriptors.model import Field, HttpRule, Kind, Method, Type
from protogw.errors import InvalidRequest, NotOffered
from protogw.wire.http import Header
from protogw.wire.path_safety import check_path
from protogw.wire.path_template import Template, Variable, Wildcard, expand, parse
from protogw_translators.to_rest_fields import Excluded, FieldPath, Parameters, Queries, cut, merge
from protogw_translators.to_rest_text import scan

HTTP_BODY = "google.api.HttpBody"

_BODY_CONTENT = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?")
_SEGMENT = r"[A-Za-z0-9_~\-][A-Za-z0-9._~\-]*"
_PLAIN_QUERY = re.compile(r"[A-Za-z0-9._~\-]*")


class Request(NamedTuple):
    """What is sent: the verb and the target, the body, the body's own content type, and header fields of its own."""

    line: bytes
    body: bytes
    content_type: bytes
    fields: tuple[Header, ...] = ()


class Settings(Protocol):
    """What the translator says about all requests."""

    base_path: str
    queries: Queries


class Bound(Protocol):
    """What the reading of replies needs to know of the rule that a request was made by."""

    verb: bytes
    body: str
    wrap: bytes
    reply_field: Field | None
    reply_http_body: bool


class RuleFault(Exception):
    """A rule that cannot be used with its method's types; the message says why."""


class Rule:
    """One binding. Raises RuleFault when it does not fit the method's types."""

    __slots__ = (
        "_base",
        "_body_field",
        "_excluded",
        "_fixed",
        "_pieces",
        "_plain",
        "_queries",
        "_template",
        "body",
        "http_body",
        "input",
        "paths",
        "reply_field",
        "reply_http_body",
        "verb",
        "whole",
        "wrap",
    )

    def __init__(self, method: Method, rule: HttpRule, settings: Settings) -> None:
        self.input = method.input
        self.body = rule.body
        self.verb = (b"POST" if rule.body else b"GET") if rule.verb == "*" else rule.verb.encode()
        self._queries = settings.queries
        self._template = template = parse(rule.template)
        self._base = settings.base_path
        try:
            self.paths = tuple(FieldPath(method.input, variable.path) for variable in template.variables)
        except ValueError as error:
            raise RuleFault(str(error)) from error
        self._body_field = _top_level(method.input, rule.body, "body")
        excluded: Excluded = merge(*(path.excluded for path in self.paths))
        if self._body_field is not None:
            excluded = merge(excluded, {self._body_field.number: {}})
        self._excluded = excluded
        named = self._body_field.type_name if self._body_field is not None else method.input.name
        self.http_body = bool(rule.body) and named == HTTP_BODY
        self._pieces, self._plain = _pieces(template, self._base)
        self._fixed = self.verb + b" " + self._base.encode() + expand(template, {}).encode() if not self.paths else b""
        self.whole = rule.body == "*" and not self.paths and not self.http_body
        """The message is the body, as it is."""
        self.reply_field = field = _top_level(method.output, rule.response_body, "response_body")
        """The field of the reply's message that the reply's body is, if it is not the message itself."""
        self.wrap = orjson.dumps(field.json_name) + b":" if field is not None else b""
        self.reply_http_body = (field.type_name if field is not None else method.output.name) == HTTP_BODY

    def encode(self, payload: Payload) -> Request:
        """Raises InvalidRequest naming the field."""
        if self.whole:
            data = payload.data if payload.encoding is Encoding.JSON else payload.json()
            return Request(self._fixed, data, b"")
        message = payload.data if payload.encoding is Encoding.PROTO else payload.proto()
        return Request(self.line(message), *self._body(message))

    def line(self, message: bytes) -> bytes:
        """The verb and the target: path, and a query if there are fields for it."""
        line = self._fixed or self._path(message)
        if self.body != "*" and message:
            parameters: Parameters = {}
            self._queries.collect(self.input, message, self._excluded, parameters)
            if parameters:
                return line + b"?" + _query(parameters)
        return line

    def _path(self, message: bytes) -> bytes:
        texts: dict[str, str] = {}
        plain = True
        for path, pattern in zip(self.paths, self._plain, strict=True):
            try:
                text = path.read(message)
            except ValueError as error:
                raise InvalidRequest(f"{path.name}: {error}") from error
            if not text:
                raise InvalidRequest(f"{path.name}: it must be set, for it is part of the path {self._template}")
            texts[path.name] = text
            plain = plain and pattern.fullmatch(text) is not None
        if plain:
            path_bytes = "".join([texts.get(piece, piece) for piece in self._pieces]).encode()
        else:
            path_bytes = expand(self._template, texts).encode()
            try:
                check_path(path_bytes, forwarded=False)
            except InvalidRequest as error:
                raise InvalidRequest(
                    f"{', '.join(texts)}: {error.message.removeprefix('path: ')} in the path"
                ) from error
            path_bytes = self._base.encode() + path_bytes
        return self.verb + b" " + path_bytes

    def _body(self, message: bytes) -> tuple[bytes, bytes]:
        """The body and its content type; the latter is empty when it is JSON, or there is none."""
        if not self.body:
            return b"", b""
        try:
            if self.http_body:
                return _http_body(message, self._body_field)
            if self._body_field is not None:
                return self.input.codec.field_to_json(self._body_field.name, message), b""
            return self.input.codec.to_json(cut(message, self._excluded)), b""
        except ValueError as error:
            raise InvalidRequest(f"{self.input.name}: {error}") from error


class Requests:
    """All the rules of one method. A method without any is offered at POST /package.Service/Method."""

    __slots__ = ("first", "rules")

    def __init__(self, method: Method, settings: Settings) -> None:
        rules = method.annotated or (HttpRule(verb="POST", template=method.path.decode(), body="*"),)
        faults: list[str] = []
        usable: list[Rule] = []
        for rule in rules:
            try:
                usable.append(Rule(method, rule, settings))
            except RuleFault as fault:
                faults.append(str(fault))
            except InvalidRequest as error:  # a wildcard without a variable: no request can be made of it
                faults.append(error.message)
        if not usable:
            raise NotOffered(f"{method.full_name}: no request can be made of its rules: {'; '.join(faults)}")
        self.rules = tuple(usable)
        self.first = usable[0]

    def encode(self, payload: Payload) -> tuple[Request, Rule]:
        """The request, and the rule that it is made by; raises InvalidRequest naming the field."""
        rule = self.first
        if len(self.rules) == 1:
            return rule.encode(payload), rule
        failed: InvalidRequest | None = None
        for rule in self.rules:
            try:
                return rule.encode(payload), rule
            except InvalidRequest as error:
                failed = failed or error
        assert failed is not None
        raise failed


def _top_level(message: Type, selector: str, what: str) -> Field | None:
    """The field that a selector names, None when it selects nothing or everything."""
    if selector in ("", "*"):
        return None
    field = message.field(selector)
    if field is None:
        raise RuleFault(f"{what}: {selector} is not a field of {message.name}")
    return field


def _pieces(template: Template, base: str) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    """The path as literals and variable names in turn, and what each variable's text must be to go in as it is."""
    pieces: list[str] = []
    literal = base
    patterns: list[re.Pattern[str]] = []
    starts: dict[int, Variable] = {variable.start: variable for variable in template.variables}
    place = 0
    while place < len(template.segments):
        variable = starts.get(place)
        literal += "/"
        if variable is not None:
            pieces += [literal, variable.name]
            literal = ""
            patterns.append(_pattern(template, variable))
            place = variable.end
            continue
        segment = template.segments[place]
        if isinstance(segment, Wildcard):
            raise RuleFault(f"{template}: a wildcard without a variable has no value")
        literal += quote(segment, safe="!$&'()+,;=@-._~")
        place += 1
    if template.verb:
        literal += ":" + template.verb.decode()
    pieces.append(literal)
    return tuple(pieces), tuple(patterns)


def _pattern(template: Template, variable: Variable) -> re.Pattern[str]:
    """Text that fits the variable's segments and needs neither encoding nor a closer look."""
    parts: list[str] = []
    for segment in template.segments[variable.start : variable.end]:
        if segment is Wildcard.ONE:
            parts.append(_SEGMENT)
        elif segment is Wildcard.REST:
            parts.append(f"{_SEGMENT}(?:/{_SEGMENT})*")
        else:
            assert isinstance(segment, bytes)
            parts.append(re.escape(segment.decode("latin-1")))
    return re.compile("/".join(parts))


def _query(parameters: Parameters) -> bytes:
    pairs: list[str] = []
    plain = _PLAIN_QUERY.fullmatch
    for name, texts in parameters.items():
        shown = name if plain(name) else quote(name, safe="-._~")
        for text in texts:
            pairs.append(f"{shown}={text if plain(text) else quote(text, safe='-._~')}")
    return "&".join(pairs).encode()


def _http_body(message: bytes, field: Field | None) -> tuple[bytes, bytes]:
    """The data and content type of a google.api.HttpBody, the message itself or a field of it. Raises ValueError."""
    if field is not None:
        assert field.kind is Kind.MESSAGE
        found = [value for number, value, _, _ in scan(message) if number == field.number]
        message = b"".join([value for value in found if isinstance(value, bytes)])
    content_type = data = b""
    for number, value, _, _ in scan(message):
        if isinstance(value, bytes):
            if number == 1:
                content_type = value
            elif number == 2:
                data = value
    if not _BODY_CONTENT.fullmatch(content_type):
        content_type = b"application/octet-stream"
    return data, content_type
