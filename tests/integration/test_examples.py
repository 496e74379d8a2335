"""The examples run as their READMEs say, and the demo's lines do what they promise."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.browser import browser
from tests.support.processes import ROOT, Program, free_port, require_tool, run, running, until
from tests.support.raw import Http1

LIBRARY = ROOT / "examples" / "library"


@pytest.fixture(scope="module")
def example() -> Iterator[int]:
    """The library example's public port."""
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "LIBRARY_PORT": str(behind)}
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=LIBRARY),
        running(
            [sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=LIBRARY, env=environment
        ) as gateway,
    ):
        # Paths are there once the schema is, which a file gives at once.
        assert gateway.running
        yield port


def test_the_readme_lines_of_the_library_example_work(example: int) -> None:
    lines = re.findall(r"^curl (?:.|\\\n)*?$(?<!\\)", (LIBRARY / "README.md").read_text(), re.MULTILINE)
    commands = [
        line.replace("localhost:8080", f"127.0.0.1:{example}").replace("curl", require_tool("curl")) for line in lines
    ]
    shown = [run(["sh", "-c", f"{command} -sS --max-time 2"]).decode() for command in commands if "-N" not in command]
    assert [book["title"] for book in json.loads(shown[0])["books"]][:2] == ["Middlemarch", "Der Prozess"]
    assert [book["title"] for book in json.loads(shown[1])["books"]] == ["Der Prozess"]
    assert " 201" in shown[2].splitlines()[0]
    assert json.loads(shown[3])["isbn"] == "9780141439549"


def test_a_watcher_of_the_example_sees_a_new_book(example: int) -> None:
    watch = Http1(example).request("GET", "/v1/shelves/7/books:watch", [("accept", "application/x-ndjson")])
    assert watch.head() == 200
    made = Http1(example).request(
        "POST", "/v1/shelves/7/books", [("content-type", "application/json")], b'{"title": "Opticks"}'
    )
    assert made.head() == 201
    assert json.loads(next(watch.pieces()))["title"] == "Opticks"
    watch.close()
    made.close()


def test_grpc_reaches_the_example(example: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{example}") as channel:
        ask = channel.unary_unary("/example.library.v1.Library/GetBook")
        # field 1, "shelves/1/books/1"
        assert b"Middlemarch" in ask(b"\x0a\x11shelves/1/books/1", timeout=10)


SHOP = ROOT / "examples" / "graphql-over-grpc"


def test_the_readme_lines_of_the_graphql_example_work() -> None:
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "SHOP_PORT": str(behind)}
    lines = re.findall(r"^curl (?:.|\n {2})*?\}'$", (SHOP / "README.md").read_text(), re.MULTILINE)
    commands = [
        line.replace("localhost:8080", f"127.0.0.1:{port}").replace("curl", require_tool("curl")) for line in lines
    ]
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=SHOP),
        running([sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=SHOP, env=environment),
    ):
        shown = [run(["sh", "-c", f"{one} -sS --max-time 5"]).decode() for one in commands if "-N" not in one]
        answers = [json.loads(one) for one in shown]
        assert [one["title"] for one in answers[0]["data"]["listProducts"]["products"]] == [
            "Kettle",
            "Tea, a field guide",
        ]
        assert answers[1] == {"data": {"getProduct": {"title": "Kettle", "delivery": {"parcel": {"grams": 900}}}}}
        assert answers[2]["data"] == {"tea": {"title": "Tea, a field guide"}, "none": None}
        assert (answers[2]["errors"][0]["path"], answers[2]["errors"][0]["extensions"]["code"]) == (
            ["none"],
            "NOT_FOUND",
        )
        assert answers[3]["data"]["addReview"]["stars"] == 5
        # The subscription has no end: what came in its first second is enough.
        (watch,) = (one for one in commands if "-N" in one)
        seen = run(["sh", "-c", f"{watch} -sS --max-time 1 || true"]).decode()
        assert 'data: {"data":{"watchReviews":{"stars":5,"text":"Boils."}}}' in seen


BOOKSHOP = ROOT / "examples" / "rest-over-graphql"


@pytest.fixture(scope="module")
def bookshop() -> Iterator[int]:
    """The public port of the example before a GraphQL service."""
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "SHOP_PORT": str(behind)}
    with (
        running([sys.executable, "service.py", str(behind)], port=behind, cwd=BOOKSHOP),
        running([sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=BOOKSHOP, env=environment),
    ):
        until(lambda: _answers(port), 20, "the service's schema")
        yield port


def _answers(port: int) -> bool:
    made = Http1(port)
    status = made.request("GET", "/books/1").head()
    made.close()
    return status == 200


def test_the_readme_lines_of_rest_over_graphql_work(bookshop: int) -> None:
    lines = re.findall(r"^curl .*$", (BOOKSHOP / "README.md").read_text(), re.MULTILINE)
    commands = [line.replace("localhost:8080", f"127.0.0.1:{bookshop}") for line in lines if "-N" not in line]
    curl = require_tool("curl")
    one, some, found, none, made, bought, sold_out = (
        run(["sh", "-c", f"{command.replace('curl', curl, 1)} -sS --max-time 5"]).decode() for command in commands
    )
    assert json.loads(one) == {
        "id": "1",
        "title": "Middlemarch",
        "genre": "NOVEL",
        "author": {"id": "1", "name": "George Eliot"},
        "price": 12.5,
        "stock": 3,
    }
    assert [book["title"] for book in json.loads(some)] == ["Middlemarch"]
    assert [(hit["__typename"], hit["name"]) for hit in json.loads(found)] == [("Author", "Franz Kafka")]
    assert (" 404" in none.splitlines()[0], " 201" in made.splitlines()[0]) == (True, True)
    assert json.loads(made.splitlines()[-1])["author"]["name"] == "Jane Austen"
    assert json.loads(bought)["stock"] == 2
    assert " 400" in sold_out.splitlines()[0]
    assert "Der Prozess is sold out" in sold_out


def test_a_subscription_of_rest_over_graphql_sees_a_sale(bookshop: int) -> None:
    watch = Http1(bookshop).request("GET", "/books/1/stock", [("accept", "application/x-ndjson")])
    assert watch.head() == 200
    pieces = watch.pieces()
    before = json.loads(next(pieces))["stock"]
    bought = Http1(bookshop).request("POST", "/books/1:buy", body=b"")
    assert bought.head() == 200
    assert json.loads(next(pieces))["stock"] == before - 1
    watch.close()
    bought.close()


def test_grpc_reaches_rest_over_graphql(bookshop: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{bookshop}") as channel:
        # field 1, "1"
        assert b"Middlemarch" in channel.unary_unary("/shop.Shop/Book")(b"\x0a\x011", timeout=10)


@pytest.fixture(scope="module")
def demo() -> Iterator[Program]:
    require_tool("curl")
    with running([sys.executable, "-m", "protogw", "demo", "--port", "0"]) as program:
        until(lambda: "Stop:" in program.output or not program.running, 20, "the demo's page")
        assert program.running, program.output
        yield program


def test_every_line_that_the_demo_prints_works(demo: Program) -> None:
    lines = [line.strip() for line in demo.output.splitlines() if line.strip().startswith(("curl", "printf"))]
    assert len(lines) >= 8
    for line in lines:
        # A stream with pauses is long enough for a test after its first second.
        shown = run(["bash", "-c", line.replace("interval_ms=500", "interval_ms=1")], timeout=20).decode()
        assert re.search(r"shelves|Novels|Middlemarch|Travel", shown), f"{line}\n{shown}"


CHAT = ROOT / "examples" / "websocket-fan-in"


@pytest.fixture(scope="module")
def chat() -> Iterator[tuple[int, int]]:
    """The fan-in example's public port, and its admin address's."""
    port, behind, page, admin = (free_port() for _ in range(4))
    environment = {"PORT": str(port), "CHAT_PORT": str(behind), "PAGE_PORT": str(page), "ADMIN_PORT": str(admin)}
    with (
        running([sys.executable, "server.py", str(behind), str(page)], port=page, cwd=CHAT),
        running([sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=CHAT, env=environment),
    ):
        yield port, admin


@contextlib.contextmanager
def in_room(port: int, room: str) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{port}/rooms/{room}", proxy=None) as socket:
        yield socket


def heard(socket: ClientConnection, text: str) -> dict[str, Any]:
    """The message of this text; what comes before is passed over."""
    while (found := json.loads(socket.recv(timeout=10))).get("text") != text:
        pass
    told: dict[str, Any] = found
    return told


def test_who_is_in_a_room_of_the_fan_in_example_hears_what_is_said_there(chat: tuple[int, int]) -> None:
    with in_room(chat[0], "tea") as alice, in_room(chat[0], "tea") as bob, in_room(chat[0], "coffee") as carol:
        alice.send('{"name": "alice", "text": "hello"}')
        assert [heard(socket, "hello")["name"] for socket in (alice, bob)] == ["alice", "alice"]
        bob.send('{"name": "bob", "text": "I am bob"}')
        heard(alice, "I am bob")
        # Whatever client and room a message claims, the gateway knows better.
        alice.send('{"name": "alice", "text": "psst", "whisperTo": "bob", "client": "x", "room": "coffee"}')
        assert heard(bob, "psst")["room"] == "tea"
        heard(alice, "psst")
        carol.send('{"name": "carol", "text": "anybody?"}')
        came, asked = json.loads(carol.recv(timeout=10)), json.loads(carol.recv(timeout=10))
        assert (came["text"], asked["text"], asked["present"]) == ("somebody came", "anybody?", 1)
    with in_room(chat[0], "tea") as dave:
        assert heard(dave, "somebody came")["room"] == "tea"


def test_a_browser_talks_in_the_fan_in_example(chat: tuple[int, int], tmp_path: Path) -> None:
    with browser(tmp_path, f"http://127.0.0.1:{chat[0]}/?room=web") as page, in_room(chat[0], "web") as other:
        page.until("document.getElementById('state')?.textContent.includes('here')")
        page.run("form.elements.name.value = 'browser'; form.text.value = 'from a page'; form.requestSubmit(); true")
        assert heard(other, "from a page")["name"] == "browser"
        other.send('{"name": "terminal", "text": "to a page"}')
        page.until("[...document.querySelectorAll('#said li')].some(li => li.textContent === 'terminal: to a page')")
        foreign = page.run(
            f"new Promise(done => {{ const s = new WebSocket('ws://localhost:{chat[0]}/rooms/web');"
            "s.onopen = () => done('open'); s.onclose = event => done(event.code) })"
        )
        # The page's host is 127.0.0.1, which localhost is not: another origin.
        assert foreign == 1006


def test_operators_of_the_fan_in_example_speak_to_one_socket(chat: tuple[int, int]) -> None:
    base = f"http://127.0.0.1:{chat[1]}/@connections"
    with in_room(chat[0], "ops") as socket:
        heard(socket, "somebody came")
        listed = json.loads(run([require_tool("curl"), "-sS", base]))["connections"]
        (mine,) = [one["id"] for one in listed if one["path"] == "/rooms/ops"]
        run([require_tool("curl"), "-sS", "-d", '{"text": "the kitchen closes at ten"}', f"{base}/{mine}"])
        heard(socket, "the kitchen closes at ten")
        run([require_tool("curl"), "-sS", "-X", "DELETE", f"{base}/{mine}"])
        with pytest.raises(ConnectionClosed):
            heard(socket, "nothing")
        assert socket.close_code == 4403


OPENAPI = ROOT / "examples" / "openapi-as-grpc"


@pytest.fixture(scope="module")
def tasks() -> Iterator[int]:
    """The public port of the example of a REST service as gRPC."""
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "TASKS_PORT": str(behind)}
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=OPENAPI),
        running([sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=OPENAPI, env=environment),
    ):
        yield port


def test_the_readme_lines_of_the_openapi_example_work(tasks: int) -> None:
    lines = re.findall(r"^curl .*$", (OPENAPI / "README.md").read_text(), re.MULTILINE)
    commands = [
        line.replace("localhost:8080", f"127.0.0.1:{tasks}").replace("curl", require_tool("curl")) for line in lines
    ]
    shown = [run(["sh", "-c", f"{command} -sS --max-time 5"]).decode() for command in commands]
    assert [task["title"] for task in json.loads(shown[0])] == ["Water the plants"]
    assert " 201" in shown[1].splitlines()[0]
    assert [task["title"] for task in json.loads(shown[2])] == ["Call home"]
    assert json.loads(shown[3]) == {
        "id": "1",
        "title": "Water the plants",
        "state": "STATE_OPEN",
        "labels": {"room": "kitchen"},
    }


def test_a_grpc_client_watches_the_rest_service_of_the_example(tasks: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{tasks}") as channel:
        watch = channel.unary_stream("/tasks.Tasks/WatchTasks")(b"", timeout=10)
        watch.initial_metadata()  # the service is watched from here on
        channel.unary_unary("/tasks.Tasks/CreateTask")(b"\x12\x07Opticks", timeout=10)
        assert b"\x12\x07Opticks\x18\x01" in next(watch)  # field 2, and field 3: open
        watch.cancel()


def test_the_lock_file_of_the_openapi_example_is_up_to_date() -> None:
    run([sys.executable, "-m", "protogw", "check", "--strict", "gateway.yaml"], cwd=OPENAPI)


TCP_SNI = ROOT / "examples" / "tcp-sni"


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int | str]]:
    """The ports of the example that reads names, and the folder of its certificates."""
    require_tool("openssl")
    certs = tmp_path_factory.mktemp("certs")
    ports = {name: free_port() for name in ("PORT", "PLAIN_PORT", "ECHO_PORT", "A_PORT", "B_PORT", "UDP_PORT")}
    environment = {**{name: str(port) for name, port in ports.items()}, "CERTS": str(certs)}
    services = [str(ports[name]) for name in ("A_PORT", "B_PORT", "UDP_PORT")]
    with running([sys.executable, "server.py", *services, str(certs)], port=ports["B_PORT"], cwd=TCP_SNI) as server:
        server.wait_for_port(ports["A_PORT"])
        gateway = [sys.executable, "-m", "protogw", "serve", "gateway.yaml"]
        with running(gateway, port=ports["PORT"], cwd=TCP_SNI, env=environment):
            yield {**ports, "CERTS": str(certs)}


def test_the_readme_lines_of_the_example_by_name_work(by_name: dict[str, int | str]) -> None:
    lines = re.findall(r"^curl .*$", (TCP_SNI / "README.md").read_text(), re.MULTILINE)
    shown = [
        run(
            [
                "sh",
                "-c",
                line.replace("8443", str(by_name["PORT"]))
                .replace("localhost:8080", f"127.0.0.1:{by_name['PLAIN_PORT']}")
                .replace("certs/", f"{by_name['CERTS']}/")
                .replace("curl", require_tool("curl"))
                + " -sS --max-time 10",
            ]
        ).decode()
        for line in lines
    ]
    assert shown == ["this is a.example\n", "this is shop.b.example\n", "this is a.example\n"]


def test_datagrams_reach_the_echo_of_the_example(by_name: dict[str, int | str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", int(by_name["ECHO_PORT"])))
        client.send(b"hello")
        assert client.recv(100) == b"hello"


TENANTS = ROOT / "examples" / "custom-policy"


def test_the_readme_lines_of_the_custom_policy_example_work() -> None:
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "ITEMS_PORT": str(behind)}
    lines = re.findall(r"^curl .*$", (TENANTS / "README.md").read_text(), re.MULTILINE)
    commands = [line.replace("localhost:8080", f"127.0.0.1:{port}") for line in lines]
    serve = [sys.executable, "-m", "protogw", "serve", "gateway.yaml"]
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=TENANTS),
        running(serve, port=port, cwd=TENANTS, env=environment),
    ):
        curl = require_tool("curl")
        shown = [run(["sh", "-c", f"{command.replace('curl', curl, 1)} -sS --max-time 5"]) for command in commands]
    assert json.loads(shown[0]) == {"items": ["apple", "cherry"]}
    assert json.loads(shown[1])["message"] == "tenants/blue is not red's"
    assert json.loads(shown[2])["message"] == "x-tenant is missing"


def test_the_custom_policys_own_tests_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:xdist"]
    with running(command, cwd=TENANTS) as program:
        assert program.wait(60) == 0, program.output
        assert "3 passed" in program.output


ORDERS = ROOT / "examples" / "canary"


def asked(port: int, path: str, **headers: str) -> Any:
    client = Http1(port).request("GET", path, list(headers.items()))
    status = client.head()
    body = client.body()
    client.close()
    assert status == 200, body
    return json.loads(body)


@contextlib.contextmanager
def orders(**environment: str) -> Iterator[tuple[int, int]]:
    """The canary example, running: its public and its admin port."""
    ports = {name: free_port() for name in ("PORT", "ADMIN_PORT", "V1_PORT", "V2_PORT")}
    told = {name: str(port) for name, port in ports.items()} | environment
    serve = [sys.executable, "-m", "protogw", "serve", "gateway.yaml"]
    with (
        running([sys.executable, "services.py"], port=ports["V1_PORT"], cwd=ORDERS, env=told),
        running(serve, port=ports["PORT"], cwd=ORDERS, env=told),
    ):
        yield ports["PORT"], ports["ADMIN_PORT"]


def called(port: int, admin: int, state: str) -> dict[str, Any]:
    """What the canary has come to, by calls of many users."""
    for number in range(3000):
        order = asked(port, f"/v1/orders/{number}", **{"x-user": f"user-{number}"})
        assert order["id"] == str(number)
        assert order["lines"]
        if number % 25 == 0 and asked(admin, "/routes/orders")["canary"]["state"] == state:
            break
    found: dict[str, Any] = asked(admin, "/routes/orders")
    return found


def test_the_canary_example_finds_the_cent_that_version_2_forgets_and_rolls_it_back() -> None:
    with orders(EVERY="1m") as (port, admin):
        found = called(port, admin, "rolled back")
        assert found["canary"]["state"] == "rolled back"
        assert found["canary"]["why"].endswith("of its answers differ")
        assert found["upstreams"]["orders_v2"]["weight"] == 0
        shadow = asked(admin, "/shadows")["orders"]
        assert list(shadow["fields"]) == ["totalCents"]
        assert shadow["failed"] == 0
        assert asked(port, "/v1/orders/7")["served_by"] == "version 1"


def test_the_canary_example_promotes_a_version_2_without_the_fault() -> None:
    with orders(FIXED="1", EVERY="200ms") as (port, admin):
        found = called(port, admin, "promoted")
        assert found["canary"]["state"] == "promoted"
        assert asked(admin, "/shadows")["orders"]["different"] == 0
        order = asked(port, "/v1/orders/20")
        assert (order["served_by"], order["total_cents"]) == ("version 2", 2250)
        refused = Http1(port).request("GET", "/v1/orders/none")
        assert refused.head() == 404
        refused.close()


SECURE = ROOT / "examples" / "secure-api"


def _shown(commands: list[str]) -> list[tuple[str, dict[str, str], Any]]:
    """What curl shows of each: the first line, the fields, the body."""
    shown = []
    for command in commands:
        head, _, body = run(["sh", "-c", command]).decode().replace("\r\n", "\n").partition("\n\n")
        line, *fields = head.split("\n")
        shown.append((line, dict(one.split(": ", 1) for one in fields), json.loads(body)))
    return shown


def test_the_readme_lines_of_the_secure_example_work() -> None:
    port, behind = free_port(), free_port()
    environment = {"PORT": str(port), "LIBRARY_PORT": str(behind), "QUOTAS": ":memory:"}
    readme = (SECURE / "README.md").read_text()
    tokens = {
        name: run([sys.executable, *shlex.split(line)], cwd=SECURE).decode().strip()
        for name, line in re.findall(r"^(\w+)=\$\(python (.*)\)$", readme, re.MULTILINE)
    }
    lines = re.findall(r"^curl (?:.|\n {5})*$", readme, re.MULTILINE)
    commands = [
        line.replace("localhost:8080", f"127.0.0.1:{port}").replace("curl", f"{require_tool('curl')} -sS --max-time 5")
        for line in lines
    ]
    for name, token in tokens.items():
        commands = [command.replace(f"${name}", token) for command in commands]
    with (
        running([sys.executable, "server.py", str(behind)], port=behind, cwd=LIBRARY),
        running([sys.executable, "-m", "protogw", "serve", "gateway.yaml"], port=port, cwd=SECURE, env=environment),
    ):
        nobody, reader, staff, refused, made = _shown(commands[:5])
        asked = json.loads(run(["sh", "-c", commands[5]]))
    assert (" 401 " in nobody[0], nobody[1]["www-authenticate"].startswith("Bearer")) == (True, True)
    assert ["isbn" in book for book in reader[2]["books"]] == [False, False]
    assert (reader[1]["x-cache"], "etag" in reader[1], reader[1]["ratelimit-remaining"]) == ("miss", False, "999")
    assert ["isbn" in book for book in staff[2]["books"]] == [True, True]
    assert (staff[1]["x-cache"], staff[1]["ratelimit-remaining"]) == ("hit", "9999")
    assert " 403 " in refused[0]
    assert refused[1]["www-authenticate"] == 'Bearer error="insufficient_scope", scope="books.write"'
    assert (" 200 " in made[0], made[2]["title"]) == (True, "Emma")
    assert [book["title"] for book in asked["data"]["listBooks"]["books"]][:2] == ["Middlemarch", "Der Prozess"]
    assert {book["isbn"] for book in asked["data"]["listBooks"]["books"]} == {None}
    assert [error["path"] for error in asked["errors"]][:2] == [["listBooks", "books", n, "isbn"] for n in range(2)]
    assert {error["extensions"]["code"] for error in asked["errors"]} == {"PERMISSION_DENIED"}
