"""What GraphQL's scalars are in a proto, in JSON, and to who checks a result. Pure data.

GraphQL says nothing of a custom scalar but its name, so it is any JSON unless the config says what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from protogw.descriptors.graphql_binding import Leaf
from protogw.descriptors.model import Kind
from protogw.descriptors.synthesize import VALUE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarType:
    """`holds` is the message type of `kind` MESSAGE; `number` says that a 64-bit integer is written as a number."""

    kind: Kind
    leaf: Leaf
    holds: str = ""
    number: bool = False
    json_schema: Mapping[str, Any] = field(default_factory=dict)


_STRING = ScalarType(kind=Kind.STRING, leaf=Leaf.STRING, json_schema={"type": "string"})
_INT = ScalarType(
    kind=Kind.INT32, leaf=Leaf.INT, json_schema={"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
)
_FLOAT = ScalarType(kind=Kind.DOUBLE, leaf=Leaf.FLOAT, json_schema={"type": "number"})
_BOOLEAN = ScalarType(kind=Kind.BOOL, leaf=Leaf.BOOLEAN, json_schema={"type": "boolean"})

BUILT_IN: Mapping[str, ScalarType] = MappingProxyType(
    {"String": _STRING, "ID": _STRING, "Int": _INT, "Float": _FLOAT, "Boolean": _BOOLEAN}
)

CUSTOM = ScalarType(kind=Kind.MESSAGE, holds=VALUE, leaf=Leaf.ANY)
"""A scalar that nothing is known of."""

MAPPED: Mapping[str, ScalarType] = MappingProxyType(
    {
        "json": CUSTOM,
        "string": _STRING,
        "int32": _INT,
        "int64": ScalarType(
            kind=Kind.INT64, leaf=Leaf.LONG, number=True, json_schema={"type": "integer", "format": "int64"}
        ),
        "int64_string": ScalarType(
            kind=Kind.INT64, leaf=Leaf.STRING, json_schema={"type": "string", "format": "int64"}
        ),
        "double": _FLOAT,
        "bool": _BOOLEAN,
    }
)
"""What a config may say that a custom scalar is: how the service writes it, and so what it is in a proto."""
