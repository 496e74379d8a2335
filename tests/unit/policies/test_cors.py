"""CORS: who is granted what, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.policies.cors import Cors, CorsSettings
from protogw.wire.http import Header, RequestHead


def head(method: bytes = b"GET", *headers: Header) -> RequestHead:
    return RequestHead(method, b"/", b"", b"gw.test", headers, 11)


def cors(**settings: object) -> Cors:
    return Cors(CorsSettings.model_validate({"origins": ["https://app.example", "https://*.app.example"], **settings}))


PREFLIGHT = (b"access-control-request-method", b"POST")


@pytest.mark.parametrize("origin", [b"https://app.example", b"https://a.app.example", b"https://a.b.app.example"])
def test_a_listed_origin_is_granted_by_its_own_name(origin: bytes) -> None:
    granted = dict(cors().grant(head(), origin))
    assert granted[b"access-control-allow-origin"] == origin
    assert granted[b"vary"] == b"Origin"
    exposed = granted[b"access-control-expose-headers"].split(b", ")
    assert {b"grpc-status", b"retry-after", b"ratelimit-remaining"} <= set(exposed)


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"http://app.example",
        b"https://app.example.evil.test",
        b"https://evil-app.example",
        b"https://app.example:444",
        b"https://.app.example",
        b"https://app.example/",
        b"",
    ],
)
def test_any_other_origin_is_granted_nothing_and_the_answer_still_varies(origin: bytes) -> None:
    assert cors().grant(head(), origin) == ((b"vary", b"Origin"),)
    denied = cors().preflight(head(b"OPTIONS", PREFLIGHT), origin)
    assert denied is not None
    assert [name for name, _ in denied] == [b"vary"]


def test_a_preflight_is_answered_with_methods_headers_and_age() -> None:
    asked = (b"access-control-request-headers", b"content-type, x-grpc-web")
    answer = cors(max_age=60).preflight(head(b"OPTIONS", PREFLIGHT, asked), b"https://app.example")
    assert answer is not None
    fields = dict(answer)
    assert b"POST" in fields[b"access-control-allow-methods"]
    assert fields[b"access-control-allow-headers"] == b"content-type, x-grpc-web"
    assert fields[b"access-control-max-age"] == b"60"


def test_a_preflight_with_malformed_header_names_is_granted_none_of_them() -> None:
    asked = (b"access-control-request-headers", b"a b\x7f, c")
    answer = cors().preflight(head(b"OPTIONS", PREFLIGHT, asked), b"https://app.example")
    assert answer is not None
    assert b"access-control-allow-headers" not in dict(answer)


def test_only_listed_request_headers_are_granted_when_there_is_a_list() -> None:
    asked = (b"access-control-request-headers", b"x-other")
    answer = cors(headers=["content-type"]).preflight(head(b"OPTIONS", PREFLIGHT, asked), b"https://app.example")
    assert dict(answer or ())[b"access-control-allow-headers"] == b"content-type"


def test_options_without_a_requested_method_is_no_preflight() -> None:
    assert cors().preflight(head(b"OPTIONS"), b"https://app.example") is None


def test_a_star_grants_every_page_but_never_null_and_never_with_credentials() -> None:
    anyone = Cors(CorsSettings(origins=("*",)))
    assert dict(anyone.grant(head(), b"https://x.test"))[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-origin" not in dict(anyone.grant(head(), b"null"))
    with pytest.raises(ValidationError, match="act as the user"):
        CorsSettings(origins=("*",), credentials=True)


@pytest.mark.parametrize("origin", ["null", "app.example", "https://app.example/path", "https://*", "https://a*b.test"])
def test_what_is_not_an_origin_is_refused_when_the_config_is_read(origin: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        CorsSettings(origins=(origin,))


@given(st.binary(max_size=40))
def test_no_origin_outside_the_list_is_ever_granted(origin: bytes) -> None:
    granted = dict(cors().grant(head(), origin))
    if b"access-control-allow-origin" in granted:
        assert origin.lower() == b"https://app.example" or origin.lower().endswith(b".app.example")
