"""What of an offer breaks clients of an older one: clients built from its proto, and those that know its URLs and JSON.

Types are compared where a call reaches them, so a rename of a message that changes nothing on the wire is told once, at
the methods that take it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Enum, Field, HttpRule, Idempotency, Kind, Method, Schema, Service, Type
from protogw.wire.path_template import TemplateError, Wildcard, parse


@dataclass(frozen=True, slots=True)
class Change:
    """One break: `where` is a service, a method, a field or an enum's value by its full name."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def breaking(old: Catalog, new: Catalog) -> list[Change]:
    """Every change from `old` to `new` that breaks a client of `old`, in the order of the old services."""
    comparison = _Comparison(old, new)
    found = [change for service in old.services.values() for change in comparison.service(service)]
    return list(dict.fromkeys(found))


_Key = tuple[str, str]
"""A verb, and a path in which variables are not named."""


class _Comparison:
    def __init__(self, old: Catalog, new: Catalog) -> None:
        self._old = old
        self._new = new
        self._seen: set[tuple[int, str, int]] = set()
        self._was_bound = _bound(old)
        self._bound = _bound(new)

    def service(self, old: Service) -> Iterator[Change]:
        new = self._new.services.get(old.name)
        if new is None:
            yield Change(old.name, "the service is gone")
            return
        for name, method in old.methods.items():
            now = new.methods.get(name)
            if now is None:
                yield Change(method.full_name, "the method is gone")
            else:
                yield from self._method(method, now)

    def _method(self, old: Method, new: Method) -> Iterator[Change]:
        where = old.full_name
        if old.shape != new.shape:
            yield Change(where, f"was a {old.shape} call, is a {new.shape} call")
        if old.idempotency is Idempotency.NO_SIDE_EFFECTS and new.idempotency is not old.idempotency:
            yield Change(where, "is no longer said to be without side effects, so that GET requests are refused")
        yield from self._bindings(old, new)
        schemas = self._old.schemas[old.service], self._new.schemas[new.service]
        for what, before, after in (("takes", old.input, new.input), ("answers", old.output, new.output)):
            if before.name != after.name:
                yield Change(where, f"{what} {after.name}, {'took' if what == 'takes' else 'answered'} {before.name}")
            else:
                yield from self._types(before, after, *schemas)

    def _bindings(self, old: Method, new: Method) -> Iterator[Change]:
        for rule in _rules(old):
            shown = f"{rule.verb} {rule.template}"
            verb, path = key = _key(rule)
            if self._was_bound[key] != (old, rule):
                continue  # another was the one that requests reached
            found = self._bound.get((verb, path)) or self._bound.get(("*", path))
            if found is None:
                yield Change(old.full_name, f"{shown} is gone")
                continue
            method, now = found
            if method.full_name != new.full_name:
                yield Change(old.full_name, f"{shown} calls {method.full_name}")
                continue
            for what, before, after in (
                ("body", rule.body, now.body),
                ("response_body", rule.response_body, now.response_body),
            ):
                if before != after:
                    yield Change(old.full_name, f"{shown}: its {what} was {_selected(before)}, is {_selected(after)}")

    def _types(self, old: Type, new: Type, before: Schema, after: Schema) -> Iterator[Change]:
        """Compare two messages and all that they hold. Iterative: types nest deeper than Python recurses."""
        waiting = [(old, new)]
        while waiting:
            was, now = waiting.pop()
            key = (id(before), was.name, id(after))
            if key in self._seen:
                continue
            self._seen.add(key)
            numbers = {field.number: field for field in now.fields.values()}
            for field in was.fields.values():
                same = numbers.get(field.number)
                yield from self._field(was, now, field, same)
                if same is None or not field.type_name or field.type_name != same.type_name:
                    continue
                if field.kind is Kind.ENUM:
                    yield from self._enum(before.enums[field.type_name], after.enums[same.type_name])
                elif field.type_name in before.types and same.type_name in after.types:
                    waiting.append((before.types[field.type_name], after.types[same.type_name]))
            known = {field.number for field in was.fields.values()}
            for field in now.fields.values():
                if field.required and field.number not in known:
                    yield Change(f"{now.name}.{field.name}", "is new, and required")

    def _field(self, was: Type, now: Type, old: Field, new: Field | None) -> Iterator[Change]:
        where = f"{was.name}.{old.name}"
        moved = now.fields.get(old.name)
        if new is None or (new.name != old.name and moved is not None):
            if moved is None:
                yield Change(where, f"the field ({old.number}) is gone")
            else:
                yield Change(where, f"its number was {old.number}, is {moved.number}")
            return
        if new.name != old.name:
            yield Change(where, f"is called {new.name}")
        if new.json_name != old.json_name:
            yield Change(where, f"was {old.json_name} in JSON, is {new.json_name}")
        before, after = _described(old), _described(new)
        if before != after:
            yield Change(where, f"was {before}, is {after}")
        if old.required != new.required:
            yield Change(where, "is required" if new.required else "is no longer required")
        beside, now_beside = _beside(old, was), _beside(new, now) & {one.number for one in was.fields.values()}
        if beside != now_beside:
            yield Change(where, f"{_among(beside, was)}, {_among(now_beside, was, now=True)}")

    def _enum(self, old: Enum, new: Enum) -> Iterator[Change]:
        names: Mapping[int, str] = {number: name for name, number in reversed(list(new.values.items()))}
        for name, number in old.values.items():
            now = new.values.get(name)
            if now is None:
                other = names.get(number)
                what = f"is called {other}" if other is not None else f"the value ({number}) is gone"
                yield Change(f"{old.name}.{name}", what)
            elif now != number:
                yield Change(f"{old.name}.{name}", f"its number was {number}, is {now}")


def _bound(catalog: Catalog) -> dict[_Key, tuple[Method, HttpRule]]:
    """Who gets a request: the first that wants it."""
    found: dict[_Key, tuple[Method, HttpRule]] = {}
    for method in catalog.methods.values():
        for rule in _rules(method):
            found.setdefault(_key(rule), (method, rule))
    return found


def _rules(method: Method) -> tuple[HttpRule, ...]:
    """The bindings that a method has as REST: its own path where it has no other."""
    return method.http or (HttpRule(verb="POST", template=method.path.decode(), body="*"),)


def _key(rule: HttpRule) -> _Key:
    """Equal for rules that take the same requests."""
    try:
        template = parse(rule.template)
    except TemplateError:
        return rule.verb, rule.template
    segments = (one.value if isinstance(one, Wildcard) else one.decode("latin-1") for one in template.segments)
    # A literal "*" is never written so in a path.
    return rule.verb, f"/{'/'.join(segments)}:{template.verb.decode('latin-1')}"


def _selected(selector: str) -> str:
    return "the whole message" if selector == "*" else selector or "none"


def _described(field: Field) -> str:
    held = field.type_name or field.kind.value
    if field.kind is Kind.GROUP:
        held = f"group {held}"
    if field.map_key is not None:
        return f"map<{field.map_key.value}, {held}>"
    return f"repeated {held}" if field.repeated else held


def _beside(field: Field, owner: Type) -> frozenset[int]:
    """The numbers of the fields that share its oneof."""
    if not field.oneof:
        return frozenset()
    return frozenset(one.number for one in owner.fields.values() if one.oneof == field.oneof and one is not field)


def _among(numbers: frozenset[int], owner: Type, *, now: bool = False) -> str:
    verb = "is" if now else "was"
    names = ", ".join(sorted(one.name for one in owner.fields.values() if one.number in numbers))
    return f"{verb} in a oneof with {names}" if names else f"{verb} in no oneof with others"
