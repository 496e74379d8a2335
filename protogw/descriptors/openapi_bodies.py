"""The request body of an OpenAPI operation: which of its media types is sent, and as what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogw.descriptors.documents import Node
from protogw.descriptors.model import Kind
from protogw.descriptors.names import Taken
from protogw.descriptors.openapi_binding import Body, Form, Part
from protogw.descriptors.synthesize import HTTP_BODY, FieldDraft

if TYPE_CHECKING:
    from protogw.descriptors.openapi_operations import Context

_MEDIA = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
"""What can be written into a head."""

_STYLES = ("form", "spaceDelimited", "pipeDelimited", "deepObject")


@dataclass(slots=True)
class RequestBody:
    """The binding; and the message that the body is, or the field of the request that holds it."""

    binding: Body
    holds: str = ""
    field: FieldDraft | None = None


def essence(media: str) -> str:
    """A media type without its parameters."""
    return media.partition(";")[0].strip().lower()


def is_json(media: str) -> bool:
    name = essence(media)
    return name in ("application/json", "text/json") or name.endswith("+json")


def preferred(content: Node | None) -> Node | None:
    """The media type that is spoken, of those that are listed: application/json itself, then other JSON, then forms."""

    def rank(node: Node) -> int:
        name = essence(node.name)
        if name == "application/json":
            return 0
        if is_json(name):
            return 1
        if name == "*/*":
            return 2
        return {"application/x-www-form-urlencoded": 3, "multipart/form-data": 4}.get(name, 5)

    return min(offered, key=rank) if (offered := listed(content)) else None


def listed(content: Node | None) -> list[Node]:
    if content is None or not isinstance(content.value, dict):
        return []
    return [
        content.child(name)
        for name in content.value
        if isinstance(content.value[name], dict) and _MEDIA.fullmatch(name)
    ]


def is_binary(schema: Node | None) -> bool:
    """Whether a schema is that of bytes, or of none."""
    return schema is None or schema.text("format") == "binary"


def request_body(context: Context, node: Node, name: str, beside: bool, members: Taken) -> RequestBody | None:
    """The body that a Request Body Object describes, None when it describes none.

    It is a field of the request where there are parameters `beside` it, or it is no object.
    """
    found = preferred(node.get("content"))
    if found is None:
        return None
    media = found.name
    schema = found.get("schema")
    form = _form(media, schema)
    required = node.flag("required")
    doc = node.text("description")
    if form == "raw":
        media = "application/octet-stream" if "*" in media else media
        if not beside:
            return RequestBody(Body(form=form, media=media, required=required), HTTP_BODY)
        member = members.take("body", separator="_")
        field = FieldDraft(member=member, kind=Kind.MESSAGE, holds=HTTP_BODY, doc=doc)
        return RequestBody(Body(form=form, media=media, member=member, required=required), field=field)
    if schema is None:
        schema = found.standing("schema", True)
    parts = _parts(context, found, schema, form) if form != "json" else {}
    media = "application/json" if media == "*/*" else media
    held = context.schemas.held(schema, f"{name}Body")
    whole = not held.many and not held.nullable and held.holds in context.schemas.drafts.messages
    if whole and not beside:
        return RequestBody(Body(form=form, media=media, required=required, parts=parts), held.holds)
    member = members.take("body", separator="_")
    field = held.field(member, required=required, given=required and not held.nullable, presence=True, doc=doc)
    return RequestBody(Body(form=form, media=media, member=member, required=required, parts=parts), field=field)


def _form(media: str, schema: Node | None) -> Form:
    name = essence(media)
    if is_json(name) or (name == "*/*" and not is_binary(schema)):
        return "json"
    if name == "application/x-www-form-urlencoded" and schema is not None:
        return "form"
    return "multipart" if name == "multipart/form-data" and schema is not None else "raw"


def _parts(context: Context, media: Node, schema: Node, form: Form) -> Mapping[str, Part]:
    """How each member of a form is written."""
    found: dict[str, Part] = {}
    encodings = media.get("encoding")
    for member, node in context.schemas.flat(schema).properties.items():
        held = context.schemas.held(node, member)
        written = encodings.get(member) if encodings is not None else None
        told = written.mapping if written is not None else {}
        style = told.get("style") if told.get("style") in _STYLES else "form"
        explode = told.get("explode")
        content_type = told.get("contentType")
        if not isinstance(content_type, str) or not _MEDIA.fullmatch(content_type) or "*" in content_type:
            content_type = ""
        styled = "style" in told or "explode" in told
        found[member] = Part(
            style=style,  # type: ignore[arg-type]
            explode=explode if isinstance(explode, bool) else style == "form",
            reserved=told.get("allowReserved") is True,
            media=content_type.partition(",")[0].strip(),
            json=is_json(content_type) or (form == "multipart" and held.kind is Kind.MESSAGE and not styled),
            binary=held.kind is Kind.BYTES,
        )
    return found
