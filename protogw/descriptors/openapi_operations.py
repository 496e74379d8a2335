"""One operation of an OpenAPI document → the draft of a method, with the binding that its translator reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protogw.descriptors.documents import Documents, Node
from protogw.descriptors.from_json_schema import JsonSchemas
from protogw.descriptors.model import HttpRule, Idempotency, Kind
from protogw.descriptors.names import Taken, camel
from protogw.descriptors.openapi_binding import Operation, Parameter
from protogw.descriptors.openapi_bodies import RequestBody, request_body
from protogw.descriptors.openapi_parameters import parameters_of
from protogw.descriptors.openapi_replies import reply_of
from protogw.descriptors.shapes import MessageShape
from protogw.descriptors.synthesize import FieldDraft, FieldNames, MessageDraft, MethodDraft
from protogw.wire.path_template import TemplateError, parse

_IDEMPOTENCY = {
    "get": Idempotency.NO_SIDE_EFFECTS,
    "head": Idempotency.NO_SIDE_EFFECTS,
    "query": Idempotency.NO_SIDE_EFFECTS,
    "put": Idempotency.IDEMPOTENT,
    "delete": Idempotency.IDEMPOTENT,
}
_OFFERED = frozenset(("get", "put", "post", "delete", "patch"))
"""The verbs that the REST front end offers; it answers HEAD and OPTIONS by itself."""
_BODILESS = frozenset(("get", "head", "trace"))
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(slots=True)
class Context:
    """What the operations of one document share."""

    documents: Documents
    schemas: JsonSchemas
    keys_in_query: dict[str, str]
    security: Any
    base_path: str = ""
    plain: frozenset[str] = frozenset()
    """All paths of the document."""
    offered: set[tuple[str, str]] = field(default_factory=set)
    """The verbs and paths that REST offers; those of operations that differ in a fixed query only go to the first."""
    names: Taken = field(default_factory=lambda: Taken(str.lower))


def draft_of(context: Context, template: str, item: Node, verb: str, operation: Node) -> MethodDraft | None:
    """The method of an operation; None for TRACE, which no gateway passes on. Raises SchemaError naming the place."""
    if verb == "trace":
        return None
    name = context.names.take(camel(operation.text("operationId") or f"{verb} {_spoken(template)}", "Method"))
    members = Taken()
    parameters = parameters_of(context, item, operation, template, name, members)
    body = None
    if verb not in _BODILESS and (node := operation.get("requestBody")) is not None:
        body = request_body(context, context.documents.follow(node), name, bool(parameters), members)
    reply = reply_of(context, operation, name)
    if body is not None and not body.binding.member:
        request = body.holds
    else:
        request = f"{operation.key}?request"
        context.schemas.drafts.messages[request] = _request(name, parameters, body)
    bound = tuple(one for one, _, _ in parameters)
    binding = Operation(
        verb=verb.upper(),
        path=template,
        base_path=context.base_path,
        parameters=bound,
        body=body.binding if body is not None else None,
        accept=reply.accept,
        raw_reply=reply.raw,
    )
    path, fixed, _ = template.partition("?")
    if fixed and (path in context.plain or (verb, path) in context.offered):
        path = ""
    context.offered.add((verb, path))
    return MethodDraft(
        name=name,
        input=request,
        output=reply.message,
        server_streaming=reply.stream,
        idempotency=_IDEMPOTENCY.get(verb, Idempotency.UNKNOWN),
        http=(lambda names: _rules(binding, path, names, reply.status)) if path else None,
        binding=lambda names: binding,
        deprecated=operation.flag("deprecated"),
        doc=_doc(operation),
    )


def _spoken(template: str) -> str:
    """A path as words: /pets/{petId} as `pets by petId`."""
    return _VARIABLE.sub(r" by \1 ", template)


def _doc(operation: Node) -> str:
    tags = operation.mapping.get("tags")
    tagged = ", ".join(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ""
    texts = [operation.text("summary"), operation.text("description"), f"Tags: {tagged}" if tagged else ""]
    return "\n\n".join(text for text in dict.fromkeys(texts) if text)


def _request(
    name: str, parameters: Sequence[tuple[Parameter, FieldDraft, bool]], body: RequestBody | None
) -> MessageDraft:
    """The message of an operation's parameters and body."""
    draft = MessageDraft(name=f"{name}Request", doc=f"What {name} is asked with.")
    always: set[str] = set()
    numbers: set[str] = set()
    for _, one, required in parameters:
        draft.fields.append(one)
        if one.kind in (Kind.INT64, Kind.UINT64):
            numbers.add(one.member)
        if required and one.kind not in (Kind.MESSAGE, Kind.ENUM):
            always.add(one.member)
    if body is not None:
        assert body.field is not None
        draft.fields.append(body.field)
        if body.field.kind in (Kind.INT64, Kind.UINT64):
            numbers.add(body.field.member)
    draft.shape = MessageShape(numbers=frozenset(numbers), always=frozenset(always))
    return draft


def _rules(binding: Operation, path: str, names: FieldNames, status: int) -> list[HttpRule]:
    """How the REST front end offers the operation: under its own path, if that can be written as a template."""
    if binding.verb.lower() not in _OFFERED:
        return []
    variables: dict[str, str] = {}
    for one in binding.parameters:
        if one.place == "path":
            if one.style != "simple" or one.json or one.member not in names:
                return []
            variables[one.name] = names[one.member]
    template = binding.base_path + _VARIABLE.sub(lambda found: f"{{{variables.get(found[1], found[1])}}}", path)
    try:
        parse(template)
    except TemplateError:
        return []
    body = ""
    if binding.body is not None:
        body = names.get(binding.body.member, "") if binding.body.member else "*"
    return [HttpRule(verb=binding.verb, template=template, body=body, success=status)]
