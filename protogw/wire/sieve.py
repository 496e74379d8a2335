"""Fields cut out of protobuf messages, on their bytes: what is not cut stays byte for byte, known to the schema or not.

A sieve is made once for a type; nothing is decoded that no cut lies in (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protogw.descriptors.model import Kind
from protogw.wire.protowire import (
    BYTES,
    FIXED32,
    FIXED64,
    MOST_DEPTH,
    START_GROUP,
    VARINT,
    delimited,
    group_end,
    read_varint,
)

if TYPE_CHECKING:
    from protogw.descriptors.model import Field, Type
    from protogw.errors import Status


class Found(Exception):
    """A field is there that must not be; `path` is as the cut names it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What becomes of one field: gone, or with `refuse` the whole message is (Found is raised), or another text."""

    path: str
    refuse: bool = False
    text: str | None = None
    """Written in its place when it is a string."""
    why: Status | None = None
    """What is told of it to those who can be told of single fields."""


@dataclass(slots=True, eq=False)
class Sieve:
    """What is cut in a message of one type: by field number, here and below."""

    cuts: dict[int, Cut] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    """What is written in place of a cut field, tag and all."""
    below: dict[int, Sieve] = field(default_factory=dict)
    fields: dict[int, Status] = field(default_factory=dict)
    """Why those are cut that nothing is written in place of."""

    @property
    def empty(self) -> bool:
        return not self.cuts and not self.below

    def sift(self, data: bytes, seen: set[str] | None = None, depth: int = 0) -> bytes:
        """The message without what is cut, `data` itself when nothing was; the paths of what was go into `seen`.

        Raises Found, and ValueError where the bytes are no message.
        """
        if depth > MOST_DEPTH:
            raise ValueError("nested too deeply")
        cuts, below = self.cuts, self.below
        out: list[bytes] = []
        at = kept = 0
        size = len(data)
        while at < size:
            start = at
            key, at = read_varint(data, at)
            number, wire_type = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise ValueError("field number out of range")
            begin = end = at
            if wire_type == VARINT:
                _, at = read_varint(data, at)
            elif wire_type == BYTES:
                length, begin = read_varint(data, at)
                end = at = begin + length
            elif wire_type == START_GROUP:
                end, at = group_end(data, at, number)
            elif wire_type in (FIXED64, FIXED32):
                at += 8 if wire_type == FIXED64 else 4
            else:
                raise ValueError("unknown wire type")
            if at > size:
                raise ValueError("truncated")
            cut = cuts.get(number)
            if cut is not None:
                if cut.refuse:
                    raise Found(cut.path)
                if seen is not None:
                    seen.add(cut.path)
                out += (data[kept:start], self.texts.get(number, b""))
                kept = at
            elif wire_type in (BYTES, START_GROUP) and number in below:
                inner = data[begin:end]
                left = below[number].sift(inner, seen, depth + 1)
                if left is not inner:
                    whole = delimited(number, left) if wire_type == BYTES else data[start:begin] + left + data[end:at]
                    out += (data[kept:start], whole)
                    kept = at
        return b"".join((*out, data[kept:])) if kept else data


_MESSAGES = (Kind.MESSAGE, Kind.GROUP)


class UnknownField(Exception):
    """A path that the type does not have; the message says where it ends."""


def sieve_of(root: Type, cuts: Iterable[Cut]) -> Sieve:
    """The sieve of messages of this type. A cut's path is `field.field`, from the message on (proto or JSON names,
    through lists and map values), or `package.Type/field`: that field wherever such a message is. Those that the type
    does not have are left out; `check_path` tells them."""
    paths: list[tuple[Sequence[str], Cut]] = []
    typed: dict[str, list[tuple[str, Cut]]] = {}
    for cut in cuts:
        name, slash, member = cut.path.rpartition("/")
        if slash:
            typed.setdefault(name, []).append((member, cut))
        else:
            paths.append((cut.path.split("."), cut))
    return _Maker(root, typed).made(root, paths)


def check_path(root: Type, path: str) -> None:
    """Raises UnknownField when no message of this type has such a field."""
    name, slash, member = path.rpartition("/")
    if slash:
        if name not in reachable(root):
            raise UnknownField(f"{root.name} holds no {name}")
        if reachable(root)[name].field(member) is None:
            raise UnknownField(f"{name} has no field {member}")
        return
    type_: Type | None = root
    for step in path.split("."):
        found = type_.field(step) if type_ is not None else None
        if found is None:
            raise UnknownField(f"{root.name} has no field {path}")
        assert type_ is not None
        type_ = _type_of(type_, found)


def field_of(root: Type, path: str) -> tuple[Type, Field] | None:
    """The field that a cut's path means in messages of this type, and the type that has it; None when there is none.
    Of a `package.Type/field` it is not looked whether such a message can be in one of these."""
    name, slash, member = path.rpartition("/")
    type_ = root.types.get(name) if slash else root
    found: tuple[Type, Field] | None = None
    for step in (member,) if slash else path.split("."):
        one = type_.field(step) if type_ is not None else None
        if one is None:
            return None
        assert type_ is not None
        found = (type_, one)
        type_ = _type_of(type_, one)
    return found


def takes_text(one: Field) -> bool:
    """Whether a cut's text can stand in for the field."""
    return one.kind is Kind.STRING and one.map_key is None


def reachable(root: Type) -> Mapping[str, Type]:
    """The types of which messages may be in a message of this one, itself too, by name."""
    found: dict[str, Type] = {}
    waiting = [root]
    while waiting:
        type_ = waiting.pop()
        if type_.name not in found:
            found[type_.name] = type_
            waiting += [below for one in type_.fields.values() if (below := _type_of(type_, one)) is not None]
    return found


def _type_of(owner: Type, one: Field) -> Type | None:
    """The message type that a field holds; None for other kinds."""
    return owner.types.get(one.type_name) if one.kind in _MESSAGES else None


class _Maker:
    """Makes sieves that share those of types without paths of their own."""

    def __init__(self, root: Type, typed: Mapping[str, Sequence[tuple[str, Cut]]]) -> None:
        self._typed = typed
        self._known: dict[str, Sieve] = {}
        self._worth: set[str] = set()
        if typed:
            # From the types that have cuts back to all that hold them, until nothing is added.
            types = reachable(root)
            holders: dict[str, set[str]] = {}
            for type_ in types.values():
                for one in type_.fields.values():
                    holders.setdefault(one.type_name, set()).add(type_.name)
            waiting = [
                name for name, cuts in typed.items() if name in types and any(types[name].field(one) for one, _ in cuts)
            ]
            while waiting:
                name = waiting.pop()
                if name not in self._worth:
                    self._worth.add(name)
                    waiting += holders.get(name, ())

    def made(self, type_: Type, paths: Iterable[tuple[Sequence[str], Cut]]) -> Sieve:
        shared = self._shared(type_)
        steps: dict[str, list[tuple[Sequence[str], Cut]]] = {}
        for path, cut in paths:
            steps.setdefault(path[0], []).append((path[1:], cut))
        if not steps:
            return shared
        own = Sieve(dict(shared.cuts), dict(shared.texts), dict(shared.below), dict(shared.fields))
        for name, rest in steps.items():
            one = type_.field(name)
            if one is None:
                continue
            ended = next((cut for path, cut in rest if not path), None)
            if ended is not None:
                _put(own, one, ended)
                continue
            below = _type_of(type_, one)
            if below is not None and not (found := self.made(below, rest)).empty:
                self._lay(own, one, found)
        return own

    def _shared(self, type_: Type) -> Sieve:
        """What is cut in any message of this type."""
        known = self._known.get(type_.name)
        if known is not None:
            return known
        made = self._known[type_.name] = Sieve()
        if type_.name not in self._worth:
            return made
        for name, cut in self._typed.get(type_.name, ()):
            one = type_.field(name)
            if one is not None:
                _put(made, one, cut)
        for one in type_.fields.values():
            below = _type_of(type_, one)
            if below is not None and below.name in self._worth and one.number not in made.cuts:
                self._lay(made, one, self._shared(below))
        return made

    @staticmethod
    def _lay(into: Sieve, one: Field, below: Sieve) -> None:
        """Have messages in this field sifted so; a map's are in field 2 of its entries."""
        into.below[one.number] = Sieve(below={2: below}) if one.map_key is not None else below


def _put(into: Sieve, one: Field, cut: Cut) -> None:
    known = into.cuts.get(one.number)
    if known is not None and (known.refuse or (known.text is None and not cut.refuse)):
        return  # the stricter of two holds
    into.cuts[one.number] = cut
    into.texts.pop(one.number, None)
    into.fields.pop(one.number, None)
    if cut.text is not None and takes_text(one):
        into.texts[one.number] = delimited(one.number, cut.text.encode())
    elif cut.why is not None:
        into.fields[one.number] = cut.why
