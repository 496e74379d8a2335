"""Paths in messages as clients know them: each protocol has names of its own for a field."""

from __future__ import annotations

from typing import Any

from protogw.descriptors.model import Field, Spelling, Type


def path_of(path: Any, root: Type, spelling: Spelling) -> str:
    """A buf.validate.FieldPath as the client writes it: `books[2].labels["env"]`; empty for the message itself."""
    text = ""
    at: Type | None = root
    for element in path.elements if path is not None else ():
        field = at.fields.get(element.field_name) if at is not None else None
        shown = _shown(at, field, spelling) if at is not None and field is not None else element.field_name
        if shown:
            text += f".{shown}" if text else shown
        subscript = element.subscript
        if subscript is not None:
            text += _subscript(subscript.value)
        at = at.types.get(field.type_name) if at is not None and field is not None else None
    return text


def _shown(owner: Type, field: Field, spelling: Spelling) -> str:
    """A field's name; nothing for one whose value stands for the message in the service's own JSON."""
    if spelling is Spelling.PROTO:
        return field.name
    shape = owner.shape
    if spelling is Spelling.OWN and shape is not None and (shape.union or field.json_name in (shape.wraps, shape.rest)):
        return ""
    return field.json_name


def _subscript(value: Any) -> str:
    if isinstance(value, str):
        return '["' + value[:100].replace("\\", "\\\\").replace('"', '\\"') + '"]'
    return f"[{str(value).lower() if isinstance(value, bool) else value}]"
