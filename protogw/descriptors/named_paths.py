"""Path templates as documents write them: every wildcard becomes one parameter with a name of its own.

`/v1/{name=shelves/*/books/*}:move` is `/v1/shelves/{shelf}/books/{book}:move`. A path parameter of OpenAPI is one
segment; what stands for several (`**`) is a parameter all the same, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from urllib.parse import quote

from protogw.wire.path_template import Segment, Template, Variable, Wildcard

_SAFE = "!$&'()*+,;=@-._~"
_IRREGULAR = {
    "children": "child",
    "indices": "index",
    "leaves": "leaf",
    "people": "person",
    "series": "series",
    "shelves": "shelf",
    "vertices": "vertex",
}
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathParameter:
    """One parameter: a whole variable, or a wildcard within the pattern of one; `variable` is None for a wildcard that
    gives no field its value. `multi` is any number of segments."""

    name: str
    variable: Variable | None
    whole: bool
    multi: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPath:
    """`shape` is equal for paths that differ in the names of their parameters alone."""

    path: str
    shape: str
    parameters: tuple[PathParameter, ...]


def named_path(template: Template, naming: Callable[[Variable], str], taken: Container[str]) -> NamedPath:
    """`naming` names a parameter that is a whole variable; other parameters avoid the names that are `taken`."""
    variables = {place: variable for variable in template.variables for place in range(variable.start, variable.end)}
    used: set[str] = {naming(variable) for variable in template.variables if _whole(variable)}
    written: list[str] = []
    shape: list[str] = []
    parameters: list[PathParameter] = []
    before = ""
    for place, segment in enumerate(template.segments):
        if not isinstance(segment, Wildcard):
            written.append(quote(segment, safe=_SAFE))
            shape.append(written[-1])
            before = segment.decode("utf-8", "replace")
            continue
        variable = variables.get(place)
        whole = variable is not None and _whole(variable)
        if whole:
            assert variable is not None
            name = naming(variable)
        else:
            name = _free(_singular(before, variable, template.segments, place), used, taken)
            used.add(name)
        parameters.append(PathParameter(name=name, variable=variable, whole=whole, multi=segment is Wildcard.REST))
        written.append(f"{{{name}}}")
        shape.append("{}")
        before = ""
    verb = f":{quote(template.verb, safe=_SAFE)}" if template.verb else ""
    return NamedPath(
        path="/" + "/".join(written) + verb, shape="/" + "/".join(shape) + verb, parameters=tuple(parameters)
    )


def pattern_of(template: Template, variable: Variable, names: list[str]) -> str:
    """A variable's pattern with its wildcards named: `shelves/{shelf}`."""
    left = iter(names)
    return "/".join(
        f"{{{next(left)}}}" if isinstance(segment, Wildcard) else segment.decode("utf-8", "replace")
        for segment in template.segments[variable.start : variable.end]
    )


def _whole(variable: Variable) -> bool:
    return variable.end == variable.start + 1


def _singular(before: str, variable: Variable | None, segments: tuple[Segment, ...], place: int) -> str:
    """The name of a wildcard by the literal before it: `shelves/*` is a shelf."""
    word = _NO_NAME.sub("_", before).strip("_")
    if not word:
        return variable.path[-1] if variable is not None else "rest" if segments[place] is Wildcard.REST else "segment"
    known = _IRREGULAR.get(word.lower())
    if known is not None:
        return known
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 1:
        return word[:-1]
    return word


def _free(name: str, used: Container[str], taken: Container[str]) -> str:
    candidate, number = name, 1
    while candidate in used or candidate in taken:
        candidate = f"{name}_id" if number == 1 else f"{name}_{number}"
        number += 1
    return candidate
