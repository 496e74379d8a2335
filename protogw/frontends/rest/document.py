"""What the REST front end offers, told to whoever writes its OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from protogw.descriptors.about import About, Document
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.json_schema import Json
from protogw.descriptors.to_openapi import Binding as Described
from protogw.descriptors.to_openapi import ErrorForm, openapi
from protogw.frontends.rest.bindings import Binding
from protogw.frontends.rest.errors import Style

_CODE: Json = {"type": "integer", "format": "int32", "description": "A google.rpc.Code."}
_NAME: Json = {"type": "string", "description": "The name of a google.rpc.Code."}
_HTTP: Json = {"type": "integer", "format": "int32", "description": "The HTTP status."}
_MESSAGE: Json = {"type": "string"}


def _object(properties: Mapping[str, Json], description: str = "") -> Json:
    made: Json = {"type": "object", "properties": dict(properties), "required": list(properties)}
    return {"description": description, **made} if description else made


def _details() -> Json:
    item = {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]}
    return {"type": "array", "items": item, "description": "Messages that say more, each with its type's URL."}


def _schema(style: Style) -> Json:
    if style == "google":
        return _object({"code": _CODE, "message": _MESSAGE, "details": _details()}, "A google.rpc.Status.")
    if style == "aip193":
        error = _object({"code": _HTTP, "message": _MESSAGE, "status": _NAME, "details": _details()})
        return _object({"error": error}, "An error as google.aip.dev/193 has it.")
    return _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": _MESSAGE,
            "status": _HTTP,
            "detail": _MESSAGE,
            "code": _NAME,
            "details": _details(),
        },
        "A problem (RFC 9457).",
    )


def _record(style: Style) -> Any:
    def record(error: Json) -> Json:
        schema = dict(error) if style == "aip193" else _object({"error": error})
        return {"description": "The last element of a stream that failed.", **schema}

    return record


def document(catalog: Catalog, bindings: Iterable[Binding], style: Style, about: About) -> Document:
    """The OpenAPI document of compiled bindings, whose errors are written in this style."""
    media_type = "application/problem+json" if style == "problem" else "application/json"
    form = ErrorForm(media_type=media_type, schema=_schema(style), record=_record(style))
    described = (
        Described(method=one.method, rule=one.rule, template=one.template, success=one.success) for one in bindings
    )
    return openapi(catalog, described, form, about)
