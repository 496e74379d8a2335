"""oneOf and anyOf → the branches of a oneof, and how their JSON is told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.json_flat import Flat
from protogw.descriptors.model import Kind, SchemaError
from protogw.descriptors.names import Taken, camel
from protogw.descriptors.rules import Rules, ignored
from protogw.descriptors.shapes import Branch, Union
from protogw.descriptors.synthesize import VALUE, FieldDraft

if TYPE_CHECKING:
    from protogw.descriptors.from_json_schema import Held

MAX_BRANCHES = 1_000

ALL_TYPES = ("object", "array", "string", "number", "boolean")

_WIDER = (
    (Kind.DOUBLE, (Kind.FLOAT, Kind.INT32, Kind.INT64, Kind.UINT32, Kind.UINT64)),
    (Kind.INT64, (Kind.INT32, Kind.UINT32)),
    (Kind.STRING, (Kind.BYTES,)),
)
"""What holds every value of what else."""


@dataclass(slots=True)
class Alternative:
    """One alternative: what to call it, its field, and what is known of its JSON. `same` tells equal ones."""

    word: str
    field: FieldDraft
    json_types: tuple[str, ...]
    flat: Flat | None
    """Set for an object."""
    same: tuple[Kind, str, bool, bool]
    held: Held
    mixed: bool = False
    """It stands for several, of which each asks something else: nothing is asked of its values."""


@dataclass(slots=True)
class Chosen:
    """A oneof of several alternatives."""

    alternatives: list[Alternative]
    union: Union


def json_type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def union_of(
    alternatives: list[Alternative], flat: Flat, documents: Documents, flat_of: Callable[[Node], Flat]
) -> Chosen | Alternative | None:
    """The oneof; an alternative that covers all others alone; or None when only a free value does."""
    if len(alternatives) > MAX_BRANCHES:
        raise SchemaError(f"{flat.node.where}: more than {MAX_BRANCHES} alternatives")
    if any(one.field.holds == VALUE and not one.field.repeated for one in alternatives):
        return None
    kept = _distinct(alternatives)
    for one in kept:
        if one.mixed:
            unsaid = one_of_equals(flat)
            one.field.rules = ignored(unsaid) if one.field.kind is Kind.MESSAGE else Rules(unsaid=(unsaid,))
    if not kept:
        return None
    if len(kept) == 1:
        return kept[0]
    seen: set[str] = set()
    for one in kept:
        others = set(one.json_types) - {"object"}
        if others & seen:
            return None  # two lists, or text that is an enum or something else: nothing tells them apart
        seen |= others
    taken = Taken(str.lower)
    for one in kept:
        word = camel(one.word, "Value")
        one.field.member = taken.take(word[0].lower() + word[1:])
    objects = [one for one in kept if one.flat is not None]
    tag = flat.discriminator.text("propertyName") if flat.discriminator is not None else _common_tag(objects, flat_of)
    mapping = _mapping(flat, documents)
    branches = tuple(_branch(one, tag, mapping, flat_of) for one in kept)
    if not any(branch.tags for branch in branches):
        tag = ""
    if len(objects) > 1 and not all(branch.tags for one, branch in zip(kept, branches, strict=True) if one.flat):
        # Which of them is meant is a guess, and what the one asks need not hold for the other.
        unsaid = f"{flat.node.place}: what is asked of alternatives without a discriminator is not enforced"
        for one in objects:
            one.field.rules = ignored(unsaid)
    return Chosen(kept, Union(branches=branches, tag=tag))


def _distinct(alternatives: list[Alternative]) -> list[Alternative]:
    """Without those that are there twice, or held by a wider one."""
    known: dict[tuple[Kind, str, bool, bool], Alternative] = {}
    for one in alternatives:
        other = known.get(one.same)
        one.mixed = other is not None and (other.mixed or _asks(other) != _asks(one))
        known[one.same] = one
    found = list(known.values())
    for wide, narrow in _WIDER:
        found = _without(found, wide, lambda one, narrow=narrow: one.field.kind in narrow)  # type: ignore[misc]
    found = _without(found, Kind.STRING, lambda one: one.field.kind is Kind.ENUM and one.json_types == ("string",))
    enums = [one for one in found if one.field.kind is Kind.ENUM]
    if len(enums) > 1 and all(one.json_types == ("string",) for one in enums):
        first = enums[0]
        first.field.kind, first.field.holds = Kind.STRING, ""
        first.same = (Kind.STRING, "", False, False)
        first.word = "string"
        first.mixed = True
        found = [one for one in found if one not in enums[1:]]
    return found


def _without(alternatives: list[Alternative], wide: Kind, narrower: Callable[[Alternative], bool]) -> list[Alternative]:
    """Without those that one of the wide kind holds, of which less is then asked than of it alone."""
    holder = next((one for one in alternatives if one.field.kind is wide), None)
    if holder is None:
        return alternatives
    kept = [one for one in alternatives if not narrower(one)]
    holder.mixed = holder.mixed or (len(kept) < len(alternatives) and bool(holder.field.rules.data))
    return kept


def _asks(one: Alternative) -> tuple[bytes, object]:
    """Equal for alternatives that ask the same of their values."""
    return one.field.rules.data, (one.held.whole, one.held.inner) if one.held.many else None


def one_of_equals(flat: Flat) -> str:
    """That of alternatives that are one in a proto no one's bounds hold."""
    return f"{flat.node.place}: what is asked of alternatives that are one in a proto is not enforced"


def _common_tag(objects: list[Alternative], flat_of: Callable[[Node], Flat]) -> str:
    """The member by whose fixed values the objects differ, where the schema names none."""
    if len(objects) < 2:
        return ""
    first = objects[0].flat
    assert first is not None
    for name in first.properties:
        values: list[str] = []
        for one in objects:
            assert one.flat is not None
            values += _fixed(one.flat, name, flat_of)
            if not _fixed(one.flat, name, flat_of):
                break
        else:
            if len(set(values)) == len(values):
                return name
    return ""


def _fixed(flat: Flat, name: str, flat_of: Callable[[Node], Flat]) -> list[str]:
    """The only values that a member may have, if they are text."""
    node = flat.properties.get(name)
    values = flat_of(node).enum if node is not None else None
    return [one for one in values if isinstance(one, str)] if values else []


def _mapping(flat: Flat, documents: Documents) -> dict[str, list[str]]:
    """The tags that a discriminator's mapping gives to each schema, by key or, where it is a bare name, by name."""
    found: dict[str, list[str]] = {}
    node = flat.discriminator
    mapping = node.get("mapping") if node is not None else None
    for tag, ref in (mapping.mapping if mapping is not None else {}).items():
        if not isinstance(ref, str):
            continue
        assert mapping is not None
        key = ref
        if "/" in ref or "#" in ref or ref.endswith((".json", ".yaml", ".yml")):
            key = documents.target(mapping, ref).key
        found.setdefault(key, []).append(tag)
    return found


def _branch(one: Alternative, tag: str, mapping: dict[str, list[str]], flat_of: Callable[[Node], Flat]) -> Branch:
    flat = one.flat
    if flat is None:
        return Branch(key=one.field.member, json_types=one.json_types)
    tags: list[str] = []
    if tag:
        name = flat.node.name
        tags = [*mapping.get(flat.node.key, ()), *mapping.get(name, ())] or _fixed(flat, tag, flat_of)
        if not tags and len(flat.node.steps) > 1 and flat.node.steps[-2] == "schemas":
            tags = [name]
    return Branch(
        key=one.field.member,
        tags=tuple(tags),
        json_types=one.json_types,
        required=tuple(sorted(flat.required & flat.properties.keys())),
        known=frozenset(flat.properties),
    )
