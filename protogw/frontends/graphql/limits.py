"""How large a document may be, measured before it is validated, in time linear in its length.

Fragments are measured once, however often they are spread, so that a document that expands to 2^30 fields is refused as
quickly as any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from protogw.frontends.graphql.refusals import Refused, refused
from protogw.frontends.graphql.settings import GraphqlLimits

DEPTH = "MAX_DEPTH_LIMIT"
ALIASES = "MAX_ALIASES_LIMIT"
ROOT_FIELDS = "MAX_ROOT_FIELDS_LIMIT"
TOKENS = "MAX_TOKENS_LIMIT"
DIRECTIVES = "MAX_DIRECTIVES_LIMIT"
COST = "COST_ESTIMATED_TOO_EXPENSIVE"

_OBJECT_COST, _LEAF_COST, _DEPTH_FACTOR = 2.0, 1.0, 1.5
_REPEATED = 100
"""How often one response name may stand in one place, fragments expanded and equal parents merged: validation compares
each with each."""


class _Measure(NamedTuple):
    """What a selection set comes to with all fragments in place. `names` are the response names at its own level."""

    depth: int
    aliases: int
    cost: float
    fields: float
    names: Mapping[str, tuple[int, int]]
    """How often each is there, and how often one stands in one place below it."""

    @property
    def repeated(self) -> int:
        return max([count * below for count, below in self.names.values()], default=1)


_NOTHING = _Measure(0, 0, 0.0, 0.0, {})


class Limiter:
    """Measures one document."""

    def __init__(self, document: DocumentNode, limits: GraphqlLimits) -> None:
        self._limits = limits
        self._fragments = {
            one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        self._known: dict[str, _Measure | None] = {}
        self._directives = 0
        self._operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]

    def check(self) -> None:
        """Raises Refused for the first limit that an operation is over."""
        for operation in self._operations:
            self._directives += len(operation.directives or ())
            measured = self._of_set(operation.selection_set)
            self._hold(measured)
            roots = sum(count for count, _ in measured.names.values())
            if roots > self._limits.root_fields:
                raise over(ROOT_FIELDS, f"{roots} fields at the top", self._limits.root_fields)
        for name in self._fragments:
            # One that no operation spreads is refused by validation, which must get through it all the same.
            self._of_fragment(name)

    def _hold(self, measured: _Measure) -> None:
        limits = self._limits
        if measured.depth > limits.depth:
            raise over(DEPTH, f"a depth of {measured.depth}", limits.depth)
        if measured.aliases > limits.aliases:
            raise over(ALIASES, f"{measured.aliases} aliases", limits.aliases)
        if max(measured.cost, measured.fields) > limits.cost:
            raise over(COST, "a cost of more", limits.cost)
        if self._directives > limits.directives:
            raise over(DIRECTIVES, f"{self._directives} directives", limits.directives)

    def _of_fragment(self, name: str) -> _Measure:
        if name in self._known:
            # None marks one that is being measured: a cycle, which validation will name.
            return self._known[name] or _NOTHING
        fragment = self._fragments.get(name)
        if fragment is None:
            return _NOTHING
        self._known[name] = None
        self._directives += len(fragment.directives or ())
        found = self._known[name] = self._of_set(fragment.selection_set)
        return found

    def _of_set(self, selections: SelectionSetNode) -> _Measure:
        depth = aliases = 0
        cost = fields = 0.0
        names: dict[str, tuple[int, int]] = {}
        for selection in selections.selections:
            self._directives += len(selection.directives or ())
            if isinstance(selection, FieldNode):
                inner = _NOTHING if selection.selection_set is None else self._of_set(selection.selection_set)
                name = (selection.alias or selection.name).value
                count, below = names.get(name, (0, 1))
                names[name] = (count + 1, max(below, inner.repeated))
                aliases += (selection.alias is not None) + inner.aliases
                fields += 1 + inner.fields
                if selection.name.value.startswith("__"):
                    # Introspection is deep by nature, and validation bounds it by what it asks for.
                    depth = max(depth, 1)
                    cost += 1 + inner.fields
                    continue
                depth = max(depth, 1 + inner.depth)
                leaf = selection.selection_set is None
                cost += _LEAF_COST if leaf else _OBJECT_COST + _DEPTH_FACTOR * inner.cost
                continue
            if isinstance(selection, InlineFragmentNode):
                inner = self._of_set(selection.selection_set)
            else:
                inner = self._of_fragment(selection.name.value)  # type: ignore[attr-defined]
            depth = max(depth, inner.depth)
            aliases += inner.aliases
            cost += inner.cost
            fields += inner.fields
            for name, (more, deeper) in inner.names.items():
                count, below = names.get(name, (0, 1))
                names[name] = (count + more, max(below, deeper))
        found = _Measure(depth, aliases, cost, fields, names)
        if found.repeated > _REPEATED:
            raise over(COST, f"one name {found.repeated} times in one place", _REPEATED)
        return found


def cost_of(nodes: Sequence[FieldNode], fragments: Mapping[str, FragmentDefinitionNode]) -> int:
    """What fields of one response name cost with all that is selected in them, as the limit on cost counts it."""
    measured = Limiter(DocumentNode(definitions=tuple(fragments.values())), GraphqlLimits())
    return math.ceil(measured._of_set(SelectionSetNode(selections=tuple(nodes))).cost)


def over(code: str, what: str, limit: float) -> Refused:
    """The refusal of a document that is over one of the limits."""
    return refused(code, f"the document has {what}, over the limit of {limit:g}")
