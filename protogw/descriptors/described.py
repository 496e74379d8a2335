"""Documents → one Schema, whatever they are written in: reading them all, and telling all of their faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from protogw.descriptors.documents import MAX_FAULTS, Documents, Node
from protogw.descriptors.model import Schema, SchemaError
from protogw.descriptors.numbers import Numbers
from protogw.descriptors.synthesize import Drafts, synthesize
from protogw.wire.protojson import JsonOptions

Read: TypeAlias = Callable[[Documents, Drafts, list[str]], None]
"""Adds what one document describes to the drafts, and what is wrong with it to the faults; may raise SchemaError."""


def load_documents(
    paths: Sequence[Path], read: Read, *, upstream: str, numbers: Numbers, options: JsonOptions
) -> Schema:
    """The schema of these documents; raises SchemaError with every fault, each with its file and line."""
    drafts = Drafts()
    faults: list[str] = []
    for place, path in enumerate(paths):
        try:
            read(Documents(path, f"{place}:" if place else ""), drafts, faults)
        except SchemaError as error:
            faults.extend(error.faults)
    if faults:
        raise SchemaError(*dict.fromkeys(faults[:MAX_FAULTS]))
    return synthesize(drafts, upstream=upstream, numbers=numbers, options=options)


def describe(drafts: Drafts, root: Node) -> None:
    """Take the service's description from the first document that has one in its `info`."""
    info = root.get("info")
    if info is not None and not drafts.doc:
        drafts.doc = "\n\n".join(text for name in ("title", "description") if (text := info.text(name)))
