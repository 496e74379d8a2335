"""Selection sets → projections: fields collected and merged as the specification says, conditions already decided.

@skip and @include depend on variables alone, so a plan is made for each combination of their values that is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)

from protogw.descriptors.model import Field, Kind
from protogw.descriptors.to_graphql_model import GraphqlOffer, Member, Part, Structure
from protogw.frontends.graphql import leaves
from protogw.frontends.graphql.bound import Bound
from protogw.frontends.graphql.projection import (
    Items,
    Leaf,
    Object,
    OneOf,
    Read,
    Shown,
    ShownField,
    constant,
    entries,
    field,
    oneof,
    same,
)
from protogw.frontends.graphql.refusals import Location

_MESSAGES = (Kind.MESSAGE, Kind.GROUP)
_SAME = Leaf(same)


class Deferred:
    """A fragment that the client takes later; `label` is its own name for it."""

    __slots__ = ("label",)

    def __init__(self, label: str | None) -> None:
        self.label = label


Group = list[FieldNode]
Fragments = Mapping[str, FragmentDefinitionNode]


class Collector:
    """Collects the fields of selection sets; `flags` are the values of the variables that conditions name."""

    def __init__(self, fragments: Fragments, flags: Mapping[str, Any], unions: Mapping[str, frozenset[str]]) -> None:
        """`unions` are the members of the schema's unions."""
        self.fragments = fragments
        self._flags = flags
        self._unions = unions

    def fields(
        self, sets: Iterable[SelectionSetNode], type_name: str, *, defer: dict[Deferred, dict[str, Group]] | None = None
    ) -> dict[str, Group]:
        """The fields by response name, in order; with `defer`, those of deferred fragments go there."""
        found: dict[str, Group] = {}
        visited: set[str] = set()
        for one in sets:
            self._collect(one.selections, type_name, found, visited, defer)
        return found

    def _collect(
        self,
        selections: Iterable[SelectionNode],
        type_name: str,
        into: dict[str, Group],
        visited: set[str],
        defer: dict[Deferred, dict[str, Group]] | None,
    ) -> None:
        for selection in selections:
            if not self._included(selection):
                continue
            if isinstance(selection, FieldNode):
                name = (selection.alias or selection.name).value
                into.setdefault(name, []).append(selection)
                continue
            deferred = self._deferred(selection) if defer is not None else None
            if isinstance(selection, InlineFragmentNode):
                condition, below = selection.type_condition, selection.selection_set
            else:
                name = selection.name.value  # type: ignore[attr-defined]
                if name in visited and deferred is None:
                    continue
                if deferred is None:
                    visited.add(name)
                fragment = self.fragments[name]
                condition, below = fragment.type_condition, fragment.selection_set
            name = condition.name.value if condition is not None else type_name
            if name != type_name and type_name not in self._unions.get(name, ()):
                continue
            if deferred is None:
                self._collect(below.selections, type_name, into, visited, defer)
            else:
                assert defer is not None
                later = defer[deferred] = {}
                # What is deferred within it comes with it.
                self._collect(below.selections, type_name, later, set(), None)

    def _included(self, selection: SelectionNode) -> bool:
        for directive in selection.directives or ():
            name = directive.name.value
            if name == "skip" and self._flag(directive):
                return False
            if name == "include" and not self._flag(directive):
                return False
        return True

    def _deferred(self, selection: SelectionNode) -> Deferred | None:
        for directive in selection.directives or ():
            if directive.name.value == "defer" and self._flag(directive, default=True):
                label = next((one.value for one in directive.arguments or () if one.name.value == "label"), None)
                return Deferred(value_from_ast_untyped(label) if label is not None else None)
        return None

    def _flag(self, directive: DirectiveNode, *, default: bool = False) -> bool:
        for argument in directive.arguments or ():
            if argument.name.value == "if":
                if isinstance(argument.value, VariableNode):
                    return bool(self._flags.get(argument.value.name.value, default))
                return bool(value_from_ast_untyped(argument.value))
        return default


def condition_variables(nodes: Iterable[SelectionSetNode]) -> Iterator[str]:
    """The variables that @skip, @include and @defer in these selection sets depend on."""
    waiting = [selection for one in nodes for selection in one.selections]
    while waiting:
        selection = waiting.pop()
        for directive in selection.directives or ():
            if directive.name.value in ("skip", "include", "defer"):
                for argument in directive.arguments or ():
                    if argument.name.value == "if" and isinstance(argument.value, VariableNode):
                        yield argument.value.name.value
        below = getattr(selection, "selection_set", None)
        if below is not None:
            waiting.extend(below.selections)


def location_of(node: FieldNode) -> Location | None:
    """Where in its document a field stands."""
    if node.loc is None:
        return None
    token = node.loc.start_token
    return (token.line, token.column)


class Projections:
    """Compiles what a plan's selection sets ask of replies."""

    def __init__(self, offer: GraphqlOffer, bound: Bound, collector: Collector) -> None:
        self._offer = offer
        self._bound = bound
        self._collector = collector

    def reply(self, type_: Any, message_name: str, structure_schema: Any, group: Group) -> Shown:
        """How a method's reply is shown."""
        known = leaves.well_known(message_name, structure_schema, self._bound)
        if known is not None:
            return Leaf(known)
        return self._object(get_named_type(type_), group)

    def _object(self, type_: GraphQLObjectType, group: Group) -> Object:
        sets = [node.selection_set for node in group if node.selection_set is not None]
        return self._selected(type_, sets)

    def _selected(self, type_: GraphQLObjectType, sets: list[SelectionSetNode]) -> Object:
        structure = self._offer.structures[type_.name]
        shown = []
        for name, group in self._collector.fields(sets, type_.name).items():
            node = group[0]
            if node.name.value == "__typename":
                shown.append(ShownField(name, constant(type_.name), _SAME, None, nullable=False, number=0))
                continue
            field_type = type_.fields[node.name.value].type
            read, value = self._member(structure, node.name.value, field_type, group)
            nullable = not isinstance(field_type, GraphQLNonNull)
            number = _number(structure.members[node.name.value])
            shown.append(ShownField(name, read, value, location_of(node), nullable=nullable, number=number))
        return Object(shown)

    def _member(self, structure: Structure, name: str, type_: Any, group: Group) -> tuple[Read, Shown]:
        """Where a field's value is in the message, and how it is shown."""
        member = structure.members[name]
        if member.part is Part.NOTHING:
            return constant(True), _SAME
        if member.part is Part.ONEOF:
            return oneof(member.oneof), self._oneof(member.oneof, get_named_type(type_), group, member.branches)
        one = member.field
        assert one is not None
        if member.part is Part.KEY:
            assert one.map_key is not None
            return _key, Leaf(leaves.scalar(one.map_key))
        if member.part is Part.VALUE:
            return _value, self._single(one, type_, structure, group)
        if one.map_key is not None:
            entry = get_named_type(type_)
            if not isinstance(entry, GraphQLObjectType):
                return leaves.map_as_json(one, structure.type, structure.schema, self._bound), _SAME
            return entries(one.name), Items(self._object(entry, group), nullable=False)
        if not one.repeated:
            presence = one.has_presence and not isinstance(type_, GraphQLNonNull)
            return field(one.name, presence=presence), self._single(one, type_, structure, group)
        items = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        assert isinstance(items, GraphQLList)
        nullable = not isinstance(items.of_type, GraphQLNonNull)
        return field(one.name, presence=False), Items(self._single(one, items.of_type, structure, group), nullable)

    def _single(self, one: Field, type_: Any, structure: Structure, group: Group) -> Shown:
        if one.kind is Kind.ENUM:
            named = get_named_type(type_)
            assert isinstance(named, GraphQLEnumType)
            return Leaf(leaves.enum(self._offer.enums[named.name]))
        if one.kind not in _MESSAGES:
            return Leaf(leaves.scalar(one.kind))
        known = leaves.well_known(one.type_name, structure.schema, self._bound)
        return Leaf(known) if known is not None else self._object(get_named_type(type_), group)

    def _oneof(self, name: str, union: GraphQLUnionType, group: Group, branches: Mapping[str, Field]) -> OneOf:
        by_field = {
            branches[type_.name].name: self._object(type_, group) for type_ in union.types if type_.name in branches
        }
        return OneOf(name, by_field, tuple(field.number for field in branches.values()))


def _number(member: Member) -> int | None:
    """The number of the proto field that a GraphQL field shows; 0 for none, None for several."""
    if member.part is Part.ONEOF:
        return None
    if member.part is Part.KEY or member.part is Part.VALUE:
        return 1 if member.part is Part.KEY else 2  # of a map's entry
    return member.field.number if member.field is not None else 0


def _key(entry: tuple[Any, Any]) -> Any:
    return entry[0]


def _value(entry: tuple[Any, Any]) -> Any:
    return entry[1]
