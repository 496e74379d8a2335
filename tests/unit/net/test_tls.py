"""TLS: what is offered and refused, whose file is at fault, and who the client is."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from protogw.net.tls import client_context, peer_identity, server_context, subject
from tests.support.certificates import Authority, Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "test authority")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("server", names=["localhost"])


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = "localhost") -> tuple[ssl.SSLObject, ...]:
    """Both ends after a handshake in memory; raises what the first to refuse raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    waiting = [near, far]
    for _ in range(10):
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    # TLS 1.3: the server judges the client's certificate after the client is done; one read brings the verdict.
    for end in (near, far):
        try:
            end.read(1)
        except ssl.SSLWantReadError:
            pass
    return near, far


def test_http_2_is_preferred_by_alpn(authority: Authority, server: Pair) -> None:
    for transport, protocol in (("http/2", "h2"), ("http/1.1", "http/1.1")):
        near, far = shake(client_context(authority.path, transport=transport), server_context(server.cert, server.key))
        assert near.selected_alpn_protocol() == far.selected_alpn_protocol() == protocol


def test_an_alpn_of_neither_leaves_http_1_1(authority: Authority, server: Pair) -> None:
    client = ssl.create_default_context(cafile=authority.path)
    client.set_alpn_protocols(["foo"])
    _, far = shake(client, server_context(server.cert, server.key))
    assert far.selected_alpn_protocol() is None


def test_old_versions_are_refused(authority: Authority, server: Pair) -> None:
    client = client_context(authority.path)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    near, _ = shake(client, server_context(server.cert, server.key))
    assert near.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        shake(client, server_context(server.cert, server.key, min_version="1.3"))


@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_before_1_2_is_never_spoken(old: ssl.TLSVersion, authority: Authority, server: Pair) -> None:
    client = client_context(authority.path)
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = old
    with pytest.raises(ssl.SSLError):
        shake(client, server_context(server.cert, server.key))


def test_a_server_is_verified_by_chain_and_name(authority: Authority, server: Pair, tmp_path: Path) -> None:
    context = server_context(server.cert, server.key)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(client_context(authority.path), context, "other.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake(client_context(Authority(tmp_path, "another").path), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client_context(), context)


def test_an_expired_server_is_refused(authority: Authority) -> None:
    old = authority.issue("old", names=["localhost"], expired=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(client_context(authority.path), server_context(old.cert, old.key))


def test_verification_is_turned_off_only_by_name_and_logged(server: Pair, caplog: pytest.LogCaptureFixture) -> None:
    shake(client_context(verify=False), server_context(server.cert, server.key), "other.example")
    assert "without verification" in caplog.text


def test_clients_must_show_a_certificate_of_the_authority(authority: Authority, server: Pair, tmp_path: Path) -> None:
    context = server_context(server.cert, server.key, client_ca=authority.path)
    client = authority.issue("client", names=["spiffe://here/client"])
    _, far = shake(client_context(authority.path, client.cert, client.key), context)
    assert peer_identity(far) == "uri:spiffe://here/client"

    with pytest.raises(ssl.SSLError):
        shake(client_context(authority.path), context)
    stranger = Authority(tmp_path, "stranger").issue("client", names=[])
    with pytest.raises(ssl.SSLError):
        shake(client_context(authority.path, stranger.cert, stranger.key), context)
    old = authority.issue("old client", names=[], expired=True)
    with pytest.raises(ssl.SSLError):
        shake(client_context(authority.path, old.cert, old.key), context)


def test_clients_may_do_without_a_certificate_but_not_show_a_strangers(
    authority: Authority, server: Pair, tmp_path: Path
) -> None:
    context = server_context(server.cert, server.key, client_ca=authority.path, client_cert="optional")
    client = authority.issue("client", names=["client.internal"])
    _, far = shake(client_context(authority.path, client.cert, client.key), context)
    assert peer_identity(far) == "dns:client.internal"
    _, far = shake(client_context(authority.path), context)
    assert peer_identity(far) == ""
    for other in (
        Authority(tmp_path, "stranger").issue("client", names=[]),
        authority.issue("old", names=[], expired=True),
    ):
        with pytest.raises(ssl.SSLError):
            shake(client_context(authority.path, other.cert, other.key), context)


def test_a_client_without_names_is_its_subject(authority: Authority, server: Pair) -> None:
    context = server_context(server.cert, server.key, client_ca=authority.path)
    client = authority.issue("just a name", names=[])
    _, far = shake(client_context(authority.path, client.cert, client.key), context)
    assert peer_identity(far) == "CN=just a name,O=protogw test"
    _, far = shake(client_context(authority.path), server_context(server.cert, server.key))
    assert peer_identity(far) == ""
    assert subject(None) == ""


def test_an_error_names_the_file(authority: Authority, server: Pair, tmp_path: Path) -> None:
    missing, junk = tmp_path / "missing.pem", tmp_path / "junk.pem"
    junk.write_text("not a certificate")
    locked = authority.issue("locked", names=[], password=b"secret")
    other = authority.issue("other", names=[])
    cases: list[tuple[Callable[[], object], Path, str]] = [
        (lambda: server_context(missing, server.key), missing, "No such file"),
        (lambda: server_context(server.cert, missing), missing, "No such file"),
        (lambda: server_context(junk, server.key), junk, "no certificate"),
        (lambda: server_context(server.cert, junk), junk, "no private key"),
        (lambda: server_context(server.cert, other.key), other.key, "not the key of"),
        (lambda: server_context(locked.cert, locked.key), locked.key, "pass phrase"),
        (lambda: server_context(server.cert, server.key, client_ca=junk), junk, "no certificate"),
        (lambda: client_context(missing), missing, "No such file"),
        (lambda: client_context(junk), junk, "no certificate"),
        (lambda: client_context(cert=server.cert), server.cert, "needs its key"),
    ]
    for make, path, words in cases:
        with pytest.raises(ValueError, match=words) as caught:
            make()
        assert str(path) in str(caught.value)
