"""One operation, ready to run: which calls it makes with which arguments, and how their replies are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from graphql import (
    ArgumentNode,
    DocumentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    Undefined,
    ValueNode,
    VariableNode,
    execute_sync,
    value_from_ast,
)

from protogw.call import Withheld
from protogw.descriptors.to_graphql_model import GraphqlOffer, Root, RootField
from protogw.errors import InvalidRequest
from protogw.frontends.graphql.arguments import Requests
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.coerce import Variable
from protogw.frontends.graphql.limits import cost_of
from protogw.frontends.graphql.projection import Shown
from protogw.frontends.graphql.refusals import BAD_USER_INPUT, Location, refused
from protogw.frontends.graphql.selections import Collector, Deferred, Group, Projections, location_of

Variables = Mapping[str, Any]

_WITHOUT = 64
"""For how many sets of rights a plan keeps how its replies are shown."""


class Asked:
    """One response name at the top that a call answers."""

    __slots__ = ("_arguments", "_build", "_without", "cost", "fixed", "key", "location", "root", "shown")

    def __init__(
        self,
        key: str,
        root: RootField,
        build: Callable[[Mapping[str, Any]], bytes],
        arguments: list[tuple[str, Callable[[Variables], Any]]] | Mapping[str, Any],
        shown: Shown,
        location: Location | None,
        cost: int = 1,
    ) -> None:
        """`arguments` are their values, or by name what works them out when they depend on variables; `cost` is what
        the field and all that is in it costs."""
        self.cost = cost
        self.key = key
        self.root = root
        self.shown = shown
        self.location = location
        self._build = build
        self._arguments = arguments if isinstance(arguments, list) else []
        self._without: dict[tuple[Withheld, ...], Shown] = {}
        self.fixed: bytes | None = None
        if isinstance(arguments, Mapping):
            try:
                self.fixed = build(arguments)
            except InvalidRequest as error:
                raise refused(BAD_USER_INPUT, error.message) from error

    def request(self, variables: Variables) -> bytes:
        """The request message; raises InvalidRequest naming the argument."""
        if self.fixed is not None:
            return self.fixed
        values: dict[str, Any] = {}
        for name, value_of in self._arguments:
            value = value_of(variables)
            if value is not Undefined:
                values[name] = value
        return self._build(values)

    def shown_without(self, withheld: tuple[Withheld, ...]) -> Shown:
        """How replies are shown that lack this."""
        found = self._without.get(withheld)
        if found is None:
            if len(self._without) >= _WITHOUT:
                self._without.clear()
            found = self._without[withheld] = self.shown.without(withheld)
        return found


class Told:
    """A response name at the top that needs no call: introspection and __typename."""

    __slots__ = ("answer", "key")

    def __init__(self, key: str, answer: Callable[[Variables], Any]) -> None:
        self.key = key
        self.answer = answer


class Plan:
    """An operation for one combination of its conditions. `later` are the fragments that the client defers."""

    __slots__ = ("entries", "later", "root", "variables")

    def __init__(
        self,
        root: Root,
        variables: tuple[Variable, ...],
        entries: tuple[Asked | Told, ...],
        later: tuple[tuple[Deferred, tuple[Asked | Told, ...]], ...],
    ) -> None:
        self.root = root
        self.variables = variables
        self.entries = entries
        self.later = later


class Planner:
    """Makes the plans of one schema."""

    def __init__(self, offer: GraphqlOffer, bound: Bound) -> None:
        self._offer = offer
        self._bound = bound
        self._requests = Requests(offer, bound)
        self._builders: dict[RootField, Callable[[Mapping[str, Any]], bytes]] = {}
        self.unions = {
            name: frozenset(one.name for one in type_.types)
            for name, type_ in offer.schema.type_map.items()
            if hasattr(type_, "types")
        }
        schema = offer.schema
        self._types = {
            "query": schema.query_type,
            "mutation": schema.mutation_type,
            "subscription": schema.subscription_type,
        }

    def plan(
        self, operation: OperationDefinitionNode, variables: tuple[Variable, ...], collector: Collector, *, defer: bool
    ) -> Plan:
        """The plan of a valid operation; fragments with @defer are part of it as any other unless `defer`."""
        root: Root = operation.operation.value
        type_: Any = self._types[root]
        deferred: dict[Deferred, dict[str, Group]] | None = {} if defer and root == "query" else None
        groups = collector.fields([operation.selection_set], type_.name, defer=deferred)
        later = tuple(
            (one, self._entries(found, operation, collector)) for one, found in (deferred or {}).items() if found
        )
        return Plan(root, variables, self._entries(groups, operation, collector), later)

    def _entries(
        self, groups: Mapping[str, Group], operation: OperationDefinitionNode, collector: Collector
    ) -> tuple[Asked | Told, ...]:
        return tuple(self._entry(key, group, operation, collector) for key, group in groups.items())

    def _entry(self, key: str, group: Group, operation: OperationDefinitionNode, collector: Collector) -> Asked | Told:
        root: Root = operation.operation.value
        type_: Any = self._types[root]
        node = group[0]
        name = node.name.value
        if name == "__typename":
            return Told(key, lambda _variables: type_.name)
        if name.startswith("__"):
            return self._introspection(key, group, collector, operation)
        field = self._offer.roots[root].get(name)
        if field is None:
            return Told(key, lambda _variables: None)
        build = self._builders.get(field)
        if build is None:
            build = self._builders[field] = self._requests.builder(field)
        projections = Projections(self._offer, self._bound, collector)
        shown = projections.reply(type_.fields[name].type, field.method.output.name, field.schema, group)
        arguments = _arguments(node.arguments or (), type_.fields[name].args)
        return Asked(key, field, build, arguments, shown, location_of(node), cost_of(group, collector.fragments))

    def _introspection(self, key: str, group: Group, collector: Collector, operation: OperationDefinitionNode) -> Told:
        """Answered by graphql-core, from the schema alone."""
        asked = OperationDefinitionNode(
            operation=operation.operation,
            variable_definitions=operation.variable_definitions,
            directives=(),
            selection_set=SelectionSetNode(selections=tuple(group)),
        )
        document = DocumentNode(definitions=(asked, *collector.fragments.values()))
        schema = self._offer.schema

        def answer(variables: Variables) -> Any:
            result = execute_sync(schema, document, variable_values=dict(variables))
            return (result.data or {}).get(key)

        if operation.variable_definitions:
            return Told(key, answer)
        known = orjson.Fragment(orjson.dumps(answer({})))
        return Told(key, lambda _variables: known)


def _arguments(
    nodes: Iterable[ArgumentNode], types: Mapping[str, Any]
) -> list[tuple[str, Callable[[Variables], Any]]] | dict[str, Any]:
    """A field's argument values, or what makes them out of variables when any depends on one."""
    nodes = tuple(nodes)
    if not any(_has_variable(node.value) for node in nodes):
        return {node.name.value: value_from_ast(node.value, types[node.name.value].type) for node in nodes}
    return [(node.name.value, _value_of(node.value, types[node.name.value].type)) for node in nodes]


def _value_of(node: ValueNode, type_: Any) -> Callable[[Variables], Any]:
    if isinstance(node, VariableNode):
        name = node.name.value
        return lambda variables: variables.get(name, Undefined)
    if _has_variable(node):
        return lambda variables: value_from_ast(node, type_, dict(variables))
    value = value_from_ast(node, type_)
    return lambda _variables: value


def _has_variable(node: ValueNode) -> bool:
    waiting: list[Any] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, VariableNode):
            return True
        waiting.extend(getattr(one, "values", None) or ())
        waiting.extend(field.value for field in getattr(one, "fields", None) or ())
    return False
