"""Protovalidate's rules of a field → what JSON Schema says of the same: the way back of rules.py.

What JSON Schema cannot say (CEL, lengths in bytes, patterns that ECMA-262 reads otherwise) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from google.protobuf.descriptor_pb2 import FieldOptions

from protogw.descriptors.build import RULES
from protogw.descriptors.patterns import Unsayable, re2
from protogw.descriptors.rules import FORMATS
from protogw.wire.protojson_types import json_name
from protogw.wire.protowire import fields

_TEXT = {"minLen": "minLength", "maxLen": "maxLength", "const": "const", "in": "enum"}
_FORMATS = {json_name(rule): form for form, rule in FORMATS.items()}
_NUMBER = {
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
    "const": "const",
    "in": "enum",
}
_COUNTED = {
    "repeated": {"minItems": "minItems", "maxItems": "maxItems"},
    "map": {"minPairs": "minProperties", "maxPairs": "maxProperties"},
}
_INTEGERS = frozenset(f"{word}{size}" for word in ("int", "uint", "sint", "fixed", "sfixed") for size in (32, 64))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacets:
    """JSON Schema keywords: of the whole value, of each value of a list or map, and of a map's keys. `given` says that
    the field's default is none of the values that it may have."""

    whole: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Any] = field(default_factory=dict)
    given: bool = False


NONE: Final = RuleFacets()


def facets_of(options: FieldOptions) -> RuleFacets:
    """What the rules among the options say; what is no rule says nothing."""
    try:
        found = _rules(options)
    except (ValueError, RecursionError):
        return NONE  # `validate` says what is wrong with them
    if not found:
        return NONE
    ignore = found.get("ignore", "")
    if ignore == "IGNORE_ALWAYS":
        return NONE
    many = found.get("repeated") or found.get("map")
    if many is None:
        whole = _single(found)
        return RuleFacets(whole=whole, given=not ignore and _leaves_out_the_default(whole))
    kind = "repeated" if "repeated" in found else "map"
    whole = {word: int(many[name]) for name, word in _COUNTED[kind].items() if name in many}
    if many.get("unique"):
        whole["uniqueItems"] = True
    return RuleFacets(
        whole=whole,
        inner=_single(many.get("items") or many.get("values") or {}),
        keys=_single(many.get("keys") or {}),
        given=not ignore and max(whole.get("minItems", 0), whole.get("minProperties", 0)) > 0,
    )


def _rules(options: FieldOptions) -> dict[str, Any]:
    """buf.validate.FieldRules as ProtoJSON; raises ValueError."""
    data = b"".join(
        rules for number, rules in fields(options.SerializeToString()) if number == RULES and isinstance(rules, bytes)
    )
    if not data:
        return {}
    from protovalidate._gen.buf.validate import validate_pb  # a large library that few schemas need

    found: dict[str, Any] = orjson.loads(validate_pb.FieldRules.from_binary(data).to_json())
    return found


def _single(rules: Mapping[str, Any]) -> dict[str, Any]:
    if "string" in rules:
        return _text(rules["string"])
    if "bool" in rules:
        return {"const": rules["bool"]["const"]} if "const" in rules["bool"] else {}
    for kind, said in rules.items():
        whole = kind in _INTEGERS
        if whole or kind in ("double", "float"):
            return _number(said, whole)
    return {}


def _text(said: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {word: said[name] for name, word in _TEXT.items() if name in said}
    if "len" in said:
        made["minLength"] = made["maxLength"] = said["len"]
    for word in ("minLength", "maxLength"):
        if word in made:
            made[word] = int(made[word])
    if "pattern" in said:
        try:
            re2(said["pattern"])
        except Unsayable:
            pass
        else:
            made["pattern"] = said["pattern"]
    for name, form in _FORMATS.items():
        if said.get(name):
            made["format"] = form
    return made


def _number(said: Mapping[str, Any], whole: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, word in _NUMBER.items():
        if name in said:
            value = said[name]
            values = [int(one) if whole else one for one in (value if isinstance(value, list) else [value])]
            if not any(isinstance(one, str) for one in values):  # NaN and the infinities
                made[word] = values if isinstance(value, list) else values[0]
    low = made.get("minimum", made.get("exclusiveMinimum"))
    high = made.get("maximum", made.get("exclusiveMaximum"))
    if low is not None and high is not None and high < low:
        # What is outside of the two.
        return {word: value for word, value in made.items() if word in ("const", "enum")}
    return made


def _leaves_out_the_default(whole: Mapping[str, Any]) -> bool:
    """Whether "" or 0 is none of the values."""
    if whole.get("minLength", 0) > 0 or whole.get("const") or whole.get("format", "uri-reference") != "uri-reference":
        return True
    if "enum" in whole:
        return not any(one in ("", 0) for one in whole["enum"])
    low, above = whole.get("minimum", 0), whole.get("exclusiveMinimum", -1)
    high, below = whole.get("maximum", 0), whole.get("exclusiveMaximum", 1)
    return bool(low > 0 or above >= 0 or high < 0 or below <= 0)
