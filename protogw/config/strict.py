"""The base of every config model, and the shapes that a value may be shortened to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class Strict(BaseModel):
    """Frozen, with no keys but its own; a field's docstring is its line in the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Short:
    """Marks a field whose value may be written in a shorter form, which `expand` turns into the full one."""

    expand: Callable[[Any], Any]
    form: JsonSchemaValue | None = None
    """The JSON Schema of the short form; None for one item of the full form, a list."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        full = handler(core)
        forms = full["anyOf"] if set(full) == {"anyOf"} else [full]
        short = [self.form] if self.form is not None else [form["items"] for form in forms if "items" in form]
        return {"anyOf": [*short, *forms]}


def _listed(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else [value]


def _truth_as_mapping(value: Any) -> Any:
    if value is True:
        return {}
    return None if value is False else value


LISTED = Short(_listed)
"""One value stands for a list of it."""
TRUTH = Short(_truth_as_mapping, {"type": "boolean"})
"""`true` stands for a mapping of all defaults, `false` for its absence."""
