"""Connect: error codes, errors in JSON, end of stream, timeouts, GET queries."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.errors import Code, Detail, InvalidRequest, Status
from protogw.wire import connect
from protogw.wire.http_status import http_status


def test_every_code_but_ok_has_a_name() -> None:
    assert set(connect.CODE_NAMES) == set(Code) - {Code.OK}
    assert len(set(connect.CODE_NAMES.values())) == 16


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.CANCELLED, 499),
        (Code.UNKNOWN, 500),
        (Code.INVALID_ARGUMENT, 400),
        (Code.DEADLINE_EXCEEDED, 504),
        (Code.NOT_FOUND, 404),
        (Code.ALREADY_EXISTS, 409),
        (Code.PERMISSION_DENIED, 403),
        (Code.RESOURCE_EXHAUSTED, 429),
        (Code.FAILED_PRECONDITION, 400),
        (Code.ABORTED, 409),
        (Code.OUT_OF_RANGE, 400),
        (Code.UNIMPLEMENTED, 501),
        (Code.INTERNAL, 500),
        (Code.UNAVAILABLE, 503),
        (Code.DATA_LOSS, 500),
        (Code.UNAUTHENTICATED, 401),
    ],
)
def test_the_shared_table_is_also_connects(code: Code, status: int) -> None:
    assert http_status(code) == status


def test_an_error_is_code_message_and_details() -> None:
    details = (Detail("type.googleapis.com/google.rpc.RetryInfo", b"\n\x02\x08<"),)
    body = connect.error_body(Status(Code.UNAVAILABLE, "later ☃\n", details))
    assert json.loads(body) == {
        "code": "unavailable",
        "message": "later ☃\n",
        "details": [{"type": "google.rpc.RetryInfo", "value": "CgIIPA"}],
    }
    assert json.loads(connect.error_body(Status(Code.CANCELLED))) == {"code": "canceled"}


def test_a_detail_whose_type_is_known_is_shown_in_json_too() -> None:
    status = Status(Code.ABORTED, "", (Detail("x/a.Known", b"1"), Detail("x/a.Unknown", b"2")))
    body = connect.error_body(status, lambda name, value: b'{"a":1}' if name == "a.Known" else None)
    assert json.loads(body)["details"] == [
        {"type": "a.Known", "value": "MQ", "debug": {"a": 1}},
        {"type": "a.Unknown", "value": "Mg"},
    ]


def test_the_end_of_a_stream_has_error_and_metadata_only_where_there_are_any() -> None:
    assert connect.END_OK == b"\x02\0\0\0\x02{}"
    frame = connect.end_stream(Status(Code.ABORTED, "x"), ((b"a", b"1"), (b"b-bin", b"AP8"), (b"a", b"2")))
    assert frame[0] == 2
    assert json.loads(frame[5:]) == {
        "error": {"code": "aborted", "message": "x"},
        "metadata": {"a": ["1", "2"], "b-bin": ["AP8"]},
    }


@given(st.text())
def test_any_message_is_valid_json(message: str) -> None:
    parsed = json.loads(connect.error_body(Status(Code.INTERNAL, message)))
    assert parsed.get("message", "") == message.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"0", 0), (b"1", 0.001), (b"9999999999", 9999999.999), (b"007", 0.007)]
)
def test_a_timeout_is_up_to_ten_digits_of_milliseconds(value: bytes, seconds: float) -> None:
    assert connect.decode_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [b"", b"12345678901", b"-1", b"+1", b"1.5", b"1s", b" 1", b"1\n", "١".encode(), b"1e3"]
)
def test_any_other_timeout_is_refused_with_its_name(value: bytes) -> None:
    with pytest.raises(ValueError, match="connect-timeout-ms"):
        connect.decode_timeout(value)


def test_a_query_is_read_in_any_order_and_what_is_not_connects_is_ignored() -> None:
    query = connect.decode_query(b"x=1&message=%7B%22a%22%3A+1%7D&encoding=json&connect=v1&x=2&base64")
    assert query == {b"message": b'{"a": 1}', b"encoding": b"json", b"connect": b"v1", b"base64": b""}


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="message: given more than once"):
        connect.decode_query(b"message=a&encoding=json&message=b")


@given(st.binary())
def test_base64_decodes_in_both_alphabets_padded_or_not(data: bytes) -> None:
    for encoded in (base64.urlsafe_b64encode(data), base64.b64encode(data)):
        assert connect.decode_base64(encoded) == data
        assert connect.decode_base64(encoded.rstrip(b"=")) == data


@pytest.mark.parametrize("text", [b"A", b"A===A", b"AA AA", b"AA\nAA", b"!!!!", "Ä".encode(), b"AA=AAA"])
def test_bad_base64_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match="message: not base64"):
        connect.decode_base64(text)


@given(st.binary())
def test_any_query_and_any_base64_are_read_or_refused(data: bytes) -> None:
    for read in (connect.decode_query, connect.decode_base64):
        try:
            read(data)
        except InvalidRequest:
            pass
