"""The document that a method is asked with: every field that its result can have, within bounds.

Fields that need arguments are not in the binding. Selection goes as deep as it is told; a type that is met again right
inside itself is selected with its leaves only (an employee's manager), and further down not at all (an author's book's
author's books). Where a document gets too large, it is cut level by level.
"""

from __future__ import annotations

from dataclasses import dataclass

from protogw.descriptors.graphql_binding import Composite, GraphqlBinding, Ref
from protogw.errors import NotOffered
from protogw_translators.to_graphql_check import AbstractCheck, Check, LeafCheck, ListCheck, ObjectCheck

MAX_FIELDS = 1000
"""Fields of one document: services bound what they answer, and what they parse."""
DEEPEST = 20
_ALL = 1 << 30


@dataclass(frozen=True, slots=True)
class Document:
    """What is sent for the root field `field`, and the check of the result's `data`. With `aliased`, the check moves
    members; with `bare`, the field's value alone is the reply."""

    text: str
    field: str
    bare: bool
    check: ObjectCheck
    aliased: bool


def document(binding: GraphqlBinding, name: str, *, depth: int, most: int = MAX_FIELDS) -> Document:
    """The document of a method of this name, as deep as `depth` and `most` fields allow; raises NotOffered."""
    selection = _selected(binding, depth, most)
    variables = ", ".join(f"${one.name}: {one.type}" for one in binding.arguments)
    arguments = ", ".join(f"{one.name}: ${one.name}" for one in binding.arguments)
    declared = f"({variables})" if variables else ""
    given = f"({arguments})" if arguments else ""
    text = f"{binding.operation} {name}{declared} {{ {binding.field}{given}{selection.text} }}"
    check = ObjectCheck(((binding.field, selection.check),), {}, True)
    return Document(text, binding.field, binding.bare, check, selection.aliased)


@dataclass(slots=True)
class _Selection:
    text: str
    check: Check
    aliased: bool


class _TooLarge(Exception):
    pass


def _selected(binding: GraphqlBinding, depth: int, most: int) -> _Selection:
    """The first attempt that fits and finds anything; raises NotOffered when none does."""
    for deep, whole, fields in (
        *((deep, True, most) for deep in range(depth, 0, -1)),
        *((deep, False, most) for deep in range(depth, 0, -1)),
        # Not even the leaves fit: then all of them are asked for, since a part would have to be chosen by chance.
        (1, False, _ALL),
        # There is nothing as near as was said: then what is nearest.
        *((deep, False, most) for deep in range(depth + 1, DEEPEST + 1)),
    ):
        try:
            found = _Selecting(binding, fields, whole).value(binding.type, deep, ())
        except _TooLarge:
            continue
        if found is not None:
            return found
    raise NotOffered(f"{binding.field}: nothing of {binding.type} can be asked for without arguments")


class _Selecting:
    """One attempt. With `whole` unset, interfaces and unions are selected without what only some of them have."""

    def __init__(self, binding: GraphqlBinding, most: int, whole: bool) -> None:
        self._composites = binding.composites
        self._leaves = binding.leaves
        self._left = most
        self._whole = whole

    def value(self, ref: Ref, depth: int, above: tuple[str, ...]) -> _Selection | None:
        """The selection of a value of this type, None when there is nothing to select of it."""
        if ref.item is not None:
            inner = self.value(ref.item, depth, above)
            if inner is None:
                return None
            return _Selection(inner.text, ListCheck(inner.check, ref.required), inner.aliased)
        leaf = self._leaves.get(ref.name)
        if leaf is not None:
            return _Selection("", LeafCheck(leaf, ref.required), False)
        return self._composite(self._composites[ref.name], ref.required, depth, above)

    def _composite(self, composite: Composite, required: bool, depth: int, above: tuple[str, ...]) -> _Selection | None:
        if depth < 1:
            return None
        if composite.possible:
            return self._abstract(composite, required, depth, above)
        fields = self._fields(composite, depth, above)
        if not fields:
            return None
        text = " ".join(name + selection.text for name, selection in fields.items())
        check = ObjectCheck(tuple((name, one.check) for name, one in fields.items()), {}, required)
        return _Selection(f" {{ {text} }}", check, any(one.aliased for one in fields.values()))

    def _fields(self, composite: Composite, depth: int, above: tuple[str, ...]) -> dict[str, _Selection]:
        if composite.name in above:
            if composite.name != above[-1]:
                return {}
            depth = 1
        below = (*above, composite.name)
        found: dict[str, _Selection] = {}
        for field in composite.fields:
            # Counted before it is looked into: there may be much to see where nothing can be selected.
            self._left -= 1
            if self._left < 0:
                raise _TooLarge
            selection = self.value(field.type, depth if field.type.named in self._leaves else depth - 1, below)
            if selection is not None:
                found[field.name] = selection
        return found

    def _abstract(self, composite: Composite, required: bool, depth: int, above: tuple[str, ...]) -> _Selection:
        """Each alternative has its own fragment; what differs in type under one name gets an alias (GraphQL, section
        5.3.2: fields of one response name must have one shape)."""
        if not self._whole:
            return self._common(composite, required, depth, above)
        parts = ["__typename"]
        branches: dict[str, ObjectCheck] = {}
        moved = False
        for name, aliased in self._aliases(composite).items():
            fields = self._fields(self._composites[name], depth, above)
            used = {aliased[field]: field for field in fields if field in aliased}
            texts = [
                (f"{aliased[field]}: " if field in aliased else "") + field + one.text for field, one in fields.items()
            ]
            if texts:
                parts.append(f"... on {name} {{ {' '.join(texts)} }}")
            members = tuple((aliased.get(field, field), one.check) for field, one in fields.items())
            branches[name] = ObjectCheck(members, used, required)
            moved = moved or bool(used) or any(one.aliased for one in fields.values())
        return _Selection(f" {{ {' '.join(parts)} }}", AbstractCheck(branches, required), moved)

    def _aliases(self, composite: Composite) -> dict[str, dict[str, str]]:
        """By alternative: the fields that need an alias. Of all that could be selected and not of what is, so that one
        type's fields have the same names wherever it is met: fragments that meet elsewhere are merged too."""
        types: dict[str, Ref] = {}
        found: dict[str, dict[str, str]] = {}
        for name in composite.possible:
            aliased = found[name] = {}
            for field in self._composites[name].fields:
                if types.setdefault(field.name, field.type) != field.type:
                    key = f"{field.name}__{name}"
                    while types.setdefault(key, field.type) != field.type:
                        key += "_"
                    aliased[field.name] = key
        return found

    def _common(self, composite: Composite, required: bool, depth: int, above: tuple[str, ...]) -> _Selection:
        """What all alternatives have: an interface's own fields, of a union nothing but the type's name."""
        fields = self._fields(composite, depth, above)
        text = " ".join(["__typename", *(name + one.text for name, one in fields.items())])
        check = ObjectCheck(tuple((name, one.check) for name, one in fields.items()), {}, required)
        branches = dict.fromkeys(composite.possible, check)
        return _Selection(f" {{ {text} }}", AbstractCheck(branches, required), any(o.aliased for o in fields.values()))
