"""Says where and why JSON does not fit a type, or a message cannot be printed. Runs only once something has failed."""

from __future__ import annotations

import difflib
import json
from typing import Any, NoReturn

import orjson
from protobuf import DescEnum, DescMessage, Message, ScalarType, message_from_json_value

from protogw.wire.protojson_check import MAX_EXPLAINED, join
from protogw.wire.protojson_types import ANY, LIST, MAP, SINGLE, WELL_KNOWN, Shapes, Slot

FAILURES = (ValueError, TypeError, OverflowError, RecursionError)
"""What protobuf-py raises on bad input."""

_SHOWN = 60


def syntax_fault(data: bytes) -> str | None:
    """Why `data` is not JSON, with its place; None when it is."""
    if len(data) > MAX_EXPLAINED:
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError as error:
            return f"invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return f"invalid JSON: not UTF-8 at byte {error.start}"
    if text.startswith("\ufeff"):
        return "invalid JSON: starts with a byte order mark"
    try:
        _DECODER.decode(text)
    except json.JSONDecodeError as error:
        return f"invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError:
        return "invalid JSON: nested too deeply"
    except ValueError as error:
        return f"invalid JSON: {error}"
    return None


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


class _Long(float):
    """A number with more digits than are worth converting."""

    def __repr__(self) -> str:
        return "a number of very many digits"


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 400 else _Long("inf")


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_int=_integer)


def parsed(data: bytes) -> Any:
    """The JSON with its integers exact; raises what protobuf-py raises when it is not JSON."""
    return _DECODER.decode(data.decode())


def shown(value: Any) -> str:
    """The value as JSON, shortened."""
    if isinstance(value, _Long):
        return repr(value)
    if isinstance(value, dict | list) and len(value) > 8:
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def explain_json(shapes: Shapes, desc: DescMessage, data: bytes, ignore_unknown: bool, error: Exception) -> str:
    """One line: where `data` does not fit the type and what was expected there."""
    if isinstance(error, RecursionError):
        return f"{desc.type_name}: nested more than 100 messages deep"
    if len(data) <= MAX_EXPLAINED and (fault := syntax_fault(data)) is not None:
        return fault
    if isinstance(error, json.JSONDecodeError):
        return f"invalid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    if len(data) <= MAX_EXPLAINED:
        try:
            found = _Search(shapes, ignore_unknown).message(desc, parsed(data), [])
        except RecursionError:
            found = None
        if found is not None:
            return found
    return f"{desc.type_name}: {error}"


class _Search:
    """Finds the first value that its field does not take, by giving protobuf-py each leaf alone."""

    def __init__(self, shapes: Shapes, ignore_unknown: bool) -> None:
        self._shapes = shapes
        self._ignore_unknown = ignore_unknown

    def message(self, desc: DescMessage, tree: Any, path: list[str]) -> str | None:
        if desc.type_name == ANY:
            return self._any(tree, path)
        if desc.type_name in WELL_KNOWN:
            return None if self._fits(desc, tree) else _said(path, WELL_KNOWN[desc.type_name], tree)
        if not isinstance(tree, dict):
            return _said(path, "an object", tree)
        slots = self._shapes.slots(desc)
        for name, value in tree.items():
            slot = slots.get(name)
            if slot is not None:
                found = self._field(desc, slot, name, value, [*path, name])
            elif self._ignore_unknown or (not path and name == "@type"):
                continue
            elif self._shapes.extension_target(desc, name) is not None:
                fits = self._fits(desc, {name: value})
                found = None if fits else _said([*path, name], "a value of the extension", value)
            else:
                found = f"{join([*path, name])}: {_no_such(desc, name)}"
            if found is not None:
                return found
        return None

    def _any(self, tree: Any, path: list[str]) -> str | None:
        if not isinstance(tree, dict):
            return _said(path, WELL_KNOWN[ANY], tree)
        if not tree:
            return None
        url = tree.get("@type")
        if not isinstance(url, str) or not url:
            return f"{join([*path, '@type'])}: expected a type URL, got {shown(url)}"
        desc = self._shapes.any_content(url)
        if desc is None:
            return f"{join([*path, '@type'])}: unknown type {shown(url)}"
        if desc.type_name in WELL_KNOWN:
            if "value" not in tree:
                return f"{join([*path, 'value'])}: expected {WELL_KNOWN[desc.type_name]}, got nothing"
            return self.message(desc, tree["value"], [*path, "value"])
        return self.message(desc, {name: value for name, value in tree.items() if name != "@type"}, path)

    def _field(self, desc: DescMessage, slot: Slot, name: str, value: Any, path: list[str]) -> str | None:
        if value is None and self._fits(desc, {name: None}):
            return None
        if slot.many == LIST:
            if not isinstance(value, list):
                return _said(path, "a list", value)
            if not isinstance(slot.target, DescMessage):
                n = self._first_bad(desc, name, value)
                return None if n is None else _said([*path, f"[{n}]"], _expected(slot), value[n])
            for n, item in enumerate(value):
                found = self._item(slot, slot.target, item, [*path, f"[{n}]"])
                if found is not None:
                    return found
            return None
        if slot.many == MAP:
            if not isinstance(value, dict):
                return _said(path, "an object", value)
            for key, item in value.items():
                at = [*path, f"[{shown(key)}]"]
                if isinstance(slot.target, DescMessage):
                    found = self._item(slot, slot.target, item, at)
                    if found is not None:
                        return found
                    item = {}
                    if slot.target.type_name in WELL_KNOWN:
                        continue
                if not self._fits(desc, {name: {key: item}}):
                    if slot.key is None or _key_fits(slot.key, key):
                        return _said(at, _expected(slot), item)
                    return f"{join(at)}: expected a key of type {_KINDS[slot.key]}"
            return None
        if isinstance(slot.target, DescMessage):
            return self.message(slot.target, value, path)
        return None if self._fits(desc, {name: value}) else _said(path, _expected(slot), value)

    def _item(self, slot: Slot, desc: DescMessage, item: Any, path: list[str]) -> str | None:
        if item is None and desc.type_name != "google.protobuf.Value":
            return _said(path, _expected(slot), None)
        return self.message(desc, item, path)

    def _first_bad(self, desc: DescMessage, name: str, values: list[Any]) -> int | None:
        """The index of the first list item that does not fit, by halving."""
        if self._fits(desc, {name: values}):
            return None
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            if self._fits(desc, {name: values[low:middle]}):
                low = middle
            else:
                high = middle
        return low

    def _fits(self, desc: DescMessage, tree: Any) -> bool:
        try:
            message_from_json_value(
                desc.type, tree, ignore_unknown_fields=self._ignore_unknown, registry=self._shapes.registry
            )
        except FAILURES:
            return False
        return True


_KINDS = {kind: kind.name.lower() for kind in ScalarType}


def _key_fits(kind: ScalarType, key: str) -> bool:
    if kind is ScalarType.STRING:
        return True
    if kind is ScalarType.BOOL:
        return key in ("true", "false")
    return key.lstrip("-").isdigit() and key.isascii() and len(key) < 21


def _expected(slot: Slot) -> str:
    target = slot.target
    if isinstance(target, DescMessage):
        return WELL_KNOWN.get(target.type_name, "an object")
    if isinstance(target, DescEnum):
        return f"a name or number of {target.type_name}"
    if target is ScalarType.BOOL:
        return "true or false"
    return "base64 text" if target is ScalarType.BYTES else _KINDS[target]


def _said(path: list[str], expected: str, value: Any) -> str:
    return f"{join(path) or 'the message'}: expected {expected}, got {shown(value)}"


def _no_such(desc: DescMessage, name: str) -> str:
    near = difflib.get_close_matches(name[:_SHOWN], [field.json_name for field in desc.fields], 1)
    return f"no such field in {desc.type_name}" + (f'; did you mean "{near[0]}"?' if near else "")


def explain_bytes(desc: DescMessage, error: Exception) -> str:
    """One line: why the bytes are not a message of this type."""
    if isinstance(error, UnicodeDecodeError):
        return f"{desc.type_name}: not valid protobuf: a string is not UTF-8"
    return f"{desc.type_name}: not valid protobuf: {error}"


def explain_print(shapes: Shapes, message: Message, error: Exception) -> str:
    """One line: which field of the message has no JSON form."""
    path: list[str] = []
    while True:
        deeper = _unprintable(shapes, message)
        if deeper is None or len(path) > 200:
            return f"{join(path) or message.desc().type_name}: {error}"
        at, message = deeper
        path.extend(at)


def _unprintable(shapes: Shapes, message: Message) -> tuple[list[str], Message] | None:
    desc = message.desc()
    if desc.type_name in WELL_KNOWN:
        return None
    for field in desc.fields:
        slot = shapes.slots(desc)[field.name]
        if not isinstance(slot.target, DescMessage) or field not in message:
            continue
        held = message[field]
        if slot.many == SINGLE:
            items: Any = [([field.json_name], held)]
        elif slot.many == LIST:
            items = (([field.json_name, f"[{n}]"], one) for n, one in enumerate(held))
        else:
            items = (([field.json_name, f"[{shown(key)}]"], one) for key, one in held.items())
        for at, one in items:
            try:
                one.to_json(registry=shapes.registry)
            except FAILURES:
                return at, one
    return None
