"""What JSON Schemas ask of values beyond their type: bounds, lengths, patterns, as the schema and all it refers to say.

Of keywords that are there more than once the strictest holds, since all of them do. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from protogw.descriptors.documents import Node

Number: TypeAlias = int | float

_LEAST = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_MOST = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_COUNTS = frozenset((*_LEAST[:3], *_MOST[:3]))
_OPEN = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))

TEXT: Final = frozenset(("minLength", "maxLength", "pattern"))
NUMBERS: Final = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"))
LISTS: Final = frozenset(
    ("minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "prefixItems", "unevaluatedItems")
)
OBJECTS: Final = frozenset(
    (
        "minProperties",
        "maxProperties",
        "propertyNames",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "unevaluatedProperties",
    )
)
ALWAYS: Final = frozenset(("not", "if"))
"""Of values of every type."""
ALL: Final = TEXT | NUMBERS | LISTS | OBJECTS | ALWAYS


@dataclass(slots=True)
class Asked:
    """`bounds` are the strictest by keyword; `patterns` and `factors` (multipleOf) all there are, with where each is;
    `places` is where each keyword is."""

    bounds: dict[str, Number] = field(default_factory=dict)
    patterns: dict[str, Node] = field(default_factory=dict)
    factors: dict[Number, Node] = field(default_factory=dict)
    places: dict[str, Node] = field(default_factory=dict)

    def of(self, words: frozenset[str]) -> Iterator[Node]:
        """Where those of these keywords are that something is asked by."""
        return (place for word, place in self.places.items() if word in words)


def collect(node: Node, into: Asked | None) -> Asked | None:
    """Add what a schema's own keywords ask; None while nothing is."""
    value = node.mapping
    if ALL.isdisjoint(value):
        return into
    said: Mapping[str, Any] = value
    for bound, limit in _OPEN:
        if isinstance(said.get(bound), bool):  # OpenAPI 3.0
            said = dict(said)
            if said.pop(bound) and limit in said:
                said[bound] = said.pop(limit)
    found = Asked() if into is None else into
    for word in said:
        if word in ALL and _take(word, said[word], node, found):
            found.places.setdefault(word, node.child(word))
    return found if found.places else into


def _take(word: str, value: Any, node: Node, into: Asked) -> bool:
    """Whether the keyword asks for anything."""
    if word in _LEAST or word in _MOST:
        if not _is_number(value) or (word in _COUNTS and (value < 0 or value != int(value))):
            return False
        if word in _COUNTS:
            value = int(value)
            if value == 0 and word in _LEAST:
                return False
        known = into.bounds.get(word)
        stricter = max if word in _LEAST else min
        into.bounds[word] = value if known is None else stricter(known, value)
        return True
    if word == "pattern":
        if isinstance(value, str):
            into.patterns.setdefault(value, node.child(word))
        return isinstance(value, str)
    if word == "multipleOf":
        if not _is_number(value) or value <= 0:
            return False
        into.factors.setdefault(value, node.child(word))
        return True
    if word == "uniqueItems":
        return value is True
    if word in ("unevaluatedProperties", "unevaluatedItems"):
        return value is not True
    return value not in (True, {}, [])


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
