"""The little languages of config values that are about the file and the machine: addresses, names, paths.

Each is a pydantic type; what it raises reads as the end of a sentence that begins with the value.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainValidator, WithJsonSchema

from protogw.discovery import DISCOVERIES, reference
from protogw.discovery.base import Reference
from protogw.paths import parse_path
from protogw.values import refuse
from protogw.words import hint

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*)\Z")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)+\Z")
_SCHEMES = {"http": False, "https": True, "grpc": False, "grpcs": True, "ws": False, "wss": True}
"""Of an upstream's URL, and whether it says TLS."""
_LATER_DISCOVERY = ("dns+srv:", "xds:", "etcd:")


class Address(NamedTuple):
    """A host (name or IP, without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _split(text: str, *, example: str) -> tuple[str, str]:
    """Host and port text of `host:port` or `[v6]:port`."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            refuse(f"is not an address: write {example} or [::1]:8080")
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            refuse("is not an address: no IPv6 address stands between the brackets")
        return host, rest[1:]
    if text.count(":") > 1:
        refuse("is not an address: an IPv6 address needs brackets, [::1]:8080")
    host, colon, port = text.partition(":")
    if not colon:
        refuse(f"has no port: write {example}")
    return host, port


def _checked(host: str, port: str, *, lowest: int) -> Address:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and lowest <= int(port) <= 65535):
        refuse(f"has a bad port: a port is a number from {lowest} to 65535")
    if ":" not in host:
        if not _HOST.match(host) or len(host) > 253 or ".." in host or max(map(len, host.split("."))) > 63:
            refuse("has a bad host")
        if host.replace(".", "").isdigit():
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                refuse("has a bad host: not an IPv4 address")
    return Address(host.lower(), int(port))


def parse_listen_address(value: object) -> Address:
    """Where to listen: `0.0.0.0:8080`, `[::]:8080`, `localhost:0`. Port 0 lets the system choose."""
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"has no host: write 0.0.0.0:{value} for every interface or 127.0.0.1:{value} for this machine alone")
    if not isinstance(value, str):
        refuse("is not an address: write 0.0.0.0:8080")
    if value.startswith(("unix:", "/")):
        refuse("is not supported by this version: write a host and a port, 0.0.0.0:8080")
    if "://" in value:
        refuse("is a URL: write only the host and the port, 0.0.0.0:8080")
    host, port = _split(value, example="0.0.0.0:8080")
    if not host:
        refuse(f"has no host: write 0.0.0.0:{port} for every interface or 127.0.0.1:{port} for this machine alone")
    return _checked(host, port, lowest=0)


class Target(NamedTuple):
    """An upstream address as it is written: where, whether its URL says TLS (None when it is no URL), and its path.

    With `found_by` the addresses are found while the gateway runs, and `address` is only what the service is called.
    """

    address: Address
    secure: bool | None
    path: str = ""
    found_by: Reference | None = None
    written: str = ""
    """The whole text, of what is found."""

    def __str__(self) -> str:
        return self.written or str(self.address)


def parse_target(value: object) -> Target:
    """Where a service is: `host:port`, or `http://host[:port][/path]`, `https://host[:port][/path]`."""
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"has no host: write 127.0.0.1:{value}")
    if not isinstance(value, str):
        refuse("is not an address: write host:port or http://host:port")
    if (found_by := reference(value)) is not None:
        return Target(Address(found_by.authority, 0), None, found_by=found_by, written=str(value))
    if value.startswith(_LATER_DISCOVERY) and not value.partition(":")[2].isdigit():
        known = ", ".join(f"{kind}:" for kind in DISCOVERIES)
        refuse(f"asks for discovery that this version does not have; there are {known}")
    if value.startswith(("unix:", "/")):
        refuse("is not supported by this version: write host:port")
    if "://" not in value:
        host, port = _split(value, example="host:port")
        if not host:
            refuse(f"has no host: write 127.0.0.1:{port}")
        return Target(_checked(host, port, lowest=1), None)
    try:
        url = urlsplit(value)
        secure = _SCHEMES.get(url.scheme)
        port = str(url.port) if url.port is not None else "443" if secure else "80"
    except ValueError:
        refuse("is not a URL: write http://host:port")
    if secure is None:
        refuse(f"has a scheme that is not supported here: write http:// or https://{hint(url.scheme, _SCHEMES)}")
    if url.username is not None:
        refuse("carries a user name: credentials do not belong in an address")
    if url.query or url.fragment:
        refuse("has a query or a fragment: neither belongs in an address")
    if url.path and not (_PATH.match(url.path) and len(url.path) <= 1024):
        refuse("has a bad path: it holds a character or a segment that none may")
    if not url.hostname:
        refuse("has no host: write http://host:port")
    return Target(_checked(url.hostname, port, lowest=1), secure, url.path)


def parse_name(value: object) -> str:
    """The name of a listener, an upstream or a policy."""
    if not isinstance(value, str) or not _NAME.match(value) or len(value) > 100:
        refuse("is not a name: letters, digits, _, - and . are allowed")
    return str(value)


def one_of(words: tuple[str, ...], what: str) -> Any:
    """A pydantic type: one of these words."""

    def check(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            guess = hint(value, words) if isinstance(value, str) else ""
            refuse(f"is not {what}{guess or '; there are ' + ', '.join(words)}")
        return str(value)

    return Annotated[str, PlainValidator(check), WithJsonSchema({"type": "string", "enum": list(words)})]


def _text_schema(**keywords: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **keywords})


def admin_address(value: object) -> Address | None:
    """A listening address, or None for `off`."""
    if value is False or value == "off" or value is None:
        return None
    return value if isinstance(value, Address) else parse_listen_address(value)


def log_path(value: object) -> str:
    """`stdout`, `stderr`, or the path of a file."""
    if value in ("stdout", "stderr"):
        return str(value)
    path = parse_path(value)
    if path.is_dir():
        refuse("is a folder: a file is expected")
    if not path.parent.is_dir():
        refuse("cannot be written: its folder does not exist")
    return str(path)


ListenAddress = Annotated[Address, PlainValidator(parse_listen_address), _text_schema(examples=["0.0.0.0:8080"])]
TargetAddress = Annotated[Target, PlainValidator(parse_target), _text_schema(examples=["127.0.0.1:50051"])]
Name = Annotated[str, AfterValidator(parse_name), _text_schema(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
AdminAddress = Annotated[
    Address | None,
    PlainValidator(admin_address),
    WithJsonSchema({"anyOf": [{"const": "off"}, {"const": False}, {"type": "string"}]}),
]
LogPath = Annotated[str, PlainValidator(log_path), _text_schema()]
