"""Who is there, and who gets what: the decisions of a fan-in, over memory alone.

A client is known by its key. The gateway writes the key into each request, over whatever the client put there, and
sends a reply to whom it names; a client can neither speak as another nor hear what is another's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from protogw.errors import Code, InvalidRequest, Overloaded
from protogw.fanin.fields import TextField

M = TypeVar("M", bound="Member")

MAX_TOPICS = 1000
"""Topics of one client."""
MAX_TOPIC = 256
"""Characters of a topic's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which fields say what. `key`, `subscribe` and `unsubscribe` are of requests, the others of replies."""

    key: TextField | None = None
    """Where the gateway writes who sent a request."""
    subscribe: TextField | None = None
    unsubscribe: TextField | None = None
    reply_key: TextField | None = None
    """Who a reply is for."""
    reply_topic: TextField | None = None
    """What a reply is about: it is for those who subscribed to that."""
    broadcast: bool = False
    """A reply that names neither is for everyone, instead of for nobody."""


class TooManyTopics(Overloaded):
    """A client subscribes to more than it may."""

    code = Code.RESOURCE_EXHAUSTED


class Member:
    """One client. Compared by identity: several may have one key, and then each gets what is for it.

    `bound` are request fields that it came with (in a path, say); they may name topics.
    """

    __slots__ = ("bound", "key", "topics")

    def __init__(self, key: str, bound: bytes = b"") -> None:
        self.key = key
        self.bound = bound
        self.topics: set[str] = set()


class Hub(Generic[M]):
    """All clients of one upstream stream."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._members: dict[M, None] = {}
        self._by_key: dict[str, dict[M, None]] = {}
        self._by_topic: dict[str, dict[M, None]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[M]:
        return iter(tuple(self._members))

    def join(self, member: M) -> None:
        """Let a client in; raises InvalidRequest for the topics that it came with."""
        if member.bound:
            self._follow(member, member.bound)
        self._members[member] = None
        self._by_key.setdefault(member.key, {})[member] = None

    def leave(self, member: M) -> None:
        """Forget a client and its topics. Harmless when it has left."""
        if self._members.pop(member, member) is member:
            return
        _remove(self._by_key, member.key, member)
        for topic in member.topics:
            _remove(self._by_topic, topic, member)
        member.topics.clear()

    def request(self, member: M, message: bytes) -> bytes:
        """What goes upstream of a client's message; raises InvalidRequest, TooManyTopics."""
        self._follow(member, message)
        return self._marked(member, message)

    def event(self, member: M, message: bytes) -> bytes:
        """What goes upstream of something that happened to a client."""
        return self._marked(member, message + member.bound)

    def _marked(self, member: M, message: bytes) -> bytes:
        key = self._rules.key
        return message + key.write(member.key) if key is not None else message

    def recipients(self, message: bytes, asker: M | None = None) -> Collection[M]:
        """Who gets a reply; `asker` is whose message it answers, where there is one. Raises InvalidRequest."""
        rules = self._rules
        named = False
        found: dict[M, None] = {}
        if rules.reply_key is not None:
            for key in rules.reply_key.read(message):
                if key:
                    named = True
                    found.update(dict.fromkeys(self._by_key.get(key, ())))
        if not named and rules.reply_topic is not None:
            for topic in rules.reply_topic.read(message):
                if topic:
                    named = True
                    found.update(dict.fromkeys(self._by_topic.get(topic, ())))
        if named:
            return tuple(found)
        if asker is not None:
            return (asker,) if asker in self._members else ()
        return tuple(self._members) if rules.broadcast else ()

    def _follow(self, member: M, message: bytes) -> None:
        rules = self._rules
        if rules.unsubscribe is not None:
            for topic in rules.unsubscribe.read(message):
                if topic in member.topics:
                    member.topics.discard(topic)
                    _remove(self._by_topic, topic, member)
        if rules.subscribe is None:
            return
        for topic in rules.subscribe.read(message):
            if not topic or topic in member.topics:
                continue
            if len(topic) > MAX_TOPIC:
                raise InvalidRequest(f"{rules.subscribe.path}: longer than {MAX_TOPIC} characters")
            if len(member.topics) >= MAX_TOPICS:
                raise TooManyTopics(f"{rules.subscribe.path}: more than {MAX_TOPICS} topics")
            member.topics.add(topic)
            self._by_topic.setdefault(topic, {})[member] = None

    def __repr__(self) -> str:
        return f"<Hub {len(self._members)} members, {len(self._by_topic)} topics>"


def _remove(table: dict[str, dict[M, None]], name: str, member: M) -> None:
    """Take a member out, and its set with the last one, so that names alone fill no memory."""
    found = table.get(name)
    if found is not None:
        found.pop(member, None)
        if not found:
            del table[name]
