"""Message fields that expressions name and that nothing has are found when the schemas are known."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from protogw.expression_fields import misread, read
from protogw.expressions import ExpressionText
from tests.support import rpc


class Part(BaseModel):
    value: ExpressionText


class Settings(BaseModel):
    by: ExpressionText
    parts: tuple[Part, ...] = ()
    named: dict[str, Part | str] = {}


def told(text: str) -> list[str]:
    return misread(read(Settings.model_validate({"by": text})), [rpc.UNARY, rpc.CHAT])


@pytest.mark.parametrize(
    "text",
    [
        "message",
        "message.text",
        "message.plan.failCode",
        "message.seen.anything.at.all",
        "message.tags.first",
        "message.at.seconds",
        'message.text.startsWith("message.nope") && has(message.plan)',
        'identity.claims.message.nope == "x"',
        'header["message.nope"] == ""',
        "message.tags.exists(one, one == message . text)",
    ],
)
def test_what_is_there_is_not_told(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("message.txt", 'by: message.txt: kit.v1.Message has no field txt in JSON; did you mean "text"?'),
        (
            "message.plan.fail_code",
            'by: message.plan.fail_code: kit.v1.Plan has no field fail_code in JSON; did you mean "failCode"?',
        ),
        (
            'message.txt.startsWith("a") ? "a" : "b"',
            'by: message.txt: kit.v1.Message has no field txt in JSON; did you mean "text"?',
        ),
        ("message.text.part", "by: message.text.part: text of kit.v1.Message has no fields"),
    ],
)
def test_what_is_not_there_is_told_with_what_was_meant(text: str, said: str) -> None:
    assert told(text) == [said]


def test_expressions_are_found_wherever_they_stand() -> None:
    part = {"value": "message.nope"}
    settings = Settings.model_validate({"by": "path", "parts": [part], "named": {"a": part, "b": "message.nope"}})
    assert read(settings) == {"parts[0].value": ["nope"], "named.a.value": ["nope"]}


def test_nothing_is_told_of_methods_that_are_not_there() -> None:
    assert misread({"by": ["nope"]}, []) == []
