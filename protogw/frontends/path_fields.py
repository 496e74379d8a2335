"""The variables of a path template → the fields of a method's request message that they give."""

from __future__ import annotations

from protogw.descriptors.model import Schema, Type
from protogw.errors import InvalidRequest
from protogw.frontends.query import PathFault, resolve
from protogw.frontends.scalars import Encoder, encoder
from protogw.wire.path_template import Template


class PathFields:
    """The encoders of one template's variables; raises PathFault naming the field that a variable cannot give."""

    __slots__ = ("encoders", "names", "variables")

    def __init__(self, message: Type, template: Template, schema: Schema) -> None:
        self.variables = tuple(variable.name for variable in template.variables)
        found = [_field(message, variable.path, schema) for variable in template.variables]
        self.encoders = tuple(encode for _, encode in found)
        self.names = frozenset(name for name, _ in found)
        """The dotted proto names of the fields that the path gives."""

    def encode(self, values: tuple[bytes, ...]) -> bytes:
        """The fields that the path gives; raises InvalidRequest naming the variable."""
        place = 0
        try:
            if len(values) == 1:
                return self.encoders[0](values[0])
            out: list[bytes] = []
            for encode in self.encoders:
                out.append(encode(values[place]))
                place += 1
            return b"".join(out)
        except ValueError as error:
            shown = values[place][:100].decode("utf-8", "replace")
            raise InvalidRequest(f'{self.variables[place]}: {error}, got "{shown}"') from None


def _field(message: Type, names: tuple[str, ...], schema: Schema) -> tuple[str, Encoder]:
    try:
        path = resolve(message, names, schema)
        leaf = path.fields[-1]
        if leaf.repeated or leaf.map_key is not None:
            raise PathFault("a path variable cannot be repeated")
        return path.name, path.wrap(encoder(leaf, schema))
    except ValueError as fault:
        raise PathFault(f"{message.name}.{'.'.join(names)}: {fault}") from None
