"""The answer to GraphQL's introspection query → what it says of the schema. Pure.

What a service says of itself is not trusted: every member is checked, and what is wrong is named by its path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import get_introspection_query

from protogw.descriptors.graphql_binding import Ref
from protogw.descriptors.graphql_model import (
    BUILT_IN,
    MOST_LISTS,
    Document,
    EnumValue,
    InputValue,
    Named,
    OutputField,
    Sort,
)
from protogw.descriptors.model import SchemaError

QUESTIONS = (
    get_introspection_query(input_value_deprecation=True, one_of=True),
    get_introspection_query(),
)
"""What is asked, best first: services of an older GraphQL refuse to say what they do not know of."""

_SORTS: Mapping[str, Sort] = {
    "SCALAR": Sort.SCALAR,
    "OBJECT": Sort.OBJECT,
    "INTERFACE": Sort.INTERFACE,
    "UNION": Sort.UNION,
    "ENUM": Sort.ENUM,
    "INPUT_OBJECT": Sort.INPUT,
}
_NAME_START = frozenset("_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_NAME = _NAME_START | frozenset("0123456789")


def read_introspection(tree: object, source: str) -> Document:
    """The schema that an introspection result describes, with or without the `data` around it.

    Raises SchemaError naming the first member that is not what it must be, after `source`.
    """
    try:
        return _read(tree, source)
    except _Fault as fault:
        raise SchemaError(f"{source}: {fault}") from None


class _Fault(Exception):
    pass


def _read(tree: object, source: str) -> Document:
    whole = _object(tree, "the answer")
    if "data" in whole:
        whole = _object(whole["data"], "data")
    schema = _object(whole.get("__schema"), "__schema")
    types: dict[str, Named] = {}
    for index, one in enumerate(_list(schema.get("types"), "__schema.types")):
        where = f"__schema.types[{index}]"
        entry = _object(one, where)
        name = _name(entry.get("name"), f"{where}.name")
        if name.startswith("__") or name in BUILT_IN:
            continue
        if name in types:
            raise _Fault(f"{where}: {name} is there twice")
        types[name] = _type(name, entry, source)
    roots: dict[str, str] = {}
    for operation in ("query", "mutation", "subscription"):
        root = schema.get(f"{operation}Type")
        if root is not None:
            where = f"__schema.{operation}Type"
            roots[operation] = _name(_object(root, where).get("name"), f"{where}.name")
    return Document(
        types=types,
        query=roots.get("query", ""),
        mutation=roots.get("mutation", ""),
        subscription=roots.get("subscription", ""),
    )


def _type(name: str, entry: Mapping[str, Any], source: str) -> Named:
    sort = _SORTS.get(str(entry.get("kind")))
    if sort is None:
        raise _Fault(f"{name}.kind is none of {', '.join(_SORTS)}")
    return Named(
        sort=sort,
        name=name,
        place=source,
        doc=_text(entry.get("description")),
        fields=tuple(_fields(name, entry)) if sort in (Sort.OBJECT, Sort.INTERFACE) else (),
        inputs=tuple(_inputs(name, entry.get("inputFields"))) if sort is Sort.INPUT else (),
        values=tuple(_values(name, entry)) if sort is Sort.ENUM else (),
        possible=tuple(_possible(name, entry)) if sort in (Sort.INTERFACE, Sort.UNION) else (),
        one_of=entry.get("isOneOf") is True,
    )


def _fields(owner: str, entry: Mapping[str, Any]) -> Iterable[OutputField]:
    for name, one in _members(owner, entry.get("fields")):
        where = f"{owner}.{name}"
        yield OutputField(
            name=name,
            type=_ref(one.get("type"), where),
            arguments=tuple(_inputs(where, one.get("args") or [])),
            doc=_text(one.get("description")),
            deprecated=one.get("isDeprecated") is True,
        )


def _inputs(owner: str, entries: object) -> Iterable[InputValue]:
    for name, one in _members(owner, entries):
        default = one.get("defaultValue")
        yield InputValue(
            name=name,
            type=_ref(one.get("type"), f"{owner}.{name}"),
            default=default if isinstance(default, str) else None,
            doc=_text(one.get("description")),
            deprecated=one.get("isDeprecated") is True,
        )


def _values(owner: str, entry: Mapping[str, Any]) -> Iterable[EnumValue]:
    for name, one in _members(owner, entry.get("enumValues")):
        yield EnumValue(name=name, doc=_text(one.get("description")), deprecated=one.get("isDeprecated") is True)


def _possible(owner: str, entry: Mapping[str, Any]) -> Iterable[str]:
    for index, one in enumerate(_list(entry.get("possibleTypes") or [], f"{owner}.possibleTypes")):
        where = f"{owner}.possibleTypes[{index}]"
        yield _name(_object(one, where).get("name"), f"{where}.name")


def _members(owner: str, entries: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """The named members of a list, whose names must differ."""
    seen: set[str] = set()
    for index, one in enumerate(_list(entries, f"the members of {owner}")):
        entry = _object(one, f"{owner}[{index}]")
        name = _name(entry.get("name"), f"{owner}[{index}].name")
        if name in seen:
            raise _Fault(f"{owner}.{name} is there twice")
        seen.add(name)
        yield name, entry


def _ref(value: object, where: str) -> Ref:
    wraps: list[bool] = []
    here = _object(value, f"{where}'s type")
    required = False
    while True:
        kind = here.get("kind")
        if kind == "NON_NULL":
            if required:
                raise _Fault(f"{where}'s type: NON_NULL in NON_NULL")
            required = True
        elif kind == "LIST":
            wraps.append(required)
            required = False
            if len(wraps) > MOST_LISTS:
                raise _Fault(f"{where}'s type: a list in more than {MOST_LISTS} lists")
        else:
            break
        here = _object(here.get("ofType"), f"{where}'s type (deeper than was asked for?)")
    found = Ref(_name(here.get("name"), f"{where}'s type"), required=required)
    for required in reversed(wraps):
        found = Ref(item=found, required=required)
    return found


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Fault(f"{where} is no object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Fault(f"{where} is no list")
    return value


def _name(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or value[0] not in _NAME_START or not _NAME.issuperset(value):
        raise _Fault(f"{where} is no name")
    return value


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
