"""What a GraphQL schema's plans are bound to: the message classes and types of the services behind it."""

from __future__ import annotations

from protogw.descriptors.model import Schema, Type
from protogw.wire.messages import Messages


class Bound:
    """Message classes by schema, made on first use."""

    def __init__(self) -> None:
        self._messages: dict[int, tuple[Schema, Messages]] = {}

    def messages(self, schema: Schema) -> Messages:
        found = self._messages.get(id(schema))
        if found is None:
            found = self._messages[id(schema)] = (schema, Messages(schema.descriptor_set))
        return found[1]

    @staticmethod
    def type_of(schema: Schema, name: str) -> Type:
        """A message type that the schema is known to have."""
        return schema.types[name]
