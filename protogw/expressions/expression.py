"""One expression, compiled; and how settings hold one."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from protogw.call import Call, Payload
from protogw.expressions.compiled import compiled, message_fields
from protogw.expressions.keys import QUICK_KEYS, Key, kept, printed
from protogw.expressions.roots import ExpressionError
from protogw.values import refuse

MAX_LENGTH: Final = 4096
"""Characters of one expression."""


class Expression:
    """One expression, compiled. `reads_message` says whether it needs the request's fields."""

    __slots__ = ("_read", "key", "message_fields", "reads_message", "text")

    def __init__(self, text: str) -> None:
        """Raises ValueError whose message follows the expression: `"…" is not an expression: …`."""
        self.text = text
        if len(text) > MAX_LENGTH:
            raise ValueError(f"is not an expression: it is longer than {MAX_LENGTH} characters")
        self._read = compiled(text)
        fields = message_fields(text)
        self.reads_message = fields is not None
        self.message_fields = fields or []
        """The fields of the message that it names, `book.title` for `message.book.title`."""
        self.key: Key = QUICK_KEYS.get(text, self._key)
        """Its value as a key: text as it is, other values as JSON, "" for what is not there; of long ones a digest.
        There is always a way to write it as UTF-8."""

    def value(self, call: Call, payload: Payload | None = None) -> Any:
        """Its value; raises ExpressionError, or InvalidRequest when the message it reads is none."""
        return self._read(call, payload)

    def _key(self, call: Call, payload: Payload | None = None) -> str:
        try:
            value = self._read(call, payload)
        except ExpressionError:
            return ""
        if not isinstance(value, str):
            value = "" if value is None else printed(value)
        return kept(value)

    def holds(self, call: Call, payload: Payload | None = None) -> bool:
        """Whether it is true; raises ExpressionError when it is no truth value or has none."""
        value = self._read(call, payload)
        if value is True or value is False:
            return bool(value)
        raise ExpressionError(f"{self.text}: neither true nor false, but {type(value).__name__}")

    def __repr__(self) -> str:
        return f"<Expression {self.text}>"


def of_head(*written: object) -> bool:
    """None of these, so far as they are expressions, needs the request's fields."""
    return not any(isinstance(one, Expression) and one.reads_message for one in written)


def parse_expression(value: object) -> Expression:
    """An expression out of a setting."""
    if isinstance(value, Expression):
        return value
    if not isinstance(value, str) or not value.strip():
        refuse("is not an expression: write a path such as identity.subject, or a CEL expression")
    try:
        return Expression(value.strip())
    except ValueError as error:
        refuse(str(error))


ExpressionText = Annotated[
    Expression,
    PlainValidator(parse_expression),
    WithJsonSchema({"type": "string", "examples": ["identity.subject", 'header["x-tenant"] == "a"']}),
]
"""An expression as a setting."""
