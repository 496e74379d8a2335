"""Which alternative of a union a JSON value is. Pure."""

from __future__ import annotations

from typing import Any

from protogw.descriptors.shapes import Branch, Union

NO_BRANCH = "fits none of the alternatives that the schema has"

_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
}


def branch_of(union: Union, value: Any) -> Branch | None:
    """The branch that the value belongs to: by its tag if it has one that is known, else by what it is and holds."""
    kind = _TYPES.get(value.__class__, "")
    is_object = kind == "object"
    if is_object and union.tag:
        tag = value.get(union.tag)
        for branch in union.branches:
            if tag in branch.tags:
                return branch
        if tag is not None:
            return _untagged(union, kind)
    best: Branch | None = None
    most = -1
    for branch in union.branches:
        if kind not in branch.json_types:
            continue
        if not is_object:
            return branch
        if all(name in value for name in branch.required):
            # Members that it does not know weigh against it as much as known ones for it.
            fits = 2 * len(branch.known & value.keys()) - len(value)
            if best is None or fits > most:
                best, most = branch, fits
    return best


def _untagged(union: Union, kind: str) -> Branch | None:
    """The one branch that no tag means: what every other tag stands for."""
    return next((branch for branch in union.branches if not branch.tags and kind in branch.json_types), None)
