"""The tables of interchangeable parts that a config may name, and what is asked of a part.

Front ends and policies carry their typed `Settings`; everything else is a class attribute that a part may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """The tables of interchangeable parts that a config may name, each kind → class.

    Front ends and policies carry their typed `Settings`; so does a translator that has any, and an upstream writes them
    under its kind and `_options`. A front end may have `RouteSettings` too, which a route to one method says under its
    kind. A translator's `default_schema` says what an upstream without `schema` gets: "reflection" or "introspection"
    (the service is asked), "" (it must be written) or "none" (it takes none); `takes_path` whether its addresses may
    have a path.
    """

    front_ends: Mapping[str, type[Any]] = field(default_factory=dict)
    translators: Mapping[str, type[Any]] = field(default_factory=dict)
    passthroughs: Mapping[str, type[Any]] = field(default_factory=dict)
    """What listeners and upstreams may be instead of speaking a protocol: raw transports."""
    policies: Mapping[str, type[Any]] = field(default_factory=dict)
    balancers: Mapping[str, type[Any]] = field(default_factory=dict)
    probes: Mapping[str, type[Any]] = field(default_factory=dict)


class NoSettings(BaseModel):
    """The settings of a part that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def default_schema(translator: type[Any]) -> str:
    """What an upstream of this kind gets without `schema`; see Kinds."""
    found: str = getattr(translator, "default_schema", "reflection")
    return found


def takes_path(translator: type[Any]) -> bool:
    """Whether the addresses of an upstream of this kind may have a path."""
    found: bool = getattr(translator, "takes_path", False)
    return found


def options_key(kind: str) -> str:
    """The key of an upstream under which the settings of its kind are written."""
    return f"{kind}_options"


def has_options(translator: type[Any]) -> bool:
    return bool(settings_of(translator).model_fields)


def goes_by_key(balancer: type[Any]) -> bool:
    """Whether a balancer chooses by the affinity key."""
    found: bool = getattr(balancer, "keyed", False)
    return found


def settings_of(part: type[Any]) -> type[BaseModel]:
    """The typed settings that a part carries; a part without any takes an empty mapping."""
    found: type[BaseModel] = getattr(part, "Settings", NoSettings)
    return found


def summary(part: type[Any]) -> str:
    """The first line of a part's docstring, which is its line in the reference."""
    return (part.__doc__ or "").strip().partition("\n")[0]


def field_name(kind: str) -> str:
    return "kind_" + kind.replace("-", "_")
