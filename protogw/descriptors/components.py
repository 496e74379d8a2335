"""The schemas of one document, out of several sources that may use one name for different things."""

from __future__ import annotations

from collections.abc import Container, Mapping

from protogw.descriptors.json_schema import REFERENCE, Json, references, renamed


class Components:
    """`schemas` by name, every one different from the others of its name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Json] = {}

    def add(self, made: Mapping[str, Json]) -> dict[str, str]:
        """Take the schemas of one source; returns the new names of those whose own name means another one already."""
        known = self.schemas
        clashing = {name for name, schema in made.items() if name in known and known[name] != schema}
        waiting = True
        while waiting:
            # The same words mean something else when what they refer to does.
            more = {
                name
                for name, schema in made.items()
                if name in known
                and name not in clashing
                and any(target.removeprefix(REFERENCE) in clashing for target in references(schema))
            }
            clashing |= more
            waiting = bool(more)
        names: dict[str, str] = {}
        for name in sorted(clashing):
            names[name] = self._free(name, made)
        for name, schema in made.items():
            known[names.get(name, name)] = renamed(schema, names)
        return names

    def own(self, name: str, schema: Json) -> str:
        """Add a schema that is no type's, and return the name that it has got."""
        free = name if name not in self.schemas else self._free(name, ())
        self.schemas[free] = schema
        return free

    def _free(self, name: str, taken: Container[str]) -> str:
        number = 2
        while (found := f"{name}-{number}") in self.schemas or found in taken:
            number += 1
        return found
