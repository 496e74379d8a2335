"""What an address that finds others may be, and what is told of one that may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from protogw.config.units import Address, parse_target
from protogw.discovery import DISCOVERIES, reference
from protogw.discovery.dns import Dns, Srv
from protogw.discovery.files import File
from protogw.discovery.settings import DiscoverySettings, parse_resolver


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dns:Orders.Internal:50051", Dns("orders.internal", 50051)),
        ("dns:orders.internal.:80", Dns("orders.internal", 80)),
        ("srv:_grpc._tcp.orders.internal", Srv("_grpc._tcp.orders.internal")),
    ],
)
def test_what_finds_addresses_is_told_by_its_first_word(text: str, meant: object) -> None:
    assert reference(text) == meant
    assert parse_target(text).found_by == meant


def test_a_service_is_called_by_its_name() -> None:
    assert (Dns("orders", 50051).authority, Dns("orders", 50051).server_name) == ("orders:50051", "orders")
    srv = Srv("_grpc._tcp.orders.internal")
    assert (srv.authority, srv.server_name) == ("orders.internal", "orders.internal")


def test_a_host_may_have_the_name_of_a_kind() -> None:
    for kind in DISCOVERIES:
        assert parse_target(f"{kind}:53").address == Address(kind, 53)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dns:orders", "has no port"),
        ("dns:orders:0", "has a bad port"),
        ("dns:orders:٣", "has a bad port"),
        ("dns:or ders:1", "has a bad host name"),
        ("dns:10.0.0.1:1", "has a bad host name"),
        (f"dns:{'a' * 64}:1", "has a bad host name"),
        ("srv:orders.internal", "is not the name of a service"),
        ("srv:_grpc.internal", "is not the name of a service"),
        ("file:endpoints", "is not a file of addresses"),
        ("file:/nowhere/endpoints.yaml", "cannot be read"),
        ("xds:listener", "asks for discovery that this version does not have"),
    ],
)
def test_a_bad_reference_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(PydanticCustomError, match=said):
        parse_target(text)


@given(st.sampled_from([*DISCOVERIES, "consul", "kubernetes"]), st.text(max_size=60))
def test_any_text_behind_a_kind_is_read_or_refused_with_a_reason(kind: str, rest: str) -> None:
    reason = "read"
    try:
        parse_target(f"{kind}:{rest}")
    except PydanticCustomError as error:
        reason = error.message()
    assert reason


def test_a_file_of_addresses_must_be_one_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("[10.0.0.1:80]")
    assert reference(f"file:{path}") == File(path)
    path.write_text("[10.0.0.1]")
    with pytest.raises(PydanticCustomError, match="not host:port"):
        reference(f"file:{path}")


@pytest.mark.parametrize(
    ("text", "resolver"),
    [("10.0.0.53", ("10.0.0.53", 53)), ("10.0.0.53:5353", ("10.0.0.53", 5353)), ("[::1]:54", ("::1", 54))],
)
def test_resolvers(text: str, resolver: tuple[str, int]) -> None:
    assert parse_resolver(text) == resolver


@pytest.mark.parametrize(
    "text", ["", "resolver.internal", "10.0.0.0/8", "10.0.0.53:", "10.0.0.53:99999", 53, "[::1]:x"]
)
def test_what_is_no_resolver(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_resolver(text)


def test_times_to_live_are_in_order() -> None:
    with pytest.raises(ValueError, match="min_ttl is longer"):
        DiscoverySettings.model_validate({"min_ttl": "10s", "max_ttl": "5s"})
