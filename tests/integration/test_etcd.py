"""etcd, a gRPC service with annotations that nobody here wrote: its own REST gateway and ours give the same JSON."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.gateway import config_of, gateway
from tests.support.processes import NODE, free_port, missing, require_tool, running

PROTOS = NODE / "node_modules" / "etcd3" / "proto"


class Both(NamedTuple):
    """The ports of etcd's REST gateway and of ours."""

    theirs: int
    ours: int


def copied(folder: Path) -> Path:
    """etcd's protos as the npm package ships them, with the import that it leaves out."""
    if not PROTOS.is_dir():
        missing("the npm package etcd3 is not installed (npm install --prefix tests/integration/node)")
    made = folder / "protos"
    made.mkdir()
    for file in PROTOS.glob("*.proto"):
        syntax, _, rest = file.read_text().replace('import "./', 'import "').partition("\n")
        (made / file.name).write_text(f'{syntax}\nimport "google/api/annotations.proto";\n{rest}')
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("etcd")
    etcd = require_tool("etcd")
    protos = copied(folder)
    port, peers = free_port(), free_port()
    client_url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    argv = [etcd, "--data-dir", str(folder / "data"), "--listen-client-urls", client_url]
    argv += ["--advertise-client-urls", client_url, "--listen-peer-urls", peer_url]
    argv += ["--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"default={peer_url}"]
    upstream = {"grpc": [f"127.0.0.1:{port}"], "schema": str(protos), "json": {"names": "proto"}}
    with running(argv, port=port), gateway(config_of({"etcd": upstream}), folder) as made:
        yield Both(port, made.port)


def asked(port: int, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v3/{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def filled(both: Both) -> Both:
    for number in range(5):
        asked(both.ours, "kv/put", {"key": b64(f"fruit/{number}"), "value": b64("x" * number)})
    return both


READS: dict[str, tuple[str, Any]] = {
    "one key": ("kv/range", {"key": b64("fruit/3")}),
    "a range": ("kv/range", {"key": b64("fruit/"), "range_end": b64("fruit0")}),
    "a part of a range, sorted": (
        "kv/range",
        {"key": b64("fruit/"), "range_end": b64("fruit0"), "limit": "2", "sort_order": 2, "sort_target": 0},
    ),
    "a count": ("kv/range", {"key": b64("fruit/"), "range_end": b64("fruit0"), "count_only": True}),
    "nothing": ("kv/range", {"key": b64("vegetable")}),
    "camel case": ("kv/range", {"key": b64("fruit/"), "rangeEnd": b64("fruit0"), "keysOnly": True}),
    "a transaction": (
        "kv/txn",
        {
            "compare": [{"key": b64("fruit/1"), "target": 1, "result": 1, "create_revision": "0"}],
            "success": [{"request_range": {"key": b64("fruit/1")}}],
            "failure": [{"request_range": {"key": b64("fruit/2")}}],
        },
    ),
    "members": ("cluster/member/list", {}),
}


@pytest.mark.parametrize("name", READS)
def test_a_read_gives_the_same_json_through_either_gateway(filled: Both, name: str) -> None:
    path, body = READS[name]
    theirs, ours = asked(filled.theirs, path, body), asked(filled.ours, path, body)
    assert ours == theirs
    assert ours["header"]["cluster_id"].isdigit()


def test_what_one_gateway_writes_the_other_reads(both: Both) -> None:
    asked(both.ours, "kv/put", {"key": b64("mine"), "value": b64("tea")})
    assert asked(both.theirs, "kv/range", {"key": b64("mine")})["kvs"][0]["value"] == b64("tea")
    asked(both.theirs, "kv/put", {"key": b64("theirs"), "value": b64("coffee")})
    assert asked(both.ours, "kv/range", {"key": b64("theirs")})["kvs"][0]["value"] == b64("coffee")


def test_a_lease_has_the_number_it_was_asked_for(both: Both) -> None:
    granted = asked(both.ours, "lease/grant", {"TTL": "100", "ID": "7587848390899872000"})
    assert (granted["ID"], granted["TTL"]) == ("7587848390899872000", "100")
    left = asked(both.theirs, "kv/lease/timetolive", {"ID": "7587848390899872000"})
    assert left["grantedTTL"] == "100"


def test_a_watch_is_a_stream_of_its_events(both: Both) -> None:
    """A bidirectional stream over REST: the first message is the request, the replies come as lines."""
    created = json.dumps({"create_request": {"key": b64("watched")}}).encode()
    headers = {"content-type": "application/json", "accept": "application/x-ndjson"}
    request = urllib.request.Request(f"http://127.0.0.1:{both.ours}/v3/watch", created, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert json.loads(answer.readline())["created"] is True
        asked(both.theirs, "kv/put", {"key": b64("watched"), "value": b64("seen")})
        event = json.loads(answer.readline())["events"][0]
        assert event["kv"]["value"] == b64("seen")
