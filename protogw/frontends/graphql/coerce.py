"""Variables as a client sent them → values of their types, or what is wrong with them (GraphQL section 6.1.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    type_from_ast,
    value_from_ast,
)

from protogw.frontends.graphql.refusals import BAD_USER_INPUT, Location, Refused

Coerce: TypeAlias = Callable[[Any], Any]


class NotOfType(Exception):
    """A value that is not of its type; `path` leads to it, innermost step first."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path: list[str | int] = []


class Variable:
    """A variable of an operation: its name, its default if it has one, and how its value is read."""

    __slots__ = ("coerce", "default", "location", "name", "required")

    def __init__(self, node: VariableDefinitionNode, schema: GraphQLSchema, coercers: Coercers) -> None:
        self.name = node.variable.name.value
        type_: Any = type_from_ast(schema, node.type)
        self.default = value_from_ast(node.default_value, type_) if node.default_value is not None else Undefined
        self.required = isinstance(type_, GraphQLNonNull) and self.default is Undefined
        self.coerce = coercers.of(type_)
        self.location: Location | None = None
        if node.loc is not None:
            token = node.loc.start_token
            self.location = (token.line, token.column)


def variables_of(variables: tuple[Variable, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an operation's variables; those neither given nor defaulted are left out. Raises Refused."""
    found: dict[str, Any] = {}
    errors: list[dict[str, Any]] = []
    for variable in variables:
        name = variable.name
        if name in given:
            try:
                found[name] = variable.coerce(given[name])
            except NotOfType as error:
                errors.append(_entry(variable, _got(variable, error)))
            except RecursionError:
                errors.append(_entry(variable, f'Variable "${name}" is nested too deeply.'))
        elif variable.default is not Undefined:
            found[name] = variable.default
        elif variable.required:
            errors.append(_entry(variable, f'Variable "${name}" of required type was not provided.'))
    if errors:
        raise Refused(*errors)
    return found


def _got(variable: Variable, error: NotOfType) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in reversed(error.path))
    return f'Variable "${variable.name}{steps}" got an invalid value; {error.message}'


def _entry(variable: Variable, message: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"message": message}
    if variable.location is not None:
        entry["locations"] = [{"line": variable.location[0], "column": variable.location[1]}]
    entry["extensions"] = {"code": BAD_USER_INPUT}
    return entry


class Coercers:
    """How values of a schema's input types are read; made once for each type that has a name.

    What lists of them a document may declare is the client's affair, and so not kept.
    """

    def __init__(self) -> None:
        self._known: dict[str, Coerce] = {}

    def of(self, type_: GraphQLInputType) -> Coerce:
        if isinstance(type_, (GraphQLNonNull, GraphQLList)):
            return self._made(type_)
        found = self._known.get(type_.name)
        if found is None:
            found = self._known[type_.name] = self._made(type_)
        return found

    def _made(self, type_: Any) -> Coerce:
        if isinstance(type_, GraphQLNonNull):
            inner = self.of(type_.of_type)

            def given(value: Any) -> Any:
                if value is None:
                    raise NotOfType(f'Expected non-nullable type "{type_}" not to be None.')
                return inner(value)

            return given
        if isinstance(type_, GraphQLList):
            return _list(self.of(type_.of_type))
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_)
        if isinstance(type_, GraphQLEnumType):
            return _enum(type_)
        return _scalar(type_)

    def _object(self, type_: GraphQLInputObjectType) -> Coerce:
        fields: dict[str, Coerce] = {}
        required: list[str] = []
        name = type_.name

        def read(value: Any) -> Any:
            if value is None:
                return None
            if not isinstance(value, dict):
                raise NotOfType(f'Expected type "{name}" to be a mapping.')
            if not fields:
                # On first use: a type may hold itself.
                required.extend(one for one, field in type_.fields.items() if isinstance(field.type, GraphQLNonNull))
                fields.update({one: self.of(field.type) for one, field in type_.fields.items()})
            found: dict[str, Any] = {}
            for key, one in value.items():
                coerce = fields.get(key)
                if coerce is None:
                    raise NotOfType(f'Field "{key[:100]}" is not defined by type "{name}".')
                try:
                    found[key] = coerce(one)
                except NotOfType as error:
                    error.path.append(key)
                    raise
            for key in required:
                if key not in found:
                    raise NotOfType(f'Field "{key}" of required type was not provided.')
            if type_.is_one_of and (len(found) != 1 or None in found.values()):
                raise NotOfType(f'Exactly one key must be specified for OneOf type "{name}", and not be null.')
            return found

        return read


def _list(item: Coerce) -> Coerce:
    def read(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, list):
            return [item(value)]
        found = []
        for index, one in enumerate(value):
            try:
                found.append(item(one))
            except NotOfType as error:
                error.path.append(index)
                raise
        return found

    return read


def _enum(type_: GraphQLEnumType) -> Coerce:
    values = frozenset(type_.values)

    def read(value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str) or value not in values:
            raise NotOfType(f'Value {str(value)[:100]!r} does not exist in "{type_.name}" enum.')
        return value

    return read


def _scalar(type_: Any) -> Coerce:
    parse = type_.parse_value

    def read(value: Any) -> Any:
        if value is None:
            return None
        try:
            return parse(value)
        except GraphQLError as error:
            raise NotOfType(error.message[:300]) from error

    return read
