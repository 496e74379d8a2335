"""User names and passwords: what is right, what is refused, and what a check costs."""

from __future__ import annotations

import asyncio
import base64
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher, Type
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protogw.call import Call, Metadata, Reply
from protogw.errors import Code, GatewayError, Unauthenticated
from protogw.policies import basic
from protogw.policies.basic import Basic, BasicSettings
from protogw.wire.http import Peer

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
HASH = CHEAP.hash("päss:word")
ANN = {"name": "ann", "hash": HASH, "consumer": "shop", "groups": ["staff"]}


def policy(**settings: Any) -> Basic:
    return Basic(BasicSettings.model_validate({"users": [ANN], **settings}))


def call(written: bytes) -> Call:
    fields = ((b"authorization", b"Basic " + written),)
    return Call(None, Metadata(fields), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)


def said(name: str, password: str) -> Call:
    return call(base64.b64encode(f"{name}:{password}".encode()))


async def forward(call: Call) -> Reply:
    return Reply()


async def test_a_right_password_says_who_calls() -> None:
    made = said("ann", "päss:word")
    await policy()(made, forward)
    who = made.identity
    assert (who.subject, who.consumer, who.groups, who.scheme) == ("ann", "shop", {"staff"}, "basic")
    assert made.metadata.pairs == ()


@pytest.mark.parametrize(
    "made",
    [
        said("ann", "wrong"),
        said("ann", ""),
        said("bob", "päss:word"),
        said("Ann", "päss:word"),
        said("", ""),
        said("ann", HASH),
        call(b"!"),
        call(base64.b64encode(b"ann")),
        call(base64.b64encode(b"ann:\xff")),
        call(base64.b64encode(b"ann:" + b"x" * 10_000)),
    ],
)
async def test_anything_else_is_refused(made: Call) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await policy(realm="books")(made, forward)
    assert caught.value.headers == ((b"www-authenticate", b'Basic realm="books", charset="UTF-8"'),)


async def test_a_call_without_a_credential_is_asked_for_one() -> None:
    made = Call(None, Metadata(), front_end="rest", peer=Peer("192.0.2.1", 1), started=0.0)
    with pytest.raises(Unauthenticated, match="are needed"):
        await policy()(made, forward)


async def test_a_right_password_is_checked_once_and_wrong_ones_always(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []
    holds = basic._holds

    def counted(hasher: PasswordHasher, hash: str, password: str) -> bool:
        assert threading.current_thread() is not threading.main_thread()
        checks.append(password)
        return holds(hasher, hash, password)

    monkeypatch.setattr(basic, "_holds", counted)
    one = policy()
    for _ in range(3):
        await one(said("ann", "päss:word"), forward)
    for name in ("ann", "nobody"):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await one(said(name, "wrong"), forward)
    assert checks == ["päss:word", *["wrong"] * 4]


async def test_few_wait_for_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(hasher: PasswordHasher, hash: str, password: str) -> bool:
        return gate.wait(10)

    monkeypatch.setattr(basic, "_holds", slow)
    monkeypatch.setattr(basic, "MOST_WAITING", 4)
    one = policy()
    tasks = [asyncio.ensure_future(one(said("ann", str(number)), forward)) for number in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(GatewayError) as caught:
        await one(said("ann", "one more"), forward)
    assert caught.value.status.code is Code.UNAVAILABLE
    tasks[0].cancel()
    with pytest.raises(GatewayError):  # who gives up leaves the thread busy
        await one(said("ann", "one more"), forward)
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    await one(said("ann", "again"), forward)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"users": []}, "neither users nor a file"),
        ({"users": [{"name": "a", "hash": "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="}]}, "no argon2id hash"),
        ({"users": [{"name": "a", "hash": "$2y$05$abcdefghijklmnopqrstuv"}]}, "no argon2id hash"),
        ({"users": [{"name": "a", "hash": "password"}]}, "no argon2id hash"),
        ({"users": [{"name": "a", "hash": PasswordHasher(1, 8, 1, type=Type.I).hash("x")}]}, "no argon2id hash"),
        ({"users": [{"name": "a", "hash": HASH.replace("m=8", "m=9999999")}]}, "takes more than"),
        ({"users": [{"name": "a:b", "hash": HASH}]}, "should match pattern"),
    ],
)
def test_users_that_cannot_be_checked_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason) as caught:
        policy(**settings)
    assert reason in str(caught.value)


async def test_a_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "WATCH_S", 0.005)
    file = tmp_path / "users"
    file.write_text(f"# the users\n\nbob:{HASH}:staff, boss\n")
    one = policy(file=str(file))
    task = asyncio.get_running_loop().create_task(one.run())
    made = said("bob", "päss:word")
    await one(made, forward)
    assert made.identity.groups == {"staff", "boss"}
    file.write_text("bob:broken\n")
    os.utime(file, ns=(1, 1))
    await asyncio.sleep(0.03)
    await one(said("bob", "päss:word"), forward)
    file.write_text(f"eve:{HASH}\n")
    async with asyncio.timeout(5):
        while True:
            try:
                await one(said("eve", "päss:word"), forward)
                break
            except Unauthenticated:
                await asyncio.sleep(0.005)
    with pytest.raises(Unauthenticated):
        await one(said("bob", "päss:word"), forward)
    await one(said("ann", "päss:word"), forward)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "text", [b"ann", b"ann:x", b":" + HASH.encode(), b"\xff:x"], ids=["no hash", "no argon2id", "no name", "not UTF-8"]
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "users"
    file.write_bytes(text)
    with pytest.raises(ValueError, match=r"users") as caught:
        policy(users=[], file=str(file))
    assert HASH not in str(caught.value)


@given(written=st.binary(max_size=100).map(base64.b64encode) | st.binary(max_size=100))
async def test_no_bytes_are_a_password_by_accident(written: bytes) -> None:
    with pytest.raises(Unauthenticated):
        await KEPT(call(written), forward)


KEPT = policy()
