"""Which message types can have a value at all, when all that they require must be there. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from protogw.descriptors.model import Kind, Type
from protogw.descriptors.to_graphql_scalars import well_known

_MESSAGES = (Kind.MESSAGE, Kind.GROUP)


class Finite:
    """Knows of the types of schemas whether they are finite; each is looked at once."""

    def __init__(self) -> None:
        # With the types themselves, so that an id stays theirs.
        self._known: dict[int, tuple[Mapping[str, Type], dict[str, bool]]] = {}

    def has(self, name: str, types: Mapping[str, Type]) -> bool:
        """Whether the type of this name is. One that requires itself, by itself or through others, is not: GraphQL has
        no such inputs, and refuses every request where its schema has one (section 3.10.1)."""
        known = self._known.setdefault(id(types), (types, {}))[1]
        if name not in known:
            _judge(name, types, known)
        return known[name]


def _judge(root: str, types: Mapping[str, Type], known: dict[str, bool]) -> None:
    """Take in a type and all that it requires."""
    needs: dict[str, set[str]] = {}
    needed_by: dict[str, list[str]] = {}
    stack = [root]
    while stack:
        name = stack.pop()
        if name in needs or name in known:
            continue
        needs[name] = {one for one in _required(types.get(name)) if not known.get(one)}
        for one in needs[name]:
            needed_by.setdefault(one, []).append(name)
            stack.append(one)
    # Those that require nothing are finite, and then those that require only such: what is left goes round.
    ready = [name for name, its in needs.items() if not its]
    while ready:
        name = ready.pop()
        known[name] = True
        for one in needed_by.get(name, ()):
            needs[one].discard(name)
            if not needs[one]:
                ready.append(one)
    for name in needs:
        known.setdefault(name, False)


def _required(one: Type | None) -> set[str]:
    """The messages that must be within each message of the type."""
    if one is None:
        return set()
    return {
        field.type_name
        for field in one.fields.values()
        if field.required
        and field.kind in _MESSAGES
        and not (field.repeated or field.map_key or field.oneof)
        and well_known(field.type_name, long_as_text=True) is None
    }
