"""A config file → a Config, or every fault that is in it."""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from protogw.config.checks import check
from protogw.config.document import NOTHING, Document
from protogw.config.faults import ConfigError, Fault, Place
from protogw.config.kinds import Kinds
from protogw.config.model import Config, configured
from protogw.config.reader import read
from protogw.config.sentences import of_one_value, sentence
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
        _report(document, model, error.errors(include_url=False))
    check(document, kinds)
    faults = sorted(
        set(document.faults), key=lambda fault: (document.files.index(fault.file), fault.line, fault.column, fault.path)
    )
    return (None if faults else config), faults, document


def _report(document: Document, model: type[BaseModel], errors: Iterable[ErrorDetails]) -> None:
    alike: dict[tuple[Place, bool], list[ErrorDetails]] = {}
    for error in errors:
        place: Place = tuple(step for step in error["loc"] if step != "[key]")
        known = document.known(place)
        value = document.value(known)
        if value is NOTHING:
            continue  # its fault is already told
        kind = error["type"]
        if kind == "too_short" and isinstance(value, list) and len(value) >= error.get("ctx", {}).get("min_length", 1):
            continue  # it is short only of its items with faults, which are told
        if kind == "extra_forbidden":
            document.fault(place, _unknown(model, place), key=True)
        elif kind == "missing":
            document.fault(place, "is missing", key=True)
        else:
            alike.setdefault((known, "[key]" in error["loc"]), []).append(error)
    for (known, of_key), found in alike.items():
        written = known[-1] if of_key and known else document.written(known)
        document.fault(known, sentence(of_one_value(found, written), written), key=of_key)


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
