"""Path templates of google.api.http: parsed, matched segment by segment elsewhere, and expanded from values here.

    Template  = "/" [ Segments ] [ ":" VERB ]        Segment  = "*" | "**" | LITERAL | Variable
    Segments  = Segment { "/" Segment }              Variable = "{" FIELD.PATH [ "=" Segments ] "}"

`*` is one segment, `**` any number of them (none too) and only last; variables do not nest. Two things are wider than
the grammar in google/api/http.proto: "/" alone is the root, and a last "/" is an empty last segment of its own.

Percent-encoding: the value of a variable over exactly one segment is fully encoded and decoded. The value of one over
several segments keeps "/" and leaves the characters that RFC 3986 reserves as they are, encoded or not, so that
"%2F" never turns into a separator.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

from protogw.errors import InvalidRequest


class Wildcard(Enum):
    """A segment that is not a literal."""

    ONE = "*"
    REST = "**"


Segment: TypeAlias = bytes | Wildcard
"""A literal, percent-decoded, or a wildcard."""


class TemplateError(ValueError):
    """A template that cannot be parsed; the message ends in the column (from 1) where it goes wrong."""

    def __init__(self, template: str, column: int, message: str) -> None:
        super().__init__(f"{template}: {message} at column {column + 1}")
        self.column = column + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A field path and the segments `start` to `end` of the template that give its value."""

    path: tuple[str, ...]
    start: int
    end: int
    multi: bool
    """More than one segment: separators and reserved characters stay encoded."""

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed template; `text` is what it was parsed from."""

    text: str
    segments: tuple[Segment, ...]
    verb: bytes
    variables: tuple[Variable, ...]

    def __str__(self) -> str:
        return self.text


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LITERAL = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()+,;=:@\x80-\U0010ffff]|%[0-9A-Fa-f]{2})+")
_BAD_VERB = re.compile(r"[/*{}:=]")


class _Parser:
    """One pass from left to right; `at` is the column of what comes next."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.end = len(text)
        self.segments: list[Segment] = []
        self.variables: list[Variable] = []

    def fault(self, message: str, column: int | None = None) -> TemplateError:
        return TemplateError(self.text, self.at if column is None else column, message)

    def template(self) -> Template:
        if not self.text.startswith("/"):
            raise self.fault('a template starts with "/"')
        verb = self._verb()
        self.at = 1
        if self.at < self.end:
            self._segments(in_variable=False)
        elif verb:
            raise self.fault("a verb needs a segment before it")
        for place, segment in enumerate(self.segments[:-1]):
            if segment is Wildcard.REST:
                raise self.fault(f'"**" may only be the last segment, not number {place + 1}', self.text.find("**"))
            if segment == b"":
                raise self.fault("an empty segment", self.text.find("//") + 1)
        return Template(
            text=self.text, segments=tuple(self.segments), verb=verb.encode(), variables=tuple(self.variables)
        )

    def _verb(self) -> str:
        """Cut the verb off: what follows the last ":" behind the last "/" and the last "}"."""
        start = max(self.text.rfind("/"), self.text.rfind("}")) + 1
        colon = self.text.rfind(":", start)
        if colon < 0:
            return ""
        verb = self.text[colon + 1 :]
        if not verb:
            raise self.fault("an empty verb", colon)
        if bad := _BAD_VERB.search(verb):
            raise self.fault(f"{bad.group()!r} in the verb", colon + 1 + bad.start())
        self.end = colon
        return verb

    def _segments(self, in_variable: bool) -> None:
        while True:
            self._segment(in_variable)
            if self.at >= self.end or self.text[self.at] != "/":
                break
            self.at += 1
        if not in_variable and self.at < self.end:
            raise self.fault(f"unexpected {self.text[self.at]!r}")

    def _segment(self, in_variable: bool) -> None:
        text, at = self.text, self.at
        if text.startswith("**", at):
            self.at += 2
            self.segments.append(Wildcard.REST)
        elif text.startswith("*", at):
            self.at += 1
            self.segments.append(Wildcard.ONE)
        elif text.startswith("{", at):
            if in_variable:
                raise self.fault("variables cannot be nested")
            self._variable()
        elif (found := _LITERAL.match(text, at, self.end)) and not (in_variable and "=" in found.group()):
            self.at = found.end()
            literal = unquote_to_bytes(found.group())
            if literal in (b".", b"..") or b"/" in literal:
                raise self.fault("a segment that is no name", at)
            self.segments.append(literal)
        elif at == self.end and not in_variable:
            self.segments.append(b"")
        else:
            raise self.fault(f"a segment is missing before {text[at]!r}" if at < self.end else "a segment is missing")

    def _variable(self) -> None:
        opening = self.at
        self.at += 1
        path = [self._identifier()]
        while self.text.startswith(".", self.at):
            self.at += 1
            path.append(self._identifier())
        start = len(self.segments)
        if self.text.startswith("=", self.at):
            self.at += 1
            self._segments(in_variable=True)
        else:
            self.segments.append(Wildcard.ONE)
        if not self.text.startswith("}", self.at):
            raise self.fault('"}" is missing')
        self.at += 1
        inside = self.segments[start:]
        variable = Variable(
            path=tuple(path),
            start=start,
            end=len(self.segments),
            multi=len(inside) > 1 or inside[0] is Wildcard.REST,
        )
        if any(one.path == variable.path for one in self.variables):
            raise self.fault(f"{variable.name} is bound twice", opening)
        self.variables.append(variable)

    def _identifier(self) -> str:
        found = _IDENTIFIER.match(self.text, self.at, self.end)
        if found is None:
            raise self.fault("a field name is missing")
        self.at = found.end()
        return found.group()


def parse(text: str) -> Template:
    """Parse a template; raises TemplateError."""
    return _Parser(text).template()


# ---- values: decoding what matched, encoding what is to match

_RESERVED = b":/?#[]@!$&'()*+,;="
_DECODED = {b"%02X" % code: bytes((code,)) for code in range(256) if code not in _RESERVED}
_TRIPLET = re.compile(rb"%([0-9A-Fa-f]{2})")
_RESERVED_TRIPLET = re.compile("(%(?:" + "|".join(f"{code:02X}" for code in _RESERVED) + "))", re.IGNORECASE)


def _decode_unreserved(found: re.Match[bytes]) -> bytes:
    return _DECODED.get(found.group(1).upper(), found.group())


def decode_one(segment: bytes) -> bytes:
    """The value of a variable over one segment: everything decoded."""
    return unquote_to_bytes(segment) if b"%" in segment else segment


def decode_multi(segments: bytes) -> bytes:
    """The value of a variable over several segments: everything decoded but the reserved characters."""
    return _TRIPLET.sub(_decode_unreserved, segments) if b"%" in segments else segments


def _encode_multi(value: str) -> str:
    """The reverse of decode_multi; encoded reserved characters are kept, for the decoding keeps them too."""
    pieces = _RESERVED_TRIPLET.split(value)
    for place in range(0, len(pieces), 2):
        pieces[place] = quote(pieces[place], safe="/:@!$&'()*+,;=-._~")
    return "".join(pieces)


def expand(template: Template, values: Mapping[str, str]) -> str:
    """The path that `template` matches with these values (by dotted field path).

    Raises InvalidRequest naming the variable when a value is missing, empty, or does not fit its pattern, and for
    values that would read as "." or ".." segments.
    """
    out: list[str] = []
    variables = {variable.start: variable for variable in template.variables}
    place = 0
    while place < len(template.segments):
        variable = variables.get(place)
        if variable is None:
            segment = template.segments[place]
            if isinstance(segment, Wildcard):
                raise InvalidRequest(f"{template.text}: a wildcard without a variable has no value")
            out.append(quote(segment, safe="!$&'()+,;=@-._~"))
            place += 1
            continue
        value = values.get(variable.name)
        if value is None:
            raise InvalidRequest(f"{variable.name}: a value is needed in the path")
        out.extend(_fitting(template, variable, value))
        place = variable.end
    path = "/" + "/".join(out)
    return f"{path}:{template.verb.decode()}" if template.verb else path


def _fitting(template: Template, variable: Variable, value: str) -> list[str]:
    """The encoded segments of one variable's value, checked against its pattern."""
    pattern = template.segments[variable.start : variable.end]
    encoded = _encode_multi(value).split("/") if variable.multi else [quote(value, safe="-._~")]
    if pattern == (Wildcard.REST,) and value == "":
        return []
    fits = len(encoded) == len(pattern) or (
        pattern[-1] is Wildcard.REST and len(encoded) >= len(pattern) - 1 and (value != "" or len(pattern) == 1)
    )
    if fits:
        for want, got in zip(pattern, encoded, strict=False):
            if want is not Wildcard.ONE and want is not Wildcard.REST and unquote_to_bytes(got) != want:
                fits = False
    if not fits or any(segment in ("", ".", "..") for segment in encoded):
        shape = "/".join(one.value if isinstance(one, Wildcard) else one.decode() for one in pattern)
        raise InvalidRequest(f'{variable.name}: "{value[:100]}" does not fit "{shape}" in the path')
    return encoded
