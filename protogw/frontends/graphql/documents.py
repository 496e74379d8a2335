"""Documents: parsed, held to the limits, validated, and kept with the plans of their operations, within bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    parse,
    specified_rules,
    validate,
    visit,
)

from protogw.descriptors.to_graphql_model import GraphqlOffer
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.coerce import Coercers, Variable, variables_of
from protogw.frontends.graphql.limits import DEPTH, TOKENS, Limiter, over
from protogw.frontends.graphql.plan import Plan, Planner
from protogw.frontends.graphql.refusals import (
    NO_OPERATION,
    PARSE_FAILED,
    VALIDATION_FAILED,
    not_offered,
    of_graphql,
    refused,
)
from protogw.frontends.graphql.selections import Collector, condition_variables
from protogw.frontends.graphql.settings import GraphqlSettings

MAX_ERRORS = 10
"""Of one document's faults, the first are told."""
MAX_PLANS = 16
"""Plans kept of one operation: there is one for each combination of its conditions."""


class Operation:
    """One operation of a valid document, and its plans."""

    __slots__ = (
        "_conditions",
        "_fragments",
        "_names",
        "_node",
        "_planner",
        "_plans",
        "_schema",
        "name",
        "root",
        "variables",
    )

    def __init__(self, node: OperationDefinitionNode, document: Document, planner: Planner, coercers: Coercers) -> None:
        self.root = node.operation.value
        self.name = node.name.value if node.name is not None else ""
        self.variables = tuple(Variable(one, document.schema, coercers) for one in node.variable_definitions or ())
        self._node = node
        self._schema = document.schema
        self._names: frozenset[str] | None = None
        self._planner = planner
        fragments = document.fragments
        sets = (node.selection_set, *(one.selection_set for one in fragments.values()))
        used = frozenset(condition_variables(sets))
        self._conditions = tuple(one.name for one in self.variables if one.name in used)
        self._fragments = fragments
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def plan(self, variables: Mapping[str, Any], *, defer: bool) -> Plan:
        """The plan for these variables' conditions."""
        key = (defer, *[variables.get(name) for name in self._conditions])
        found = self._plans.get(key)
        if found is None:
            flags = {name: variables[name] for name in self._conditions if name in variables}
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            collector = Collector(self._fragments, flags, self._planner.unions)
            found = self._planner.plan(self._node, self.variables, collector, defer=defer)
            self._plans[key] = found
        return found

    def names(self) -> frozenset[str]:
        """The fields that it asks for, each as `Type.field`; for those who count them."""
        if self._names is None:
            info = TypeInfo(self._schema)
            asked = _Asked(info)
            for node in (self._node, *self._fragments.values()):
                visit(node, TypeInfoVisitor(info, asked))
            self._names = frozenset(asked.found)
        return self._names

    def read(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The values of its variables; raises Refused."""
        return variables_of(self.variables, given or {}) if self.variables else {}


class _Asked(Visitor):
    """Collects the fields that a document asks for, with the types that they are of."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._info = info

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        of = self._info.get_parent_type()
        if of is not None:
            self.found.add(f"{of.name}.{node.name.value}")


class Document:
    """A valid document."""

    __slots__ = ("_only", "_operations", "fragments", "schema", "text")

    def __init__(
        self, text: str, ast: DocumentNode, schema: GraphQLSchema, planner: Planner, coercers: Coercers
    ) -> None:
        self.text = text
        self.schema = schema
        self.fragments = {one.name.value: one for one in ast.definitions if isinstance(one, FragmentDefinitionNode)}
        self._operations = {
            one.name.value if one.name is not None else "": Operation(one, self, planner, coercers)
            for one in ast.definitions
            if isinstance(one, OperationDefinitionNode)
        }
        self._only = next(iter(self._operations.values())) if len(self._operations) == 1 else None

    def operation(self, name: str | None) -> Operation:
        """The operation of this name, or the only one; raises Refused."""
        if not name:
            if self._only is None:
                what = "several operations: say which by operationName" if self._operations else "no operation"
                raise refused(NO_OPERATION, f"the document has {what}")
            return self._only
        found = self._operations.get(name)
        if found is None:
            raise refused(NO_OPERATION, f'the document has no operation "{name[:100]}"')
        return found


class Documents:
    """The documents of one schema. Kept are those last used, up to a total length of text."""

    def __init__(self, offer: GraphqlOffer, bound: Bound, settings: GraphqlSettings) -> None:
        self.offer = offer
        self._settings = settings
        self._planner = Planner(offer, bound)
        self._coercers = Coercers()
        self._known: dict[str, Document] = {}
        self._kept = 0
        rules = specified_rules
        self._rules = (*rules, NoSchemaIntrospectionCustomRule) if not settings.introspection else rules

    def of(self, text: str) -> Document:
        """The document of this text; raises Refused with every reason that is found."""
        known = self._known
        found = known.get(text)
        if found is None:
            found = self._made(text)
            self._keep(text, found)
        elif len(known) > 1:
            # Used last, so pushed out last.
            del known[text]
            known[text] = found
        return found

    def _keep(self, text: str, document: Document) -> None:
        room = self._settings.cache
        if len(text) > room:
            return
        self._known[text] = document
        self._kept += len(text)
        while self._kept > room:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._kept -= len(oldest)

    def _made(self, text: str) -> Document:
        limits = self._settings.limits
        if len(text) > limits.document:
            raise over(TOKENS, f"{len(text)} characters", limits.document)
        try:
            ast = parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.tokens)
        except GraphQLSyntaxError as error:
            if "deeply" in error.message:
                raise over(DEPTH, "more depth than can be parsed", limits.depth) from error
            if "Parsing aborted" in error.message:
                raise over(TOKENS, "more tokens or comments", limits.tokens) from error
            raise of_graphql(PARSE_FAILED, [error]) from error
        Limiter(ast, limits).check()
        schema = self.offer.schema
        errors = validate(
            schema, ast, self._rules, max_errors=MAX_ERRORS, hide_suggestions=not self._settings.introspection
        )
        if errors:
            self._refuse_left_out(ast)
            raise of_graphql(VALIDATION_FAILED, errors)
        return Document(text, ast, schema, self._planner, self._coercers)

    def _refuse_left_out(self, ast: DocumentNode) -> None:
        """Say why there is no such field, where it would be that of a method which GraphQL cannot call."""
        for one in ast.definitions:
            if isinstance(one, OperationDefinitionNode):
                for selection in one.selection_set.selections:
                    if isinstance(selection, FieldNode) and (why := self.offer.left_out.get(selection.name.value)):
                        raise not_offered(why)


class Hashes:
    """Automatic Persisted Queries: the texts that clients sent with their hash, up to a total length."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept = 0
        self._texts: dict[str, str] = {}

    def get(self, digest: str) -> str | None:
        return self._texts.get(digest)

    def keep(self, digest: str, text: str) -> bool:
        """Take in a text by its hash; False when it is not the text's."""
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            return False
        if digest not in self._texts and len(text) <= self._room:
            self._texts[digest] = text
            self._kept += len(text)
            while self._kept > self._room:
                oldest = next(iter(self._texts))
                self._kept -= len(self._texts.pop(oldest))
        return True
