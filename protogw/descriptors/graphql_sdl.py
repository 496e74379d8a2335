"""GraphQL's schema language → what it says. Pure: reads text, not files.

Extensions are merged into what they extend, also where that is elsewhere (a federated subgraph extends what it does not
define). Directives that are not GraphQL's own say nothing to callers and are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from graphql import GraphQLError, parse, print_ast
from graphql.language import ast

from protogw.descriptors.graphql_binding import Ref
from protogw.descriptors.graphql_model import (
    BUILT_IN,
    MOST_LISTS,
    Document,
    EnumValue,
    InputValue,
    Named,
    OutputField,
    Sort,
)
from protogw.descriptors.model import SchemaError

MAX_BYTES = 32 << 20
MAX_TOKENS = 4_000_000

_SORTS: Mapping[type[ast.Node], Sort] = {
    ast.ScalarTypeDefinitionNode: Sort.SCALAR,
    ast.ScalarTypeExtensionNode: Sort.SCALAR,
    ast.ObjectTypeDefinitionNode: Sort.OBJECT,
    ast.ObjectTypeExtensionNode: Sort.OBJECT,
    ast.InterfaceTypeDefinitionNode: Sort.INTERFACE,
    ast.InterfaceTypeExtensionNode: Sort.INTERFACE,
    ast.UnionTypeDefinitionNode: Sort.UNION,
    ast.UnionTypeExtensionNode: Sort.UNION,
    ast.EnumTypeDefinitionNode: Sort.ENUM,
    ast.EnumTypeExtensionNode: Sort.ENUM,
    ast.InputObjectTypeDefinitionNode: Sort.INPUT,
    ast.InputObjectTypeExtensionNode: Sort.INPUT,
}

_Member = TypeVar("_Member", InputValue, OutputField, EnumValue)


def read_sdl(sources: Sequence[tuple[str, str]]) -> Document:
    """The schema that these texts, each with the name of its file, describe together.

    Raises SchemaError with every fault, each with its file, line and column.
    """
    reader = _Reader()
    for name, text in sources:
        reader.file(name, text)
    return reader.document()


class _Reader:
    def __init__(self) -> None:
        self._types: dict[str, Named] = {}
        self._extends: list[Named] = []
        self._implements: dict[str, list[str]] = {}
        self._roots: dict[str, str] = {}
        self._schema_at = ""
        self._faults: list[str] = []
        self._file = ""

    def file(self, name: str, text: str) -> None:
        self._file = name
        if len(text) > MAX_BYTES:
            raise SchemaError(f"{name}: more than {MAX_BYTES} bytes")
        try:
            parsed = parse(text, max_tokens=MAX_TOKENS)
        except GraphQLError as error:
            line, column = error.locations[0] if error.locations else (1, 1)
            raise SchemaError(f"{name}:{line}:{column}: {error.message}") from error
        for node in parsed.definitions:
            self._definition(node)

    def _definition(self, node: ast.Node) -> None:
        sort = _SORTS.get(type(node))
        if sort is not None:
            self._type(sort, node)
        elif isinstance(node, (ast.SchemaDefinitionNode, ast.SchemaExtensionNode)):
            self._schema(node)
        elif not isinstance(node, ast.DirectiveDefinitionNode):
            self._fault(node, "an operation in a schema: it holds definitions of types only")

    def _place(self, node: ast.Node) -> str:
        token = node.loc.start_token if node.loc is not None else None
        return f"{self._file}:{token.line}:{token.column}" if token is not None else self._file

    def _fault(self, node: ast.Node, message: str) -> None:
        self._faults.append(f"{self._place(node)}: {message}")

    def _schema(self, node: ast.SchemaDefinitionNode | ast.SchemaExtensionNode) -> None:
        if isinstance(node, ast.SchemaDefinitionNode):
            if self._schema_at:
                self._fault(node, f"the schema is defined in {self._schema_at} too")
            self._schema_at = self._place(node)
        for operation in node.operation_types or ():
            self._roots[operation.operation.value] = operation.type.name.value

    def _type(self, sort: Sort, node: Any) -> None:
        name: str = node.name.value
        if name.startswith("__"):
            return
        made = Named(
            sort=sort,
            name=name,
            place=self._place(node),
            doc=_doc(node),
            fields=self._unique(name, self._fields(node)) if sort in (Sort.OBJECT, Sort.INTERFACE) else (),
            inputs=self._unique(name, self._inputs(node.fields)) if sort is Sort.INPUT else (),
            values=self._unique(name, self._values(node)) if sort is Sort.ENUM else (),
            possible=tuple(one.name.value for one in node.types or ()) if sort is Sort.UNION else (),
            one_of=sort is Sort.INPUT and _has(node, "oneOf"),
        )
        for one in getattr(node, "interfaces", None) or ():
            self._implements.setdefault(one.name.value, []).append(name)
        if isinstance(node, ast.TypeExtensionNode) or type(node).__name__.endswith("ExtensionNode"):
            self._extends.append(made)
            return
        known = self._types.get(name)
        if known is not None:
            self._fault(node, f"{name} is defined in {known.place} too")
        elif name in BUILT_IN:
            if sort is not Sort.SCALAR:
                self._fault(node, f"{name} is GraphQL's own scalar")
        else:
            self._types[name] = made

    def _unique(self, owner: str, members: Iterable[tuple[ast.Node, _Member]]) -> tuple[_Member, ...]:
        found: dict[str, _Member] = {}
        for node, one in members:
            if one.name in found:
                self._fault(node, f"{owner}.{one.name} is defined twice")
            found.setdefault(one.name, one)
        return tuple(found.values())

    def _fields(self, node: Any) -> Iterable[tuple[ast.Node, OutputField]]:
        for one in node.fields or ():
            made = OutputField(
                name=one.name.value,
                type=self._ref(one.type),
                arguments=self._unique(one.name.value, self._inputs(one.arguments)),
                doc=_doc(one),
                deprecated=_has(one, "deprecated"),
            )
            yield one, made

    def _inputs(self, nodes: Iterable[ast.InputValueDefinitionNode] | None) -> Iterable[tuple[ast.Node, InputValue]]:
        for one in nodes or ():
            made = InputValue(
                name=one.name.value,
                type=self._ref(one.type),
                default=print_ast(one.default_value) if one.default_value is not None else None,
                doc=_doc(one),
                deprecated=_has(one, "deprecated"),
            )
            yield one, made

    @staticmethod
    def _values(node: Any) -> Iterable[tuple[ast.Node, EnumValue]]:
        for one in node.values or ():
            yield one, EnumValue(name=one.name.value, doc=_doc(one), deprecated=_has(one, "deprecated"))

    def _ref(self, node: ast.TypeNode) -> Ref:
        """Built from the inside out, so that depth costs no stack."""
        wraps: list[tuple[bool, bool]] = []
        here: ast.Node = node
        while True:
            required = isinstance(here, ast.NonNullTypeNode)
            if isinstance(here, ast.NonNullTypeNode):
                here = here.type
            if isinstance(here, ast.ListTypeNode):
                wraps.append((True, required))
                here = here.type
                continue
            assert isinstance(here, ast.NamedTypeNode)
            found = Ref(here.name.value, required=required)
            break
        if len(wraps) > MOST_LISTS:
            self._fault(node, f"a list in more than {MOST_LISTS} lists")
            del wraps[MOST_LISTS:]
        for _, required in reversed(wraps):
            found = Ref(item=found, required=required)
        return found

    def document(self) -> Document:
        """All of it, extensions merged. Raises SchemaError with the faults so far."""
        for extension in self._extends:
            known = self._types.get(extension.name)
            if known is None:
                if extension.name not in BUILT_IN:
                    self._types[extension.name] = extension
            elif known.sort is not extension.sort:
                self._faults.append(
                    f"{extension.place}: {known.name} is no {extension.sort.value}, but a {known.sort.value}"
                )
            else:
                self._types[extension.name] = self._merged(known, extension)
        for name, members in self._implements.items():
            known = self._types.get(name)
            if known is None or known.sort is not Sort.INTERFACE:
                place = self._types[members[0]].place if members[0] in self._types else name
                self._faults.append(f"{place}: {members[0]} implements {name}, which is no interface")
                continue
            objects = [one for one in dict.fromkeys(members) if self._types[one].sort is Sort.OBJECT]
            self._types[name] = replace(known, possible=tuple(objects))
        if self._faults:
            raise SchemaError(*self._faults)
        roots = dict(self._roots)
        if not self._schema_at:
            for operation, name in (("query", "Query"), ("mutation", "Mutation"), ("subscription", "Subscription")):
                if name in self._types:
                    roots.setdefault(operation, name)
        return Document(
            types=self._types,
            query=roots.get("query", ""),
            mutation=roots.get("mutation", ""),
            subscription=roots.get("subscription", ""),
        )

    def _merged(self, known: Named, extension: Named) -> Named:
        names = {one.name for members in (known.fields, known.inputs, known.values) for one in members}
        for members in (extension.fields, extension.inputs, extension.values):
            self._faults += [
                f"{extension.place}: {known.name}.{one.name} is defined twice" for one in members if one.name in names
            ]
        return replace(
            known,
            doc=known.doc or extension.doc,
            fields=known.fields + extension.fields,
            inputs=known.inputs + extension.inputs,
            values=known.values + extension.values,
            possible=tuple(dict.fromkeys(known.possible + extension.possible)),
            one_of=known.one_of or extension.one_of,
        )


def _doc(node: Any) -> str:
    described = getattr(node, "description", None)
    return described.value.strip() if described is not None else ""


def _has(node: Any, directive: str) -> bool:
    return any(one.name.value == directive for one in node.directives or ())
