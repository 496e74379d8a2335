"""Who gets what of a fan-in: keys, topics, and what a client cannot claim. No loop is needed for any of it."""

from __future__ import annotations

import pytest

from protogw.call import Encoding, Payload
from protogw.errors import InvalidRequest
from protogw.fanin.fields import FieldFault, TextField
from protogw.fanin.hub import MAX_TOPICS, Hub, Member, Rules, TooManyTopics
from protogw.fanin.outbox import Offered, Outbox, Slow
from tests.support.sockets import TALK, WATCH, message

SAY, HEARD = TALK.input, TALK.output


def rules(**fields: str | bool) -> Rules:
    broadcast = bool(fields.pop("broadcast", False))
    replies = ("reply_key", "reply_topic")
    made = {name: TextField(HEARD if name in replies else SAY, str(path)) for name, path in fields.items()}
    return Rules(**made, broadcast=broadcast)


def joined(hub: Hub[Member], *keys: str, bound: bytes = b"") -> list[Member]:
    members = [Member(key, bound) for key in keys]
    for member in members:
        hub.join(member)
    return members


def said(**fields: object) -> bytes:
    data: bytes = message("Say", **fields).SerializeToString()
    return data


def reply(**fields: object) -> bytes:
    data: bytes = message("Heard", **fields).SerializeToString()
    return data


def test_the_key_is_written_over_whatever_a_client_claims() -> None:
    hub: Hub[Member] = Hub(rules(key="who.key"))
    (member,) = joined(hub, "alice")
    forged = message("Say", text="hello")
    forged.who.key = "bob"
    once = hub.request(member, forged.SerializeToString())
    twice = hub.request(member, forged.SerializeToString() * 2)
    assert [message("Say", data).who.key for data in (once, twice)] == ["alice", "alice"]
    assert message("Say", once).text == "hello"


def test_a_reply_goes_to_those_it_names_and_to_nobody_else() -> None:
    hub: Hub[Member] = Hub(rules(reply_key="to"))
    alice, bob, bobs_phone, _ = joined(hub, "alice", "bob", "bob", "carol")
    assert hub.recipients(reply(to=["alice"])) == (alice,)
    assert set(hub.recipients(reply(to=["bob", "alice"]))) == {alice, bob, bobs_phone}
    assert hub.recipients(reply(to=["nobody"])) == ()
    assert hub.recipients(reply()) == ()


def test_a_reply_about_a_topic_goes_to_those_who_subscribed() -> None:
    hub: Hub[Member] = Hub(rules(reply_topic="room", subscribe="join", unsubscribe="part"))
    alice, bob = joined(hub, "alice", "bob")
    hub.request(alice, said(join=["tea", "milk"]))
    hub.request(bob, said(join=["tea"]))
    assert set(hub.recipients(reply(room="tea"))) == {alice, bob}
    assert hub.recipients(reply(room="milk")) == (alice,)
    hub.request(alice, said(part=["tea"]))
    assert hub.recipients(reply(room="tea")) == (bob,)
    hub.leave(bob)
    assert hub.recipients(reply(room="tea")) == ()


def test_a_key_goes_before_a_topic_and_neither_is_everyone_only_where_asked() -> None:
    named = rules(reply_key="to", reply_topic="room", subscribe="join")
    everyone = rules(reply_key="to", broadcast=True)
    hub: Hub[Member] = Hub(named)
    alice, bob = joined(hub, "alice", "bob")
    hub.request(alice, said(join=["tea"]))
    assert hub.recipients(reply(room="tea", to=["bob"])) == (bob,)
    open_hub: Hub[Member] = Hub(everyone)
    members = joined(open_hub, "alice", "bob")
    assert list(open_hub.recipients(reply())) == members
    assert open_hub.recipients(reply(to=["nobody"])) == ()


def test_what_a_path_gives_names_a_topic_and_is_in_every_event() -> None:
    hub: Hub[Member] = Hub(rules(key="who.key", reply_topic="room", subscribe="room"))
    (alice,) = joined(hub, "alice", bound=said(room="tea"))
    assert hub.recipients(reply(room="tea")) == (alice,)
    event = message("Say", hub.event(alice, said(event="joined")))
    assert (event.event, event.room, event.who.key) == ("joined", "tea", "alice")


def test_a_reply_that_names_nobody_answers_who_asked_while_that_is_there() -> None:
    hub: Hub[Member] = Hub(rules(reply_key="to"))
    alice, bob = joined(hub, "alice", "bob")
    assert hub.recipients(reply(), alice) == (alice,)
    assert hub.recipients(reply(to=["bob"]), alice) == (bob,)
    hub.leave(alice)
    assert hub.recipients(reply(), alice) == ()


def test_topics_are_bounded_and_leave_nothing_behind() -> None:
    hub: Hub[Member] = Hub(rules(subscribe="join"))
    (alice,) = joined(hub, "alice")
    hub.request(alice, said(join=[str(number) for number in range(MAX_TOPICS)]))
    with pytest.raises(TooManyTopics):
        hub.request(alice, said(join=["one more"]))
    with pytest.raises(InvalidRequest):
        hub.request(alice, said(join=["x" * 300]))
    hub.leave(alice)
    hub.leave(alice)
    assert repr(hub) == "<Hub 0 members, 0 topics>"


@pytest.mark.parametrize("bad", [b"\xff", b"\x0a\x05ab", b"\x32\x01\xff"])
def test_bytes_that_are_no_message_are_refused(bad: bytes) -> None:
    hub: Hub[Member] = Hub(rules(subscribe="part"))
    (alice,) = joined(hub, "alice")
    with pytest.raises(InvalidRequest):
        hub.request(alice, bad)


@pytest.mark.parametrize("path", ["nothing", "who", "who.nothing", "text.key", "join.key"])
def test_a_path_that_leads_to_no_text_is_named(path: str) -> None:
    with pytest.raises(FieldFault, match=path.partition(".")[0]):
        TextField(SAY, path)


def test_a_number_or_a_map_is_no_text() -> None:
    for path in ("limit", "labels"):
        with pytest.raises(FieldFault):
            TextField(WATCH.input, path)


def test_an_outbox_keeps_so_many_and_then_goes_by_its_rule() -> None:
    payloads = [Payload(bytes((number,)), Encoding.PROTO) for number in range(4)]
    for slow, last in (
        (Slow.BLOCK, Offered.MUST_WAIT),
        (Slow.CLOSE, Offered.TOO_SLOW),
        (Slow.DROP_OLDEST, Offered.KEPT),
    ):
        outbox = Outbox(3, slow)
        assert [outbox.offer(payload) for payload in payloads] == [Offered.KEPT] * 3 + [last]
        kept = payloads[1:] if slow is Slow.DROP_OLDEST else payloads[:3]
        assert [outbox.take() for _ in range(3)] == kept
        assert outbox.take() is None
        assert outbox.dropped == (1 if slow is Slow.DROP_OLDEST else 0)
