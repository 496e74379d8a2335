"""A config file → a Config, or every fault that is in it."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from protogw.config.checks import check
from protogw.config.document import NOTHING, Document
from protogw.config.faults import ConfigError, Fault, Place, shown
from protogw.config.kinds import Kinds
from protogw.config.model import Config, configured
from protogw.config.reader import read
from protogw.words import hint

_LATER: Mapping[str, frozenset[str]] = {
    "Upstream": frozenset(("graphql", "websocket")),
}
"""Keys that other versions of the format have: naming them is better than a guess at a typing error."""


def load(path: str | os.PathLike[str], kinds: Kinds, environment: Mapping[str, str] = os.environ) -> Config:
    """The config of a file and the files it includes; raises ConfigError with every fault, in the files' order."""
    config, faults, _ = inspect(path, kinds, environment)
    if config is None or faults:
        raise ConfigError(faults)
    return config


def inspect(
    path: str | os.PathLike[str], kinds: Kinds, environment: Mapping[str, str] = os.environ
) -> tuple[Config | None, list[Fault], Document]:
    """What `load` does, with the document, for those who want places or the faults without an exception."""
    document = read(Path(path), environment)
    if not document.data:
        if not document.faults:
            document.fault((), "is empty: a config needs listeners and upstreams")
        return None, document.faults, document
    model = configured(kinds)
    config: Config | None = None
    try:
        config = model.model_validate(document.data)
        config.lies_in(Path(path).absolute().parent)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _report(document, model, details)
    check(document, kinds)
    faults = sorted(
        set(document.faults), key=lambda fault: (document.files.index(fault.file), fault.line, fault.column, fault.path)
    )
    return (None if faults else config), faults, document


def _report(document: Document, model: type[BaseModel], error: ErrorDetails) -> None:
    place: Place = tuple(step for step in error["loc"] if step != "[key]")
    known = document.known(place)
    value = document.value(known)
    if value is NOTHING:
        return  # its fault is already told
    kind = error["type"]
    if kind == "too_short" and isinstance(value, list) and len(value) >= (error.get("ctx") or {}).get("min_length", 1):
        return  # it is short only of its items with faults, which are told
    if kind == "extra_forbidden":
        document.fault(place, _unknown(model, place), key=True)
    elif kind == "missing":
        document.fault(place, "is missing", key=True)
    else:
        of_key = "[key]" in error["loc"]
        written = known[-1] if of_key and known else document.written(known)
        document.fault(known, _sentence(error, written), key=of_key)


def _unknown(model: type[BaseModel], place: Place) -> str:
    owner = model_at(model, place[:-1])
    key = str(place[-1])
    if owner is None:
        return "unknown key"
    if any(key in _LATER.get(base.__name__, ()) for base in owner.__mro__):
        return "is not supported by this version"
    return f"unknown key{hint(key, keys_of(owner))}"


def keys_of(model: type[BaseModel]) -> dict[str, str]:
    """The keys that a model has in a file, each → its field's name."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def model_at(model: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """The model of the mapping at a place, or None when the place is no model's."""
    here: Any = model
    for step in place:
        here = _stripped(here)
        origin = get_origin(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            name = keys_of(here).get(str(step))
            if name is None:
                return None
            here = here.model_fields[name].annotation
        elif origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            here = get_args(here)[1]
        elif origin in (tuple, list):
            item = get_args(here)[0]
            if not isinstance(step, int):  # one value written where a list is allowed
                here = _stripped(item)
                name = keys_of(here).get(step) if isinstance(here, type) and issubclass(here, BaseModel) else None
                if name is None:
                    return None
                item = here.model_fields[name].annotation
            here = item
        else:
            return None
    here = _stripped(here)
    if get_origin(here) in (tuple, list):
        here = _stripped(get_args(here)[0])
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _stripped(annotation: Any) -> Any:
    """The annotation without Annotated and `| None`."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, types.UnionType):
            inner = [part for part in get_args(annotation) if part is not type(None)]
            if len(inner) != 1:
                return annotation
            annotation = inner[0]
        else:
            return annotation


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
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _sentence(error: ErrorDetails, written: object) -> str:
    """What is wrong with a value, in the config's own words."""
    kind = error["type"]
    context: dict[str, Any] = error.get("ctx") or {}
    if kind in _EXPECTED:
        if kind == "string_type" and isinstance(written, (int, float)):
            return f'expected text, got {shown(written)}: write it in quotes, "{written}"'
        return f"expected {_EXPECTED[kind]}, got {shown(written)}"
    if kind in ("literal_error", "enum"):
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        guess = hint(written, words) if isinstance(written, str) else ""
        return f"{shown(written)} is not allowed here{guess or '; there are ' + ', '.join(words)}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {_number(context[key])}, got {shown(written)}"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
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
