"""What a TLS client asks for is read from its own first bytes, however they are cut, and nothing else passes for it."""

from __future__ import annotations

import ssl

import pytest

from protogw.wire.client_hello import MAX_HELLO, UNRECOGNIZED_NAME, ClientHello, ClientHelloReader, NotTls


def hello(name: str | None = "a.example", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    """The first flight of Python's own client."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def names(*listed: bytes, kind: int = 0) -> bytes:
    inner = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in listed)
    return extension(0, len(inner).to_bytes(2, "big") + inner)


def message(extensions: bytes = b"", *, version: bytes = b"\x03\x03", ciphers: bytes = b"\x13\x01") -> bytes:
    body = version + bytes(32) + b"\x00" + len(ciphers).to_bytes(2, "big") + ciphers + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    return b"\x01" + len(body).to_bytes(3, "big") + body


def record(content: bytes, kind: int = 22) -> bytes:
    return bytes((kind, 3, 1)) + len(content).to_bytes(2, "big") + content


def read(data: bytes) -> ClientHello | None:
    return ClientHelloReader().feed(data)


def test_name_and_protocols_of_a_real_client_are_read() -> None:
    assert read(hello()) == ClientHello("a.example", (b"h2", b"http/1.1"))


def test_a_client_that_names_nobody_has_an_empty_name() -> None:
    assert read(hello(None, ())) == ClientHello()


def test_a_hello_in_single_bytes_is_found_with_its_last_one() -> None:
    data = hello()
    reader = ClientHelloReader()
    found = [reader.feed(data[at : at + 1]) for at in range(len(data))]
    assert found[-1] == ClientHello("a.example", (b"h2", b"http/1.1"))
    assert not any(found[:-1])
    assert reader.data == data


def test_a_hello_spread_over_many_records_is_put_together() -> None:
    whole = message(names(b"b.example"))
    records = b"".join(record(whole[at : at + 7]) for at in range(0, len(whole), 7))
    assert read(records) == ClientHello("b.example")


def test_names_are_compared_in_lower_case_and_without_a_final_dot() -> None:
    assert read(record(message(names(b"Shop.EXAMPLE.")))) == ClientHello("shop.example")


def test_what_follows_the_hello_is_kept_for_the_server() -> None:
    reader = ClientHelloReader()
    data = record(message(names(b"a.example"))) + b"early"
    assert reader.feed(data) == ClientHello("a.example")
    assert reader.data == data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "does not begin with a TLS handshake"),
        (b"\x16\x02", "does not begin with a TLS handshake"),
        (b"\x80\x2e\x01\x00\x02", "does not begin with a TLS handshake"),  # SSL 2
        (record(b""), "length is impossible"),
        (b"\x16\x03\x01\x40\x01", "length is impossible"),
        (record(b"\x02\x00\x00\x00"), "no ClientHello"),
        (record(b"\x01\x00\x40\x00"), "too large"),
        (record(b"\x01\x00\x00\x00"), "cut short"),
        (record(message()[:-2] + b"\xff\xff"), "cut short"),
        (record(message(version=b"\x02\x00")), "unknown version"),
        (record(message(ciphers=b"\x13")), "ciphers"),
        (record(message(names(b"a.example") + names(b"a.example"))), "one extension twice"),
        (record(message(names(b"a.example", b"b.example"))), "two servers"),
        (record(message(extension(0, b""))), "cut short"),
        (record(message(extension(0, b"\x00\x00"))), "server name is malformed"),
        (record(message(names(b""))), "no host name"),
        (record(message(names(b"a..example"))), "no host name"),
        (record(message(names(b"a.example\x00.evil.example"))), "no host name"),
        (record(message(names("ä.example".encode()))), "no host name"),
        (record(message(names(b"x" * 254))), "no host name"),
        (record(message(extension(16, b"\x00\x01\x00"))), "empty protocol"),
        (record(message(extension(16, b"\x00\x00"))), "protocols is malformed"),
        (record(b"\x01\x00\x00\x2c" + b"\x03\x03" + bytes(32) + b"\x21" + bytes(9)), "cut short"),
    ],
)
def test_what_is_no_hello_is_told_at_once(data: bytes, said: str) -> None:
    with pytest.raises(NotTls, match=said):
        read(data)


def test_a_name_of_another_kind_is_none() -> None:
    assert read(record(message(names(b"x", kind=7)))) == ClientHello()


def test_a_hello_before_there_were_extensions_names_nobody() -> None:
    body = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    assert read(record(b"\x01" + len(body).to_bytes(3, "big") + body)) == ClientHello()


def test_a_hello_that_never_ends_is_given_up_at_the_limit() -> None:
    reader = ClientHelloReader()
    reader.feed(record(b"\x01\x00\x3f\x00"))

    def feed_until_refused() -> None:
        while len(reader.data) <= 2 * MAX_HELLO:
            reader.feed(record(bytes(1)))

    with pytest.raises(NotTls, match="too large"):
        feed_until_refused()
    assert len(reader.data) <= MAX_HELLO + 6


def test_the_alert_is_one_that_openssl_understands() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    incoming.write(UNRECOGNIZED_NAME)
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        client.do_handshake()
