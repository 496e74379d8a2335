"""JSON values as the texts that OpenAPI's parameter styles make of them (Parameter Object, "Style Values").

Percent-encodes what goes into paths, queries and forms; a header's value is only checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

import orjson

from protogw.errors import InvalidRequest

Json: TypeAlias = Any

_UNRESERVED = "-._~"
_RESERVED = _UNRESERVED + ":/?@!$'()*,;"
"""What `allowReserved` keeps: all that a query can hold without meaning something else there."""
_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_COOKIE = "!#$&'()*+-./:<=>?@[]^_`{|}~"

MAX_DEPTH = 16
"""Objects within objects in a query."""


def text(value: Json) -> str:
    """A value as the one text that stands for it; JSON for what has parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    if value is None:
        return ""
    return orjson.dumps(value).decode().removesuffix(".0")


def _encoded(value: Json, safe: str = _UNRESERVED) -> str:
    return quote(text(value), safe=safe)


def _flat(value: dict[str, Json], between: str, safe: str = _UNRESERVED) -> list[str]:
    """An object's members as names and values, those that are null left out."""
    if between == "=":
        return [f"{_encoded(name, safe)}={_encoded(one, safe)}" for name, one in value.items() if one is not None]
    return [_encoded(part, safe) for name, one in value.items() if one is not None for part in (name, one)]


def in_path(style: str, explode: bool, name: str, value: Json) -> str:
    """The value in place of its variable."""
    if style == "matrix":
        return _matrix(explode, quote(name, safe=_UNRESERVED), value)
    first, between = (".", "." if explode else ",") if style == "label" else ("", ",")
    if isinstance(value, dict):
        return first + between.join(_flat(value, "=" if explode else ","))
    if isinstance(value, list):
        return first + between.join(_encoded(one) for one in value)
    return first + _encoded(value)


def _matrix(explode: bool, name: str, value: Json) -> str:
    if isinstance(value, dict):
        if explode:
            return "".join(f";{pair}" for pair in _flat(value, "="))
        return f";{name}={','.join(_flat(value, ','))}"
    if isinstance(value, list):
        if explode:
            return "".join(f";{name}={_encoded(one)}" for one in value)
        return f";{name}={','.join(_encoded(one) for one in value)}"
    shown = _encoded(value)
    return f";{name}={shown}" if shown else f";{name}"


_BETWEEN = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}


def in_query(style: str, explode: bool, name: str, value: Json, *, reserved: bool = False) -> list[str]:
    """The value as `name=text` pairs, ready to be joined; none for what is null or empty of parts."""
    safe = _RESERVED if reserved else _UNRESERVED
    shown = quote(name, safe=_UNRESERVED)
    if value is None:
        return []
    if isinstance(value, dict):
        if style == "deepObject":
            return list(_deep(shown, value, safe, 0))
        if explode and style == "form":
            return _pairs(value, safe)
        parts = _flat(value, ",", safe)
        return [f"{shown}={_BETWEEN.get(style, ',').join(parts)}"] if parts else []
    if isinstance(value, list):
        if style == "deepObject":
            return list(_deep(shown, value, safe, 0))
        if explode:
            return [f"{shown}={_encoded(one, safe)}" for one in value]
        return [f"{shown}={_BETWEEN.get(style, ',').join(_encoded(one, safe) for one in value)}"] if value else []
    return [f"{shown}={_encoded(value, safe)}"]


def _pairs(value: dict[str, Json], safe: str) -> list[str]:
    """An object's members as parameters of their own, lists among them repeated."""
    found: list[str] = []
    for name, one in value.items():
        shown = quote(name, safe=_UNRESERVED)
        for item in one if isinstance(one, list) else () if one is None else (one,):
            found.append(f"{shown}={_encoded(item, safe)}")
    return found


def _deep(name: str, value: Json, safe: str, depth: int) -> Iterable[str]:
    """`name[member]=text`, and lists as PHP, Rails and Stripe read them: `name[]=text`, objects in them numbered."""
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"{name[:100]}: nested too deeply for a query")
    if isinstance(value, dict):
        for member, one in value.items():
            yield from _deep(f"{name}%5B{quote(member, safe=_UNRESERVED)}%5D", one, safe, depth + 1)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            step = f"%5B{place}%5D" if isinstance(one, (dict, list)) else "%5B%5D" if depth else ""
            yield from _deep(name + step, one, safe, depth + 1)
    elif value is not None:
        yield f"{name}={_encoded(value, safe)}"


def in_header(explode: bool, name: str, value: Json) -> str:
    """The value as a header field's; raises InvalidRequest where a field cannot hold it."""
    if isinstance(value, dict):
        parts: Sequence[str] = [
            part
            for member, one in value.items()
            if one is not None
            for part in ((f"{member}={text(one)}",) if explode else (member, text(one)))
        ]
        shown = ",".join(parts)
    elif isinstance(value, list):
        shown = ",".join(text(one) for one in value)
    else:
        shown = text(value)
    if not _HEADER.fullmatch(shown):
        raise InvalidRequest(f"{name}: a header field cannot hold this text")
    return shown


def in_cookie(explode: bool, name: str, value: Json) -> list[str]:
    """The value as `name=text` pairs."""
    if isinstance(value, dict):
        if explode:
            return [f"{_encoded(one)}={_cookie(held)}" for one, held in value.items() if held is not None]
        return [f"{name}={','.join(_flat(value, ','))}"]
    if isinstance(value, list):
        if explode:
            return [f"{name}={_cookie(one)}" for one in value]
        return [f"{name}={','.join(_cookie(one) for one in value)}"]
    return [f"{name}={_cookie(value)}"]


def _cookie(value: Json) -> str:
    return quote(text(value), safe=_COOKIE)
