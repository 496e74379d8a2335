"""How long an answer may be given again: Cache-Control, Expires, Age (RFC 9111), stale-* (RFC 5861). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from protogw.wire.http import Header

_DIRECTIVE = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?\s*(?:,|\Z)\s*')
_MOST_S = 365 * 86_400.0


class Freshness(NamedTuple):
    """How long an answer is fresh, counted from when it was made, and how long it is of use after that."""

    fresh_s: float
    stale_s: float
    error_s: float
    age_s: float
    """How old it was when it came."""
    asks_first: bool


class Rules(NamedTuple):
    """What the config says where the service does not: the time that answers are fresh (None: they are not), and how
    long they may be given after that."""

    ttl_s: float | None
    stale_s: float
    error_s: float
    most_s: float


def directives(values: Iterable[bytes]) -> dict[bytes, bytes] | None:
    """The directives of Cache-Control fields, lower case; None when they cannot be read."""
    found: dict[bytes, bytes] = {}
    for value in values:
        text = value.strip()
        place = 0
        while place < len(text):
            part = _DIRECTIVE.match(text, place)
            if part is None:
                return None
            place = part.end()
            name = part[1].lower()
            said = part[2] if part[2] is not None else part[3] or b""
            known = found.get(name)
            # Of two that differ the more careful one counts.
            found[name] = said if known is None or not known.isdigit() else min(known, said, key=_number)
    return found


def _number(text: bytes) -> float:
    return float(text) if text.isdigit() else 0.0


def seconds(found: Mapping[bytes, bytes], name: bytes) -> float | None:
    """A directive's number of seconds; 0 for one that is not a number, None for none."""
    value = found.get(name)
    if value is None:
        return None
    return min(float(value), _MOST_S) if value.isdigit() and len(value) <= 12 else 0.0


def freshness(fields: Iterable[Header], rules: Rules, now_s: float) -> Freshness | None:
    """What the fields of an answer allow; None when it must not be kept."""
    said: list[bytes] = []
    expires: bytes | None = None
    date: bytes | None = None
    age = b""
    for name, value in fields:
        if name == b"cache-control":
            said.append(value)
        elif name == b"expires":
            expires = value
        elif name == b"date":
            date = value
        elif name == b"age":
            age = value
        elif name == b"set-cookie" or name == b"content-range" or (name == b"vary" and b"*" in value):
            return None
    found = directives(said)
    if found is None or b"no-store" in found or b"private" in found:
        return None
    lifetime = seconds(found, b"s-maxage")
    if lifetime is None:
        lifetime = seconds(found, b"max-age")
    if lifetime is None and expires is not None:
        made = _date(date) if date is not None else now_s
        until = _date(expires)
        lifetime = max(0.0, until - made) if until is not None and made is not None else 0.0
    if lifetime is None:
        lifetime = rules.ttl_s
    asks_first = b"no-cache" in found
    if lifetime is None:
        if not asks_first:
            return None
        lifetime = 0.0
    lifetime = min(lifetime, rules.most_s)
    stale = seconds(found, b"stale-while-revalidate")
    error = seconds(found, b"stale-if-error")
    strict = asks_first or b"must-revalidate" in found or b"proxy-revalidate" in found
    return Freshness(
        0.0 if asks_first else lifetime,
        0.0 if strict else min(rules.stale_s if stale is None else stale, rules.most_s),
        0.0 if strict else min(rules.error_s if error is None else error, rules.most_s),
        min(float(age), _MOST_S) if age.isdigit() and len(age) <= 12 else 0.0,
        asks_first,
    )


def _date(text: bytes) -> float | None:
    try:
        return parsedate_to_datetime(text.decode("latin-1")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def matches(condition: bytes, etag: bytes) -> bool:
    """Whether If-None-Match names this tag, compared weakly (RFC 9110 section 13.1.2)."""
    if condition.strip() == b"*":
        return True
    bare = etag.removeprefix(b"W/")
    return any(one.strip().removeprefix(b"W/") == bare for one in condition.split(b","))


def unchanged_since(condition: bytes, modified: bytes) -> bool:
    """Whether an answer of this Last-Modified is what If-Modified-Since asks about."""
    since, changed = _date(condition), _date(modified)
    return since is not None and changed is not None and changed <= since
