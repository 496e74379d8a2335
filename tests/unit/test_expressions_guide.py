"""The examples of docs/expressions.md and docs/quotas.md are what the gateway takes, and say what they are said to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from protogw.assembly import KINDS, build
from protogw.call import Call, Encoding, Metadata, Payload
from protogw.config import load
from protogw.expressions import parse_expression
from protogw.identity import Identity
from protogw.wire.http import Peer
from tests.support import rpc
from tests.support.gateway import config_of, written
from tests.support.processes import ROOT

GUIDE = (ROOT / "docs" / "expressions.md").read_text()
WRITTEN = re.findall(r"^\| `(?:by|when|cost): (.*?)` \|", GUIDE, re.MULTILINE)
LIMITS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "quotas.md").read_text(), re.DOTALL)


def call(text: bytes, *headers: tuple[bytes, bytes]) -> Call:
    codec = rpc.UNARY.input.codec
    made = Call(
        rpc.UNARY,
        Metadata(headers),
        front_end="rest",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payload=Payload(text, Encoding.JSON, codec),
    )
    made.identity = Identity(subject="ann", scheme="test", groups=frozenset(("staff",)), claims={"tenant": "red"})
    return made


def test_each_example_has_a_value() -> None:
    made = call(
        b'{"text":"hello","number":"41"}',
        (b"x-user", b"bob"),
        (b"x-tenant", b"red"),
        (b"x-forwarded-host", b"eu1.example"),
    )
    values = [parse_expression(yaml.safe_load(f"a: {one}")["a"]).value(made) for one in WRITTEN]
    assert values == ["bob", True, True, False, "eu", 41, 1]


def test_a_field_with_its_default_value_is_not_there() -> None:
    cost = next(one for one in WRITTEN if "number" in one)
    assert parse_expression(yaml.safe_load(f"a: {cost}")["a"]).value(call(b'{"number":"0"}')) == 1
    assert parse_expression(next(one for one in WRITTEN if one.startswith("header."))).key(call(b"{}")) == ""


def test_each_name_of_the_table_is_one_that_there_is() -> None:
    table = GUIDE.partition("| name | is |")[2].partition("\n\n")[0]
    first = [row.split(" | ")[0] for row in table.splitlines() if row.startswith("| `")]
    names = [name for cell in first for name in re.findall(r"`([a-z].*?)`", cell)]
    assert len(names) >= 14
    for name in names:
        parse_expression(name.replace("NAME", "tenant").replace("FIELD", "text"))


@pytest.mark.parametrize("number", range(len(LIMITS)))
async def test_an_example_of_limits_is_a_config(number: int, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("- { consumer: shop, key: a-key-of-some-length }\n")
    made = config_of({"legacy": {"http": ["127.0.0.1:1"]}})
    build(load(written({**made, **yaml.safe_load(LIMITS[number])}, tmp_path), KINDS)).stop()
