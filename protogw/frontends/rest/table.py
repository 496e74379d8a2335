"""All bindings of one catalog, compiled, and what a request's head finds there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import HttpRule, Method
from protogw.frontends.rest.bindings import Binding, BindingFault
from protogw.routing.matcher import Allowed, Entry, Match, Matcher
from protogw.wire.path_template import TemplateError, parse

if TYPE_CHECKING:
    from protogw.frontends.rest.head import Facts


class Prepared:
    """What a request's head alone decides; kept in its memo, so that equal heads on one connection share it."""

    __slots__ = ("bound", "derive_mask", "facts", "found", "table", "values")

    def __init__(self, table: Table, found: Binding | Allowed, values: tuple[bytes, ...]) -> None:
        self.table = table
        self.found = found
        self.values = values
        self.facts: Facts | None = None
        """Set once the rest of the head has been read without a fault, together with what follows."""
        self.bound = b""
        """The fields that query and path give."""
        self.derive_mask = True
        """The query has no field mask of its own; only bindings with a `mask_field` ask."""


class Table:
    """`bindings` are those that requests can reach; `faults` are rules that cannot be served or never match, each with
    the reason."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        ignore_unknown: bool,
        empty_is_204: bool,
        hidden: frozenset[bytes] = frozenset(),
    ) -> None:
        self.catalog = catalog
        self.faults: list[str] = []
        self._ignore_unknown = ignore_unknown
        self._empty_is_204 = empty_is_204
        self._hidden = hidden
        methods = [method for service in catalog.services.values() for method in service.methods.values()]
        entries = [entry for method in methods for entry in self._entries(method)]
        self._matcher = Matcher.build(entries)
        shadowed = {id(one.found) for one, _ in self._matcher.shadowed}
        self.bindings = tuple(entry.found for entry in entries if id(entry.found) not in shadowed)
        for one, by in self._matcher.shadowed:
            self.faults.append(
                f"{_described(one)} never matches: {_described(by)} has the same path and verb and comes first"
            )

    def _entries(self, method: Method) -> Iterator[Entry[Binding]]:
        schema = self.catalog.schemas[method.service]
        for rule in method.http or (HttpRule(verb="POST", template=method.path.decode(), body="*"),):
            try:
                template = parse(rule.template)
                binding = Binding(
                    method,
                    rule,
                    template,
                    schema,
                    ignore_unknown=self._ignore_unknown,
                    empty_is_204=self._empty_is_204,
                    hidden=self._hidden,
                    is_default=not method.http,
                )
            except (TemplateError, BindingFault) as fault:
                self.faults.append(f"{method.full_name}: {rule.verb} {rule.template}: {fault}")
            else:
                yield Entry(rule.verb.encode(), template, binding)

    def find(self, verb: bytes, path: bytes) -> Prepared | None:
        """The binding, or the verbs that the path has instead; None for an unknown path."""
        found = self._matcher.match(verb, path)
        if isinstance(found, Match):
            return Prepared(self, found.found, found.values)
        return Prepared(self, found, ()) if found is not None else None


def _described(entry: Entry[Binding]) -> str:
    return f"{entry.verb.decode()} {entry.template} ({entry.found.method.full_name})"
