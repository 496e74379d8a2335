"""gRPC's fields: timeouts, messages, statuses."""

from __future__ import annotations

import base64

import pytest
from google.rpc.status_pb2 import Status as StatusMessage
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import OK, Code, Detail, Status
from protogw.wire import grpc


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"250m", 0.25),
        (b"5u", 5e-6),
        (b"0n", 0),
        (b"99999999H", 99999999 * 3600),
        (b"00000001S", 1),
    ],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, seconds: float) -> None:
    assert grpc.decode_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"1", b"S", b"123456789S", b"1s", b"-1S", b"+1S", b"1.5S", b"1 S", b" 1S", b"1S ", b"1S\n", "١S".encode()],
)
def test_any_other_timeout_is_refused_with_its_name(value: bytes) -> None:
    with pytest.raises(ValueError, match="grpc-timeout"):
        grpc.decode_timeout(value)


@given(st.floats(min_value=-1e9, max_value=1e12))
def test_an_encoded_timeout_is_valid_and_never_longer(seconds: float) -> None:
    decoded = grpc.decode_timeout(grpc.encode_timeout(seconds))
    assert decoded <= max(0.0, seconds) * (1 + 1e-9)
    if 1e-3 <= seconds <= 3e11:
        assert decoded >= seconds * 0.89


@given(st.text())
def test_a_message_survives_percent_encoding(message: str) -> None:
    encoded = grpc.encode_message(message)
    assert encoded.isascii()
    assert encoded.decode().isprintable()
    assert grpc.decode_message(encoded) == message.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"bad: Zo%C3%AB%0A%25/%E2%98%83", "bad: Zoë\n%/☃"),
        (b"100%", "100%"),
        (b"%zz%4", "%zz%4"),
        (b"%C3", "\ufffd"),
        (b"%e2%98%83", "☃"),
        (b"\xff", "\ufffd"),
        (b"%%41", "%A"),
    ],
)
def test_broken_escapes_never_lose_the_message(encoded: bytes, message: str) -> None:
    assert grpc.decode_message(encoded) == message


def test_a_lone_surrogate_in_a_message_is_replaced() -> None:
    assert grpc.encode_message("a\ud800b") == b"a?b"
    grpc.encode_status(Status(Code.ABORTED, "a\ud800b", (Detail("t/x", b""),)))


@pytest.mark.parametrize("code", Code)
def test_every_code_goes_out_and_comes_back(code: Code) -> None:
    status = Status(code, "why" if code else "")
    assert grpc.read_status(grpc.status_trailers(status)) == status


def test_details_go_out_unpadded_and_come_back_with_their_own_bytes() -> None:
    status = Status(Code.NOT_FOUND, "no", (Detail("type.googleapis.com/a.B", b"\x08\x01"),))
    trailers = grpc.status_trailers(status)
    encoded = dict(trailers)[b"grpc-status-details-bin"]
    assert not encoded.endswith(b"=")
    back = grpc.read_status(trailers)
    assert back == status
    assert back is not None
    assert back.serialized == base64.b64decode(encoded + b"==")
    assert grpc.status_trailers(back) == trailers


def test_an_upstreams_own_status_bytes_pass_untouched() -> None:
    # A field that google.rpc.Status does not have, and bytes in an order that no serializer writes.
    own = b"\x12\x02no\x08\x05\x7a\x01x"
    encoded = base64.b64encode(own)
    status = grpc.read_status([(b"grpc-status", b"5"), (b"grpc-status-details-bin", encoded)])
    assert status is not None
    assert (status.code, status.message) == (Code.NOT_FOUND, "no")
    assert dict(grpc.status_trailers(status))[b"grpc-status-details-bin"] == encoded.rstrip(b"=")


def test_status_details_win_over_the_plain_fields() -> None:
    details = base64.b64encode(StatusMessage(code=9, message="better").SerializeToString())
    fields = [(b"grpc-status", b"5"), (b"grpc-message", b"worse"), (b"grpc-status-details-bin", details)]
    status = grpc.read_status(fields)
    assert status is not None
    assert (status.code, status.message) == (Code.FAILED_PRECONDITION, "better")


@pytest.mark.parametrize(
    "details", [b"!!!", b"A", base64.b64encode(b"\xff\xff"), base64.b64encode(StatusMessage().SerializeToString())]
)
def test_broken_or_empty_details_leave_the_plain_fields(details: bytes) -> None:
    fields = [(b"grpc-status", b"5"), (b"grpc-message", b"plain"), (b"grpc-status-details-bin", details)]
    status = grpc.read_status(fields)
    assert status is not None
    assert (status.code, status.message) == (Code.NOT_FOUND, "plain")


def test_details_never_turn_an_error_into_ok_nor_ok_into_an_error() -> None:
    claim = base64.b64encode(StatusMessage(code=0, message="fine").SerializeToString())
    status = grpc.read_status([(b"grpc-status", b"5"), (b"grpc-status-details-bin", claim)])
    assert status is not None
    assert status.code is Code.NOT_FOUND
    claim = base64.b64encode(StatusMessage(code=5).SerializeToString())
    assert grpc.read_status([(b"grpc-status", b"0"), (b"grpc-status-details-bin", claim)]) is OK


@pytest.mark.parametrize("text", [b"abc", b"999", b"17", b"-1", b"", b"00", b"05", b"5 ", b"0x5"])
def test_a_status_that_is_no_code_is_unknown(text: bytes) -> None:
    status = grpc.read_status([(b"grpc-status", text)])
    assert status is not None
    assert status.code is Code.UNKNOWN


def test_no_status_is_none() -> None:
    assert grpc.read_status([(b"grpc-message", b"x")]) is None


@given(st.lists(st.tuples(st.sampled_from([b"grpc-status", b"grpc-message", b"grpc-status-details-bin"]), st.binary())))
def test_any_trailers_give_a_status_or_none(fields: list[tuple[bytes, bytes]]) -> None:
    status = grpc.read_status(fields)
    assert status is None or isinstance(status.code, Code)
