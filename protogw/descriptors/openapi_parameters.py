"""The parameters of an OpenAPI operation → fields of its request, and how each is written."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from protogw.descriptors.documents import Node
from protogw.descriptors.from_json_schema import Held
from protogw.descriptors.model import Kind, SchemaError
from protogw.descriptors.names import Taken, camel
from protogw.descriptors.openapi_binding import Parameter, Place, Style
from protogw.descriptors.synthesize import VALUE, FieldDraft, nameable

if TYPE_CHECKING:
    from protogw.descriptors.openapi_operations import Context

MAX_PARAMETERS = 1_000

_DEFAULT_STYLE: dict[Place, Style] = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_STYLES: dict[Place, frozenset[Style]] = {
    "path": frozenset(("matrix", "label", "simple")),
    "query": frozenset(("form", "spaceDelimited", "pipeDelimited", "deepObject")),
    "header": frozenset(("simple",)),
    "cookie": frozenset(("form",)),
}
_OWN_HEADERS = frozenset(
    (
        # What OpenAPI says that no parameter is called.
        "accept",
        "content-type",
        "authorization",
        # What belongs to the connection, or to whoever vouches for the client: no field of a request sets it.
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    )
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


def parameters_of(
    context: Context, item: Node, operation: Node, template: str, name: str, members: Taken
) -> list[tuple[Parameter, FieldDraft, bool]]:
    """Each parameter with its field and whether it must have a value; the operation's own stand before its path's.

    Raises SchemaError naming the place.
    """
    nodes: dict[tuple[str, str], Node] = {}
    for owner in (item, operation):
        for node in owner.children("parameters"):
            one = context.documents.follow(node)
            if not isinstance(one.value, dict):
                raise SchemaError(f"{one.where}: is no parameter")
            nodes[one.text("in"), one.text("name")] = one
            if len(nodes) > MAX_PARAMETERS:
                raise SchemaError(f"{node.where}: is one parameter more than {MAX_PARAMETERS}")
    found: list[tuple[Parameter, FieldDraft, bool]] = []
    for (place, written), node in nodes.items():
        if place == "header" and (written.lower() in _OWN_HEADERS or not _TOKEN.fullmatch(written)):
            continue
        if place == "cookie" and not _TOKEN.fullmatch(written):
            continue
        if place == "path" and f"{{{written}}}" not in template:
            continue
        if place not in _DEFAULT_STYLE:
            raise SchemaError(f"{node.where}: a parameter is in path, query, header or cookie, not {place[:50]!r}")
        if not nameable(written):
            raise SchemaError(f"{node.where}: {written[:50]!r} cannot be a parameter's name")
        found.append(_parameter(context, node, place, written, name, members))
    for variable in _VARIABLE.findall(template):
        if ("path", variable) not in nodes:
            if not nameable(variable):
                raise SchemaError(f"{item.where}: a variable of the path has no name")
            found.append(_text(variable, "path", members, required=True))
    for variable in _keys(context, operation):
        if ("query", variable) not in nodes and nameable(variable):
            found.append(_text(variable, "query", members, required=False))
    return found


def _keys(context: Context, operation: Node) -> list[str]:
    """The query parameters that the operation's security asks for."""
    wanted = operation.mapping.get("security", context.security)
    schemes = [name for one in wanted if isinstance(one, dict) for name in one] if isinstance(wanted, list) else []
    return list(dict.fromkeys(context.keys_in_query[name] for name in schemes if name in context.keys_in_query))


def _text(name: str, place: Place, members: Taken, *, required: bool) -> tuple[Parameter, FieldDraft, bool]:
    """A parameter of text that is not described."""
    member = members.take(name, separator="_")
    bound = Parameter(member=member, name=name, place=place, style=_DEFAULT_STYLE[place], explode=place == "query")
    return bound, FieldDraft(member=member, kind=Kind.STRING, presence=not required), required


def _parameter(
    context: Context, node: Node, place: Place, written: str, name: str, members: Taken
) -> tuple[Parameter, FieldDraft, bool]:
    style = node.text("style") or _DEFAULT_STYLE[place]
    if style not in get_args(Style) or style not in _STYLES[place]:
        raise SchemaError(f"{node.where}: a parameter in {place} has no style {style[:50]!r}")
    schema = node.get("schema")
    json = False
    content = next(iter(node.children("content")), None)
    if schema is None and content is not None:
        json = True
        schema = content.get("schema")
    held = context.schemas.held(schema, name + camel(written)) if schema is not None else Held(kind=Kind.STRING)
    if held.holds == VALUE and not json:  # anything can be given as text, and goes on as it
        held = replace(held, kind=Kind.STRING, holds="")
    required = place == "path" or node.flag("required")
    member = members.take(written, separator="_")
    explode = node.mapping.get("explode")
    bound = Parameter(
        member=member,
        name=written,
        place=place,
        style=style,
        explode=explode if isinstance(explode, bool) else style == "form",
        reserved=node.flag("allowReserved"),
        json=json,
    )
    presence = place != "path" or held.kind is Kind.ENUM
    field = held.field(
        member,
        required=required and presence,
        given=required,
        name=written,
        presence=presence,
        deprecated=node.flag("deprecated"),
        doc=node.text("description"),
    )
    return bound, field, required and not held.nullable
