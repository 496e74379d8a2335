"""Whether a GraphQL result is what the schema promises: compiled once for a document, walked once for each result.

A service that sends null where it may not, or leaves out what was asked for, must not look like success to a caller
whose own format has no word for "missing".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from protogw.descriptors.graphql_binding import Leaf
from protogw.errors import BadUpstream

_INT_MOST = (1 << 31) - 1


class Misfit(Exception):
    """A value that is not what was promised; `path` is completed on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.path: list[str] = []

    def error(self, root: str) -> BadUpstream:
        return BadUpstream(f"the upstream's result: {root}{''.join(self.path)} {self}")


class Check(Protocol):
    """One place of the result."""

    def __call__(self, value: Any) -> None:
        """Raises Misfit. A value under an alias is moved to its own name."""
        ...


class LeafCheck:
    """A scalar or an enum's value. `fits` are the classes of values that need no further look."""

    __slots__ = ("_leaf", "_required", "_types", "fits")

    _TYPES: Mapping[Leaf, tuple[type, ...]] = {
        Leaf.STRING: (str,),
        Leaf.ENUM: (str,),
        Leaf.INT: (int,),
        Leaf.LONG: (int,),
        Leaf.FLOAT: (float, int),
        Leaf.BOOLEAN: (bool,),
        Leaf.ANY: (dict, list, str, int, float, bool),
    }

    def __init__(self, leaf: Leaf, required: bool) -> None:
        self._leaf = leaf
        self._types = self._TYPES[leaf]
        self._required = required
        absent = () if required else (type(None),)
        self.fits = frozenset((*(() if leaf is Leaf.INT else self._types), *absent))

    def __call__(self, value: Any) -> None:
        if value is None:
            if self._required:
                raise Misfit("is null, which it may not be")
            return
        # By class and not by isinstance: true is no integer here.
        kind: type = value.__class__
        if kind not in self._types or (self._leaf is Leaf.INT and not -_INT_MOST - 1 <= value <= _INT_MOST):
            raise Misfit(f"is not {self._leaf.value}")


_NOTHING: frozenset[type] = frozenset()


def _fits(check: Check) -> frozenset[type]:
    """The classes of values that a check need not be asked about: most of a result are leaves, and a call for each of
    them would cost more than all else."""
    return check.fits if isinstance(check, LeafCheck) else _NOTHING


class ListCheck:
    __slots__ = ("_fits", "_item", "_required")

    def __init__(self, item: Check, required: bool) -> None:
        self._item = item
        self._fits = _fits(item)
        self._required = required

    def __call__(self, value: Any) -> None:
        if value is None and not self._required:
            return
        if value.__class__ is not list:
            raise Misfit("is null, which it may not be" if value is None else "is not a list")
        item, fits = self._item, self._fits
        n = 0
        try:
            for one in value:
                if one.__class__ not in fits:
                    item(one)
                n += 1
        except Misfit as misfit:
            misfit.path.insert(0, f"[{n}]")
            raise


class ObjectCheck:
    """An object of a known type. `aliases` are the keys that came under another name than their field's."""

    __slots__ = ("_aliases", "_members", "_required")

    def __init__(self, members: tuple[tuple[str, Check], ...], aliases: Mapping[str, str], required: bool) -> None:
        self._members = tuple((key, _fits(check), check) for key, check in members)
        self._aliases = tuple(aliases.items())
        self._required = required

    def __call__(self, value: Any) -> None:
        if value is None and not self._required:
            return
        if value.__class__ is not dict:
            raise Misfit("is null, which it may not be" if value is None else "is not an object")
        key = ""
        try:
            for key, fits, check in self._members:
                if value[key].__class__ not in fits:
                    check(value[key])
        except KeyError:
            raise Misfit(f"has no {key}, which was asked for") from None
        except Misfit as misfit:
            misfit.path.insert(0, f".{key}")
            raise
        for alias, name in self._aliases:
            value[name] = value.pop(alias)


class AbstractCheck:
    """An object whose `__typename` says which of several it is."""

    __slots__ = ("_branches", "_required")

    def __init__(self, branches: Mapping[str, ObjectCheck], required: bool) -> None:
        self._branches = branches
        self._required = required

    def __call__(self, value: Any) -> None:
        if value is None and not self._required:
            return
        if value.__class__ is not dict:
            raise Misfit("is null, which it may not be" if value is None else "is not an object")
        name = value.get("__typename")
        branch = self._branches.get(name) if name.__class__ is str else None
        if branch is None:
            raise Misfit(f"has a __typename that it cannot be: {str(name)[:100]!r}")
        branch(value)
