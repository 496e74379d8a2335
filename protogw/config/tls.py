"""TLS settings of listeners and upstreams; the files are read, and shown to fit, when the config is loaded."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from protogw.config.strict import Strict
from protogw.paths import ReadableFile


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, float) else value


MinimumVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_as_text)]


class ListenerTls(Strict):
    """How a listener serves TLS."""

    cert: ReadableFile
    """The certificate chain, PEM."""
    key: ReadableFile
    """Its private key, PEM, without a pass phrase."""
    client_ca: ReadableFile | None = None
    """Clients must show a certificate that these authorities signed, PEM."""
    client_cert: Literal["required", "optional"] = "required"
    """`optional` takes clients without a certificate too: what they may do is for policies to say (`mtls`). One that
    the authorities did not sign is refused in either case."""
    min_version: MinimumVersion = "1.2"
    """The lowest version spoken."""

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        _check_pair(self.cert, self.key)
        _check_authorities(self.client_ca, "client_ca")
        if self.client_ca is None and "client_cert" in self.model_fields_set:
            raise PydanticCustomError("tls", "{reason}", {"reason": "client_cert means nothing without client_ca"})
        return self


class UpstreamTls(Strict):
    """How an upstream is spoken to in TLS; its certificate is verified unless that is turned off by name."""

    ca: ReadableFile | None = None
    """The authorities that may have signed its certificate, PEM. Default: the system's."""
    cert: ReadableFile | None = None
    """The certificate to show it, PEM."""
    key: ReadableFile | None = None
    """The private key of `cert`, PEM, without a pass phrase."""
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The name that its certificate must carry, also sent as SNI. Default: the address's host."""
    verify: bool = True
    """`false` accepts any certificate: for tests alone, whoever stands between can read and change everything."""

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        if (self.cert is None) != (self.key is None):
            missing = "key" if self.key is None else "cert"
            raise PydanticCustomError("tls", "{reason}", {"reason": f"needs {missing} too: a certificate and its key"})
        if self.cert is not None and self.key is not None:
            _check_pair(self.cert, self.key)
        _check_authorities(self.ca, "ca")
        return self


def _check_pair(cert: Path, key: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def no_pass_phrase() -> str:
        raise PydanticCustomError("tls", "the key has a pass phrase: write it without one")

    try:
        context.load_cert_chain(cert, key, no_pass_phrase)
    except ssl.SSLError as error:
        mismatch = error.reason == "KEY_VALUES_MISMATCH"
        reason = "cert and key do not belong together" if mismatch else "cert or key is not PEM that OpenSSL can read"
        raise PydanticCustomError("tls", "{reason}", {"reason": reason}) from error


def _check_authorities(path: Path | None, name: str) -> None:
    if path is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise PydanticCustomError("tls", "{reason}", {"reason": f"{name} holds no PEM certificate"}) from error
