"""Lines of chosen fields and of templates, sampling, and what is never written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.call import NO_METADATA, Call, Composite, Metadata, Reply, Tries
from protogw.errors import Code, GatewayError, InvalidRequest, Status
from protogw.identity import Identity
from protogw.observe import log_fields
from protogw.observe.access_log import AccessLog, each
from protogw.observe.console_line import console_line
from protogw.observe.json_line import json_lines
from protogw.observe.log_fields import chosen_line, dear, hide, known, names, parts, template_line
from protogw.observe.tracing import Trace
from tests.support.rpc import UNARY, Exchange, head
from tests.unit.observe.test_access_log import Kept

TRACE = "0af7651916cd43dd8448eb211c80319c"


def exchange(*fields: tuple[str, str], path: str = "/v1/x?token=canary", status: int = 200) -> Exchange:
    made = Exchange(head(path, "", *fields, method="GET"))
    made.status = status
    call = made.call = Call(UNARY, NO_METADATA, front_end="rest", peer=made.peer, started=0.0)
    call.upstream = "10.0.0.1:50051"
    call.reply = Reply(Metadata(((b"x-cache", b"hit"), (b"set-cookie", b"canary"))))
    call.identity = Identity(subject="alice", consumer="shop", scheme="jwt")
    call.deadline = 2.0
    return made


async def line(made: Exchange, form: Any, error: GatewayError | None = None, seconds: float = 0.5, **how: Any) -> str:
    sink = Kept()
    log = AccessLog(sink, form, clock=lambda: 1764035422.0625, **how)  # type: ignore[arg-type]
    log.record(made, seconds, error, "rest")
    log.flush()
    return b"".join(sink.blocks).decode()


async def test_a_template_says_its_fields_in_its_own_words() -> None:
    form = each(template_line('{client} [{time}] "{request}" {status} {code} {duration_ms}ms {consumer}/{subject}'))
    said = await line(exchange(), form)
    assert said == ('127.0.0.1:50000 [2025-11-25T01:50:22.062Z] "GET /v1/x?token=***" 200 OK 500.0ms shop/alice\n')


async def test_what_is_not_there_is_a_dash_and_quotes_cannot_be_forged() -> None:
    form = each(template_line('{header.x-tenant} "{user_agent}"'))
    said = await line(exchange(("user-agent", 'a" 200 "b')), form)
    assert said == '- "a\\x22 200 \\x22b"\n'


async def test_no_error_can_begin_a_line_of_its_own() -> None:
    said = await line(exchange(), each(template_line("{error}")), InvalidRequest("no\n200 OK \x1b[2J"))
    assert said == "no\\x0a200 OK \\x1b[2J\n"


async def test_a_line_of_chosen_fields_has_these_and_no_others() -> None:
    wanted = ("method", "header.x-tenant", "reply.x-cache", "deadline_left_ms", "tries")
    said = await line(exchange(("x-tenant", "t-1")), each(chosen_line(wanted)), wants=dear(wanted))
    assert json.loads(said) == {
        "method": "kit.v1.Echo/Unary",
        "header.x-tenant": "t-1",
        "reply.x-cache": "hit",
        "deadline_left_ms": 1500.0,
        "tries": 1,
    }


@pytest.mark.parametrize(
    "name", ["header.authorization", "header.cookie", "header.x-api-key", "header.x-auth-token", "reply.set-cookie"]
)
async def test_fields_that_carry_credentials_are_named_without_their_value(name: str) -> None:
    made = exchange((name.partition(".")[2], "canary"))
    for form in (each(template_line("{" + name + "}")), each(chosen_line([name]))):
        said = await line(made, form, wants=True)
        assert "***" in said
        assert "canary" not in said


async def test_fields_in_which_policies_find_credentials_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_fields, "_hidden", set())
    form = each(chosen_line(["header.x-pass", "header.x-tenant"]))
    hide((b"X-Pass",))
    said = await line(exchange(("x-pass", "canary"), ("x-tenant", "t-1")), form)
    assert json.loads(said) == {"header.x-pass": "***", "header.x-tenant": "t-1"}
    assert json.loads(await line(exchange(), form)) == {"header.x-pass": None, "header.x-tenant": None}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("https://a.test/x?page=2&access_token=canary", "https://a.test/x?page=2&access_token=***"),
        ("https://a.test/x?page=2#id_token=canary&state=1", "https://a.test/x?page=2#id_token=***&state=1"),
        ("/x?to=%2F&c=1", "/x?to=%2F&c=1"),
        ("token=of-no-address", "token=of-no-address"),
    ],
)
async def test_addresses_in_fields_are_told_without_what_is_secret_in_their_queries(value: str, told: str) -> None:
    said = await line(exchange(("referer", value)), each(chosen_line(["header.referer"])))
    assert json.loads(said) == {"header.referer": told}


async def test_a_usual_line_says_who_called_and_which_trace_it_is() -> None:
    made = exchange(("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00"))
    said = json.loads(await line(made, json_lines))
    assert (said["consumer"], said["trace_id"]) == ("shop", TRACE)


async def test_a_traceparent_that_says_nothing_valid_names_no_trace() -> None:
    made = exchange(("traceparent", "00-nonsense"))
    assert json.loads(await line(made, each(chosen_line(["trace_id"])))) == {"trace_id": None}
    assert await line(made, each(template_line("{trace_id}"))) == "-\n"
    assert "trace_id" not in json.loads(await line(made, json_lines))


async def test_a_recorded_trace_is_named_by_the_id_that_it_has_here() -> None:
    made = exchange()
    assert made.call is not None
    made.call.trace = Trace(7, 0, b"")
    assert json.loads(await line(made, json_lines))["trace_id"] == f"{7:032x}"


async def test_what_went_wrong_is_said_in_words_with_what_was_left_of_the_time() -> None:
    said = json.loads(
        await line(exchange(status=503), json_lines, GatewayError("it\x1b[31m broke", code=Code.UNAVAILABLE))
    )
    assert (said["code"], said["error"], said["deadline_left_ms"]) == ("UNAVAILABLE", "it\\x1b[31m broke", 1500.0)


async def test_a_stream_that_failed_midway_says_so_though_http_said_200() -> None:
    made = exchange()
    assert made.call is not None
    made.call.reply = Reply(status=Status(Code.DATA_LOSS, "cut in the middle"))
    said = json.loads(await line(made, json_lines))
    assert (said["status"], said["code"], said["error"]) == (200, "DATA_LOSS", "cut in the middle")


async def test_tries_are_told_when_there_was_more_than_one() -> None:
    made = exchange()
    assert made.call is not None
    made.call.tries = Tries()
    assert "tries" not in json.loads(await line(made, json_lines))
    made.call.tries.number = 3
    assert json.loads(await line(made, json_lines))["tries"] == 3
    assert "in 3 tries" in await line(made, each(console_line))


async def test_a_graphql_request_names_its_operation_and_how_many_calls_it_made() -> None:
    made = exchange()
    assert made.call is not None
    first = made.call
    made.call = whole = Composite(first, "query", "Shelves")
    whole.calls = 3
    whole.part_ended(first, Status(Code.NOT_FOUND, "no shelf"))
    said = json.loads(await line(made, json_lines))
    assert (said["operation"], said["calls"], said["code"]) == ("query Shelves", 3, "NOT_FOUND")
    assert said["method"] is None
    assert "query Shelves" in await line(made, each(console_line))


@pytest.mark.parametrize(
    ("how", "written"),
    [
        ({}, False),
        ({"status": 404}, True),
        ({"status": 0}, True),
        ({"seconds": 1.5}, True),
        ({"error": GatewayError("no", code=Code.INTERNAL)}, True),
    ],
    ids=["went well", "a bad status", "the client went", "slow", "an error"],
)
async def test_a_sample_leaves_out_only_what_went_well_and_quickly(how: dict[str, Any], written: bool) -> None:
    made = exchange(status=how.pop("status", 200))
    how.setdefault("seconds", 0.1)
    said = await line(made, json_lines, share=0.1, slow_s=1.0, chance=lambda: 0.5, **how)
    assert bool(said) is written
    assert await line(exchange(), json_lines, share=0.1, chance=lambda: 0.05)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{nope}", "no field {nope}"),
        ("{time", "brace"),
        ("time}", "brace"),
        ("plain", "names no field"),
        ("{header.}", "no field"),
        ("{header.a b}", "no field"),
    ],
)
def test_a_template_that_says_nothing_known_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        template_line(template)


@given(st.text(max_size=60))
def test_any_template_is_taken_or_refused_with_a_reason(template: str) -> None:
    try:
        found = parts(template)
    except ValueError:
        return
    assert all(known(name) for name in found[1::2])


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
async def test_no_client_can_begin_a_line_of_its_own(value: str) -> None:
    everything = " ".join("{" + name + "}" for name in names()) + " {header.x-any}"
    made = exchange(("x-any", value), ("user-agent", value))
    said = await line(made, each(template_line(everything)), wants=True)
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
