"""Reply messages → what a selection asks of them: compiled once per plan, run for each reply.

`show` is the quick way and knows nothing of errors: it raises Unsayable for a value that GraphQL cannot say. Then
`show_carefully` goes the same way again, gathers an entry for each such value, and puts null in its place, or in that
of the nearest parent that may be null (GraphQL section 6.4.4). For callers who may not see everything, `without` makes
the same projection with what is withheld from them as values that cannot be said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

from protogw.call import Withheld
from protogw.errors import Status
from protogw.frontends.graphql import refusals
from protogw.frontends.graphql.refusals import Location, Path, unsaid

Read: TypeAlias = Callable[[Any], Any]
"""Takes what it wants out of a message; None when it is not there."""


class Unsayable(Exception):
    """A value of the service's that its GraphQL type does not have."""


MOST_TOLD = 1000
"""Fields of one response that are told to be withheld; the client has seen the reason by then, and an entry is many
times as long as an item that it is about."""


class Shown(Protocol):
    """How one value is shown."""

    @property
    def reads(self) -> Read | None:
        """What its value is read by wherever it is; None where that is its field's to say."""
        ...

    def show(self, value: Any) -> Any:
        """The value as JSON has it; raises Unsayable."""
        ...

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        """The same, with an entry in `errors` for each value that cannot be shown; None in its place."""
        ...

    def without(self, withheld: tuple[Withheld, ...]) -> Shown:
        """How messages are shown that lack this; itself where that makes no difference."""
        ...


class Leaf:
    """A value without selections."""

    __slots__ = ("show",)
    reads = None

    def __init__(self, convert: Callable[[Any], Any]) -> None:
        self.show = convert

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        try:
            return self.show(value)
        except Unsayable as error:
            errors.append(unsaid(str(error), path, location))
            return None

    def without(self, withheld: tuple[Withheld, ...]) -> Shown:
        # What has no fields in GraphQL is whole or not there.
        status = _any(withheld)
        return self if status is None else Lacking(status)


class Lacking:
    """A value that this caller may not see."""

    __slots__ = ("_status",)

    def __init__(self, status: Status) -> None:
        self._status = status

    @staticmethod
    def reads(message: Any) -> Any:
        return message

    def show(self, value: Any) -> Any:
        raise Unsayable(self._status.message)

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        if len(errors) < MOST_TOLD:
            errors.append(refusals.withheld(self._status, path, location))
        elif len(errors) == MOST_TOLD:
            errors.append(refusals.withheld_too(self._status))

    def without(self, withheld: tuple[Withheld, ...]) -> Shown:
        return self


class Items:
    """A list, each item shown alike."""

    __slots__ = ("_item", "_nullable", "show")
    reads = None

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

    def without(self, withheld: tuple[Withheld, ...]) -> Shown:
        item = self._item.without(withheld)
        return self if item is self._item else Items(item, self._nullable)


class ShownField:
    """One response name of an object: where its value is, how it is shown, and whether it may be null.

    `number` is the proto field's, 0 for what is in no field, None for what is the message itself.
    """

    __slots__ = ("get", "location", "name", "nullable", "number", "read", "shown")

    def __init__(
        self, name: str, read: Read, shown: Shown, location: Location | None, *, nullable: bool, number: int | None
    ) -> None:
        self.name = name
        self.number = number
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

    def without(self, withheld: tuple[Withheld, ...]) -> ShownField:
        number, shown = self.number, self.shown
        if number is not None:
            for one in withheld:
                status = one.fields.get(number)
                if status is not None:
                    shown = Lacking(status)
                    break
            else:
                withheld = tuple(one.below[number] for one in withheld if number in one.below)
        if withheld and shown is self.shown:
            shown = shown.without(withheld)
        if shown is self.shown:
            return self
        read = shown.reads or self.read
        return ShownField(self.name, read, shown, self.location, nullable=self.nullable, number=number)


class Object:
    """An object: a field for each response name, in their order."""

    __slots__ = ("_fields", "show")
    reads = None

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

    def without(self, withheld: tuple[Withheld, ...]) -> Object:
        fields = [field.without(withheld) for field in self._fields]
        return self if all(one is other for one, other in zip(fields, self._fields, strict=True)) else Object(fields)


class OneOf:
    """A oneof: the message itself, shown as what the field that is set asks for.

    `numbers` are its fields'. With `lacking`, one of them is withheld: none that is set may be that one.
    """

    __slots__ = ("_branches", "_lacking", "_numbers", "_oneof", "reads", "show")

    def __init__(
        self, oneof: str, branches: Mapping[str, Object], numbers: tuple[int, ...], lacking: Lacking | None = None
    ) -> None:
        self._oneof = oneof
        self._branches = branches
        self._numbers = numbers
        self._lacking = lacking
        self.reads: Read | None = None
        self.show: Read = lambda message: branches[message.WhichOneof(oneof)].show(message)
        if lacking is not None:
            self.reads = same
            self.show = lambda message: self._branch(message).show(message)

    def _branch(self, message: Any) -> Shown:
        name = message.WhichOneof(self._oneof)
        if name is not None:
            return self._branches[name]
        assert self._lacking is not None
        return self._lacking

    def show_carefully(self, value: Any, path: Path, location: Location | None, errors: list[dict[str, Any]]) -> Any:
        return self._branch(value).show_carefully(value, path, location, errors)

    def without(self, withheld: tuple[Withheld, ...]) -> Shown:
        branches = {name: branch.without(withheld) for name, branch in self._branches.items()}
        found = [one.fields[number] for one in withheld for number in self._numbers if number in one.fields]
        if not found and all(branch is self._branches[name] for name, branch in branches.items()):
            return self
        return OneOf(self._oneof, branches, self._numbers, Lacking(found[0]) if found else None)


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


def _any(withheld: Iterable[Withheld]) -> Status | None:
    """Why something is withheld, here or below."""
    waiting = list(withheld)
    met: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in met:
            continue
        met.add(id(one))
        for status in one.fields.values():
            return status
        waiting += one.below.values()
    return None


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]
