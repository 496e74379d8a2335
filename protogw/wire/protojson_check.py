"""What the mapping forbids in JSON and protobuf-py lets pass: a member given twice, two fields of one oneof.

Both are ways to make two readers of one request disagree. Nearly every message is cleared by comparing two counts.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeAlias

import orjson
from protobuf import DescMessage, Message, ScalarType

from protogw.wire.protojson_types import ANY, LIST, SINGLE, WELL_KNOWN, Shapes, Slot, reaches

Json: TypeAlias = Any
"""A parsed JSON value: what it is, is what is being found out."""

_GOOGLE = "type.googleapis.com/"
_PROTO_NAME = re.compile(rb'_\w*+"\s*+:')
"""The end of a member name with an underscore, as a proto name has that differs from the JSON name derived of it."""


class Conflict(Exception):
    """JSON that says two things of one field, or what none can hold; `path` leads to it, outermost first."""

    def __init__(self, path: list[str], reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{join(self.path)}: {self.reason}" if self.path else self.reason


def join(path: list[str]) -> str:
    """The parts a, b, [0], c as `a.b[0].c`."""
    return "".join(part if not n or part.startswith("[") else f".{part}" for n, part in enumerate(path))


MAX_EXPLAINED = 256 << 10
"""Bytes of JSON that are searched for the place of a fault, at a microsecond for ten bytes; of more, only the parsers'
own words are told."""


def tree_of(data: bytes) -> Json:
    """The parsed JSON. Raises Conflict when an object names a member twice or a number is beyond a double's range,
    and ValueError or RecursionError when `data` is not JSON or nested too deeply.

    Members are counted by what only they end with, `":`, before and after orjson, which keeps the last of equal names:
    when none is lost the names were unique. Text in strings counts alike on both sides, unless an ASCII character is
    written as `\\u0022` or the like, which orjson does not keep; then a hook looks at each object.
    """
    try:
        tree = orjson.loads(data)
        printed = orjson.dumps(tree)
        if printed == data:
            return tree
        if b"\\u002" not in data and b"\\u003" not in data:
            given, kept = data.translate(None, _SPACE), printed.translate(None, _SPACE)
            if given.count(b'":') == kept.count(b'":'):
                return tree
    except orjson.JSONDecodeError:
        if len(data) > MAX_EXPLAINED:
            raise
        # Not JSON, or numbers or nesting beyond what orjson takes: neither is taken, but it is said in other words.
    except orjson.JSONEncodeError:
        pass
    text = data.decode()
    try:
        return _STRICT.decode(text)
    except _Fault:
        raise _located(_MARKING.decode(text)) from None


_SPACE = b" \t\r\n"


class _Fault(Exception):
    """Something is wrong somewhere; a second, slower pass finds out where."""


class _Twice:
    """Stands in the tree where an object was that names `name` twice."""

    def __init__(self, name: str) -> None:
        self.name = name


def _unique(pairs: list[tuple[str, Json]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Fault
    return found


def _marked(pairs: list[tuple[str, Json]]) -> Json:
    found: dict[str, Json] = {}
    for name, value in pairs:
        if name in found:
            return _Twice(name)
        found[name] = value
    return found


def _number(text: str) -> float:
    # Integers need not be exact here: only the structure is looked at, and long ones are slow to convert.
    value = float(text)
    if value in (_INFINITY, -_INFINITY):
        raise _Fault
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


_INFINITY = float("inf")
_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_number, parse_float=_number, parse_constant=_constant)
_MARKING = json.JSONDecoder(object_pairs_hook=_marked, parse_int=float, parse_float=float, parse_constant=_constant)


def _located(tree: Json) -> Conflict:
    """The first fault of a tree that has one."""
    stack: list[tuple[list[str], Json]] = [([], tree)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, _Twice):
            return Conflict([*path, value.name], "given twice")
        if isinstance(value, float) and value in (_INFINITY, -_INFINITY):
            return Conflict(path, "number out of the range of double")
        if isinstance(value, dict):
            stack.extend(([*path, name], item) for name, item in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend(([*path, f"[{n}]"], item) for n, item in reversed(list(enumerate(value))))
    return Conflict([], "a member is given twice")


class Plan:
    """How to check one type's JSON objects.

    `aliases` are proto names that have another JSON name, `oneofs` the JSON names of each oneof of two or more fields,
    and `visits` the fields whose values are checked in turn. JSON without proto names needs `oneofs` and
    `oneof_visits` only, which most types have none of; `odd` types have aliases that do not look like proto names.
    """

    __slots__ = (
        "aliases",
        "desc",
        "extendable",
        "is_any",
        "members",
        "odd",
        "oneof_visits",
        "oneofs",
        "slots",
        "visits",
    )

    def __init__(self, desc: DescMessage, slots: dict[str, Slot], extendable: bool) -> None:
        self.desc = desc
        self.slots = slots
        self.extendable = extendable
        self.is_any = desc.type_name == ANY
        self.odd = False
        shared = [oneof for oneof in desc.oneofs if len(oneof.fields) > 1]
        names = {oneof.name for oneof in shared}
        self.oneofs = [tuple(field.json_name for field in oneof.fields) for oneof in shared]
        self.members = frozenset(name for name, slot in slots.items() if slot.oneof in names)
        self.aliases = frozenset(field.name for field in desc.fields if field.name != field.json_name)
        self.visits: dict[str, tuple[int, Plan]] = {}
        self.oneof_visits: list[tuple[str, int, Plan]] = []


class Checks:
    """The checks of every type of one registry."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._plans: dict[str, Plan] = {}
        self._matters: dict[str, bool] = {}
        self._choose: dict[str, bool] = {}
        self._odd: dict[str, bool] = {}

    def plan(self, desc: DescMessage) -> Plan | None:
        """The plan for a type, None when nothing in it needs a look."""
        known = self._plans.get(desc.type_name)
        if known is not None:
            return known
        children = self.shapes.children
        if not reaches(desc, children, self._wanted, self._matters):
            return None
        todo = [desc]
        plan = self._made(desc)
        while todo:
            one = todo.pop()
            made = self._plans[one.type_name]
            made.odd = reaches(one, children, self._has_odd_alias, self._odd)
            if one.type_name in WELL_KNOWN:
                continue
            for name, slot in made.slots.items():
                target = slot.target
                if not isinstance(target, DescMessage) or not self._matters[target.type_name]:
                    continue
                if target.type_name not in self._plans:
                    todo.append(target)
                child = self._made(target)
                made.visits[name] = (slot.many, child)
                if name == slot.field.json_name and reaches(target, children, self._has_choice, self._choose):
                    made.oneof_visits.append((name, slot.many, child))
        return plan

    def _made(self, desc: DescMessage) -> Plan:
        plan = self._plans.get(desc.type_name)
        if plan is None:
            extendable = bool(self.shapes.registry.extensions_for(desc))
            plan = self._plans[desc.type_name] = Plan(desc, self.shapes.slots(desc), extendable)
        return plan

    def _wanted(self, desc: DescMessage) -> bool:
        if desc.type_name in WELL_KNOWN:
            return desc.type_name == ANY
        return self._has_choice(desc) or any(field.name != field.json_name for field in desc.fields)

    def _has_choice(self, desc: DescMessage) -> bool:
        if desc.type_name in WELL_KNOWN:
            return desc.type_name == ANY
        if any(len(oneof.fields) > 1 for oneof in desc.oneofs):
            return True
        return bool(self.shapes.registry.extensions_for(desc))

    def _has_odd_alias(self, desc: DescMessage) -> bool:
        return any(field.name != field.json_name and "_" not in field.name for field in desc.fields)

    def check(self, plan: Plan, tree: dict[str, Json], data: bytes) -> bool:
        """Raise Conflict when the object, parsed from `data`, says two things of one field.

        Returns whether an Any in it names its type in another form than protobuf-py's own, so that `keep_urls` is due.
        """
        if plan.odd or b"\\" in data or _PROTO_NAME.search(data):
            return self._check_names(plan, tree)
        return self._check_oneofs(plan, tree)

    def _check_oneofs(self, plan: Plan, tree: dict[str, Json]) -> bool:
        """The check for JSON in which every field goes by its JSON name."""
        if plan.is_any or plan.extendable:
            return self._check_names(plan, tree)
        for names in plan.oneofs:
            found = None
            for name in names:
                if name in tree:
                    if found is not None:
                        _look_closely(plan, tree)
                        break
                    found = name
        foreign = False
        at: list[str] = []
        try:
            for name, many, child in plan.oneof_visits:
                value = tree.get(name)
                if not value:
                    continue
                at = [name]
                if many == SINGLE:
                    if value.__class__ is dict:
                        foreign |= self._check_oneofs(child, value)
                elif many == LIST:
                    for n, item in enumerate(value):
                        if item.__class__ is dict:
                            at = [name, f"[{n}]"]
                            foreign |= self._check_oneofs(child, item)
                else:
                    for key, item in value.items():
                        if item.__class__ is dict:
                            at = [name, f"[{json.dumps(key)}]"]
                            foreign |= self._check_oneofs(child, item)
        except Conflict as conflict:
            conflict.path[:0] = at
            raise
        return foreign

    def _check_names(self, plan: Plan, tree: dict[str, Json]) -> bool:
        """The check for JSON in which a field may go by either name."""
        if plan.is_any:
            return self._check_any(tree)
        if not plan.aliases.isdisjoint(tree) or len(tree.keys() & plan.members) > 1:
            _look_closely(plan, tree)
        foreign = False
        at: list[str] = []
        try:
            for name, value in tree.items():
                at = [name]
                visit = plan.visits.get(name)
                if visit is None:
                    if plan.extendable and name.startswith("["):
                        foreign |= self._check_extension(plan.desc, name, value)
                elif visit[0] == SINGLE:
                    if value.__class__ is dict:
                        foreign |= self._check_names(visit[1], value)
                elif visit[0] == LIST:
                    for n, item in enumerate(value or ()):
                        if item.__class__ is dict:
                            at = [name, f"[{n}]"]
                            foreign |= self._check_names(visit[1], item)
                else:
                    for key, item in (value or {}).items():
                        if item.__class__ is dict:
                            at = [name, f"[{json.dumps(key)}]"]
                            foreign |= self._check_names(visit[1], item)
        except Conflict as conflict:
            conflict.path[:0] = at
            raise
        return foreign

    def _check_any(self, tree: dict[str, Json]) -> bool:
        url = tree.get("@type")
        desc = self.shapes.any_content(url)
        if desc is None:
            return False
        assert isinstance(url, str)
        foreign = url.rpartition("/")[0] + "/" != _GOOGLE
        plan = self.plan(desc)
        if plan is None:
            return foreign
        if not plan.is_any:
            return self._check_names(plan, tree) | foreign
        inner = tree.get("value")
        return (self._check_any(inner) | foreign) if inner.__class__ is dict else foreign

    def _check_extension(self, desc: DescMessage, name: str, value: Json) -> bool:
        options = desc.proto.options
        if options is not None and options.message_set_wire_format:
            raise Conflict([], "message sets have no JSON form")
        target = self.shapes.extension_target(desc, name)
        plan = self.plan(target) if isinstance(target, DescMessage) else None
        if plan is None:
            return False
        foreign = False
        for item in value if value.__class__ is list else (value,):
            if item.__class__ is dict:
                foreign |= self._check_names(plan, item)
        return foreign

    def keep_urls(self, plan: Plan, message: Message, tree: dict[str, Json]) -> None:
        """Write into each Any of the message the type URL that the JSON gives it; protobuf-py writes its own."""
        if plan.is_any:
            self._keep_url(message, tree)
            return
        for name, value in tree.items():
            visit = plan.visits.get(name)
            if visit is None or value is None:
                continue
            many, child = visit
            held = message[plan.slots[name].field]
            if many == SINGLE:
                if isinstance(value, dict):
                    self.keep_urls(child, held, value)
            elif many == LIST:
                for one, item in zip(held, value, strict=True):
                    if isinstance(item, dict):
                        self.keep_urls(child, one, item)
            else:
                for key, item in value.items():
                    if isinstance(item, dict):
                        self.keep_urls(child, held[_key_of(plan.slots[name], key)], item)

    def _keep_url(self, message: Message, tree: dict[str, Json]) -> None:
        url = tree.get("@type")
        desc = self.shapes.any_content(url)
        if desc is None:
            return
        plan = self.plan(desc)
        content: Any = message
        inner = tree.get("value") if plan is not None and plan.is_any else tree
        if plan is not None and isinstance(inner, dict) and self._check_names(plan, inner):
            unpacked = desc.type.from_binary(content.value)
            self.keep_urls(plan, unpacked, inner)
            content.value = unpacked.to_binary()
        content.type_url = url


def _key_of(slot: Slot, key: str) -> object:
    """The map key that a JSON member name stands for."""
    if slot.key is ScalarType.STRING:
        return key
    if slot.key is ScalarType.BOOL:
        return key == "true"
    try:
        return int(key)
    except ValueError:
        return int(float(key))


def _look_closely(plan: Plan, tree: dict[str, Json]) -> None:
    fields: dict[int, str] = {}
    oneofs: dict[str, str] = {}
    for name, value in tree.items():
        slot = plan.slots.get(name)
        if slot is None:
            continue
        other = fields.setdefault(slot.field.number, name)
        if other is not name:
            raise Conflict([name], f'given twice, also as "{other}"')
        if slot.oneof and value is not None:
            other = oneofs.setdefault(slot.oneof, name)
            if other is not name:
                raise Conflict([name], f'only one field of the oneof "{slot.oneof}" may be set, and "{other}" is')
