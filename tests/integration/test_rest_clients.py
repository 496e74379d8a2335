"""curl before a gRPC service: REST over HTTP/1.1 and HTTP/2, through the whole gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import kit
from tests.support.backend import Backend, backend
from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import require_tool

VERSIONS = ["--http1.1", "--http2-prior-knowledge"]
LINES = ["-H", "content-type: application/x-ndjson", "-H", "accept: application/x-ndjson"]
JSON = ["-H", "content-type: application/json"]


@pytest.fixture(scope="module")
def service() -> Iterator[Backend]:
    with backend() as made:
        yield made


@pytest.fixture(scope="module")
def front(service: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    upstreams = {"kit": {"grpc": f"127.0.0.1:{service.port}", "schema": str(kit.PROTO)}}
    with gateway(config_of(upstreams), tmp_path_factory.mktemp("front")) as made:
        yield made


def curl(front: Running, target: str, *options: str) -> tuple[int, str, bytes]:
    """The status, content type and body of curl's answer."""
    form = "\n%{http_code} %{content_type}"
    url = f"http://127.0.0.1:{front.port}{target}"
    command = [require_tool("curl"), "-sS", "--path-as-is", "--max-time", "10", "-w", form, *options, url]
    done = subprocess.run(command, capture_output=True, timeout=15, check=True)
    body, _, said = done.stdout.rpartition(b"\n")
    status, _, content_type = said.decode().partition(" ")
    return int(status), content_type, body


def loaded(body: bytes) -> Any:
    return json.loads(body)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_path_and_a_query_make_a_message(front: Running, version: str) -> None:
    target = "/v1/echo/hi%20there?tags=a&tags=b&number=5&plan.size=3"
    status, content_type, body = curl(front, target, version, "-g")
    answer = loaded(body)
    assert (status, content_type) == (200, "application/json")
    assert (answer["text"], answer["number"], answer["tags"], answer["data"]) == ("hi there", "5", ["a", "b"], "AAAA")
    assert answer["seen"]["x-forwarded-for"] == "127.0.0.1"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_makes_a_message(front: Running, version: str) -> None:
    status, _, body = curl(front, "/v1/echo", version, *JSON, "-d", '{"text":"ä","number":"7"}')
    assert (status, loaded(body)["text"], loaded(body)["number"]) == (200, "ä", "7")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_in_each_framing(front: Running, version: str) -> None:
    target = "/v1/down/x?plan.count=3"
    _, _, body = curl(front, target, version)
    assert [one.get("index", 0) for one in loaded(body)] == [0, 1, 2]
    _, content_type, body = curl(front, target, version, "-H", "accept: application/x-ndjson")
    assert [loaded(line).get("index", 0) for line in body.splitlines()] == [0, 1, 2]
    assert content_type == "application/x-ndjson"
    _, content_type, body = curl(front, target, version, "-H", "accept: text/event-stream")
    assert (body.count(b"data: {"), body.endswith(b"event: end\ndata: {}\n\n")) == (4, True)
    assert content_type == "text/event-stream"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_is_a_status_before_the_first_message_and_a_record_after_it(front: Running, version: str) -> None:
    status, _, body = curl(front, "/v1/down/x?plan.count=0&plan.failCode=5&plan.failMessage=oops", version)
    assert (status, loaded(body)["code"], loaded(body)["message"]) == (404, 5, "oops")
    assert loaded(body)["details"][0]["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    status, _, body = curl(front, "/v1/down/x?plan.count=2&plan.failCode=5", version)
    assert (status, len(loaded(body)), loaded(body)[-1]["error"]["code"]) == (200, 3, 5)


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_that_stream(front: Running, version: str) -> None:
    status, _, body = curl(front, "/v1/up", version, *JSON, "-d", '[{"text":"a"},{"text":"b"}]')
    assert (status, loaded(body)["tags"]) == (200, ["a", "b"])
    status, _, body = curl(front, "/v1/chat", version, *LINES, "--data-binary", '{"text":"a"}\n{"text":"b"}\n')
    assert (status, [loaded(line)["text"] for line in body.splitlines()]) == (200, ["a", "b"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("target", "options", "status"),
    [
        ("/v1/absent", (), 501),
        ("/v1/echo", ("-X", "DELETE"), 405),
        ("/v1/echo", ("-X", "OPTIONS"), 204),
        ("/v1/echo/x?nope=1", (), 400),
        ("/v1/echo/%2e%2e", (), 400),
        ("/v1/echo/..%2fadmin", (), 400),
        ("/v1/echo", (*JSON, "-d", '{"nope":1}'), 400),
        ("/v1/echo", ("-d", "text=x"), 415),
        ("/v1/echo/x?plan.hang=true", ("-H", "x-server-timeout: 0.1"), 504),
    ],
)
def test_what_is_refused(front: Running, version: str, target: str, options: tuple[str, ...], status: int) -> None:
    found, _, body = curl(front, target, version, *options)
    assert found == status
    if status != 204:
        assert loaded(body)["message"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_answer_is_compressed(front: Running, version: str) -> None:
    status, _, body = curl(front, "/v1/echo/x?plan.size=20000", version, "--compressed")
    assert (status, len(loaded(body)["data"])) == (200, 26_668)


def test_a_client_that_leaves_a_stream_ends_the_call(front: Running, service: Backend) -> None:
    url = f"http://127.0.0.1:{front.port}/v1/down/x?plan.count=1000&plan.delay_ms=20"
    with subprocess.Popen(
        [require_tool("curl"), "-sSN", "-H", "accept: text/event-stream", url], stdout=subprocess.PIPE
    ) as one:
        assert one.stdout is not None
        assert one.stdout.readline().startswith(b"data: ")
        one.kill()
    service.counts.wait(lambda counts: counts.open == 0)
