"""The replies of an OpenAPI operation: which success is the method's own, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protogw.descriptors.documents import Node
from protogw.descriptors.openapi_bodies import essence, is_binary, is_json, listed
from protogw.descriptors.synthesize import EMPTY, HTTP_BODY

if TYPE_CHECKING:
    from protogw.descriptors.openapi_operations import Context

_STREAMS = frozenset(
    (
        "text/event-stream",
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/jsonlines",
    )
)


@dataclass(slots=True)
class ReplyDraft:
    """The message of a successful reply, its status, and how it is asked for."""

    message: str
    status: int
    accept: str
    stream: bool = False
    raw: bool = False


def reply_of(context: Context, operation: Node, name: str) -> ReplyDraft:
    """The reply of the lowest success that holds JSON, else of the lowest; without any, of `default`."""
    responses = operation.get("responses")
    successes: list[tuple[int, Node]] = []
    default: Node | None = None
    for code, value in sorted(responses.mapping.items()) if responses is not None else ():
        if not isinstance(value, dict):
            continue
        assert responses is not None
        if code.isdecimal() and len(code) == 3 and code.startswith("2"):
            successes.append((int(code), context.documents.follow(responses.child(code))))
        elif code.upper() == "2XX":
            successes.append((200, context.documents.follow(responses.child(code))))
        elif code == "default":
            default = responses.child(code)
    if not successes:
        if default is None:
            return ReplyDraft(EMPTY, 200, "")
        successes.append((200, context.documents.follow(default)))
    chosen = next((one for one in successes if _json(one[1]) is not None), None)
    chosen = chosen or next((one for one in successes if one[1].mapping.get("content")), successes[0])
    return _reply(context, chosen[1], chosen[0], name)


def _json(response: Node) -> Node | None:
    """The media type that is JSON: application/json itself, if it is listed."""
    found = [
        one
        for one in listed(response.get("content"))
        if is_json(one.name) or (essence(one.name) == "*/*" and not is_binary(one.get("schema")))
    ]
    return next((one for one in found if essence(one.name) == "application/json"), found[0] if found else None)


def _reply(context: Context, response: Node, status: int, name: str) -> ReplyDraft:
    offered = listed(response.get("content"))
    if not offered:
        return ReplyDraft(EMPTY, status, "")
    found = _json(response)
    if found is not None:
        accept = "application/json" if essence(found.name) == "*/*" else found.name
        return ReplyDraft(_message(context, found, found.get("schema"), name), status, accept)
    accept = ", ".join(dict.fromkeys(one.name for one in offered))
    stream = next((one for one in offered if essence(one.name) in _STREAMS), None)
    if stream is None:
        return ReplyDraft(HTTP_BODY, status, accept, raw=True)
    schema = stream.get("itemSchema") or stream.get("schema")
    if schema is None or _is_text(context, schema):
        # Records that nothing is said of need not be JSON: they travel as they are.
        return ReplyDraft(HTTP_BODY, status, stream.name, stream=True, raw=True)
    items = context.schemas.flat(schema).items
    if "itemSchema" not in stream.mapping and items is not None:
        schema = items  # a list of what the stream's records are
    return ReplyDraft(_message(context, stream, schema, name), status, stream.name, stream=True)


def _is_text(context: Context, schema: Node) -> bool:
    flat = context.schemas.flat(schema)
    return flat.types in (None, frozenset(("string",))) and not flat.unions


def _message(context: Context, media: Node, schema: Node | None, name: str) -> str:
    if schema is None:
        schema = media.standing("schema", True)
    return context.schemas.message(schema, f"{name}Response")
