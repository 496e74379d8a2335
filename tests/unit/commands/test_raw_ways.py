"""`routes` and `explain` tell of raw listeners what the config says of them."""

from __future__ import annotations

import re

import pytest
import yaml

from protogw.commands.configured import from_data
from protogw.commands.raw_ways import raw_rows, raw_way
from protogw.commands.terminal import CommandFailed
from protogw.config import Config
from tests.support.processes import ROOT


@pytest.fixture(scope="module")
def config() -> Config:
    return from_data(
        {
            "listeners": {
                "pg": {
                    "address": "0.0.0.0:5432",
                    "tcp": "pg",
                    "allow": ["10.0.0.0/8"],
                    "deny": ["10.1.0.0/16"],
                    "proxy_protocol": True,
                    "trusted_proxies": ["127.0.0.1"],
                },
                "secure": {
                    "address": "0.0.0.0:9443",
                    "tcp": {"sni": {"a.example": "web", "*.b.example": "pg"}, "limits": {"lifetime": "1h"}},
                },
                "else": {"address": "0.0.0.0:9444", "tcp": {"sni": {"a.example": "web"}, "default": "pg"}},
                "dns": {"address": "0.0.0.0:53", "udp": "resolver"},
                "public": {"address": "0.0.0.0:8080"},
            },
            "upstreams": {
                "pg": {"tcp": ["pg1:5432", "pg2:5432"], "balance": "least_connections", "proxy_protocol": "v2"},
                "web": {"tcp": "web:443", "tls": True},
                "resolver": {"udp": "10.0.0.53:53"},
            },
        }
    )


def test_each_way_through_a_raw_listener_is_a_row(config: Config) -> None:
    assert [(row["shape"], row["path"], row["upstream"], row["route"]) for row in raw_rows(config)] == [
        ("tcp", "0.0.0.0:5432", "pg", "listeners.pg"),
        ("tcp", "0.0.0.0:9443 a.example", "web", "listeners.secure"),
        ("tcp", "0.0.0.0:9443 *.b.example", "pg", "listeners.secure"),
        ("tcp", "0.0.0.0:9444 a.example", "web", "listeners.else"),
        ("tcp", "0.0.0.0:9444 otherwise", "pg", "listeners.else"),
        ("udp", "0.0.0.0:53", "resolver", "listeners.dns"),
    ]


def test_a_way_tells_who_may_come_and_what_is_said_first(config: Config) -> None:
    way = raw_way(config, "tcp pg")
    assert way is not None
    assert way["sources"] == "10.0.0.0/8 but 10.1.0.0/16"
    assert way["first"] == "a PROXY header from 127.0.0.1/32"
    assert way["endpoints"] == "pg: least_connections over pg1:5432, pg2:5432"
    assert way["told first"] == "a PROXY header, v2"
    assert way["ends"] == "after 1h without a byte"


@pytest.mark.parametrize(
    ("request_", "upstream"),
    [
        ("tcp secure a.example", "web"),
        ("tcp secure X.b.example", "pg"),
        ("tcp else c.example", "pg"),
        ("tcp else", "pg"),
        ("udp dns", "resolver"),
    ],
)
def test_a_name_is_followed_to_its_upstream(config: Config, request_: str, upstream: str) -> None:
    way = raw_way(config, request_)
    assert way is not None
    assert way["endpoints"].startswith(f"{upstream}: ")


@pytest.mark.parametrize(
    ("request_", "first"),
    [
        ("tcp secure a.example", "a ClientHello that asks for a.example"),
        ("tcp secure", "a ClientHello that names no server"),
        ("tcp else", "a ClientHello that names no server"),
        ("udp dns a.example", "nothing"),
    ],
)
def test_a_name_is_read_where_it_decides(config: Config, request_: str, first: str) -> None:
    way = raw_way(config, request_)
    assert way is not None
    assert way["first"] == first


@pytest.mark.parametrize(
    ("request_", "why"),
    [("tcp secure c.example", "nobody has the name c.example"), ("tcp secure", "the client names no server")],
)
def test_a_client_that_is_refused_is_told_so(config: Config, request_: str, why: str) -> None:
    way = raw_way(config, request_)
    assert way is not None
    assert way["refused"] == why


def test_the_docs_show_what_is_told() -> None:
    written = (ROOT / "examples" / "tcp-sni" / "gateway.yaml").read_text()
    data = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", written))
    data["upstreams"]["inside"]["tls"] = True  # its certificates are made when it runs
    way = raw_way(from_data(data), "tcp secure shop.b.example")
    assert way is not None
    page = (ROOT / "docs" / "cli.md").read_text()
    for key, value in list(way.items())[1:]:
        assert f"  {key:<12} {value}\n" in page


def test_a_listener_that_there_is_not_is_an_error_with_a_guess(config: Config) -> None:
    with pytest.raises(CommandFailed, match="no listener with the name 'dnss' passes udp through; did you mean"):
        raw_way(config, "udp dnss")


@pytest.mark.parametrize("request_", ["GET /v1/tcp", "Library/GetBook", "/tcp"])
def test_other_requests_are_none_of_its_business(config: Config, request_: str) -> None:
    assert raw_way(config, request_) is None
