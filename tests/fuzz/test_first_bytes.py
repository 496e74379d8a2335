"""Whatever a connection begins with, its ClientHello or PROXY header is read or refused, the same in any pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protogw.wire.client_hello import MAX_HELLO, ClientHello, ClientHelloReader, NotTls
from protogw.wire.proxy_protocol import MAX_V2, BadProxyHeader, Proxied, read, write_v1, write_v2
from tests.unit.wire.test_client_hello import hello, message, names, record

_HELLO = hello()
_ADDRESSES = st.ip_addresses(v=4) | st.ip_addresses(v=6)
_ENDS = st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)) | st.tuples(
    st.ip_addresses(v=6).map(lambda address: str(address)), st.integers(0, 65535)
)


def _outcome(pieces: list[bytes]) -> ClientHello | str | None:
    reader = ClientHelloReader()
    found: ClientHello | None = None
    for piece in pieces:
        try:
            found = reader.feed(piece)
        except NotTls as error:
            return str(error)
        if found is not None:
            return found
    assert sum(map(len, pieces)) <= MAX_HELLO
    return None


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(_HELLO)
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=4)):
        data[at] = value
    return bytes(data[: draw(st.integers(0, len(data)))])


@given(_damaged() | st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"\x16\x03\x01" + data))
def test_a_hello_is_the_same_whole_and_byte_by_byte(data: bytes) -> None:
    at_once = _outcome([data])
    in_pieces = _outcome([data[at : at + 1] for at in range(len(data))])
    assert in_pieces == at_once or isinstance(at_once, str)


@given(st.binary(max_size=80))
def test_extensions_of_any_bytes_are_read_or_refused(extensions: bytes) -> None:
    found = _outcome([record(message(names(b"a.example") + extensions))])
    assert isinstance(found, str) or (found is not None and found.server_name == "a.example")


@given(_ENDS, _ENDS, st.lists(st.tuples(st.integers(0xE0, 0xEF), st.binary(max_size=20)), max_size=4), st.binary())
def test_a_written_header_is_read_back_whatever_follows(
    source: tuple[str, int], destination: tuple[str, int], tlvs: list[tuple[int, bytes]], rest: bytes
) -> None:
    header = write_v2(source, destination, tlvs)
    found = read(header + rest)
    assert found is not None
    assert found[1] == len(header)
    assert found[0].tlvs == tuple(tlvs)
    plain = write_v1(source, destination)
    same = (":" in source[0]) == (":" in destination[0])
    found = read(plain + rest)
    assert found == ((Proxied(source, destination) if same else Proxied()), len(plain))


@given(
    st.binary(max_size=120)
    | st.binary(max_size=120).map(lambda data: b"PROXY " + data)
    | st.binary(max_size=200).map(lambda data: b"\r\n\r\n\x00\r\nQUIT\n\x21" + data)
)
def test_any_bytes_are_a_header_or_refused_or_unfinished(data: bytes) -> None:
    try:
        found = read(data)
    except BadProxyHeader:
        return
    if found is None:
        assert len(data) < MAX_V2
    else:
        assert found == read(data[: found[1]])
        assert read(data[: found[1] - 1]) is None
