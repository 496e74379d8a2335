"""One binding of google.api.http, compiled: how a request becomes its method's message, and what answers it."""

from __future__ import annotations

from enum import Enum

from protogw.descriptors.model import Field, HttpRule, Kind, Method, Schema, Type
from protogw.descriptors.well_known import FIELD_MASK
from protogw.frontends.path_fields import PathFields
from protogw.frontends.query import PathFault, QueryMap
from protogw.wire.http_body import HTTP_BODY
from protogw.wire.path_template import Template

EMPTY = "google.protobuf.Empty"


class BindingFault(ValueError):
    """A rule that cannot be served; the message says why."""


class Body(Enum):
    """What the request body is."""

    NONE = "nothing"
    WHOLE = "the request message"
    FIELD = "one of its fields"


class Binding:
    """A method under one verb and template. `ignore_unknown` is about query parameters.

    Raises BindingFault when the rule does not fit the method's types.
    """

    __slots__ = (
        "body",
        "body_field",
        "http_body",
        "input",
        "is_default",
        "mask_field",
        "method",
        "no_content",
        "output",
        "path_fields",
        "query",
        "reply_field",
        "reply_http_body",
        "rule",
        "schema",
        "streaming",
        "takes_protobuf",
        "template",
    )

    def __init__(
        self,
        method: Method,
        rule: HttpRule,
        template: Template,
        schema: Schema,
        *,
        ignore_unknown: bool = False,
        empty_is_204: bool = False,
        hidden: frozenset[bytes] = frozenset(),
        is_default: bool = False,
    ) -> None:
        self.method = method
        self.rule = rule
        self.template = template
        self.schema = schema
        self.is_default = is_default
        self.streaming = not method.unary
        self.input = method.input
        self.output = method.output
        try:
            given = PathFields(method.input, template, schema)
        except PathFault as fault:
            raise BindingFault(str(fault)) from None
        self.path_fields = given.encode
        """The fields that the path gives; raises InvalidRequest naming the variable."""

        self.body = Body.WHOLE if rule.body == "*" else Body.FIELD if rule.body else Body.NONE
        self.body_field = _top_level(rule.body, method.input) if self.body is Body.FIELD else None
        self.http_body = (self.body is Body.WHOLE and method.input.name == HTTP_BODY) or _is_http_body(self.body_field)
        self.takes_protobuf = self.body is Body.WHOLE or _is_message(self.body_field)
        bound = set(given.names)
        if rule.body:
            bound.add(self.body_field.name if self.body_field is not None else "*")
        self.query = QueryMap(method.input, schema, frozenset(bound), ignore_unknown=ignore_unknown, hidden=hidden)
        self.mask_field = self._mask_field()

        selected = "" if rule.response_body == "*" else rule.response_body
        self.reply_field = _top_level(selected, method.output) if selected else None
        self.reply_http_body = method.output.name == HTTP_BODY if not selected else _is_http_body(self.reply_field)
        self.no_content = rule.success in (204, 205) or (
            empty_is_204 and rule.success == 200 and method.output.name == EMPTY
        )

    @property
    def success(self) -> int:
        return 204 if self.no_content and self.rule.success == 200 else self.rule.success

    def _mask_field(self) -> Field | None:
        """The mask that a PATCH derives from its body: the only one there is, and the body is a message beside it."""
        if self.rule.verb != "PATCH" or not _is_message(self.body_field):
            return None
        masks = [one for one in self.input.fields.values() if one.type_name == FIELD_MASK and not one.repeated]
        return masks[0] if len(masks) == 1 and masks[0] is not self.body_field else None

    def __repr__(self) -> str:
        return f"<Binding {self.rule.verb} {self.template} → {self.method.full_name}>"


def _top_level(name: str, message: Type) -> Field:
    field = message.field(name)
    if field is None:
        raise BindingFault(f"{name}: unknown field of {message.name}; a body selector names a top-level field")
    return field


def _is_message(field: Field | None) -> bool:
    return field is not None and field.kind is Kind.MESSAGE and not field.repeated and field.map_key is None


def _is_http_body(field: Field | None) -> bool:
    return field is not None and field.type_name == HTTP_BODY and _is_message(field)
