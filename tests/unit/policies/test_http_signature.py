"""Signed requests: the RFC's own examples, every algorithm, and what a signature must cover, be, and be used for."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import ASKED_BY, Call, Encoding, Metadata, Payload, Reply
from protogw.errors import BodyTooLarge, Overloaded, Unauthenticated
from protogw.policies import http_signature, signature_keys
from protogw.policies.http_signature import HttpSignature, HttpSignatureSettings
from protogw.policies.signature_verifier import _ALGORITHMS, Signed, Verifier
from protogw.stores.base import StoreError, Taken, Window
from protogw.stores.memory import MemoryCounters
from protogw.wire.http import HTTP_1_1, Peer, RequestHead
from tests.support import rpc
from tests.support.counted import Counted
from tests.support.tokens import tools

SECRET = "a secret of more than thirty-two characters"
_SHARED = SECRET.encode()
HMAC = {"id": "shop-1", "consumer": "shop", "algorithm": "hmac-sha256", "secret": SECRET, "scopes": ["read"]}
COVERED = ("@method", "@target-uri")


def policy(*keys: Any, **settings: Any) -> HttpSignature:
    made = HttpSignature(HttpSignatureSettings.model_validate({"keys": keys or [HMAC], **settings}))
    made.equip(tools(name="signed"))
    return made


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, key: Any) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> Any:
        return self._key


def digest(body: bytes) -> str:
    return "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode() + ":"


def signed(
    verb: str = "GET",
    target: str = "/v1/echo/x?a=1",
    *,
    covered: tuple[str, ...] = COVERED,
    body: bytes = b"",
    fields: dict[str, str] | None = None,
    algorithm: str = "hmac-sha256",
    key: Any = _SHARED,
    key_id: str = "shop-1",
    age: float = 0,
    scheme: str = "http",
    **parameters: Any,
) -> RequestHead:
    """A request's head, signed as a client of that library signs."""
    headers = {"host": "gw.test", **(fields or {})}
    if body:
        headers["content-digest"] = digest(body)
        covered = (*covered, "content-digest")
    request = SimpleNamespace(method=verb, url=f"{scheme}://gw.test{target}", headers=headers)
    signer = HTTPMessageSigner(signature_algorithm=_ALGORITHMS[algorithm], key_resolver=Keys(key))
    created = datetime.datetime.fromtimestamp(time.time() - age, datetime.UTC)
    if body:
        parameters["use_existing_digest"] = True
    signer.sign(request, key_id=key_id, created=created, covered_component_ids=covered, **parameters)
    return head_of(verb, target, headers)


def head_of(verb: str, target: str, headers: dict[str, str]) -> RequestHead:
    path, _, query = target.partition("?")
    pairs = tuple((name.lower().encode(), value.encode()) for name, value in headers.items() if name != "host")
    return RequestHead(verb.encode(), path.encode(), query.encode(), b"gw.test", pairs, HTTP_1_1)


def call(head: RequestHead, payload: Payload | None = None, *, method: Any = rpc.UNARY, tls: bool = False) -> Call:
    return Call(
        method,
        Metadata(head.headers),
        front_end="rest",
        peer=Peer("192.0.2.1", 1, tls=tls),
        started=0.0,
        head=head,
        payload=payload or Payload(b"{}", Encoding.JSON, rpc.UNARY.input.codec),
    )


def opaque(head: RequestHead, *pieces: bytes, whole: bool = True) -> Call:
    async def stream() -> AsyncIterator[Payload]:
        for piece in pieces:
            yield Payload(piece, Encoding.RAW)

    made = call(head, Payload(b"".join(pieces), Encoding.RAW), method=None)
    if not whole:
        made.payload, made.payloads = None, stream()
    return made


async def forward(call: Call) -> Reply:
    assert call.payloads is None
    return Reply(payload=call.payload)


async def refused(policy: HttpSignature, made: Call) -> str:
    async def never(call: Call) -> Reply:
        raise AssertionError("the call went on")

    with pytest.raises(Unauthenticated) as caught:
        await policy(made, never)
    assert caught.value.headers == ((b"www-authenticate", b"Signature"),)
    return caught.value.message


async def test_a_signed_request_is_its_consumers() -> None:
    made = call(signed())
    await policy()(made, forward)
    assert (made.identity.consumer, made.identity.scheme, made.identity.scopes) == ("shop", "http_signature", {"read"})


_RSA = rsa.generate_private_key(65537, 2048)
_PRIVATE = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa-pss-sha512": _RSA,
    "rsa-v1_5-sha256": _RSA,
    "ecdsa-p256-sha256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384-sha384": ec.generate_private_key(ec.SECP384R1()),
}


def pem(key: Any) -> str:
    return key.public_key().public_bytes(KeyEncoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()  # type: ignore[no-any-return]


@pytest.mark.parametrize("algorithm", _PRIVATE)
async def test_every_algorithm_is_verified(algorithm: str) -> None:
    private = _PRIVATE[algorithm]
    one = policy({"id": "k", "consumer": "shop", "algorithm": algorithm, "public_key": pem(private)})
    head = signed(algorithm=algorithm, key=private, key_id="k")
    await one(call(head), forward)
    changed = RequestHead(head.method, b"/v1/echo/y", head.query, head.authority, head.headers, HTTP_1_1)
    assert await refused(one, call(changed)) == "the signature does not hold"


async def test_a_key_is_for_its_one_algorithm() -> None:
    # The public key, taken for a shared secret: what RS256/HS256 confusion is for tokens.
    public = pem(_RSA)
    one = policy({"id": "k", "consumer": "shop", "algorithm": "rsa-pss-sha512", "public_key": public})
    assert await refused(one, call(signed(key=public.encode(), key_id="k"))) == "the signature does not hold"
    other = signed(algorithm="rsa-v1_5-sha256", key=_RSA, key_id="k", include_alg=False)
    assert await refused(one, call(other)) == "the signature does not hold"


RFC_KEY = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
"""
RFC_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)


_B26 = '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="%s"'


@pytest.mark.parametrize(
    ("label", "covered", "key", "signature"),
    [
        (
            "sig-b26",
            _B26 % "test-key-ed25519",
            ("ed25519", RFC_KEY),
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
        (
            "sig-b25",
            '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
            ("hmac-sha256", None),
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
        ),
    ],
)
def test_the_examples_of_the_rfc_hold(label: str, covered: str, key: tuple[str, str | None], signature: str) -> None:
    fields = (
        (b"date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
        (b"content-type", b"application/json"),
        (b"content-length", b"18"),
        (b"signature-input", f"{label}={covered}".encode()),
        (b"signature", f"{label}=:{signature}:".encode()),
    )
    head = RequestHead(b"POST", b"/foo", b"param=Value&Pet=dog", b"example.com", fields, HTTP_1_1)
    algorithm, public = key
    name = covered.rpartition("=")[2].strip('"')
    written = {"id": name, "consumer": "c", "algorithm": algorithm, "public_key": public}
    known = signature_keys.SignatureKey.model_validate(written | ({"secret": "x" * 32} if public is None else {}))
    made = signature_keys.table([known])
    if public is None:
        made = {name: signature_keys.Known(algorithm=algorithm, material=RFC_SECRET, identity=made[name].identity)}
    verifier = Verifier(max_age_s=1e9, leeway_s=5, tag=None)
    found = verifier.verified(head, secure=True, keys=made, body=None)
    assert isinstance(found, Signed), found
    assert found.key == name
    other = RequestHead(b"PUT", b"/foo", b"", b"example.org", fields, HTTP_1_1)
    assert isinstance(verifier.verified(other, secure=True, keys=made, body=None), str)


# --- what is signed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "value"),
    [("method", b"DELETE"), ("path", b"/v1/echo/y"), ("query", b"a=2"), ("query", b""), ("authority", b"other.test")],
)
async def test_nothing_that_is_covered_may_change(change: str, value: bytes) -> None:
    head = signed(covered=("@method", "@authority", "@path", "@query"))
    setattr(head, change, value)
    assert await refused(policy(), call(head)) == "the signature does not hold"


async def test_the_scheme_is_the_clients() -> None:
    await policy()(call(signed(scheme="https"), tls=True), forward)
    assert await refused(policy(), call(signed(scheme="https"))) == "the signature does not hold"


async def test_a_signature_must_cover_what_is_wanted() -> None:
    assert await refused(policy(), call(signed(covered=("@method", "@path")))) == (
        "the signature does not cover @authority"
    )
    one = policy(covers=["@method", "x-tenant"])
    assert await refused(one, call(signed(fields={"x-tenant": "a"}))) == "the signature does not cover x-tenant"
    await one(call(signed(covered=("@method", "x-tenant"), fields={"x-tenant": "a"})), forward)


async def test_what_policies_changed_before_does_not_matter() -> None:
    made = call(signed(covered=(*COVERED, "x-tenant"), fields={"x-tenant": "a"}))
    made.metadata = Metadata()
    await policy()(made, forward)


# --- when and how often -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [400, -60])
async def test_signatures_are_good_for_a_time(age: float) -> None:
    assert await refused(policy(), call(signed(age=age))) == "the signature does not hold"


async def test_a_signature_that_has_expired_does_not_hold() -> None:
    past = datetime.datetime.fromtimestamp(time.time() - 30, datetime.UTC)
    assert await refused(policy(), call(signed(age=60, expires=past))) == "the signature does not hold"


async def test_a_nonce_counts_once_for_its_key() -> None:
    one = policy(HMAC, {**HMAC, "id": "shop-2"})
    head = signed(nonce="n1")
    await one(call(head), forward)
    assert await refused(one, call(head)) == "the signature's nonce was used before"
    await one(call(signed(nonce="n2")), forward)
    await one(call(signed(nonce="n1", key_id="shop-2")), forward)


async def test_a_nonce_may_be_asked_for() -> None:
    assert await refused(policy(nonce=True), call(signed())) == "the signature has no nonce"
    await policy(nonce=True)(call(signed(nonce="n")), forward)


async def test_a_refused_request_uses_no_nonce_up() -> None:
    one = policy()
    good = signed(nonce="n")
    bad = signed(nonce="n", key=b"another secret of thirty-two characters or so")
    await refused(one, call(bad))
    await one(call(good), forward)


async def test_the_calls_of_one_socket_share_the_nonce_that_opened_it() -> None:
    one, head = policy(), signed(nonce="n")
    for connection, goes in (("a", True), ("a", True), ("b", False)):
        made = call(head)
        made.attributes = {"connection": connection}
        if goes:
            await one(made, forward)
        else:
            assert "used before" in await refused(one, made)


class Elsewhere:
    """A store of nonces that several gateways ask."""

    def __init__(self) -> None:
        self.seen = MemoryCounters(clock=lambda: 1000.0)
        self.down = False

    async def take(self, key: str, cost: int, windows: Sequence[Window]) -> Sequence[Taken]:
        if self.down:
            raise StoreError("down")
        return self.seen.take_now(key, cost, windows)

    async def close(self) -> None: ...


class Tools(Counted):
    def __init__(self, store: Elsewhere) -> None:
        super().__init__()
        self.store = store

    def counters(self, url: str) -> Elsewhere:
        assert url == "redis://nonces"
        return self.store


async def test_a_nonce_counts_once_for_all_gateways_that_share_a_store() -> None:
    store, sharing = Elsewhere(), [policy(store="redis://nonces") for _ in range(2)]
    for one in sharing:
        one.equip(Tools(store))  # type: ignore[arg-type]
    head = signed(nonce="n1")
    await sharing[0](call(head), forward)
    assert await refused(sharing[1], call(head)) == "the signature's nonce was used before"
    await sharing[1](call(signed(nonce="n2")), forward)
    store.down = True
    head = signed(nonce="n3")
    with pytest.raises(Overloaded):
        await sharing[0](call(head), forward)
    store.down = False
    await sharing[0](call(head), forward)
    # What opened a socket is asked for once, however many calls the socket carries.
    head = signed(nonce="n4")
    for _ in range(2):
        made = call(head)
        made.attributes = {"connection": "a"}
        await sharing[0](made, forward)
    for _ in range(2):
        assert await refused(sharing[1], made) == "the signature's nonce was used before"
    # Nor does one field of a query that was shown elsewhere slip through while another one asks.
    made = call(head)
    made.attributes = {ASKED_BY: "a query"}
    third = policy(store="redis://nonces")
    third.equip(Tools(store))  # type: ignore[arg-type]
    both = await asyncio.gather(*(refused(third, made) for _ in range(2)))
    assert both == ["the signature's nonce was used before"] * 2


async def test_nonces_that_are_remembered_are_bounded() -> None:
    one = policy(nonces=3)
    for number in range(10):
        await one(call(signed(nonce=str(number))), forward)
    assert len(one._nonces) <= 3


# --- bodies -----------------------------------------------------------------------------------------------------------


async def test_a_body_must_be_the_one_that_was_signed() -> None:
    body = b'{"text":"x"}'
    head = signed("POST", body=body)
    await policy()(opaque(head, body), forward)
    await policy()(call(head, Payload(body, Encoding.JSON, rpc.UNARY.input.codec)), forward)
    assert await refused(policy(), opaque(head, b'{"text":"y"}')) == "the signature does not hold"
    assert await refused(policy(), opaque(head)) == "the signature does not hold"


async def test_a_body_without_a_digest_is_refused_unless_bodies_do_not_matter() -> None:
    head = signed("POST")
    assert await refused(policy(), opaque(head, b"x")) == "the signature does not hold"
    assert await refused(policy(), call(head)) == "the signature does not hold"
    await policy(body=False)(call(head), forward)
    await policy()(opaque(head), forward)
    assert await refused(policy(), opaque(signed("GET"), b"smuggled")) == "the signature does not hold"


async def test_a_digest_that_is_not_covered_is_none() -> None:
    head = signed("POST")
    head.headers += ((b"content-digest", digest(b"x").encode()),)
    assert await refused(policy(), opaque(head, b"x")) == "the signature does not hold"


async def test_a_body_in_pieces_is_held_until_it_is_known() -> None:
    head = signed("POST", body=b"abcd")
    made = opaque(head, b"ab", b"cd", whole=False)
    reply = await policy()(made, forward)
    assert reply.payload is not None
    assert reply.payload.data == b"abcd"
    assert await refused(policy(), opaque(head, b"ab", b"ce", whole=False)) == "the signature does not hold"
    with pytest.raises(BodyTooLarge):
        await policy(body_limit=3)(opaque(head, b"ab", b"cd", whole=False), forward)


async def test_streams_of_messages_have_no_digest() -> None:
    head = signed("POST")
    made = opaque(head, b"x", whole=False)
    made.method = rpc.UP
    assert await refused(policy(), made) == "the digest of a stream cannot be verified"


# --- whose ------------------------------------------------------------------------------------------------------------


async def test_an_unknown_key_and_no_key_do_not_hold() -> None:
    assert await refused(policy(), call(signed(key_id="other"))) == "the signature does not hold"
    assert await refused(policy(), call(head_of("GET", "/x", {}))) == "a signature is needed"
    assert await policy().authenticate(call(head_of("GET", "/x", {}))) is None


async def test_of_several_signatures_the_tagged_one_counts() -> None:
    one, two = signed(tag="gw", label="a"), signed(tag="other", label="b", key=b"x" * 40)
    both = RequestHead(one.method, one.path, one.query, one.authority, one.headers + two.headers, HTTP_1_1)
    await policy(tag="gw")(call(both), forward)
    assert await refused(policy(), call(both)) == "the signature does not hold"
    assert await refused(policy(tag="none"), call(both)) == "the signature does not hold"


@pytest.mark.parametrize(
    "fields",
    [
        {"signature-input": "x"},
        {"signature-input": 'a=("@method");created=1;keyid="shop-1"'},
        {"signature-input": 'a=("@method");created=1;keyid="shop-1"', "signature": "a=1"},
        {"signature-input": 'a=("@method");created=1;keyid=shop-1', "signature": "a=:YQ==:"},
        {"signature-input": 'a=("@method" "@method");created=1;keyid="shop-1"', "signature": "a=:YQ==:"},
        {"signature-input": 'a=("x-not-there");created=1;keyid="shop-1"', "signature": "a=:YQ==:"},
        {"signature-input": 'a=();keyid="shop-1"', "signature": "a=:YQ==:"},
        {"signature-input": "a=(" + '"x" ' * 20000 + ")", "signature": "a=:YQ==:"},
        {"signature-input": ",".join(f'a{n}=();keyid="shop-1"' for n in range(20)), "signature": "a=:YQ==:"},
        {"signature-input": "\u00e9"},
    ],
)
async def test_fields_that_are_no_signature_do_not_hold(fields: dict[str, str]) -> None:
    assert await refused(policy(), call(head_of("GET", "/v1/echo/x", fields))) == "the signature does not hold"


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_is_written_there_is_refused_in_words(written: str, signature: str) -> None:
    head = RequestHead(
        b"GET",
        b"/x",
        b"",
        b"gw.test",
        ((b"signature-input", written.encode()), (b"signature", signature.encode())),
        HTTP_1_1,
    )
    keys = signature_keys.table([signature_keys.SignatureKey.model_validate(HMAC)])
    assert isinstance(
        Verifier(max_age_s=300, leeway_s=5, tag=None).verified(head, secure=False, keys=keys, body=b""), str
    )


async def test_a_file_of_keys_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_signature, "WATCH_S", 0.01)
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump([HMAC]))
    one = HttpSignature(HttpSignatureSettings.model_validate({"file": str(file)}))
    one.equip(tools(name="signed"))
    await one(call(signed()), forward)
    watching = asyncio.ensure_future(one.run())
    for text, known in (("[", True), (yaml.safe_dump([{**HMAC, "id": "new"}]), False)):
        earlier = one._known
        caplog.clear()
        file.with_suffix(".next").write_text(text)
        file.with_suffix(".next").replace(file)
        async with asyncio.timeout(10):
            while not ("the keys stay as they were" in caplog.text if known else one._known is not earlier):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert ("shop-1" in one._known) is known
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "neither keys nor a file"),
        ({"keys": [{**HMAC, "secret": "short"}]}, "at least 32"),
        ({"keys": [{**HMAC, "algorithm": "ed25519"}]}, "needs a public_key"),
        ({"keys": [{**HMAC, "algorithm": "none"}]}, "hmac-sha256"),
        ({"keys": [{"id": "k", "consumer": "c", "algorithm": "ed25519", "public_key": "x"}]}, "in PEM"),
        (
            {"keys": [{"id": "k", "consumer": "c", "algorithm": "ed25519", "public_key": pem(_RSA)}]},
            "none for ed25519",
        ),
        ({"keys": [HMAC], "covers": "@status"}, "pattern"),
        ({"keys": [HMAC], "covers": ["X-Upper"]}, "pattern"),
    ],
)
def test_settings_that_make_no_sense_are_told(written: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        HttpSignatureSettings.model_validate(written)


def test_two_keys_of_one_id_are_told() -> None:
    with pytest.raises(ValueError, match="two keys have the id shop-1"):
        policy(HMAC, HMAC)


def test_secrets_are_in_no_repr() -> None:
    assert SECRET not in repr(signature_keys.SignatureKey.model_validate(HMAC))
