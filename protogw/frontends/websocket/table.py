"""Under which paths methods are offered to sockets: compiled once for each catalog."""

from __future__ import annotations

from collections.abc import Iterator

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Method, SocketRule
from protogw.errors import InvalidRequest
from protogw.frontends.path_fields import PathFields
from protogw.frontends.query import QueryMap
from protogw.routing.matcher import ANY, Entry, Match, Matcher
from protogw.wire.path_template import Template, TemplateError, parse


class Binding:
    """A method under one path. `starts` says that its call begins with the socket, out of path and query alone."""

    __slots__ = ("_path", "_query", "method", "rule", "starts", "streams", "template")

    def __init__(self, method: Method, rule: SocketRule, template: Template, catalog: Catalog) -> None:
        """Raises PathFault when the path gives what the request does not have."""
        schema = catalog.schemas[method.service]
        self.method = method
        self.rule = rule
        self.template = template
        self._path = PathFields(method.input, template, schema)
        self._query = QueryMap(method.input, schema, self._path.names, ignore_unknown=False)
        self.streams = method.client_streaming or rule.many
        """The client may send any number of messages."""
        self.starts = not self.streams and (bool(template.variables) if rule.starts is None else rule.starts)

    def bound(self, values: tuple[bytes, ...], query: bytes) -> bytes:
        """The fields that path and query give; raises InvalidRequest naming the one that does not fit."""
        fields = self._query.encode(query) if query else b""
        return fields + self._path.encode(values) if values else fields

    def __repr__(self) -> str:
        return f"<Binding {self.template} → {self.method.full_name}>"


class Prepared:
    """What a head's path has found, for as long as the catalog is offered."""

    __slots__ = ("binding", "table", "values")

    def __init__(self, table: Table, binding: Binding | None, values: tuple[bytes, ...]) -> None:
        self.table = table
        self.binding = binding
        """None for a session."""
        self.values = values


class Table:
    """`bindings` are those that a socket can reach; `faults` are rules that cannot be served or never match, each with
    the reason."""

    def __init__(self, catalog: Catalog, sessions: str | None) -> None:
        self.catalog = catalog
        self.faults: list[str] = []
        self._sessions = sessions.encode() if sessions is not None else None
        methods = [method for service in catalog.services.values() for method in service.methods.values()]
        entries = [entry for method in methods for entry in self._entries(method)]
        self._matcher = Matcher.build(entries)
        hidden_ones = {id(hidden.found) for hidden, _ in self._matcher.shadowed}
        self.bindings = tuple(entry.found for entry in entries if id(entry.found) not in hidden_ones)
        for hidden, by in self._matcher.shadowed:
            self.faults.append(
                f"socket {hidden.template} ({hidden.found.method.full_name}) never matches: "
                f"{by.template} ({by.found.method.full_name}) has the same path and comes first"
            )

    def _entries(self, method: Method) -> Iterator[Entry[Binding]]:
        own = SocketRule(template=method.path.decode())
        for rule in (*method.sockets, own):
            try:
                template = parse(rule.template)
                binding = Binding(method, rule, template, self.catalog)
            except (TemplateError, ValueError) as fault:
                self.faults.append(f"{method.full_name}: socket {rule.template}: {fault}")
            else:
                yield Entry(ANY, template, binding)

    def find(self, path: bytes) -> Prepared | None:
        """What is offered to sockets at a path."""
        if path == self._sessions:
            return Prepared(self, None, ())
        found = self._matcher.match(ANY, path)
        if isinstance(found, Match):
            return Prepared(self, found.found, found.values)
        return None


def refuse_query(query: bytes) -> None:
    """Raises InvalidRequest: a session has no request that a query could fill."""
    if query:
        raise InvalidRequest("query: a session takes no parameters but access_token")
