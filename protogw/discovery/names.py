"""Reading the texts of references: hosts and ports. What they raise follows the text that was written."""

from __future__ import annotations

import re

from protogw.values import refuse

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def is_host(text: str) -> bool:
    """It could be the name of a host (RFC 1123, with the underscores of SRV), a final dot allowed."""
    labels = text.removesuffix(".").split(".")
    return len(text) <= 254 and all(_LABEL.fullmatch(label) for label in labels)


def host_of(text: str) -> str:
    """A host's name in lower case, without a final dot."""
    if not is_host(text) or text.replace(".", "").isdigit():
        refuse("has a bad host name")
    return text.lower().removesuffix(".")


def port_of(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        refuse("has a bad port: a port is a number from 1 to 65535")
    return int(text)
