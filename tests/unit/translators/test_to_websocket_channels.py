"""Calls put to services that AsyncAPI describes: the channel's address, its messages and what tells them apart."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from protogw_translators.to_websocket import ToWebSocket
from protogw_translators.to_websocket_settings import WebSocketOptions

from protogw.call import Call, Reply
from protogw.descriptors.channel_binding import ChannelBinding
from protogw.errors import Code, InvalidRequest, NotOffered
from tests.support import exchange
from tests.support.socket_upstream import Line, Service


def translator(base_path: str = "", **said: Any) -> ToWebSocket:
    settings = WebSocketOptions.model_validate({"ping": "0s", **said})
    return ToWebSocket("feed:9", message_limit=100_000, base_path=base_path, settings=settings)


async def send(call: Call, service: Service, **said: Any) -> Reply:
    return await asyncio.wait_for(translator(**said).send(call, Line(service)), 5)


def target(service: Service) -> str:
    return service.request_head.split(b"\r\n", 1)[0].decode().removeprefix("GET ").removesuffix(" HTTP/1.1")


async def test_the_address_and_the_handshake_are_made_of_the_request() -> None:
    async def script(service: Service) -> None:
        service.send({"type": "trade", "price": 1.5, "size": 9007199254740993})
        service.send({"type": "heartbeat", "at": 7})
        service.close()

    service = Service(script)
    call = exchange.call("WatchMarket", {"symbol": "btc/usd?", "depth": 5, "heartbeat": False, "X-Client": "me"})
    reply = await send(call, service)
    assert reply.payloads is not None
    seen = [exchange.tree("WatchMarket", payload) async for payload in reply.payloads]
    assert target(service) == "/ws/v1/market/btc%2Fusd%3F?depth=5&heartbeat=false"
    assert b"\r\nx-client: me\r\n" in service.request_head
    assert seen == [
        {"trade": {"type": "trade", "price": 1.5, "size": "9007199254740993"}},
        {"heartbeat": {"type": "heartbeat", "at": "7"}},
    ]


async def test_an_address_of_the_configs_own_takes_the_place_of_the_documents() -> None:
    async def script(service: Service) -> None:
        service.close()

    service = Service(script)
    reply = await send(exchange.call("WatchMarket", {"symbol": "x"}), service, base_path="/elsewhere")
    assert [payload async for payload in reply.payloads or ()] == []
    assert target(service) == "/elsewhere/v1/market/x"


@pytest.mark.parametrize("symbol", ["", ".", ".."])
async def test_a_parameter_that_no_address_can_hold_is_refused(symbol: str) -> None:
    with pytest.raises(InvalidRequest, match="symbol: is needed for the channel's address"):
        await send(exchange.call("WatchMarket", {"symbol": symbol}), Service(nothing))


async def test_a_value_stays_within_its_part_of_the_address() -> None:
    async def script(service: Service) -> None:
        service.close()

    binding = replace(_binding("WatchMarket"), address="/a b/{symbol}?key={symbol}&v=1", message="")
    for symbol, path in (("x&y=1/..", "x&y=1%2F..?key=x%26y%3D1%2F.."), ("é?#", "%C3%A9%3F%23?key=%C3%A9%3F%23")):
        service = Service(script)
        call = exchange.call("WatchMarket", {"symbol": symbol})
        call.method = replace(exchange.method("WatchMarket"), binding=binding)
        await send(call, service)
        assert target(service) == f"/ws/a%20b/{path}&v=1"


def _binding(name: str) -> ChannelBinding:
    found = exchange.method(name).binding
    assert isinstance(found, ChannelBinding)
    return found


async def test_a_header_that_no_handshake_can_hold_is_refused() -> None:
    for bad in ("a\r\nb: c", "Zoë", "\0"):
        with pytest.raises(InvalidRequest, match=r"X-Client|x_client"):
            await send(exchange.call("WatchMarket", {"symbol": "x", "X-Client": bad}), Service(nothing))


async def nothing(service: Service) -> None:
    """A service that is silent."""


async def test_only_what_answers_a_request_is_its_reply() -> None:
    seen: list[Any] = []

    async def script(service: Service) -> None:
        service.send({"type": "heartbeat", "at": 1})
        seen.append(await service.receive_json())
        service.send({"type": "news"})
        service.send({"type": "rejected", "ref": 7, "why": "no money"})

    service = Service(script)
    reply = await send(exchange.call("PlaceOrder", {"ref": "7", "symbol": "x", "side": "ORDER_SIDE_BUY"}), service)
    assert seen == [{"ref": 7, "symbol": "x", "side": "buy"}]
    found = exchange.tree("PlaceOrder", reply.payload)
    assert found["rejected"]["ref"] == "7"
    assert target(service) == "/ws/v1/desk"


async def test_json_of_a_rest_client_passes_as_it_is() -> None:
    async def script(service: Service) -> None:
        assert await service.receive() == '{"symbol":"x","side":"sell"}'
        service.send('{ "type": "filled" }')

    reply = await send(exchange.call("PlaceOrder", {"symbol": "x", "side": "sell"}, proto=False), Service(script))
    assert reply.payload is not None
    assert reply.payload.data == b'{ "type": "filled" }'


async def test_what_is_not_answered_succeeds_once_the_service_has_it() -> None:
    seen: list[Any] = []

    async def script(service: Service) -> None:
        seen.append(await service.receive_json())
        service.send({"type": "heartbeat"})

    service = Service(script)
    reply = await send(exchange.call("LeaveNote", {"type": "note", "text": "hi"}), service)
    assert (reply.status.code, reply.payload and reply.payload.data) == (Code.OK, b"")
    assert seen == [{"type": "note", "text": "hi"}]
    assert service.closed.is_set()


async def test_what_is_not_answered_may_be_refused() -> None:
    async def script(service: Service) -> None:
        service.close(1008, "not you")

    reply = await send(exchange.call("LeaveNote", {"text": "hi"}), Service(script))
    assert (reply.status.code, reply.status.message, reply.payload) == (Code.PERMISSION_DENIED, "not you", None)


async def test_a_channel_carries_both_directions_message_by_message() -> None:
    async def script(service: Service) -> None:
        while message := await service.receive():
            service.send({"type": "filled", "ref": len(message)})
        service.close()

    call = exchange.call("Desk", {"order": {"symbol": "x"}}, {"note": {"type": "note", "text": "a"}})
    reply = await send(call, Service(script), half_close="")
    assert reply.payloads is not None
    seen = [exchange.tree("Desk", payload) async for payload in reply.payloads]
    sizes = [len('{"symbol":"x"}'), len('{"type":"note","text":"a"}')]
    assert [message["filled"]["ref"] for message in seen] == [str(size) for size in sizes]


async def test_correlated_operations_can_share_sockets() -> None:
    lane = translator(sockets="shared").lane(exchange.call("PlaceOrder", {"symbol": "x"}))
    assert lane is not None
    assert lane.target == b"/ws/v1/desk"
    for own in ("WatchMarket", "Beat", "Desk"):
        assert translator(sockets="shared").lane(exchange.call(own, {})) is None


async def test_an_option_that_a_document_writes_wrongly_is_named() -> None:
    call = exchange.call("PlaceOrder", {"symbol": "x"})
    bad = ChannelBinding(options={"half_close": 5})
    call.method = replace(exchange.method("PlaceOrder"), binding=bad)
    with pytest.raises(NotOffered, match=r"exchange\.Exchange/PlaceOrder: x-protogw\.half_close: .*string"):
        await send(call, Service(nothing))
