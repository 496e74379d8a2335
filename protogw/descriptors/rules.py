"""What JSON Schemas ask of a field's values → protovalidate's rules of the field, as its options have them.

What the rules cannot say is told with its place in the schema; nothing is left out in silence. docs/openapi.md says
what becomes of each keyword.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, Final

import orjson

from protogw.descriptors.build import RULES
from protogw.descriptors.documents import Node
from protogw.descriptors.facets import ALL, ALWAYS, LISTS, NUMBERS, OBJECTS, TEXT, Asked, Number
from protogw.descriptors.json_flat import Flat
from protogw.descriptors.model import Kind
from protogw.descriptors.patterns import Unsayable, re2
from protogw.wire.protowire import delimited

_UNSIGNED = (Kind.UINT32, Kind.UINT64)
_RANGES = {
    Kind.INT32: (-(1 << 31), (1 << 31) - 1),
    Kind.INT64: (-(1 << 63), (1 << 63) - 1),
    Kind.UINT32: (0, (1 << 32) - 1),
    Kind.UINT64: (0, (1 << 64) - 1),
}
_LARGEST = {Kind.DOUBLE: 1e300, Kind.FLOAT: 3.4028234663852886e38}
"""What bounds may be; a double can be more, but no document means that."""
_HALVES = re.compile("[\ud800-\udfff]")
FORMATS: Final = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri-reference": "uri_ref",
    "uuid": "uuid",
}
"""JSON Schema's formats, as the rules of text name what is the same."""
_DATE = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:\.[0-9]+)?)?"
_OFFSET = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
_WRITTEN = {
    # RFC 3339; but the offset may be missing and so may the seconds, which very many services take.
    "date": (f"^{_DATE}$", "must be a date"),
    "time": (f"^{_TIME}{_OFFSET}$", "must be a time"),
    "date-time": (f"^{_DATE}[Tt ]{_TIME}{_OFFSET}$", "must be a date and time"),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The field's rules, empty for none (buf.validate.FieldRules), and what they leave out: where it is, and why."""

    data: bytes = b""
    unsaid: tuple[str, ...] = ()


NONE: Final = Rules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What a field holds: `whole` are the schemas of its value, all of which hold, `inner` those of what a list or map
    holds, `keys` of a map's keys. `kind` is what single values are; `free` is google.protobuf.Value, `struct` its
    Struct, `sparse` a list or map in which null may stand."""

    kind: Kind
    whole: Sequence[Flat] = ()
    inner: Sequence[Flat] = ()
    repeated: bool = False
    mapped: bool = False
    free: bool = False
    struct: bool = False
    sparse: bool = False


def rules_of(values: Values, *, required: bool = False, given: bool = False) -> Rules:
    """The rules of a field. `given` says that there is always a value, so that an empty list is one."""
    if not (required or values.whole or values.inner):
        return NONE
    maker = _Maker()
    made = maker.field(values, given=given)
    if not (required or made):
        return Rules(unsaid=tuple(dict.fromkeys(maker.unsaid))) if maker.unsaid else NONE
    if required:
        made["required"] = True
    return Rules(_written(orjson.dumps(made)), tuple(dict.fromkeys(maker.unsaid)))


@cache
def must_be_set() -> Rules:
    """The rules of a field of which nothing else is asked."""
    return Rules(_written(b'{"required":true}'))


def not_required(rules: Rules) -> Rules:
    """The same rules of a field that need not be set."""
    from protovalidate._gen.buf.validate import validate_pb

    said = orjson.loads(validate_pb.FieldRules.from_binary(rules.data).to_json())
    said.pop("required", None)
    return Rules(_written(orjson.dumps(said)) if said else b"", rules.unsaid)


def ignored(*unsaid: str) -> Rules:
    """The rules of a field in whose value nothing is looked at, since more than it may be meant."""
    return Rules(_written(b'{"ignore":"IGNORE_ALWAYS"}'), unsaid)


def option(rules: Rules) -> bytes:
    """The rules as bytes of google.protobuf.FieldOptions."""
    return delimited(RULES, rules.data)


class _Maker:
    """Makes the rules of one field, as nested mappings by the names of buf.validate's fields."""

    def __init__(self) -> None:
        self.unsaid: list[str] = []

    def field(self, values: Values, *, given: bool) -> dict[str, Any]:
        for flat in (*values.whole, *values.inner):
            self.unsaid.extend(flat.unsaid)
        if not (values.repeated or values.mapped):
            return self._single(values, values.whole)
        asked = [flat.asked for flat in values.whole if flat.asked is not None]
        inner = self._single(values, values.inner)
        if inner and values.sparse:
            # Null reads as the default of what the list holds, and is not what the rules are for.
            inner["ignore"] = 1
        made = self._list(values, asked, inner) if values.repeated else self._map(values, asked, inner)
        if not made:
            return {}
        many = next(iter(made.values()))
        if not given and ("min_items" in many or "min_pairs" in many):
            made["ignore"] = 1  # an empty one is one that is not there
        self._left(asked, ALWAYS)
        return made

    def _left(self, asked: Iterable[Asked], words: frozenset[str], why: str = "is not enforced") -> None:
        for one in asked:
            self.unsaid.extend(f"{place.place} {why}" for place in one.of(words))

    def _leave(self, place: Node, why: str) -> None:
        self.unsaid.append(f"{place.place} {why}")

    # ---- lists and maps

    def _list(self, values: Values, asked: Sequence[Asked], inner: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = _counts(asked, minItems="min_items", maxItems="max_items")
        distinct = [one for one in asked if "uniqueItems" in one.places]
        if distinct:
            if values.kind is Kind.MESSAGE or values.sparse:
                self._left(
                    distinct, frozenset(("uniqueItems",)), "is only enforced of lists of text, numbers and enums"
                )
            else:
                made["unique"] = True
        self._left(asked, LISTS - {"minItems", "maxItems", "uniqueItems"})
        if inner:
            made["items"] = inner
        return {"repeated": made} if made else {}

    def _map(self, values: Values, asked: Sequence[Asked], inner: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = _counts(asked, minProperties="min_pairs", maxProperties="max_pairs")
        if values.sparse and "min_pairs" in made:
            del made["min_pairs"]  # entries that are null are left out
            self._left(asked, frozenset(("minProperties",)))
        self._left(asked, OBJECTS - {"minProperties", "maxProperties"})
        if inner:
            made["values"] = inner
        return {"map": made} if made else {}

    # ---- single values

    def _single(self, values: Values, flats: Sequence[Flat]) -> dict[str, Any]:
        asked = [flat.asked for flat in flats if flat.asked is not None]
        kind = values.kind
        if kind is Kind.MESSAGE:
            if values.struct:
                self._left(asked, OBJECTS - {"minProperties", "maxProperties"} | ALWAYS)
                return _struct(asked)
            if values.free:
                self._left(asked, ALL, "is not enforced of values of any type")
            return {}
        self._left(asked, ALWAYS)
        if kind is Kind.ENUM:
            self._left(asked, TEXT | NUMBERS)
            return {"enum": {"defined_only": True, "not_in": [0]}}
        if kind is Kind.STRING:
            return self._text(flats, asked)
        if kind is Kind.BYTES:
            self._left(asked, TEXT, "is not enforced of bytes: it speaks of their base64")
            return {}
        fixed = _fixed(flats)
        if kind is Kind.BOOL:
            return {"bool": {"const": fixed}} if isinstance(fixed, bool) else {}
        return self._number(kind, asked, fixed)

    def _text(self, flats: Sequence[Flat], asked: Sequence[Asked]) -> dict[str, Any]:
        made: dict[str, Any] = _counts(asked, minLength="min_len", maxLength="max_len")
        more: list[dict[str, str]] = []
        fixed = _fixed(flats)
        if isinstance(fixed, str) and not _HALVES.search(fixed):
            made["const"] = fixed
        for pattern, place in {pattern: place for one in asked for pattern, place in one.patterns.items()}.items():
            try:
                said = re2(pattern)
            except Unsayable as reason:
                self._leave(place, f"{reason}: it is not enforced")
                continue
            if "pattern" not in made:
                made["pattern"] = said
            else:
                more.append(_cel("pattern", f"does not match {pattern[:100]}", f"this.matches({_quoted(said)})"))
        for name in dict.fromkeys(flat.format for flat in flats):
            if name in FORMATS:
                if any(known in made for known in FORMATS.values()):
                    continue
                made[FORMATS[name]] = True
            elif name in _WRITTEN:
                written, message = _WRITTEN[name]
                more.append(_cel(name, message, f"this.matches({_quoted(written)})"))
        return {**({"string": made} if made else {}), **({"cel": more} if more else {})}

    def _number(self, kind: Kind, asked: Sequence[Asked], fixed: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        if isinstance(fixed, (int, float)) and not isinstance(fixed, bool):
            if kind not in _RANGES:
                if abs(fixed) <= _LARGEST[kind]:
                    made["const"] = float(fixed)
            elif fixed == int(fixed) and _RANGES[kind][0] <= fixed <= _RANGES[kind][1]:
                made["const"] = int(fixed)
        bounds = _whole(kind, asked) if kind in _RANGES else _real(kind, asked)
        if bounds is None:
            self._left(asked, NUMBERS - {"multipleOf"}, "leaves no number that the field can hold, and is not enforced")
        else:
            made |= bounds
        factors = {factor: place for one in asked for factor, place in one.factors.items()}
        rules = [rule for factor in factors if (rule := _multiple(kind, factor)) is not None]
        return {**({kind.value: made} if made else {}), **({"cel": rules} if rules else {})}


def _counts(asked: Iterable[Asked], **names: str) -> dict[str, int]:
    """The strictest of these keywords, under the names that the rules have for them."""
    made: dict[str, int] = {}
    for word, name in names.items():
        found = [one.bounds[word] for one in asked if word in one.bounds]
        if found:
            bound = int(max(found) if word.startswith("min") else min(found))
            if bound < 1 << 63:
                made[name] = bound
    return made


def _struct(asked: Sequence[Asked]) -> dict[str, Any]:
    """google.protobuf.Struct is a map to CEL."""
    rules = []
    for name, bound in _counts(asked, minProperties="at least", maxProperties="at most").items():
        sign = ">=" if name == "at least" else "<="
        word = "minProperties" if name == "at least" else "maxProperties"
        rules.append(_cel(word, f"must have {name} {bound} members", f"this.size() {sign} {bound}"))
    return {"cel": rules} if rules else {}


def _fixed(flats: Iterable[Flat]) -> Any:
    """The only value that there is, if it is one."""
    for flat in flats:
        if flat.enum is not None and len(flat.enum) == 1:
            return flat.enum[0]
    return None


def _whole(kind: Kind, asked: Iterable[Asked]) -> dict[str, Any] | None:
    """Bounds of an integer; None when no number is within them."""
    low, high = _RANGES[kind]
    least, most = low, high
    for one in asked:
        for word, bound in one.bounds.items():
            if word == "minimum":
                least = max(least, math.ceil(bound))
            elif word == "exclusiveMinimum":
                least = max(least, math.floor(bound) + 1)
            elif word == "maximum":
                most = min(most, math.floor(bound))
            elif word == "exclusiveMaximum":
                most = min(most, math.ceil(bound) - 1)
    if least > most:
        return None
    made = {"gte": least} if least > low else {}
    return made | ({"lte": most} if most < high else {})


def _real(kind: Kind, asked: Sequence[Asked]) -> dict[str, Any] | None:
    made: dict[str, Any] = {}
    least = _strictest(asked, "minimum", "exclusiveMinimum", 1)
    most = _strictest(asked, "maximum", "exclusiveMaximum", -1)
    if least is not None and most is not None and (least[0], least[1] or most[1]) >= (most[0], True):
        return None
    for found, names in ((least, ("gte", "gt")), (most, ("lte", "lt"))):
        if found is not None and abs(found[0]) <= _LARGEST[kind]:
            made[names[found[1]]] = float(found[0])
    return made


def _strictest(asked: Iterable[Asked], closed: str, opened: str, sign: int) -> tuple[Number, bool] | None:
    """The bound that leaves the fewest, and whether it is itself left out."""
    found: tuple[Number, bool] | None = None
    for one in asked:
        for word, is_open in ((closed, False), (opened, True)):
            bound = one.bounds.get(word)
            if bound is not None and (found is None or (sign * bound, is_open) > (sign * found[0], found[1])):
                found = (bound, is_open)
    return found


def _multiple(kind: Kind, factor: Number) -> dict[str, str] | None:
    """The rule that values are multiples; None where all values are."""
    shown = int(factor) if factor == int(factor) else factor
    said = f"must be a multiple of {shown}"
    if kind in _RANGES:
        # A whole number is a multiple of p/q, in lowest terms, if it is one of p.
        step = Fraction(str(factor)).numerator
        if step == 1:
            return None
        if step > _RANGES[kind][1]:
            return _cel("multipleOf", said, "this == 0u" if kind in _UNSIGNED else "this == 0")
        unit = f"{step}u" if kind in _UNSIGNED else f"{step}"
        return _cel("multipleOf", said, f"this % {unit} == {'0u' if kind in _UNSIGNED else '0'}")
    if factor > _LARGEST[kind]:
        return _cel("multipleOf", said, "this == 0.0")
    # What is left after the nearest whole number, but for what floating point loses.
    lost = "4e-15" if kind is Kind.DOUBLE else "1.2e-7"
    left = "(q - double(int(q + (q < 0.0 ? -0.5 : 0.5))))"
    slack = f"(1e-9 + (q < 0.0 ? -q : q) * {lost})"
    return _cel(
        "multipleOf",
        said,
        f"[double(this) / {float(factor)!r}].all(q, q >= 1e15 || q <= -1e15 || "
        f"({left} <= {slack} && {left} >= -{slack}))",
    )


def _cel(name: str, message: str, expression: str) -> dict[str, str]:
    return {"id": f"json_schema.{name.replace('-', '_')}", "message": message, "expression": expression}


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@lru_cache(maxsize=4096)
def _written(made: bytes) -> bytes:
    """buf.validate.FieldRules out of ProtoJSON; most fields of a schema share a few of them."""
    from protovalidate._gen.buf.validate import validate_pb  # a large library that few schemas need

    return validate_pb.FieldRules.from_json(made).to_binary()
