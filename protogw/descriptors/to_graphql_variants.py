"""Tells apart types that have one full name in several schemas and yet are not the same type."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from protogw.descriptors.model import Schema


class Variants:
    """Which of several types of one name a schema's is: "" for the first to be met, and for all that equal it."""

    def __init__(self, schemas: Sequence[Schema]) -> None:
        self._known: dict[tuple[int, str], str] = {}
        by_name: dict[str, list[Schema]] = {}
        for schema in {id(schema): schema for schema in schemas}.values():
            for name in (*schema.types, *schema.enums):
                by_name.setdefault(name, []).append(schema)
        for name, owners in by_name.items():
            if len(owners) < 2 or name.startswith("google.protobuf."):
                continue
            digests: dict[str, str] = {}
            for schema in owners:
                digest = _digest(name, schema)
                variant = digests.setdefault(digest, str(len(digests)) if digests else "")
                if variant:
                    self._known[id(schema), name] = variant

    def of(self, name: str, schema: Schema) -> str:
        return self._known.get((id(schema), name), "")


def _digest(name: str, schema: Schema) -> str:
    """Equal for types that say the same, all that they hold included."""
    seen: set[str] = set()
    waiting = [name]
    said: list[str] = []
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if (enum := schema.enums.get(one)) is not None:
            said.append(f"{one} {sorted(enum.values.items())}")
            continue
        fields = schema.types[one].fields.values()
        said.append(
            f"{one} "
            + " ".join(
                f"{field.name}:{field.json_name}:{field.kind.value}:{field.type_name}:{field.repeated}:"
                f"{field.map_key}:{field.oneof}:{field.has_presence}:{field.required}"
                for field in fields
            )
        )
        waiting.extend(field.type_name for field in fields if field.type_name)
    return hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()
