"""Validation: what a schema asks of its messages, what is told when they are not so, and what it may cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st
from protovalidate import ViolationsPb

from protogw.call import Call, Encoding, Metadata, Payload, Reply
from protogw.descriptors.from_proto import load, load_descriptor_set
from protogw.descriptors.model import Schema
from protogw.errors import BadUpstream, BodyTooLarge, Code, GatewayError, InvalidRequest
from protogw.policies.validate import Validate, ValidateSettings
from protogw.wire.http import Peer

SCHEMA = load([Path(__file__).parents[2] / "support" / "ruled.proto"])
METHODS = SCHEMA.services["ruled.v1.Desk"].methods
BOOK, STREAM, FREE = METHODS["Book"], METHODS["Stream"], METHODS["Free"]
GOOD: dict[str, Any] = {"name": "abc", "guest": {"email": "a@b.test"}, "low": 1, "high": 2, "floor": 0}


def payload(said: dict[str, Any], encoding: Encoding = Encoding.PROTO) -> Payload:
    data = BOOK.input.message(**said).SerializeToString()
    codec = BOOK.input.codec
    return Payload(data if encoding is Encoding.PROTO else codec.to_json(data), encoding, codec)


def call(*said: dict[str, Any], method: Any = BOOK, encoding: Encoding = Encoding.PROTO) -> Call:
    async def many() -> AsyncIterator[Payload]:
        for one in said:
            yield payload(one, encoding)

    return Call(
        method,
        Metadata(),
        front_end="rest",
        peer=Peer("192.0.2.1", 1),
        started=0.0,
        payload=payload(said[0], encoding) if method is BOOK else None,
        payloads=many() if method is STREAM else None,
    )


async def through(made: Call) -> Reply:
    if made.payloads is not None:
        async for _ in made.payloads:
            pass
    return Reply()


def validate(**settings: Any) -> Validate:
    return Validate(ValidateSettings.model_validate(settings))


async def refused(**said: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        await validate()(call({**GOOD, **said}), through)
    return caught.value


def told(error: InvalidRequest) -> dict[str, str]:
    assert error.status.details[0].type_url == "type.googleapis.com/google.rpc.BadRequest"
    found = error_details_pb2.BadRequest.FromString(error.status.details[0].value)
    return {violation.field: violation.description for violation in found.field_violations}


@pytest.mark.parametrize("encoding", [Encoding.PROTO, Encoding.JSON], ids=["proto", "json"])
async def test_a_message_as_its_schema_says_passes_untouched(encoding: Encoding) -> None:
    made = call(GOOD, encoding=encoding)
    before = made.payload
    await validate()(made, through)
    assert made.payload is before


@pytest.mark.parametrize(
    ("said", "field", "words"),
    [
        ({"name": "a"}, "name", "must be at least 2 characters"),
        ({"name": "A!"}, "name", "does not match regex pattern"),
        ({"tags": ["x", "x"]}, "tags", "must contain unique items"),
        ({"low": 3}, "", "low must be at most high"),
        ({"guest": None}, "guest", "must be set"),
        ({"guest": {}}, "guest.email", "must be set"),
        ({"floor": None}, "floor", "must be set"),
        ({"guest": {"email": "x", "id": "no"}}, "guest.id", "must be a valid UUID"),
        ({"guest": {"email": "x", "with": [{"email": "y"}, {}]}}, "guest.with[1].email", "must be set"),
        ({"others": {'a"b': {}}}, 'others["a"b"].email', "must be set"),
        ({"others": {"k": {"email": "x", "id": "no"}}}, 'others["k"].id', "must be a valid UUID"),
    ],
    ids=str,
)
async def test_what_is_wrong_is_told_by_its_field(said: dict[str, Any], field: str, words: str) -> None:
    error = await refused(**said)
    assert error.status.code is Code.INVALID_ARGUMENT
    found = told(error)
    assert list(found) == [field]
    assert words in found[field]
    assert words in error.message


async def test_violations_are_told_as_protovalidate_does_too() -> None:
    error = await refused(name="a", low=5)
    kinds = [detail.type_url for detail in error.status.details]
    assert kinds == ["type.googleapis.com/google.rpc.BadRequest", "type.googleapis.com/buf.validate.Violations"]
    violations = ViolationsPb.from_binary(error.status.details[1].value).violations
    assert {one.rule_id for one in violations} == {"string.min_len", "order.range"}


async def test_numbers_without_presence_are_never_missing() -> None:
    await validate()(call({**GOOD, "low": 0}), through)


async def test_bytes_that_are_no_message_are_refused() -> None:
    made = call(GOOD)
    made.payload = Payload(b"\xff", Encoding.PROTO, BOOK.input.codec)
    with pytest.raises(InvalidRequest):
        await validate()(made, through)


async def test_of_a_stream_each_message_is_checked() -> None:
    seen = []

    async def service(made: Call) -> Reply:
        assert made.payloads is not None
        async for one in made.payloads:
            seen.append(one)
        return Reply()

    with pytest.raises(InvalidRequest, match="name"):
        await validate()(call(GOOD, GOOD, {**GOOD, "name": "a"}, GOOD, method=STREAM), service)
    assert len(seen) == 2


async def test_replies_are_refused_without_telling_what_they_hold_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def bad(_: Call) -> Reply:
        return Reply(payload=payload({**GOOD, "name": "a"}))

    with pytest.raises(BadUpstream) as caught:
        await validate(reply="refuse")(call(GOOD), bad)
    assert "name" not in caught.value.message
    assert caught.value.status.details == ()
    logging = validate(reply="log")
    assert (await logging(call(GOOD), bad)).payload is not None
    assert logging.logged == 1
    assert "a reply is not as its schema says: name" in caplog.text
    assert (await validate()(call(GOOD), bad)).payload is not None


async def test_replies_that_stream_are_checked_as_they_come() -> None:
    async def many() -> AsyncIterator[Payload]:
        yield payload(GOOD)
        yield payload({**GOOD, "name": "a"})

    async def service(_: Call) -> Reply:
        return Reply(payloads=many())

    reply = await validate(reply="refuse", request="off")(call(GOOD, method=STREAM), service)
    assert reply.payloads is not None
    found = [await anext(reply.payloads)]
    with pytest.raises(BadUpstream):
        found.append(await anext(reply.payloads))
    assert len(found) == 1


async def test_requests_may_only_be_logged() -> None:
    policy = validate(request="log")
    await policy(call({**GOOD, "name": "a"}), through)
    assert policy.logged == 1


async def test_types_without_rules_are_not_decoded() -> None:
    policy = validate(reply="refuse")
    assert policy.fit([FREE], True) == []
    made = call(GOOD)
    made.method = FREE
    made.payload = Payload(b"\xff", Encoding.PROTO, FREE.input.codec)
    await policy(made, through)


async def test_what_is_too_large_to_check_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        await validate(max_message=1024)(call({**GOOD, "name": "a" * 2000}), through)


async def test_only_so_many_violations_are_told() -> None:
    error = await refused(others={f"k{number}": {"id": "no"} for number in range(500)})
    assert len(told(error)) <= 20
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    "said",
    [
        {"name": "a" * 60_000 + "!"},
        {"tags": [str(number) for number in range(50_000)]},
        {"others": {str(number): {"email": "x", "id": "no"} for number in range(20_000)}},
    ],
    ids=["regex", "unique", "many"],
)
async def test_hostile_messages_are_refused_at_once(said: dict[str, Any]) -> None:
    policy, made = validate(), call({**GOOD, **said})
    policy.fit([BOOK], True)
    started = time.perf_counter()
    with pytest.raises(InvalidRequest):
        await policy(made, through)
    assert time.perf_counter() - started < 5.0


@given(st.binary(max_size=300))
async def test_any_bytes_pass_or_are_refused(data: bytes) -> None:
    made = call(GOOD)
    made.payload = Payload(data, Encoding.PROTO, BOOK.input.codec)
    with contextlib.suppress(InvalidRequest):
        await validate()(made, through)


# ---- schemas


def proto(folder: Path, options: str) -> Schema:
    (folder / "odd.proto").write_text(
        'syntax = "proto3"; package odd.v1; import "buf/validate/validate.proto";'
        f"message M {{ int32 n = 1 {options}; }} service S {{ rpc Do(M) returns (M); }}"
    )
    return load([folder / "odd.proto"])


async def test_rules_that_do_not_compile_are_a_fault_and_close_the_method(tmp_path: Path) -> None:
    options = '[(buf.validate.field).cel = {id: "x", message: "x", expression: "this.nothing > "}]'
    method = proto(tmp_path, options).services["odd.v1.S"].methods["Do"]
    policy = validate()
    (fault,) = policy.fit([method], True)
    assert "odd.v1.M: its rules cannot be compiled" in fault
    made = call(GOOD)
    made.method = method
    with pytest.raises(GatewayError) as caught:
        await policy(made, through)
    assert caught.value.status.code is Code.FAILED_PRECONDITION


def test_protovalidates_annotations_need_no_file_of_ones_own(tmp_path: Path) -> None:
    schema = proto(tmp_path, "[(buf.validate.field).int32.gt = 3]")
    assert "odd.v1.S" in schema.services
    again = load_descriptor_set(schema.descriptor_set)
    assert again.digest == schema.digest


def test_a_descriptor_set_may_leave_the_annotations_out(tmp_path: Path) -> None:
    from google.protobuf import descriptor_pb2

    files = descriptor_pb2.FileDescriptorSet.FromString(proto(tmp_path, "").descriptor_set)
    kept = [file for file in files.file if not file.name.startswith(("buf/", "google/"))]
    bare = descriptor_pb2.FileDescriptorSet(file=kept).SerializeToString()
    assert "odd.v1.S" in load_descriptor_set(bare).services


async def test_rules_are_asked_of_messages_whose_types_are_in_many_files(tmp_path: Path) -> None:
    """Each file imports the two before it, so that there are very many ways through the imports."""
    google = "".join(f'import "google/protobuf/{name}.proto";' for name in ("empty", "struct", "timestamp"))
    head = f'syntax = "proto3"; package deep.v1; import "buf/validate/validate.proto"; {google}'
    field = "string s = 1 [(buf.validate.field).string.min_len = 2]; google.protobuf.Timestamp at = 2;"
    field += "google.protobuf.Struct more = 3;"
    names: list[str] = []
    for place in range(40):
        imports = "".join(f'import "{name}";' for name in names[-2:])
        inner = f"M{place - 1} inner = 4;" if names else ""
        names.append(f"deep{place}.proto")
        (tmp_path / names[-1]).write_text(f"{head}{imports} message M{place} {{ {field} {inner} }}")
    service = "service Deep { rpc Do(M39) returns (google.protobuf.Empty); }"
    (tmp_path / "deep.proto").write_text(f'{head} import "{names[-1]}"; {service}')
    method = load([tmp_path]).services["deep.v1.Deep"].methods["Do"]
    policy = validate()
    assert policy.fit([method], True) == []
    data = method.input.message(s="ab", inner={"s": "a"}).SerializeToString()
    made = Call(method, Metadata(), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)
    made.payload = Payload(data, Encoding.PROTO, method.input.codec)
    with pytest.raises(InvalidRequest, match=r"inner\.s: must be at least 2"):
        await policy(made, through)
