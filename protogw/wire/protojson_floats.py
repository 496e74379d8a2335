"""Prints floats with the digits that they have: protobuf-py prints 0.1 of a float field as 0.10000000149011612."""

from __future__ import annotations

import re
import struct
from typing import Any

from protobuf import DescMessage, ScalarType

from protogw.wire.protojson_types import ANY, FLOAT_VALUE, LIST, SINGLE, WELL_KNOWN, Shapes, reaches

LONG_NUMBER = re.compile(rb"\d\.?\d{8}|\d[eE]")
"""What a widened float looks like in JSON: more digits than a float has, or an exponent."""

_FLOAT = struct.Struct("<f")


def shortest(value: float) -> float:
    """The double with the fewest decimal digits that is the same float."""
    for digits in (6, 7, 8):
        text = f"{value:.{digits}g}"
        if _FLOAT.unpack(_FLOAT.pack(float(text)))[0] == value:
            return float(text)
    return float(f"{value:.9g}")


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

    def shorten(self, desc: DescMessage, tree: Any) -> Any:
        """The printed value of this type, with every float in its shortest form; changes `tree` in place."""
        if desc.type_name == FLOAT_VALUE:
            return shortest(tree) if tree.__class__ is float else tree
        if not isinstance(tree, dict):
            return tree
        if desc.type_name == ANY:
            content = self.shapes.any_content(tree.get("@type"))
            if content is not None and content.type_name in WELL_KNOWN:
                tree["value"] = self.shorten(content, tree.get("value"))
            elif content is not None:
                self.shorten(content, tree)
            return tree
        if desc.type_name in WELL_KNOWN:
            return tree
        slots = self.shapes.slots(desc)
        for name, value in tree.items():
            slot = slots.get(name)
            if slot is None:
                target: Any = self.shapes.extension_target(desc, name)
                many = LIST if isinstance(value, list) else SINGLE
            else:
                target, many = slot.target, slot.many
            if target is ScalarType.FLOAT:
                one = _shorten_number
            elif isinstance(target, DescMessage) and self.holds(target):
                one = self._shortener(target)
            else:
                continue
            if many == SINGLE:
                tree[name] = one(value)
            elif many == LIST:
                tree[name] = [one(item) for item in value]
            else:
                tree[name] = {key: one(item) for key, item in value.items()}
        return tree

    def _shortener(self, desc: DescMessage) -> Any:
        return lambda value: self.shorten(desc, value)


def _shorten_number(value: Any) -> Any:
    return shortest(value) if value.__class__ is float else value
