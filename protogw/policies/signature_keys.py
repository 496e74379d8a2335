"""Keys that requests are signed with, each with its one algorithm and who signs: from settings, or a file that may
change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from protogw.entry_files import FileFault, read_entries
from protogw.identity import Identity

MAX_FILE: Final = 16 << 20
LEAST_RSA_BITS: Final = 2048

Algorithm = Literal[
    "hmac-sha256", "ed25519", "rsa-pss-sha512", "rsa-v1_5-sha256", "ecdsa-p256-sha256", "ecdsa-p384-sha384"
]
"""Names of RFC 9421 section 6.2.2."""


class SignatureKey(BaseModel):
    """One key and whose it is."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")]
    """What signatures name it by (`keyid`)."""
    consumer: Annotated[str, Field(min_length=1, max_length=255)]
    """The consumer that signs with it."""
    algorithm: Algorithm
    """The one algorithm that signatures with it are taken in."""
    secret: Annotated[str, Field(min_length=32, max_length=4096)] | None = Field(None, repr=False)
    """The shared secret of `hmac-sha256`, at least 32 characters: best as `${NAME}` or `file:PATH`."""
    public_key: Annotated[str, Field(max_length=20_000)] | None = None
    """The public key of the other algorithms, PEM: as text, or `file:PATH`."""
    groups: tuple[str, ...] = ()
    """Groups that the consumer is in."""
    scopes: tuple[str, ...] = ()
    """What this key is good for."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        shared = self.algorithm == "hmac-sha256"
        if shared != (self.secret is not None) or shared == (self.public_key is not None):
            needed = "a secret and no public_key" if shared else "a public_key and no secret"
            raise PydanticCustomError("key", "{reason}", {"reason": f"{self.algorithm} needs {needed}"})
        if not shared:
            self.material()
        return self

    def material(self) -> Any:
        """The key itself, as it verifies."""
        if self.secret is not None:
            return self.secret.encode()
        from cryptography.exceptions import UnsupportedAlgorithm  # which only some configs need
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        assert self.public_key is not None
        try:
            found = load_pem_public_key(self.public_key.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise PydanticCustomError("key", "{reason}", {"reason": "public_key is not a public key in PEM"}) from error
        if not _is_for(found, self.algorithm):
            raise PydanticCustomError("key", "{reason}", {"reason": f"public_key is none for {self.algorithm}"})
        return found


def _is_for(key: object, algorithm: str) -> bool:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if algorithm == "ed25519":
        return isinstance(key, ed25519.Ed25519PublicKey)
    if algorithm.startswith("rsa"):
        return isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS
    curve = ec.SECP256R1 if algorithm == "ecdsa-p256-sha256" else ec.SECP384R1
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, curve)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A key made ready."""

    algorithm: str
    material: Any
    identity: Identity


def table(keys: Iterable[SignatureKey]) -> Mapping[str, Known]:
    """The keys by id; raises ValueError naming one that is there twice."""
    found: dict[str, Known] = {}
    for key in keys:
        if key.id in found:
            raise ValueError(f"two keys have the id {key.id}")
        found[key.id] = Known(
            algorithm=key.algorithm,
            material=key.material(),
            identity=Identity(
                subject=key.consumer,
                consumer=key.consumer,
                scheme="http_signature",
                groups=frozenset(key.groups),
                scopes=frozenset(key.scopes),
            ),
        )
    return found


_KEYS = TypeAdapter(tuple[SignatureKey, ...])


def read(path: Path) -> tuple[SignatureKey, ...]:
    """The keys of a YAML file; raises ValueError in one line, which holds nothing of any key."""
    try:
        return read_entries(path, _KEYS, MAX_FILE, ())
    except FileFault as fault:
        raise ValueError(fault.within(path)) from fault
