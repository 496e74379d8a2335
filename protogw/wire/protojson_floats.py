"""Floats as decimal text.

protobuf-py prints 0.1 of a float field as 0.10000000149011612, and refuses the short form of the largest float.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from protobuf import DescMessage, ScalarType

from protogw.wire.protojson_types import ANY, FLOAT_VALUE, MAP, WELL_KNOWN, Shapes, reaches

may_be_long = re.compile(rb"\.(?:\d{5}|(?<=\d{5}\.)\d)").search
"""Finds what may be a widened float in JSON. One of six digits or fewer is in its shortest form already, since a float
keeps six; and a longer one has a decimal point, exponent or not. It starts with a literal, which makes it fast."""

_FLOAT = struct.Struct("<f")
_MAX = 3.4028234663852886e38
_ROUNDS_DOWN_BELOW = 3.4028235677973366e38
"""Half a step above the largest float, from where on a number rounds to infinity."""


def shortest(value: Any) -> Any:
    """The double with the fewest decimal digits that is the same float; other values as they are."""
    if value.__class__ is not float:
        return value
    for digits in (6, 7, 8, 9):
        short = float(f"{value:.{digits}g}")
        if abs(short) <= _MAX and _FLOAT.unpack(_FLOAT.pack(short))[0] == value:
            return short
    return value


def rounded(value: Any) -> Any:
    """The largest float for what is nearest to it; other values as they are."""
    if value.__class__ not in (int, float, str):
        return value
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return value
    return math.copysign(_MAX, number) if _MAX < abs(number) < _ROUNDS_DOWN_BELOW else value


class Floats:
    """Where floats are in the JSON of every type of one registry."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._matters: dict[str, bool] = {}

    def holds(self, desc: DescMessage) -> bool:
        """Whether a message of this type can hold a float."""
        return reaches(desc, self.shapes.children, self._wanted, self._matters)

    def _wanted(self, desc: DescMessage) -> bool:
        if desc.type_name in (ANY, FLOAT_VALUE) or self.shapes.registry.extensions_for(desc):
            return True
        return any(slot.target is ScalarType.FLOAT for slot in self.shapes.slots(desc).values())

    def each(self, desc: DescMessage, tree: Any, change: Callable[[Any], Any]) -> Any:
        """The JSON of a message of this type with every float in it changed; `tree` itself is changed too."""
        if desc.type_name == FLOAT_VALUE:
            return change(tree)
        if not isinstance(tree, dict):
            return tree
        if desc.type_name == ANY:
            content = self.shapes.any_content(tree.get("@type"))
            if content is not None and content.type_name in WELL_KNOWN:
                tree["value"] = self.each(content, tree.get("value"), change)
            elif content is not None:
                self.each(content, tree, change)
            return tree
        if desc.type_name in WELL_KNOWN:
            return tree
        slots = self.shapes.slots(desc)
        for name, value in tree.items():
            slot = slots.get(name)
            target = slot.target if slot is not None else self.shapes.extension_target(desc, name)
            if target is ScalarType.FLOAT:
                one = change
            elif isinstance(target, DescMessage) and self.holds(target):
                one = partial(self._each_in, target, change)
            else:
                continue
            if isinstance(value, list):
                tree[name] = [one(item) for item in value]
            elif isinstance(value, dict) and slot is not None and slot.many == MAP:
                tree[name] = {key: one(item) for key, item in value.items()}
            else:
                tree[name] = one(value)
        return tree

    def _each_in(self, desc: DescMessage, change: Callable[[Any], Any], tree: Any) -> Any:
        return self.each(desc, tree, change)
