"""Where two messages differ that should say the same, field by field, in canonical JSON. Pure.

What only one side writes but is the default of its kind is no difference (0, "", false, an empty list or object, null):
whether defaults are written is a matter of the schema. Nor are a number and its text (64-bit integers are text in
ProtoJSON), one moment written in two ways, and a field written once as `made_at` and once as `madeAt`.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST = 32
"""Differences of two messages that are told."""
DEEPEST = 64

_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?\Z")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})\Z"
)
_HUMP = re.compile(r"_([a-z0-9])")

Path = tuple[str, ...]


class Difference(NamedTuple):
    """One field, `items.price`; indices of lists are left out. None stands for what is not there."""

    path: str
    first: Any
    second: Any


def path_of(text: str) -> Path:
    """`items.made_at` as its steps; `*` stands for any one."""
    return tuple(camel(step) for step in text.split("."))


def camel(name: str) -> str:
    return _HUMP.sub(lambda found: found[1].upper(), name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is not compared, and how closely the rest is."""

    ignore: frozenset[Path] = field(default_factory=frozenset)
    unordered: frozenset[Path] = field(default_factory=frozenset)
    """Lists whose order means nothing."""
    any_order: bool = False
    """No list's order means anything."""
    tolerance: float = 0.0
    """By how much of the larger one numbers may differ."""
    moments_s: float = 0.0
    """By how many seconds moments may differ."""


def differences(first: Any, second: Any, rules: Rules) -> list[Difference]:
    """The differences in the order of the first, at most MOST of them."""
    found: list[Difference] = []
    _compare((), first, second, rules, found)
    return found


def _compare(path: Path, first: Any, second: Any, rules: Rules, found: list[Difference]) -> None:
    if len(found) >= MOST or _named(path, rules.ignore):
        return
    if len(path) > DEEPEST:
        if first != second:
            found.append(Difference(".".join(path[:8]) + ".…", None, None))
        return
    if _nothing(first) and _nothing(second):
        return
    if isinstance(first, Mapping) or isinstance(second, Mapping):
        if isinstance(first or {}, Mapping) and isinstance(second or {}, Mapping):
            _members(path, first or {}, second or {}, rules, found)
            return
    elif isinstance(first, list) or isinstance(second, list):
        if isinstance(first or [], list) and isinstance(second or [], list):
            _items(path, first or [], second or [], rules, found)
            return
    elif _same(first, second, rules):
        return
    found.append(Difference(".".join(path), first, second))


def _members(
    path: Path, first: Mapping[str, Any], second: Mapping[str, Any], rules: Rules, found: list[Difference]
) -> None:
    other = dict(second)
    for name, value in first.items():
        known = name if name in other else next((one for one in other if camel(one) == camel(name)), None)
        _compare((*path, camel(name)), value, other.pop(known) if known is not None else None, rules, found)
    for name, value in other.items():
        _compare((*path, camel(name)), None, value, rules, found)


def _items(path: Path, first: Sequence[Any], second: Sequence[Any], rules: Rules, found: list[Difference]) -> None:
    if rules.any_order or _named(path, rules.unordered):
        first, second = _unpaired(path, first, second, rules)
    if len(first) != len(second):
        found.append(Difference(".".join(path), f"{len(first)} items", f"{len(second)} items"))
        return
    for one, other in zip(first, second, strict=True):
        _compare(path, one, other, rules, found)


_PAIRED = 500
"""Items of an unordered list that are looked for in the other one, each among all; longer lists are sorted instead."""


def _unpaired(path: Path, first: Sequence[Any], second: Sequence[Any], rules: Rules) -> tuple[list[Any], list[Any]]:
    """What of both lists has no equal in the other."""
    if max(len(first), len(second)) > _PAIRED:
        return sorted(first, key=repr), sorted(second, key=repr)
    left: list[Any] = []
    others = list(second)
    for one in first:
        for index, other in enumerate(others):
            few: list[Difference] = []
            _compare(path, one, other, rules, few)
            if not few:
                del others[index]
                break
        else:
            left.append(one)
    return left, others


def _named(path: Path, paths: frozenset[Path]) -> bool:
    if not paths or not path:
        return False
    if path in paths:
        return True
    return any(
        len(one) == len(path) and all(step in ("*", name) for step, name in zip(one, path, strict=True))
        for one in paths
        if "*" in one
    )


def _nothing(value: Any) -> bool:
    """What a schema may leave out."""
    return value is None or value is False or value in ("", 0, "0") or value == [] or value == {}


def _same(first: Any, second: Any, rules: Rules) -> bool:
    if first == second and isinstance(first, bool) == isinstance(second, bool):
        return True
    if isinstance(first, bool) or isinstance(second, bool):
        return False
    one, other = _number(first), _number(second)
    if one is not None and other is not None:
        if isinstance(first, str) and isinstance(second, str):
            return False  # two texts that look like numbers: an id 007 is not an id 7
        close = rules.tolerance > 0 and math.isclose(one, other, rel_tol=rules.tolerance, abs_tol=0.0)
        return close or one == other
    if isinstance(first, str) and isinstance(second, str):
        since, till = _moment(first), _moment(second)
        if since is not None and till is not None:
            return abs(since - till) <= rules.moments_s
    return False


def _number(value: Any) -> int | float | None:
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, str) and _NUMBER.match(value):
        return int(value) if value.lstrip("-").isdigit() else float(value)
    return None


def _moment(text: str) -> float | None:
    """Unix seconds of an RFC 3339 timestamp."""
    if not _MOMENT.match(text):
        return None
    whole, point, rest = text.replace(" ", "T").upper().partition(".")
    digits = re.match("[0-9]*", rest)
    fraction = digits[0] if digits is not None else ""
    zone = rest[len(fraction) :] if point else ""
    try:
        seconds = datetime.datetime.fromisoformat((whole + zone).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None
    return seconds + (float(f"0.{fraction}") if fraction else 0.0)
