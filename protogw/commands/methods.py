"""Finding a method by as much of its name as is unique."""

from __future__ import annotations

from protogw.commands.terminal import CommandFailed
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.model import Method
from protogw.words import hint


def find_method(catalog: Catalog, written: str, unknown: dict[str, str]) -> Method:
    """The method of `package.Service/Method`, `Service/Method` or `Method`; dots may stand for the slash.

    Ends the command when there is none or there are several. `unknown` are upstreams without a schema, and why.
    """
    wanted = written.strip().lstrip("/")
    methods = {method.full_name: method for method in catalog.methods.values()}
    exact = methods.get(wanted)
    if exact is not None:
        return exact
    tail = wanted.replace("/", ".")
    found = [
        method
        for name, method in methods.items()
        if (dotted := name.replace("/", ".")) == tail or dotted.endswith("." + tail)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(method.full_name for method in found)
        raise CommandFailed(f"{written}: several methods end in this: {names}")
    guess = hint(wanted, [*methods, *(name.rpartition(".")[2] for name in methods)])
    missing = "".join(f"\nupstreams.{name}: its schema is not known: {reason}" for name, reason in unknown.items())
    raise CommandFailed(f"{written}: no such method{guess}{missing}")
