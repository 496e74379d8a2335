"""The path that an OpenAPI document's `servers` put before all of its own. Where the service is, the config says."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from protogw.descriptors.documents import Node
from protogw.descriptors.model import SchemaError
from protogw.errors import InvalidRequest
from protogw.wire.path_safety import check_path

_VARIABLE = re.compile(r"\{([^{}]+)\}")


def base_path(owner: Node) -> str:
    """The path of the first server that the node lists, without a slash at its end; empty where there is none."""
    server = next(iter(owner.children("servers")), None)
    if server is None:
        return ""
    url = server.text("url")
    variables = server.get("variables")

    def default(found: re.Match[str]) -> str:
        one = variables.get(found[1]) if variables is not None else None
        value = one.mapping.get("default") if one is not None else None
        return str(value) if isinstance(value, (str, int, float)) else ""

    try:
        path = urlsplit(_VARIABLE.sub(default, url)).path.rstrip("/")
    except ValueError as error:
        raise SchemaError(f"{server.where}: {url[:200]!r} is no URL") from error
    if not path or not path.startswith("/"):
        return ""  # relative to where the document was fetched from, which is not known
    path = quote(path, safe="/%!$&'()*+,;=:@-._~")
    try:
        check_path(path.encode(), forwarded=False)
    except InvalidRequest as error:
        raise SchemaError(f"{server.where}: {url[:200]!r}: {error.message}") from error
    return path
