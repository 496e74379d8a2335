"""Text fields of messages, read from and written to protobuf bytes without a message object."""

from __future__ import annotations

from protogw.descriptors.model import Kind, Type
from protogw.errors import InvalidRequest
from protogw.wire.protowire import delimited, fields


class FieldFault(ValueError):
    """A field path that leads to no text; the message says where it ends."""


class TextField:
    """A dotted path to a string field. Raises FieldFault when the type has none there."""

    __slots__ = ("_leaf", "_parents", "path", "repeated")

    def __init__(self, message: Type, path: str) -> None:
        self.path = path
        numbers: list[int] = []
        at: Type | None = message
        *parents, leaf = path.split(".")
        for name in parents:
            field = at.field(name) if at is not None else None
            if field is None or field.kind is not Kind.MESSAGE or field.repeated or field.map_key is not None:
                raise FieldFault(f"{message.name} has no message at {path}, before .{leaf}")
            numbers.append(field.number)
            at = at.types.get(field.type_name) if at is not None else None
        found = at.field(leaf) if at is not None else None
        if found is None or found.kind is not Kind.STRING or found.map_key is not None:
            raise FieldFault(f"{message.name} has no text field {path}")
        self._parents = tuple(numbers)
        self._leaf = found.number
        self.repeated = found.repeated

    def read(self, message: bytes) -> list[str]:
        """The values there are, of a singular field the last; raises InvalidRequest for bytes that are none."""
        try:
            for number in self._parents:
                # Occurrences of a message field merge, which is what joining their bytes does.
                message = b"".join(_occurrences(message, number))
            values = [value.decode() for value in _occurrences(message, self._leaf)]
        except ValueError as error:
            raise InvalidRequest(f"{self.path}: {error}") from None
        return values if self.repeated else values[-1:]

    def write(self, text: str) -> bytes:
        """Bytes that, behind those of a message, set the field to this text whatever it was."""
        data = delimited(self._leaf, text.encode())
        for number in reversed(self._parents):
            data = delimited(number, data)
        return data


def _occurrences(message: bytes, number: int) -> list[bytes]:
    return [value for at, value in fields(message) if at == number and isinstance(value, bytes)]
