"""Compiled matching of a verb and a path against any number of templates; the cost grows with the path alone.

Precedence, segment by segment from the left: a literal, then `*` or a variable, then `**`; among templates of one
shape the verb itself, then the verb "*"; then the order given. The first in that order *that has the verb* wins: a
literal path offered under another verb does not hide a `*` route with the right one. A template's ":verb" is looked
for before the same text counts as part of a segment. Literals are compared percent-decoded and case-sensitively.

What a match finds is the caller's own: a binding, a config route. A path with faults is for wire.path_safety.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes

from protogw.wire.path_template import Template, Wildcard, decode_multi, decode_one

T = TypeVar("T")

ANY = b"*"
"""The verb of an entry that takes every verb."""


class Entry(NamedTuple, Generic[T]):
    """One template under one verb, and what a match of it finds."""

    verb: bytes
    template: Template
    found: T


class Match(Generic[T]):
    """What was found, and the values of the template's variables in their order, percent-decoded by their kind."""

    __slots__ = ("found", "values")

    def __init__(self, found: T, values: tuple[bytes, ...]) -> None:
        self.found = found
        self.values = values

    def __repr__(self) -> str:
        return f"<Match {self.found!r} {self.values!r}>"


class Allowed(NamedTuple):
    """The path is known, under other verbs: these, sorted."""

    verbs: tuple[bytes, ...]


class _Route(Generic[T]):
    """An entry made ready: which segments give its values."""

    __slots__ = ("captures", "entry", "found", "single")

    def __init__(self, entry: Entry[T]) -> None:
        self.entry = entry
        self.found = entry.found
        variables = entry.template.variables
        self.captures = tuple(
            (one.start, None if entry.template.segments[one.end - 1] is Wildcard.REST else one.end, one.multi)
            for one in variables
        )
        # The commonest template by far has one variable over one segment.
        self.single = variables[0].start if len(variables) == 1 and not variables[0].multi else -1

    def values(self, segments: Sequence[bytes]) -> tuple[bytes, ...]:
        if not self.captures:
            return ()
        return tuple(
            [
                decode_multi(b"/".join(segments[start:end])) if multi else decode_one(segments[start])
                for start, end, multi in self.captures
            ]
        )


class _Node(Generic[T]):
    """A place in the trie: what may follow, and what ends here."""

    __slots__ = ("literals", "one", "rest", "verbs")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node[T]] = {}
        self.one: _Node[T] | None = None
        self.rest: dict[bytes, _Route[T]] | None = None
        """The routes whose `**` begins here, by verb."""
        self.verbs: dict[bytes, _Route[T]] | None = None
        """The routes that end here, by verb."""


class Matcher(Generic[T]):
    """Built once, asked per request. `shadowed` lists entries that can never match and the entry that hides each."""

    def __init__(self) -> None:
        self._tries: dict[bytes, _Node[T]] = {b"": _Node()}
        self._static: dict[bytes, dict[bytes, _Route[T]]] = {}
        self.shadowed: tuple[tuple[Entry[T], Entry[T]], ...] = ()

    @staticmethod
    def build(entries: Iterable[Entry[T]]) -> Matcher[T]:
        """Compile entries, given in order of preference. HEAD is taken wherever GET is and HEAD is not."""
        matcher: Matcher[T] = Matcher()
        shadowed: list[tuple[Entry[T], Entry[T]]] = []
        ends: list[dict[bytes, _Route[T]]] = []
        for entry in entries:
            end = matcher._end_of(entry.template)
            if not end:
                ends.append(end)
            if entry.verb in end:
                shadowed.append((entry, end[entry.verb].entry))
            else:
                end[entry.verb] = _Route(entry)
        for end in ends:
            if b"GET" in end:
                end.setdefault(b"HEAD", end[b"GET"])
        matcher.shadowed = tuple(shadowed)
        return matcher

    def _end_of(self, template: Template) -> dict[bytes, _Route[T]]:
        """The routes by verb at the end of this template's way through the trie, which is laid as needed."""
        node = self._tries.setdefault(template.verb, _Node())
        for segment in template.segments:
            if segment is Wildcard.REST:
                if node.rest is None:
                    node.rest = {}
                return node.rest
            if segment is Wildcard.ONE:
                if node.one is None:
                    node.one = _Node()
                node = node.one
            else:
                node = node.literals.setdefault(segment, _Node())
        if node.verbs is None:
            node.verbs = {}
            if all(isinstance(segment, bytes) for segment in template.segments):
                # A path without variables is one look-up, as long as it comes unencoded.
                path = b"/" + b"/".join(segment for segment in template.segments if isinstance(segment, bytes))
                if b"%" not in path:
                    self._static[path + b":" + template.verb if template.verb else path] = node.verbs
        return node.verbs

    def match(self, verb: bytes, path: bytes) -> Match[T] | Allowed | None:
        """The entry for this verb and raw path; the verbs that the path is known under instead; or None."""
        ends = self._static.get(path)
        if ends is not None:
            route = ends.get(verb)
            if route is not None:
                return Match(route.found, ())
        segments = path[1:].split(b"/")
        if b"%" in path or b":" in path or len(path) < 2:
            return self._search(verb, path, [] if segments == [b""] else segments)
        # Nearly always there is one way to go at each step, and so no way back: either it leads to a route, or the
        # last `**` on it does, or nothing.
        node = self._tries[b""]
        rest: dict[bytes, _Route[T]] | None = None
        unsure = False
        for name in segments:
            if node.rest is not None:
                rest = node.rest
            following = node.literals.get(name)
            if following is None:
                following = node.one
                if following is None or not name:
                    break
            elif node.one is not None and name:
                unsure = True
            node = following
        else:
            if node.rest is not None:
                rest = node.rest
            if node.verbs is not None:
                route = node.verbs.get(verb)
                if route is None and not unsure:
                    route = node.verbs.get(ANY)
                if route is not None:
                    if route.single >= 0:
                        return Match(route.found, (segments[route.single],))
                    return Match(route.found, route.values(segments))
                unsure = True
        if not unsure:
            if rest is None:
                return None
            route = rest.get(verb) or rest.get(ANY)
            if route is not None:
                return Match(route.found, route.values(segments))
        return self._search(verb, path, [] if segments == [b""] else segments)

    def _search(self, verb: bytes, path: bytes, segments: list[bytes]) -> Match[T] | Allowed | None:
        allowed: set[bytes] = set()
        encoded = b"%" in path
        if segments and b":" in segments[-1]:
            last, _, suffix = segments[-1].rpartition(b":")
            trie = self._tries.get(unquote_to_bytes(suffix)) if suffix else None
            if trie is not None:
                found = self._walk(trie, verb, [*segments[:-1], last], encoded, allowed)
                if found is not None:
                    return found
        found = self._walk(self._tries[b""], verb, segments, encoded, allowed)
        if found is not None:
            return found
        return Allowed(tuple(sorted(allowed))) if allowed else None

    def _walk(
        self, node: _Node[T], verb: bytes, segments: list[bytes], encoded: bool, allowed: set[bytes]
    ) -> Match[T] | None:
        """Depth first, the preferred branch first; the others wait on a stack."""
        names = [unquote_to_bytes(segment) for segment in segments] if encoded else segments
        count = len(segments)
        at = 0
        later: list[tuple[_Node[T] | dict[bytes, _Route[T]], int]] = []
        while True:
            if node.rest is not None:
                later.append((node.rest, at))
            ends: dict[bytes, _Route[T]] | None = None
            if at < count:
                name = names[at]
                following = node.literals.get(name)
                one = node.one
                if one is not None and name:
                    if following is None:
                        following = one
                    else:
                        later.append((one, at + 1))
                if following is not None:
                    node = following
                    at += 1
                    continue
            else:
                ends = node.verbs
            while True:
                if ends is not None:
                    route = ends.get(verb) or ends.get(ANY)
                    if route is not None:
                        if route.single >= 0:
                            value = segments[route.single]
                            return Match(route.found, (unquote_to_bytes(value) if encoded else value,))
                        return Match(route.found, route.values(segments))
                    allowed.update(ends)
                if not later:
                    return None
                branch, at = later.pop()
                if isinstance(branch, _Node):
                    node = branch
                    break
                ends = branch
