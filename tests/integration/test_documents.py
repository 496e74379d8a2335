"""Documents of what is offered, before tools that others wrote: validators, protoc, and a fuzzer of whole APIs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from protogw.assembly import KINDS
from protogw.cli import main
from protogw.commands.documents import describe
from protogw.commands.served_documents import ServedDocuments
from protogw.config import load
from protogw.demo import service as library
from protogw.descriptors import from_asyncapi, from_graphql, from_openapi
from protogw.descriptors.about import About
from protogw.descriptors.catalog import Catalog
from protogw.descriptors.from_proto import load_descriptor_set
from protogw.descriptors.numbers import Numbers
from protogw.frontends.base import Bounds
from protogw.frontends.rest import Rest, RestSettings
from protogw.frontends.websocket import WebSockets
from protogw.frontends.websocket.settings import WebSocketSettings
from tests.support.gateway import Running, config_of, gateway
from tests.support.processes import NODE, ROOT, free_port, missing, require_node, run
from tests.support.processes import running as program

GOOGLE = (
    "google.longrunning.operations_proto_pb2",
    "google.cloud.location.locations_pb2",
    "google.iam.v1.iam_policy_pb2",
)


def problems(kind: str, *files: Path) -> list[str]:
    """What the JavaScript validator of this kind of document has against these files."""
    argv = [require_node(), str(NODE / "validate.mjs"), kind, *map(str, files)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["file"] for one in told] == list(map(str, files))
    return [f"{one['file']}: {problem}" for one in told for problem in one["problems"]]


@pytest.fixture(scope="module")
def shelves() -> Iterator[int]:
    server, port = library.start()
    yield port
    server.stop(0).wait(5)


def config(port: int, **rest: Any) -> dict[str, Any]:
    rule = {"custom": {"kind": "HEAD", "path": "/shelf/{name=**}"}}
    routes = [{"match": {"call": "library.v1.Library/GetShelf"}, "rest": rule}]
    return config_of({"library": {"grpc": [f"127.0.0.1:{port}"], **rest}}, routes=routes)


@pytest.fixture
def written(shelves: int, tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(json.dumps(config(shelves)))
    return path


# --- validators


def test_the_sample_librarys_openapi_is_valid(written: Path, tmp_path: Path) -> None:
    config_of_all = json.loads(written.read_text())
    config_of_all["upstreams"]["library"]["json"] = {"emit_defaults": True, "names": "proto", "enums": "number"}
    (tmp_path / "all.yaml").write_text(json.dumps(config_of_all))
    for source, name in ((written, "openapi.yaml"), (written, "openapi.json"), (tmp_path / "all.yaml", "all.json")):
        assert main(["print-schema", "openapi", str(source), "-o", str(tmp_path / name)]) == 0
    assert problems("openapi", *(tmp_path / name for name in ("openapi.yaml", "openapi.json", "all.json"))) == []
    validate(json.loads((tmp_path / "openapi.json").read_text()))


def test_the_sample_librarys_asyncapi_is_valid(written: Path, tmp_path: Path) -> None:
    config = json.loads(written.read_text())
    config["routes"].append(
        {"match": {"call": "library.v1.Library/WatchBooks"}, "websocket": "/watch/{parent=shelves/*}"}
    )
    written.write_text(json.dumps(config))
    for name in ("asyncapi.yaml", "asyncapi.json"):
        assert main(["print-schema", "asyncapi", str(written), "-o", str(tmp_path / name)]) == 0
    assert problems("asyncapi", tmp_path / "asyncapi.yaml", tmp_path / "asyncapi.json") == []
    document = json.loads((tmp_path / "asyncapi.json").read_text())
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert "/watch/shelves/{shelf}" in addresses
    assert "/library.v1.Library/GetShelf" in addresses
    assert "/protogw.calls.v1" in addresses


def google_services() -> Mapping[str, Any]:
    """A document for each of Google's annotated services that come as Python packages."""
    documents = {}
    for module in GOOGLE:
        file = import_module(module).DESCRIPTOR
        files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        waiting = [file.name]
        while waiting:
            name = waiting.pop()
            if name not in files:
                files[name] = descriptor_pb2.FileDescriptorProto()
                descriptor_pool.Default().FindFileByName(name).CopyToProto(files[name])
                waiting.extend(files[name].dependency)
        schema = load_descriptor_set(descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString())
        front_end = Rest(RestSettings(), Bounds())
        catalog = Catalog.merge([schema])
        front_end.offer(catalog)
        about = About(title=module, version="1", services=frozenset(catalog.services))
        documents[module] = front_end.document(about).content
    return documents


def test_googles_own_services_are_described_validly(tmp_path: Path) -> None:
    paths = []
    for name, document in google_services().items():
        validate(document)
        assert document["paths"], name
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document))
    assert problems("openapi", *paths) == []


def test_what_other_languages_describe_is_described_validly(written: Path, tmp_path: Path) -> None:
    """Our own OpenAPI document, read as somebody else's, and samples of AsyncAPI and GraphQL."""
    assert main(["print-schema", "openapi", str(written), "-o", str(tmp_path / "library.json")]) == 0
    support = Path(__file__).parent.parent / "support"
    schemas = (
        from_openapi.load([tmp_path / "library.json"], upstream="library", numbers=Numbers()),
        from_asyncapi.load([support / "exchange.asyncapi.yaml"], upstream="exchange", numbers=Numbers()),
        from_graphql.load([support / "catalog.graphql"], upstream="catalog", numbers=Numbers()),
    )
    files: dict[str, list[Path]] = {"openapi": [], "asyncapi": []}
    for schema in schemas:
        catalog = Catalog.merge([schema])
        about = About(title="Theirs", version="1", services=frozenset(catalog.services))
        for front_end in (Rest(RestSettings(), Bounds()), WebSockets(WebSocketSettings(), Bounds())):
            front_end.offer(catalog)
            content = front_end.document(about).content
            files[front_end.documents].append(tmp_path / f"{len(files['openapi'])}.{front_end.documents}.json")
            files[front_end.documents][-1].write_text(json.dumps(content))
    assert problems("openapi", *files["openapi"]) == []
    assert problems("asyncapi", *files["asyncapi"]) == []
    paths = json.loads((tmp_path / "library.json").read_text())["paths"].keys()
    # HEAD is answered wherever GET is, and is no binding of its own.
    assert paths - {"/shelf/{name}"} <= json.loads(files["openapi"][0].read_text())["paths"].keys()


# --- protoc


def test_protoc_reads_printed_protos_back_to_what_is_offered(written: Path, tmp_path: Path) -> None:
    assert main(["print-schema", "proto", str(written), "--output", str(tmp_path / "protos")]) == 0
    assert main(["print-schema", "proto", str(written), "--output", str(tmp_path / "offered.binpb")]) == 0
    sources = [str(path) for path in (tmp_path / "protos").rglob("*.proto")]
    root = Path(import_module("google.api.annotations_pb2").__file__ or "").parents[2]
    tools = Path(protoc.__file__).parent / "_proto"
    out = tmp_path / "again.binpb"
    arguments = [f"-I{tmp_path / 'protos'}", f"-I{root}", f"-I{tools}", "--include_imports", f"-o{out}"]
    assert protoc.main(["protoc", *arguments, *sources]) == 0
    offered, again = (
        {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file}
        for path in (tmp_path / "offered.binpb", out)
    )
    name = "protogw/demo/library.proto"
    offered[name].ClearField("source_code_info")
    assert again[name] == offered[name]
    assert "/shelf/{name=**}" in str(again[name])
    assert set(again) <= set(offered)


# --- whole APIs


def conforms(folder: Path, running: Running, *arguments: str, ignored: str = "") -> Counter[int]:
    """Have schemathesis send what the document allows and what it does not, and hold the answers against it; the
    statuses that came."""
    document = running.do(lambda: describe(running.gateway, load(folder / "gateway.yaml", KINDS), "openapi"))
    assert not isinstance(document.content, str)
    content = json.loads(json.dumps(document.content))
    for item in content["paths"].values():
        for operation in item.values():
            operation.get("requestBody", {"content": {}})["content"].pop("application/x-ndjson", None)  # it writes none
    (folder / "openapi.json").write_text(json.dumps(content))
    # Names that exist, so that there is something to answer with.
    (folder / "schemathesis.toml").write_text(
        '[parameters]\n"path.shelf" = "1"\n"path.book" = "1"\n"path.pet_id" = "1"\n'
    )
    argv = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json"]
    argv += ["--url", f"http://127.0.0.1:{running.port}", "--seed", "1", "--request-timeout", "10"]
    argv += ["--suppress-health-check", "all", "--warnings", "off", "--generation-database", "none"]
    argv += ["--report-har-path", "said.har"]
    # Requests may be wider than the document (ProtoJSON), and the library is stricter than its types. Some paths are
    # served by a more general rule as well, so that Allow has verbs that the document has elsewhere.
    checks = f"negative_data_rejection,positive_data_acceptance,allow_header_conformance{ignored}"
    argv += ["--exclude-checks", checks]
    # These go on for as long as they are asked to.
    argv += ["--exclude-operation-id", "Library_WatchBooks", "--exclude-operation-id", "Library_StreamBooks"]
    done = subprocess.run(
        [*argv, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    entries = json.loads((folder / "said.har").read_text())["log"]["entries"]
    return Counter(entry["response"]["status"] for entry in entries)


def test_what_the_gateway_answers_is_what_its_document_says(shelves: int, tmp_path: Path) -> None:
    with gateway(config(shelves), tmp_path) as running:
        running.wait_for(library.SERVICE)
        statuses = conforms(tmp_path, running, "--phases", "coverage,fuzzing", "--max-examples", "3")
    assert statuses[200] > 25
    assert statuses[400] > 100
    assert statuses[404] > 50


def test_it_is_so_under_every_option_as_well(shelves: int, tmp_path: Path) -> None:
    options = {"emit_defaults": True, "names": "proto", "enums": "number"}
    written = config(shelves, json=options)
    written["listeners"]["public"]["rest"] = {"errors": "problem", "empty_status": 204}
    with gateway(written, tmp_path) as running:
        running.wait_for(library.SERVICE)
        conforms(tmp_path, running, "--phases", "fuzzing", "--max-examples", "3")


def test_a_service_that_openapi_describes_answers_as_its_exported_document_says(tmp_path: Path) -> None:
    """FastAPI's document in, ours out: two descriptions of one service, and neither is by who wrote the other."""
    for module in ("fastapi", "uvicorn", "multipart"):
        if importlib.util.find_spec(module) is None:
            missing(f"{module} is not installed")
    app = [sys.executable, str(ROOT / "tests" / "support" / "fastapi_shop.py")]
    (tmp_path / "shop.json").write_bytes(run(app))
    port = free_port()
    shop = config_of({"shop": {"rest": f"http://127.0.0.1:{port}", "schema": "shop.json"}})
    with program([*app, str(port)], port=port), gateway(shop, tmp_path) as running:
        # It fails by itself at times, and is meant to.
        statuses = conforms(
            tmp_path, running, "--phases", "fuzzing", "--max-examples", "3", ignored=",not_a_server_error"
        )
    assert sum(count for status, count in statuses.items() if status < 300) > 5, statuses


def test_streams_are_what_the_document_says(shelves: int, tmp_path: Path) -> None:
    with gateway(config(shelves), tmp_path) as running:
        running.wait_for(library.SERVICE)
        document = running.do(lambda: describe(running.gateway, load(tmp_path / "gateway.yaml", KINDS), "openapi"))
        assert not isinstance(document.content, str)
        operation = document.content["paths"]["/v1/shelves/{shelf}/books:stream"]["get"]
        described = operation["responses"]["200"]["content"]
        components = document.content["components"]
        for media_type, media in described.items():
            url = f"http://127.0.0.1:{running.port}/v1/shelves/1/books:stream"
            with urllib.request.urlopen(urllib.request.Request(url, headers={"accept": media_type}), timeout=10) as one:
                assert one.headers["content-type"] == media_type
                body = one.read()
            if media_type == "application/json":
                Draft202012Validator({"components": components, **media["schema"]}).validate(json.loads(body))
                continue
            lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if "{" in line]
            assert lines
            for line in lines:
                item = {"components": components, **media["x-item-schema"]}
                Draft202012Validator(item).validate(json.loads(line))


# --- the admin address


def test_a_running_gateway_serves_its_documents(shelves: int, tmp_path: Path) -> None:
    with gateway(config(shelves), tmp_path) as running:
        running.wait_for(library.SERVICE)
        made = running.gateway
        served = ServedDocuments(made, load(tmp_path / "gateway.yaml", KINDS))
        assert {"openapi", "proto", "descriptor-set"} <= set(served.names())

        async def read(name: str, listener: str | None = None) -> tuple[str, bytes]:
            return await served.read(name, listener)

        media_type, text = running.run(read("openapi.json"))
        assert media_type == "application/json"
        assert running.run(read("openapi")) == (media_type, text)
        assert running.run(read("openapi.json"))[1] is text
        validate(json.loads(text))
        assert running.run(read("openapi.yaml", "public"))[1].startswith(b"openapi: '3.1.0'\n")
        asyncapi = json.loads(running.run(read("asyncapi.json"))[1])
        assert asyncapi["asyncapi"] == "3.0.0"
        assert b"type Query {" in running.run(read("graphql"))[1]
        with pytest.raises(KeyError, match="a text of its own"):
            running.run(read("graphql.json"))
        assert b"service Library {" in running.run(read("proto"))[1]
        names = [
            one.name for one in descriptor_pb2.FileDescriptorSet.FromString(running.run(read("descriptor-set"))[1]).file
        ]
        assert "protogw/demo/library.proto" in names
        for name, listener in (("nosuch", None), ("openapi.xml", None), ("openapi", "nosuch")):
            with pytest.raises(KeyError, match="there is no such"):
                running.run(read(name, listener))
        running.do(made.offering.install)  # type: ignore[union-attr]
        assert running.run(read("openapi.json"))[1] is not text


# --- print-schema


def test_a_descriptor_set_goes_to_stdout_as_it_is(written: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    arguments = ["--format", "descriptor-set", "--service", "library.v1.Library"]
    assert main(["print-schema", "proto", str(written), *arguments]) == 0
    files = descriptor_pb2.FileDescriptorSet.FromString(capsysbinary.readouterr().out).file
    assert files[-1].name == "protogw/demo/library.proto"


def test_a_document_says_of_itself_what_it_is_told_to(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["--title", "Shelves", "--api-version", "7", "--server", "https://api.example/base"]
    assert main(["print-schema", "openapi", str(written), "--format", "json", *said]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["info"] == {"title": "Shelves", "version": "7"}
    assert document["servers"] == [{"url": "https://api.example/base"}]


@pytest.mark.parametrize(
    ("arguments", "told", "code"),
    [
        (["openapi", "--format", "proto"], "prints yaml or json, not proto", 2),
        (["openapi", "--service", "library.v1.Libary"], 'did you mean "library.v1.Library"?', 1),
        (["openapi", "--listener", "publik"], 'did you mean "public"?', 1),
        (["openapi", "--no-connect"], "there is nothing to print", 1),
        (["proto", "-o", "all.proto"], "", 0),
    ],
)
def test_what_cannot_be_printed_says_why(
    arguments: list[str],
    told: str,
    code: int,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    what, *rest = arguments
    assert main(["print-schema", what, str(written), *rest]) == code
    assert told in capsys.readouterr().err


def test_a_document_is_of_a_listener_that_offers_it(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads(written.read_text())
    config["listeners"]["public"]["offer"] = ["grpc"]
    written.write_text(json.dumps(config))
    assert main(["print-schema", "openapi", str(written)]) == 1
    assert "no listener offers anything that openapi describes" in capsys.readouterr().err


# --- check --against


def test_an_offer_that_breaks_nobody_passes(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["print-schema", "proto", str(written), "--output", str(tmp_path / "old.binpb")]) == 0
    capsys.readouterr()
    assert main(["check", str(written), "--connect", "--against", str(tmp_path / "old.binpb")]) == 0
    assert "ok" in capsys.readouterr().out


def test_an_offer_that_breaks_clients_fails_and_says_how(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old.binpb"
    assert main(["print-schema", "proto", str(written), "--output", str(old)]) == 0
    said = json.loads(written.read_text())
    del said["routes"]
    written.write_text(json.dumps(said))
    schema = descriptor_pb2.FileDescriptorSet.FromString(old.read_bytes())
    (file,) = (one for one in schema.file if one.package == "library.v1")
    (book,) = (one for one in file.message_type if one.name == "Book")
    book.field.add(name="shelf_mark", number=40, type=9, label=1)
    old.write_bytes(schema.SerializeToString())
    capsys.readouterr()
    assert main(["check", str(written), "--connect", "--against", str(old)]) == 1
    assert capsys.readouterr().err == (
        f"{old}: library.v1.Library/GetShelf: HEAD /shelf/{{name=**}} is gone\n"
        f"{old}: library.v1.Book.shelf_mark: the field (40) is gone\n"
    )


def test_what_is_not_known_cannot_be_compared(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(written), "--against", "nosuch.binpb"]) == 1
    assert "cannot be compared while these describe themselves: library (--connect)" in capsys.readouterr().err
    assert main(["check", str(written), "--connect", "--against", "nosuch.binpb"]) == 1
    assert "nosuch.binpb: no such file or folder" in capsys.readouterr().err
