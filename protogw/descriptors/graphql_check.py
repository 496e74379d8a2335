"""Whether a GraphQL schema holds together as far as its callers are concerned. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from protogw.descriptors.graphql_binding import Ref
from protogw.descriptors.graphql_model import Document, InputValue, Named, Sort

_MANY_FAULTS = 100
_OUTPUT = frozenset((Sort.SCALAR, Sort.ENUM, Sort.OBJECT, Sort.INTERFACE, Sort.UNION))
_INPUT = frozenset((Sort.SCALAR, Sort.ENUM, Sort.INPUT))


def needed(one: InputValue) -> bool:
    """Whether an argument or a member of an input must be given."""
    return one.type.required and one.default is None


def faults_of(document: Document) -> list[str]:
    """What is wrong with it, each with its type and field; not more than are of use."""
    found: list[str] = []
    for fault in _faults(document):
        found.append(fault)
        if len(found) == _MANY_FAULTS:
            break
    return found


def _faults(document: Document) -> Iterator[str]:
    for operation, name in (
        ("query", document.query),
        ("mutation", document.mutation),
        ("subscription", document.subscription),
    ):
        root = document.types.get(name)
        if name and (root is None or root.sort is not Sort.OBJECT):
            yield f"the {operation} type {name} is not defined, or is no object type"
    for named in document.types.values():
        for field in named.fields:
            where = f"{named.name}.{field.name}"
            yield from _refers(document, named, where, field.type, _OUTPUT, "returned")
            for one in field.arguments:
                yield from _refers(document, named, f"{where}({one.name})", one.type, _INPUT, "an argument")
        for one in named.inputs:
            yield from _refers(document, named, f"{named.name}.{one.name}", one.type, _INPUT, "part of an input")
        for member in named.possible:
            known = document.types.get(member)
            if known is None or known.sort is not Sort.OBJECT:
                yield f"{named.place}: {named.name} can be {member}, which is no object type"
        if named.sort is Sort.ENUM and not named.values:
            yield f"{named.place}: {named.name} has no values"
        if named.one_of and any(one.type.required or one.default is not None for one in named.inputs):
            yield f"{named.place}: {named.name} takes one of its members: none may be required or have a default"


def _refers(document: Document, named: Named, where: str, ref: Ref, sorts: frozenset[Sort], role: str) -> Iterator[str]:
    found = document.named(ref.named)
    if found is None:
        yield f"{named.place}: {where} is of the type {ref.named}, which is not defined"
    elif found.sort not in sorts:
        yield f"{named.place}: {where} is of the {found.sort.value} {ref.named}, which cannot be {role}"
