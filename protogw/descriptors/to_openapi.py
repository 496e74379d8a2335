"""An OpenAPI 3.1 document of what is offered as REST: paths by google.api.http, bodies and replies by the types.

Whoever offers the bindings hands them in (`Binding`), with the form of its errors: nothing is decided here that
a request would see. What OpenAPI cannot say is left out, and returned as `omitted`, a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.describing import (
    HTTP_BODY,
    Source,
    Sources,
    is_http_body,
    path_value,
    proto_path,
    summed_up,
    variable_name,
)
from protogw.descriptors.json_schema import REFERENCE, WELL_KNOWN, Json
from protogw.descriptors.model import HttpRule, Kind, Method
from protogw.descriptors.named_paths import NamedPath, PathParameter, named_path
from protogw.descriptors.query_parameters import query_parameters
from protogw.descriptors.schema_examples import NOTHING
from protogw.wire.path_template import Template

_VERBS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
_LINES = "application/x-ndjson"
_EVENTS = "text/event-stream"
_BINARY: Json = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One method under one verb and path as it is offered; `success` is the HTTP status of an OK reply, which has no
    body when that is 204 or 205."""

    method: Method
    rule: HttpRule
    template: Template
    success: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorForm:
    """The body of an error: its media type and schema, and that of the record that ends a stream which failed."""

    media_type: str
    schema: Mapping[str, Any]
    record: Callable[[Json], Json]
    """Given a reference to the error's schema."""


def openapi(catalog: Catalog, bindings: Iterable[Binding], errors: ErrorForm, about: About) -> Document:
    """The document of these bindings, in their order."""
    made = _Document(catalog, errors, about)
    for binding in bindings:
        if binding.method.service in about.services:
            made.add(binding)
    return made.finished()


class _Document:
    """Gathers the operations; references are settled at the end, when all names are known."""

    def __init__(self, catalog: Catalog, errors: ErrorForm, about: About) -> None:
        self._catalog = catalog
        self._errors = errors
        self._about = about
        self._sources = Sources(catalog, about)
        self._paths: dict[str, NamedPath] = {}
        self._items: dict[str, dict[str, Json]] = {}
        self._names: set[str] = set()
        self._streams = False
        self.omitted: list[str] = []

    def add(self, binding: Binding) -> None:
        """Add one operation, or note why there is none."""
        method, rule = binding.method, binding.rule
        where = f"{method.full_name}: {rule.verb} {rule.template}"
        verb = rule.verb if rule.verb != "*" else "POST" if rule.body else "GET"
        if verb not in _VERBS:
            self.omitted.append(f"{where}: OpenAPI has no method {verb}")
            return
        source = self._sources.of(method.service)
        taken = {source.schemas.name(field) for field in method.input.fields.values()}
        path = named_path(
            binding.template, lambda variable: variable_name(method.input, variable, source.schemas), taken
        )
        known = self._paths.setdefault(path.shape, path)
        item = self._items.setdefault(known.path, {})
        if verb.lower() in item:
            self.omitted.append(f"{where}: OpenAPI does not tell it from {verb} {known.path}")
            return
        operation = self._operation(binding, source, path, known)
        if rule.verb == "*":
            operation["description"] = f"{operation.get('description', '')}\n\nAny HTTP method does.".strip()
        item[verb.lower()] = operation
        source.written.append(operation)

    def finished(self) -> Document:
        components = self._sources.components()
        error = {"$ref": REFERENCE + components.own("Error", dict(self._errors.schema))}
        record = (
            {"$ref": REFERENCE + components.own("StreamError", self._errors.record(error))} if self._streams else {}
        )
        paths = {
            path: {verb: _settled(operation, record) for verb, operation in item.items()}
            for path, item in self._items.items()
            if item
        }
        about = self._about
        document: Json = {
            "openapi": "3.1.0",
            "info": {"title": about.title, "version": about.version},
            "servers": [{"url": url} for url in about.servers or ("/",)],
            "tags": self._tags(),
            "paths": paths,
            "components": {
                "schemas": dict(sorted(components.schemas.items())),
                "responses": {
                    "Error": {
                        "description": "The call failed; the HTTP status follows from the code.",
                        "content": {self._errors.media_type: {"schema": error}},
                    }
                },
            },
        }
        return Document(document, tuple(self.omitted))

    def _tags(self) -> list[Json]:
        tags = []
        used = {tag for item in self._items.values() for operation in item.values() for tag in operation["tags"]}
        for name, service in self._catalog.services.items():
            if name in used:
                tags.append({"name": name, **({"description": service.doc} if service.doc else {})})
        return tags

    # --- one operation ---

    def _operation(self, binding: Binding, source: Source, path: NamedPath, known: NamedPath) -> Json:
        method, rule = binding.method, binding.rule
        made: Json = {"tags": [method.service], **summed_up(method.doc), "operationId": self._operation_id(method)}
        parameters = [
            _path_parameter(binding, source, mine, named.name, path)
            for mine, named in zip(path.parameters, known.parameters, strict=True)
        ]
        if rule.body != "*":
            bound = {proto_path(method.input, variable) for variable in binding.template.variables}
            body = method.input.field(rule.body) if rule.body else None
            if body is not None:
                bound.add(body.name)
            found, left_out = query_parameters(method.input, source.schemas, frozenset(bound))
            parameters += found
            if left_out:
                what = f"More may be given in the query: {', '.join(f'`{name}`' for name in left_out[:20])}" + (
                    " and others." if len(left_out) > 20 else "."
                )
                made["description"] = f"{made.get('description') or made.get('summary', '')}\n\n{what}".strip()
        if parameters:
            made["parameters"] = parameters
        if rule.body:
            made["requestBody"] = self._request(binding, source)
        made["responses"] = {
            str(binding.success): self._reply(binding, source),
            "default": {"$ref": "#/components/responses/Error"},
        }
        if method.deprecated:
            made["deprecated"] = True
        made["x-grpc-method"] = method.full_name
        return made

    def _operation_id(self, method: Method) -> str:
        """Short where that is unique; the first to have a name keeps it."""
        service = method.service.rpartition(".")[2]
        name = f"{service}_{method.name}"
        if name in self._names and f"{method.full_name}#" not in self._names:
            name = f"{method.service.replace('.', '_')}_{method.name}"
        self._names.add(f"{method.full_name}#")
        number, found = 2, name
        while found in self._names:
            found = f"{name}_{number}"
            number += 1
        self._names.add(found)
        return found

    def _request(self, binding: Binding, source: Source) -> Json:
        method, rule = binding.method, binding.rule
        field = method.input.field(rule.body) if rule.body != "*" else None
        if is_http_body(field) or (field is None and method.input.name == HTTP_BODY):
            return {"description": "The bytes as they are, of any content type.", "content": {"*/*": _BINARY}}
        example: Any
        if field is None:
            bound = frozenset(one.path[0] for one in binding.template.variables if len(one.path) == 1)
            bound = frozenset(one.name for one in method.input.fields.values() if {one.name, one.json_name} & bound)
            schema = self._whole(method, source, bound)
            example = source.examples.message(method.input, request=True, bound=bound)
        else:
            schema = source.schemas.field(method.input, field, request=True)
            example = source.examples.field(method.input, field, request=True)
        made: Json = {}
        if field is not None and field.doc:
            made["description"] = field.doc
            schema.pop("description", None)
        if method.client_streaming:
            lines = {"schema": {"type": "string"}, "x-item-schema": {"anyOf": [schema]}}
            array = {"type": "array", "items": schema}
            content = {
                "application/json": _media(array, [example] if example is not NOTHING else NOTHING),
                _LINES: lines,
            }
            made["description"] = "A stream of messages: an array, or one a line."
        else:
            content = {"application/json": _media(schema, example)}
            if field is None or (field.kind is Kind.MESSAGE and not field.repeated and field.map_key is None):
                content["application/x-protobuf"] = _BINARY
        made["content"] = content
        if field is not None and source.schemas.demanded(method.input, field):
            made["required"] = True
        return made

    def _whole(self, method: Method, source: Source, bound: frozenset[str]) -> Json:
        """The request message, without what the path gives."""
        if not bound or method.input.json_schema is not None:
            return source.schemas.message(method.input, request=True)
        schema = source.schemas.without(method.input, bound)
        name, number = f"{method.service}.{method.name}-Body", 2
        while source.bodies.get(name, schema) != schema:
            name, number = f"{method.service}.{method.name}-Body-{number}", number + 1
        source.bodies[name] = schema
        return {"$ref": REFERENCE + name}

    def _reply(self, binding: Binding, source: Source) -> Json:
        method, rule = binding.method, binding.rule
        if binding.success in (204, 205):
            return {"description": "OK, without a body."}
        selected = "" if rule.response_body == "*" else rule.response_body
        field = method.output.field(selected) if selected else None
        if is_http_body(field) or (field is None and method.output.name == HTTP_BODY):
            return {"description": "OK: bytes with a content type of their own.", "content": {"*/*": _BINARY}}
        example: Any
        if field is None:
            schema = source.schemas.message(method.output)
            example = source.examples.message(method.output, request=False)
        else:
            schema = source.schemas.field(method.output, field)
            example = source.examples.field(method.output, field, request=False)
            if field.has_presence and field.type_name in WELL_KNOWN and not field.repeated:
                schema = {"oneOf": [schema, {"type": "null"}]}
        if not method.server_streaming:
            content = {"application/json": _media(schema, example)}
            if field is None:
                content["application/x-protobuf"] = _BINARY
            return {"description": "OK", "content": content}
        self._streams = True
        items = {"anyOf": [schema, _RECORD]}
        array = {"type": "array", "items": items}
        return {
            "description": "A stream of messages. It ends in an error's record when it fails on its way.",
            "content": {
                "application/json": _media(array, [example] if example is not NOTHING else NOTHING),
                _LINES: {"schema": {"type": "string"}, "x-item-schema": items},
                _EVENTS: {"schema": {"type": "string"}, "x-item-schema": {"anyOf": [schema]}},
            },
        }


_RECORD: Json = {"$ref": "#/record"}
"""Stands for the record of a failed stream until its component has a name."""


def _settled(value: Any, record: Json) -> Any:
    """The same with the failed stream's record in its place."""
    if isinstance(value, dict):
        if value == _RECORD:
            return record
        return {key: _settled(one, record) for key, one in value.items()}
    return [_settled(one, record) for one in value] if isinstance(value, list) else value


def _media(schema: Json, example: Any) -> Json:
    return {"schema": schema} if example is NOTHING else {"schema": schema, "example": example}


def _path_parameter(binding: Binding, source: Source, parameter: PathParameter, name: str, path: NamedPath) -> Json:
    """`name` is what the path itself calls it: an equal path may have come first with another name."""
    schema, lines = path_value(binding.method.input, binding.template, parameter, path, source.schemas)
    if parameter.whole and name != parameter.name:
        lines.append(f"Gives `{parameter.name}`.")
    if schema == {"type": "string"} and not parameter.multi:
        schema["minLength"] = 1
    made: Json = {"name": name, "in": "path", "required": True}
    if lines:
        made["description"] = "\n\n".join(lines)
    made["schema"] = schema
    return made
