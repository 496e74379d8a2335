"""A GraphQL schema for everything that a catalog offers, and its SDL.

Unary methods without side effects are fields of Query, other unary methods of Mutation, server streams of Subscription.
The fields of a request are the arguments; docs/graphql.md says how each kind of value is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLDeferDirective,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLStreamDirective,
    print_schema,
    specified_directives,
)

from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import GATEWAY_OWN
from protogw.descriptors.model import Idempotency, Method, Schema
from protogw.descriptors.to_graphql_model import ROOTS, Exposure, GraphqlOffer, GraphqlOptions, Root, RootField
from protogw.descriptors.to_graphql_names import allocate, graphql_name, lower_camel, upper_camel
from protogw.descriptors.to_graphql_types import DEPRECATED, Types
from protogw.descriptors.to_graphql_variants import Variants

_READS = re.compile(r"(?:Get|List|Search|BatchGet)(?![a-z])")
NO_REQUEST_STREAMS = "GraphQL has no way to stream a request"
_TYPE_NAMES: Mapping[Root, str] = {"query": "Query", "mutation": "Mutation", "subscription": "Subscription"}


def is_safe(method: Method) -> bool:
    """Whether calling the method changes nothing: as its schema says, else by its HTTP verb, else by its name."""
    if method.idempotency is not Idempotency.UNKNOWN:
        return method.idempotency is Idempotency.NO_SIDE_EFFECTS
    rules = method.annotated
    if rules:
        return any(rule.verb in ("GET", "HEAD") for rule in rules)
    return _READS.match(method.name) is not None


def root_of(method: Method, chosen: Exposure | None) -> Root | None:
    """The root type whose field calls the method; None when none does."""
    root = chosen.root if chosen is not None else None
    if method.client_streaming or root == "none":
        return None
    if method.server_streaming:
        return "subscription"
    return root or ("query" if is_safe(method) else "mutation")


def offers_any(catalog: Catalog) -> bool:
    """Whether there is anything that GraphQL could call."""
    return any(not method.client_streaming for method, _ in _methods(catalog))


def to_graphql(catalog: Catalog, options: GraphqlOptions) -> GraphqlOffer:
    """The schema of this catalog; the gateway's own services (health, reflection) are not in it."""
    faults: list[str] = []
    left_out: dict[str, str] = {}
    roots: dict[Root, list[tuple[Method, Schema]]] = {root: [] for root in ROOTS}
    types = Types(options, Variants([schema for _, schema in _methods(catalog)]), catalog.withheld)
    for method, schema in _methods(catalog):
        chosen = options.chosen.get(method.full_name)
        root = root_of(method, chosen)
        if root is None:
            if method.client_streaming:
                left_out[lower_camel(method.name)] = f"{method.full_name}: {NO_REQUEST_STREAMS}"
            continue
        roots[root].append((method, schema))
        types.reach_output(method.output, schema)
        types.reach_input(method.input, schema)
    types.name()
    fields: dict[Root, dict[str, RootField]] = {}
    made: dict[Root, GraphQLObjectType] = {}
    for root, methods in roots.items():
        names = _named(methods, options, faults)
        fields[root] = {}
        shown: dict[str, GraphQLField] = {}
        for method, schema in methods:
            if (name := names.get(method)) is None:
                continue
            arguments, members = types.arguments(method.input, schema)
            fields[root][name] = RootField(name=name, root=root, method=method, schema=schema, arguments=members)
            shown[name] = GraphQLField(
                types.output(method.output, schema),
                args=arguments,
                description=method.doc or None,
                deprecation_reason=DEPRECATED if method.deprecated else None,
            )
        if not shown and root == "query":
            # A schema without a query is none.
            shown["_"] = GraphQLField(GraphQLBoolean, description="There is nothing to query here.")
        if shown:
            made[root] = GraphQLObjectType(_TYPE_NAMES[root], shown)
    return GraphqlOffer(
        schema=GraphQLSchema(
            query=made["query"],
            mutation=made.get("mutation"),
            subscription=made.get("subscription"),
            directives=(*specified_directives, GraphQLDeferDirective, GraphQLStreamDirective),
        ),
        roots=fields,
        structures=types.structures,
        enums=types.enums,
        faults=(*faults, *types.faults),
        left_out=left_out,
    )


def sdl(offer: GraphqlOffer) -> str:
    """The schema as text."""
    return print_schema(offer.schema) + "\n"


def _methods(catalog: Catalog) -> Iterator[tuple[Method, Schema]]:
    for service in catalog.services.values():
        if service.name not in GATEWAY_OWN:
            for method in service.methods.values():
                yield method, catalog.schemas[service.name]


def _named(methods: list[tuple[Method, Any]], options: GraphqlOptions, faults: list[str]) -> dict[Method, str]:
    """The root fields' names: the config's, then the methods' own, with as much before them as tells them apart."""
    fixed: dict[str, Method] = {}
    wishes: dict[Method, tuple[str, ...]] = {}
    for method, _ in methods:
        chosen = options.chosen.get(method.full_name)
        if chosen is None or chosen.field is None:
            wishes[method] = _wishes(method, options)
        elif chosen.field in fixed:
            faults.append(f"{method.full_name}: {fixed[chosen.field].full_name} already has the name {chosen.field}")
        else:
            fixed[chosen.field] = method
    names, clashed = allocate(wishes, fixed)
    faults.extend(
        f"{method.full_name}: another method has the field {wishes[method][0]}, so its own is {name}"
        for method, name in clashed
    )
    names.update((method, name) for name, method in fixed.items())
    return names


def _wishes(method: Method, options: GraphqlOptions) -> tuple[str, ...]:
    package, _, service = method.service.rpartition(".")
    name = upper_camel(method.name)
    wishes = (
        lower_camel(method.name),
        lower_camel(upper_camel(service) + name),
        lower_camel(upper_camel(graphql_name(package)) + upper_camel(service) + name),
    )
    return wishes[{"none": 0, "service": 1, "package": 2}[options.prefix] :]
