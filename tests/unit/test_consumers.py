"""The callers that the config knows by name: whose identities they are, and files of them that change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from protogw import consumers
from protogw.assembly import KINDS, AssemblyError, build
from protogw.config import ConfigError, load
from protogw.consumers import Consumer, Consumers
from protogw.identity import Identity
from tests.support.gateway import config_of, written

ENTRIES: dict[str, Any] = {
    "shop": {"groups": "paying", "metadata": {"plan": "gold"}, "subjects": {"login": ["ann", "bob"], "certs": "dns:a"}},
    "root": {"groups": ["admins"], "subjects": {"many": ["https://a.example ann"]}},
}


def book(**more: Any) -> Consumers:
    return Consumers(TypeAdapter(dict[str, Consumer]).validate_python({**ENTRIES, **more}))


def identity(subject: str, **more: Any) -> Identity:
    return Identity(subject=subject, scheme="any", **more)


def test_a_subject_is_a_consumer_by_the_policy_that_vouches_for_it() -> None:
    known = book().known("login", identity("ann", groups=frozenset(("staff",))))
    assert (known.consumer, known.groups, known.metadata) == ("shop", {"staff", "paying"}, {"plan": "gold"})
    assert known.subject == "ann"
    other = identity("ann")
    assert book().known("keys", other) is other


def test_a_consumer_that_a_credential_names_is_looked_up() -> None:
    assert book().known("keys", identity("x", consumer="root")).groups == {"admins"}
    unknown = identity("x", consumer="somebody")
    assert book().known("keys", unknown) is unknown


def test_one_issuers_subject_is_not_anothers() -> None:
    one = book(any={"subjects": {"many": "ann"}})
    ours = identity("ann", issuer="https://a.example")
    assert one.known("many", ours, several_issuers=True).consumer == "root"
    theirs = identity("ann", issuer="https://b.example")
    assert one.known("many", theirs, several_issuers=True) is theirs


def test_equal_identities_of_calls_are_looked_up_once() -> None:
    one, who = book(), identity("ann")
    assert one.known("login", who) is one.known("login", who)


def test_nobody_is_two_consumers() -> None:
    with pytest.raises(ValueError, match=r"other\.subjects\.login: ann is shop already"):
        book(other={"subjects": {"login": ["ann"]}})


@pytest.mark.parametrize("entry", [{"group": "a"}, {"groups": [1]}, {"metadata": {"a": 1}}, {"subjects": ["ann"]}, "x"])
def test_entries_that_mean_nothing_are_refused(entry: Any) -> None:
    with pytest.raises(ValidationError):
        book(other=entry)


async def test_a_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "WATCH_S", 0.005)
    file = tmp_path / "consumers.yaml"
    file.write_text("shop: { groups: [old], subjects: { login: ann } }\n")
    one = Consumers(file)
    task = asyncio.get_running_loop().create_task(one.run())
    who = identity("ann")
    assert one.known("login", who).groups == {"old"}
    file.write_text("shop: { groups: [broken\n")
    await asyncio.sleep(0.03)
    assert one.known("login", who).groups == {"old"}
    file.write_text("shop: { groups: [fresh], subjects: { login: ann } }\n")
    async with asyncio.timeout(5):
        while one.known("login", who).groups != {"fresh"}:  # noqa: ASYNC110 (a file has no event)
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: {groups: [", ":2: not YAML"),
        ("- a", "valid dictionary"),
        ("a: {b: 1}", r"a\.b: Extra"),
        ("!!x a", "not YAML"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "consumers.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        Consumers(file)
    assert "\n" not in str(caught.value)


def file_of(folder: Path, text: str) -> Path:
    file = folder / "consumers.yaml"
    file.write_text(text)
    return file


async def test_subjects_of_no_policy_are_found_at_load(tmp_path: Path) -> None:
    config = config_of({"x": {"http": ["127.0.0.1:1"]}}, consumers={"shop": {"subjects": {"login": "ann"}}})
    with pytest.raises(ConfigError) as caught:
        load(written(config, tmp_path), KINDS)
    assert caught.value.faults[0].path == "consumers.shop.subjects.login"
    config["consumers"] = str(file_of(tmp_path, "shop: { subjects: { login: ann } }"))
    config["policies"] = {"logins": {"anonymous": {}}}
    with pytest.raises(AssemblyError, match='no policy has the name "login"; did you mean "logins"'):
        build(load(written(config, tmp_path), KINDS))
