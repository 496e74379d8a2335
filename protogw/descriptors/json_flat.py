"""One JSON Schema with all that `$ref` and `allOf` add to it: OpenAPI 3.0's dialect and 2020-12 alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.facets import Asked, collect
from protogw.descriptors.model import SchemaError

MAX_DEPTH = 64
"""Schemas within `allOf` within `allOf`."""

ANNOTATIONS = frozenset(
    (
        "$comment",
        "default",
        "deprecated",
        "description",
        "example",
        "examples",
        "externalDocs",
        "nullable",
        "readOnly",
        "summary",
        "title",
        "writeOnly",
        "xml",
    )
)
"""Keywords that say nothing of what values there are (`nullable` is looked at apart)."""

_SCALARS = (str, int, float, bool, type(None))


@dataclass(slots=True)
class Flat:
    """What a schema says; `types` is None where it says nothing of them, and never holds "null"."""

    node: Node
    types: frozenset[str] | None = None
    nullable: bool = False
    properties: dict[str, Node] = field(default_factory=dict)
    again: dict[str, list[Node]] = field(default_factory=dict)
    """What else is said of members: all of it holds."""
    required: set[str] = field(default_factory=set)
    additional: Node | bool | None = None
    items: Node | None = None
    is_tuple: bool = False
    enum: list[Any] | None = None
    const: bool = False
    """There is one value, and it is the only one of `enum`."""
    format: str = ""
    unions: dict[str, list[Node]] = field(default_factory=dict)
    """The alternatives of each oneOf and anyOf, by where it stands."""
    discriminator: Node | None = None
    asked: Asked | None = None
    """What is asked of values beyond their type."""
    unsaid: list[str] = field(default_factory=list)
    """What is asked and neither type nor rules can say: where, and why."""
    plain: bool = False
    """Nothing is asked of its values but to be of its types."""
    title: str = ""
    doc: str = ""
    deprecated: bool = False
    read_only: bool = False
    write_only: bool = False


def is_plain(names: Iterable[str]) -> bool:
    """Whether these keywords say nothing of what values there are."""
    return all(name in ANNOTATIONS or name.startswith("x-") for name in names)


def alias(documents: Documents, node: Node) -> tuple[Node, bool]:
    """The schema that this one only stands for, and whether it adds null.

    A `$ref`, or an `allOf` of one, with nothing beside it but words; a oneOf or anyOf of one schema and null.
    """
    nullable = False
    for _ in range(MAX_DEPTH):
        value = node.value
        if not isinstance(value, dict):
            return node, nullable
        nullable = nullable or value.get("nullable") is True
        if isinstance(value.get("$ref"), str):
            if not is_plain(name for name in value if name != "$ref"):
                return node, nullable
            node = documents.target(node, value["$ref"])
            continue
        if set(value).isdisjoint(("allOf", "anyOf", "oneOf")):
            return node, nullable
        inner, adds_null = _only(node)
        if inner is None:
            return node, nullable
        nullable = nullable or adds_null
        node = inner
    raise SchemaError(f"{node.where}: refers to itself, or through too many others")


def _only(node: Node) -> tuple[Node | None, bool]:
    value = node.value
    for word in ("allOf", "anyOf", "oneOf"):
        held = value.get(word)
        if not isinstance(held, list) or not held:
            continue
        beside = [name for name in value if name not in (word, "discriminator")]
        if word == "allOf" and value.get("type") == "object":
            beside.remove("type")
        if not is_plain(beside):
            return None, False
        branches = [place for place, one in enumerate(held) if word == "allOf" or not _is_null(one)]
        if len(branches) == 1:
            return node.child(word).child(branches[0]), len(branches) < len(held)
    return None, False


def _is_null(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return value.get("type") == "null" or value.get("enum") == [None] or ("const" in value and value["const"] is None)


def is_null(node: Node) -> bool:
    """Whether the schema is that of null alone."""
    return _is_null(node.value)


class Flattened:
    """Flat schemas of a set of documents, each made once. Raises SchemaError for what is no schema."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._known: dict[str, Flat] = {}

    def of(self, node: Node) -> Flat:
        found = self._known.get(node.key)
        if found is None:
            found = Flat(node)
            self._merge(node, found, set(), 0)
            _settle(found)
            self._known[node.key] = found
        return found

    def _merge(self, node: Node, into: Flat, merged: set[str], depth: int) -> None:
        key = node.key
        if key in merged:
            return
        merged.add(key)
        if depth > MAX_DEPTH:
            raise SchemaError(f"{node.where}: allOf is nested too deeply")
        value = node.value
        if isinstance(value, bool):
            return
        if not isinstance(value, dict):
            raise SchemaError(f"{node.where}: is no schema")
        ref = value.get("$ref")
        if isinstance(ref, str):
            self._merge(self._documents.target(node, ref), into, merged, depth + 1)
        for one in node.children("allOf"):
            self._merge(one, into, merged, depth + 1)
        _own(node, into)


def _own(node: Node, into: Flat) -> None:
    """Add the schema's own keywords."""
    value = node.mapping
    written = value.get("type")
    names = written if isinstance(written, list) else [written] if isinstance(written, str) else []
    types = frozenset(one for one in names if isinstance(one, str))
    into.nullable = into.nullable or value.get("nullable") is True or "null" in types
    types -= {"null"}
    if types:
        both = types if into.types is None else _both(into.types, types)
        into.types = both or into.types
    for one in node.children("properties"):
        name = str(one.steps[-1])
        if into.properties.setdefault(name, one) is not one:
            into.again.setdefault(name, []).append(one)
    required = value.get("required")
    if isinstance(required, list):
        into.required.update(one for one in required if isinstance(one, str))
    additional = value.get("additionalProperties")
    if isinstance(additional, bool):
        into.additional = additional if into.additional is None else into.additional
    elif isinstance(additional, dict):
        into.additional = node.child("additionalProperties") if additional else True
    elif value.get("patternProperties") and into.additional is None:
        into.additional = True
    if isinstance(value.get("prefixItems"), list) or isinstance(value.get("items"), list):
        into.is_tuple = True
    elif isinstance(value.get("items"), dict):
        into.items = node.child("items")
    enum = [value["const"]] if "const" in value else value.get("enum")
    if isinstance(enum, list) and enum:
        into.enum = enum if into.enum is None else [one for one in into.enum if one in enum] or into.enum
        into.const = into.const or "const" in value
    into.asked = collect(node, into.asked)
    into.format = node.text("format") or into.format
    for word in ("oneOf", "anyOf"):
        held = list(node.children(word))
        if held:
            into.unions[f"{node.key}/{word}"] = held
    into.discriminator = node.get("discriminator") or into.discriminator
    into.title = node.text("title") or into.title
    into.doc = node.text("description") or into.doc
    into.deprecated = into.deprecated or node.flag("deprecated")
    into.read_only = into.read_only or node.flag("readOnly")
    into.write_only = into.write_only or node.flag("writeOnly")


def _both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    common = one & other
    if ("integer" in one and "number" in other) or ("number" in one and "integer" in other):
        common |= {"integer"}
    return common


def _settle(flat: Flat) -> None:
    """Draw from the keywords together what each alone does not say."""
    if flat.enum is not None:
        if None in flat.enum:
            flat.nullable = True
            flat.enum = [one for one in flat.enum if one is not None] or None
        if flat.enum is not None and not all(isinstance(one, _SCALARS) for one in flat.enum):
            flat.enum = None
            flat.unsaid.append(f"{flat.node.place}: values that are lists or objects are not compared")
    flat.plain = flat.asked is None and flat.enum is None and not (flat.format or flat.unsaid)
    if flat.types is None:
        if flat.properties or flat.additional is not None:
            flat.types = frozenset(("object",))
        elif flat.items is not None or flat.is_tuple:
            flat.types = frozenset(("array",))
