"""What is wrong with a value, in the config's own words: pydantic's errors, of each value one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic_core import ErrorDetails

from protogw.config.faults import shown
from protogw.words import hint, nearest

_EXPECTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "finite_number": "a finite number",
    "path_type": "a file",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_WORDS = ("literal_error", "enum")
_ANY = "any_of"
"""Stands for several errors of a value that is of none of the types that it may be."""


def of_one_value(errors: Sequence[ErrorDetails], written: object) -> ErrorDetails:
    """The error that says most of those that the types which a value may have raise each for itself."""
    if len(errors) == 1:
        return errors[0]
    for error in errors:
        if error["type"] in _BOUNDS:
            return error  # the value is of this type
    for error in errors:
        if error["type"] not in _EXPECTED and (error["type"] not in _WORDS or _near(error, written) is not None):
            return error
    expected = [word for error in errors for word in _words(error) or (_EXPECTED[error["type"]],)]
    return {**errors[0], "type": _ANY, "ctx": {"expected": " or ".join(dict.fromkeys(expected))}}


def _words(error: ErrorDetails) -> list[str]:
    """The words of which a value must be one, if that is what it is about."""
    if error["type"] not in _WORDS:
        return []
    said = str(error.get("ctx", {}).get("expected"))
    return re.findall(r"'([^']*)'", said) or [said]


def _near(error: ErrorDetails, written: object) -> str | None:
    return nearest(written, _words(error)) if isinstance(written, str) else None


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def sentence(error: ErrorDetails, written: object) -> str:
    """What is wrong with a value, in the config's own words."""
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx") or {}
    if kind in _EXPECTED:
        if kind == "string_type" and isinstance(written, (int, float)):
            return f'expected text, got {shown(written)}: write it in quotes, "{written}"'
        return f"expected {_EXPECTED[kind]}, got {shown(written)}"
    if kind in _WORDS:
        words = _words(error)
        guess = hint(written, words) if isinstance(written, str) else ""
        return f"{shown(written)} is not allowed here{guess or '; there are ' + ', '.join(words)}"
    if kind == _ANY:
        return f"expected {context['expected']}, got {shown(written)}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {_number(context[key])}, got {shown(written)}"
    if kind in ("too_short", "string_too_short"):
        least = context["min_length"]
        # What is too short may be a secret, and is not shown.
        what = "characters" if kind == "string_too_short" else "entries"
        return f"must have at least {least} {what}" if written and least > 1 else "must not be empty"
    if kind in ("too_long", "string_too_long"):
        return f"is longer than {context['max_length']}"
    if kind == "string_pattern_mismatch" and "redis" in str(context.get("pattern")):
        return f"{shown(written)} is not a store: write redis://HOST:6379/0, rediss://… or unix:///PATH"
    if kind == "string_pattern_mismatch":
        return f"{shown(written)} has characters that are not allowed here"
    message = error["msg"]
    about_value = message.startswith(("is ", "has ")) and not isinstance(written, (dict, list))
    if kind == "value_refused" or about_value:
        return f"{shown(written)} {message}"
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:]
