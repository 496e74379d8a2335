"""What documents of every kind have in common: sources of schemas, summaries, and what a path says of a request."""

from __future__ import annotations

import re

from protogw.descriptors.about import About
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.components import Components
from protogw.descriptors.examples import Examples
from protogw.descriptors.json_schema import Json, JsonSchemas, renamed
from protogw.descriptors.model import Field, Type
from protogw.descriptors.named_paths import NamedPath, PathParameter, pattern_of
from protogw.wire.path_template import Template, Variable
from protogw.wire.protojson import JsonOptions

HTTP_BODY = "google.api.HttpBody"
_SENTENCE = re.compile(r"(.{3,120}?)[.!?](?:\s|\Z)", re.DOTALL)


class Source:
    """The types of one schema under one set of JSON options. `written` are the parts of the document that refer to
    them, `bodies` further schemas by name."""

    def __init__(self, catalog: Catalog, service: str, options: JsonOptions) -> None:
        schema = catalog.schemas[service]
        self.schemas = JsonSchemas(schema, options)
        self.examples = Examples(self.schemas, schema)
        self.written: list[Json] = []
        self.bodies: dict[str, Json] = {}


class Sources:
    """Every source of one document; references are settled at the end, when all names are known."""

    def __init__(self, catalog: Catalog, about: About) -> None:
        self._catalog = catalog
        self._about = about
        self._known: dict[tuple[str, JsonOptions], Source] = {}

    def of(self, service: str) -> Source:
        """The source of a service's types."""
        options = self._about.options(service)
        key = (self._catalog.schemas[service].digest, options)
        if key not in self._known:
            self._known[key] = Source(self._catalog, service, options)
        return self._known[key]

    def components(self) -> Components:
        """All schemas that were referred to; what was `written` refers to them by their names from now on."""
        components = Components()
        for source in self._known.values():
            schemas, names = source.schemas.finished()
            bodies = {name: renamed(body, names) for name, body in source.bodies.items()}
            moved = components.add({**schemas, **bodies})
            names = {**moved, **{name: moved.get(one, one) for name, one in names.items()}}
            if names:
                for part in source.written:
                    part.update(renamed(part, names))
        return components


def summed_up(doc: str) -> Json:
    """The first sentence as the summary, and all of it where there is more."""
    found = _SENTENCE.match(doc)
    if found is None:
        return {"description": doc} if doc else {}
    summary = " ".join(found[1].split())
    return {"summary": summary} if found.end() == len(doc) else {"summary": summary, "description": doc}


def is_http_body(field: Field | None) -> bool:
    """Whether the field is one google.api.HttpBody."""
    return field is not None and field.type_name == HTTP_BODY and not field.repeated and field.map_key is None


def proto_path(message: Type, variable: Variable) -> str:
    """The dotted proto name of the field that a path variable gives."""
    return ".".join(field.name for field in _leaf(message, variable)[0])


def variable_name(message: Type, variable: Variable, schemas: JsonSchemas) -> str:
    """The dotted name, as JSON has it, of the field that a path variable gives."""
    return ".".join(schemas.name(field) for field in _leaf(message, variable)[0])


def path_value(
    message: Type, template: Template, parameter: PathParameter, path: NamedPath, schemas: JsonSchemas
) -> tuple[Json, list[str]]:
    """The schema of a path parameter's value, and what there is to say of it."""
    lines: list[str] = []
    schema: Json = {"type": "string"}
    variable = parameter.variable
    if variable is not None:
        fields, owner = _leaf(message, variable)
        if parameter.whole:
            schema = schemas.field(owner, fields[-1], request=True)
            schema.pop("readOnly", None)
            doc = schema.pop("description", "") if fields[-1].doc else ""
            if doc:
                lines.append(doc)
        else:
            names = [one.name for one in path.parameters if one.variable == variable]
            own = ".".join(schemas.name(one) for one in fields)
            lines.append(f"A part of `{own}`, which is `{pattern_of(template, variable, names)}`.")
    if parameter.multi:
        lines.append("Any number of path segments; the slashes between them are not escaped.")
    return schema, lines


def _leaf(message: Type, variable: Variable) -> tuple[list[Field], Type]:
    """The fields along a variable's path, and the message that holds the last one."""
    fields: list[Field] = []
    at = message
    for name in variable.path:
        if fields:
            at = at.types[fields[-1].type_name]
        field = at.field(name)
        assert field is not None, "a front end offers no binding with an unknown variable"
        fields.append(field)
    return fields, at
