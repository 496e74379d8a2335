"""TLS contexts of listeners and upstreams, and who the other end showed itself to be (RFC 8446, RFC 7301 for ALPN).

Files are read when a context is made; a file that cannot be used raises ValueError naming it.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import TypeAlias

logger = logging.getLogger(__name__)

PathLike: TypeAlias = str | Path

H2 = "h2"
HTTP_1_1 = "http/1.1"

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
# TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 section 4.2); TLS 1.3 has no others.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ALPN = {"http": (H2, HTTP_1_1), "http/2": (H2,), "http/1.1": (HTTP_1_1,), "raw": ()}


def server_context(
    cert: PathLike,
    key: PathLike,
    client_ca: PathLike | None = None,
    min_version: str = "1.2",
    *,
    transport: str = "http",
    client_cert: str = "required",
) -> ssl.SSLContext:
    """What a listener speaks; with `client_ca`, only to clients that those vouch for, or that show no certificate if
    `client_cert` is "optional".

    `transport` is "http", HTTP/2 or HTTP/1.1 as ALPN says, or "raw", where ALPN says nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[min_version]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _offer(context, transport)
    _load_pair(context, cert, key)
    if client_ca is not None:
        _load_authorities(context, client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL if client_cert == "optional" else ssl.CERT_REQUIRED
    return context


def client_context(
    ca: PathLike | None = None,
    cert: PathLike | None = None,
    key: PathLike | None = None,
    *,
    verify: bool = True,
    transport: str = "http/2",
) -> ssl.SSLContext:
    """How an upstream is spoken to; `transport` is "http/2" or "http/1.1", offered by ALPN, or "raw", without it.

    The certificate and its name are verified against `ca`, by default the system's authorities, unless `verify` is
    turned off, which is logged. `cert` and `key` are shown to an endpoint that asks.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    _offer(context, transport)
    if ca is not None:
        _load_authorities(context, ca)
    elif verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if not verify:
        logger.warning("TLS without verification: any certificate of the upstream is accepted")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        if key is None:
            raise ValueError(f"{cert}: a client certificate needs its key")
        _load_pair(context, cert, key)
    return context


def _offer(context: ssl.SSLContext, transport: str) -> None:
    protocols = _ALPN[transport]
    if protocols:
        context.set_alpn_protocols(protocols)


def _load_pair(context: ssl.SSLContext, cert: PathLike, key: PathLike) -> None:
    for path in (cert, key):
        _readable(path)

    def no_pass_phrase() -> str:
        raise ValueError(f"{key}: needs a pass phrase, which is not supported")

    try:
        context.load_cert_chain(cert, key, password=no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{key}: not the key of the certificate in {cert}") from error
        # OpenSSL does not say which of the two it could not read: the certificate alone tells.
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cert)
        except ssl.SSLError:
            raise ValueError(f"{cert}: no certificate in PEM ({_reason(error)})") from error
        raise ValueError(f"{key}: no private key in PEM that fits {cert} ({_reason(error)})") from error


def _load_authorities(context: ssl.SSLContext, path: PathLike) -> None:
    _readable(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"{path}: no certificate in PEM ({_reason(error)})") from error


def _readable(path: PathLike) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def peer_identity(ssl_object: ssl.SSLObject) -> str:
    """Who a verified client certificate names: its first URI, DNS or e-mail name, else its subject; empty without one.

    The names come before the subject since they are what a certificate is issued to today (RFC 6125, SPIFFE).
    """
    certificate = ssl_object.getpeercert()
    if not certificate:
        return ""
    names = certificate.get("subjectAltName", ())
    for kind in ("URI", "DNS", "email"):
        for name in names:
            if name[0] == kind:
                return f"{kind.lower()}:{name[1]}"
    return subject(certificate.get("subject", ()))


def subject(parts: object) -> str:
    """A subject as ssl gives it, written as `CN=…,O=…`, most specific first."""
    if not isinstance(parts, tuple):
        return ""
    short = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
    written = [f"{short.get(key, key)}={value}" for group in parts for key, value in group]
    return ",".join(reversed(written))
