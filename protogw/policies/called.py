"""Methods as the settings of policies name them, and the name that was probably meant where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

from pydantic import AfterValidator

from protogw.descriptors.model import Method
from protogw.values import refuse
from protogw.words import hint, nearest, suggested

_CALL = re.compile(r"[A-Za-z_][\w.]*/(?:\*|[A-Za-z_]\w*)")


def _call(value: str) -> str:
    if _CALL.fullmatch(value) is None:
        refuse("is not a method: write package.Service/Method or package.Service/*")
    return value


CallName = Annotated[str, AfterValidator(_call)]
"""A method, or all of a service's, as a setting."""


def names(pattern: str, method: Method) -> bool:
    """Whether a pattern of settings means the method: it is its name, or ends in `*` and begins it."""
    return pattern == method.full_name or (pattern[-1] == "*" and method.full_name.startswith(pattern[:-1]))


def meant(pattern: str, methods: Sequence[Method]) -> str:
    """`; did you mean "library.v1.Library/GetBook"?` for a pattern that fits none of the methods, or nothing where
    nothing is near. A pattern may also be `package.*`."""
    services = {method.service for method in methods}
    service, slash, name = pattern.partition("/")
    if not slash:
        packages = {package for each in services for package in accumulate(each.split(".")[:-1], "{}.{}".format)}
        found = nearest(pattern.removesuffix(".*"), packages)
        return suggested(f"{found}.*") if found is not None else ""
    near = nearest(service, services)
    if near is None:
        return ""
    known = [method.name for method in methods if method.service == near]
    found = "*" if name == "*" else nearest(name, known)
    if found is not None:
        return suggested(f"{near}/{found}")
    return hint(name, known) if near == service else suggested(f"{near}/*")
