"""Reply messages → what a selection asks of them: compiled once per plan, run for each reply.

`show` is the quick way and knows nothing of errors: it raises Unsayable for a value that GraphQL cannot say. Then
`show_carefully` goes the same way again, gathers an entry for each such value, and puts null in its place, or in that
of the nearest parent that may be null (GraphQL section 6.4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

from protogw.frontends.graphql.refusals import Location, Path, unsaid

Read: TypeAlias = Callable[[Any], Any]
"""Takes what it wants out of a message; None when it is not there."""


class Unsayable(Exception):
    """A value of the service's that its GraphQL type does not have."""


class Shown(Protocol):
    """How one value is shown."""

    def show(self, value: Any) -> Any:
        """The value as JSON has it; raises Unsayable."""
        ...

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        """The same, with an entry in `errors` for each value that cannot be shown; None in its place."""
        ...


class Leaf:
    """A value without selections."""

    __slots__ = ("show",)

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.show = convert

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        try:
            return self.show(value)
        except Unsayable as error:
            errors.append(unsaid(str(error), path, location))
            return None


class Items:
    """A list, each item shown alike."""

    __slots__ = ("_item", "_nullable", "show")

    def __init__(self, item: Shown, nullable: bool) -> None:
        self._item = item
        self._nullable = nullable
        one = item.show
        self.show: Read = list if one is same else lambda values: [one(value) for value in values]

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        found = []
        for index, one in enumerate(value):
            shown = self._item.show_carefully(one, (*path, index), location, errors)
            if shown is None and not self._nullable:
                return None
            found.append(shown)
        return found


class ShownField:
    """One response name of an object: where its value is, how it is shown, and whether it may be null."""

    __slots__ = ("get", "location", "name", "nullable", "read", "shown")

    def __init__(self, name: str, read: Read, shown: Shown, location: Location | None, *, nullable: bool) -> None:
        self.name = name
        self.read = read
        self.shown = shown
        self.location = location
        self.nullable = nullable
        show = shown.show

        def get(message: Any) -> Any:
            value = read(message)
            return None if value is None else show(value)

        # Most fields are shown as they are: then reading, which is native code, is all there is.
        self.get: Read = get
        if show is same:
            self.get = read
        elif isinstance(read, attrgetter):
            self.get = lambda message: show(read(message))


class Object:
    """An object: a field for each response name, in their order."""

    __slots__ = ("_fields", "show")

    def __init__(self, fields: list[ShownField]) -> None:
        self._fields = fields
        pairs = tuple((field.name, field.get) for field in fields)
        self.show: Read = lambda message: {name: get(message) for name, get in pairs}

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        found: dict[str, Any] | None = {}
        for field in self._fields:
            read = field.read(value)
            shown = None
            if read is not None:
                shown = field.shown.show_carefully(read, (*path, field.name), field.location, errors)
            if shown is None and not field.nullable:
                # The other fields are still gone through: what is wrong with them is told as well.
                found = None
            if found is not None:
                found[field.name] = shown
        return found


class OneOf:
    """A oneof: the message itself, shown as what the field that is set asks for."""

    __slots__ = ("_branches", "_oneof", "show")

    def __init__(self, oneof: str, branches: Mapping[str, Object]) -> None:
        self._oneof = oneof
        self._branches = branches
        self.show: Read = lambda message: branches[message.WhichOneof(oneof)].show(message)

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        return self._branches[value.WhichOneof(self._oneof)].show_carefully(value, path, location, errors)


def same(value: Any) -> Any:
    """Shows a value as it is."""
    return value


def constant(value: Any) -> Read:
    """Reads nothing."""
    return lambda message: value


def field(name: str, *, presence: bool) -> Read:
    """Reads a proto field; one with presence is None unless it is set."""
    get: Read = attrgetter(name)
    if not presence:
        return get

    def read(message: Any) -> Any:
        return get(message) if message.HasField(name) else None

    return read


def entries(name: str) -> Read:
    """Reads a map, as its pairs in the order of the keys: the wire has them in any."""
    get: Read = attrgetter(name)
    return lambda message: sorted(get(message).items(), key=_first)


def oneof(name: str) -> Read:
    """Reads the message itself when one of the oneof's fields is set."""
    return lambda message: message if message.WhichOneof(name) is not None else None


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]
