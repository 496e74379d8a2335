"""Addresses out of a file: read, read again when it changes, and refused when it is none."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogw.discovery.base import Address, DiscoveryError
from protogw.discovery.files import FileSource, read


def test_addresses_as_text_and_as_mappings(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(
        "- 10.0.0.1:80\n- { address: '[2001:db8::1]:81', weight: 2, priority: 1, zone: eu }\n- orders.internal:82\n"
    )
    assert read(path) == [
        Address(host="10.0.0.1", port=80),
        Address(host="2001:db8::1", port=81, weight=2, priority=1, zone="eu"),
        Address(host="orders.internal", port=82),
    ]


def test_json_will_do(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text('["10.0.0.1:80", {"address": "10.0.0.2:80"}]')
    assert [one.host for one in read(path)] == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1", "not a list"),
        ("", "not a list"),
        ("[a", "not YAML"),
        ("[10.0.0.1]", "not host:port"),
        ("['10.0.0.1:99999']", "not host:port"),
        ("[{ address: '10.0.0.1:80', weight: 0 }]", "0.weight"),
        ("[{ adress: '10.0.0.1:80' }]", "0.ad"),
        ("[5]", r"\[0\]"),
        ("[" * 5000, "not YAML"),
        ("!!python/object/apply:os.system [true]", "not YAML"),
    ],
)
def test_a_bad_file_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(text)
    with pytest.raises(DiscoveryError, match=said):
        read(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DiscoveryError, match="larger"):
        read(path)


@given(st.text(max_size=200))
def test_any_text_is_a_list_of_addresses_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{os.getpid()}.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read(path)
    except DiscoveryError:
        return
    assert all(0 < one.port < 65536 and one.host for one in found)


async def test_it_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("[10.0.0.1:80]")
    source = FileSource(path, every_s=0.002)
    assert [one.host for one in await source.next()] == ["10.0.0.1"]
    waiting = asyncio.get_running_loop().create_task(source.next())
    fresh = tmp_path / "new"
    fresh.write_text("[10.0.0.2:80]")
    fresh.replace(path)
    assert [one.host for one in await waiting] == ["10.0.0.2"]


async def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes swaps the files of a ConfigMap."""
    for name, host in (("a", "10.0.0.1"), ("b", "10.0.0.2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "endpoints.yaml").write_text(f"[{host}:80]")
    current, path = tmp_path / "current", tmp_path / "endpoints.yaml"
    current.symlink_to("a")
    path.symlink_to("current/endpoints.yaml")
    source = FileSource(path, every_s=0.002)
    await source.next()
    waiting = asyncio.get_running_loop().create_task(source.next())
    other = tmp_path / "other"
    other.symlink_to("b")
    other.replace(current)
    assert [one.host for one in await waiting] == ["10.0.0.2"]


async def test_a_change_for_the_worse_is_told_and_the_next_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("[10.0.0.1:80]")
    source = FileSource(path, every_s=0.002)
    await source.next()
    path.write_text("[10.0.0.1:80")
    with pytest.raises(DiscoveryError):
        await source.next()
    waiting = asyncio.get_running_loop().create_task(source.next())
    path.write_text("[10.0.0.3:8080]")
    assert [one.host for one in await waiting] == ["10.0.0.3"]


async def test_a_file_that_is_gone_for_a_moment_is_no_change(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text("[10.0.0.1:80]")
    source = FileSource(path, every_s=0.001)
    await source.next()
    waiting = asyncio.get_running_loop().create_task(source.next())
    path.unlink()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not waiting.done()
    path.write_text("[10.0.0.2:80]")
    assert [one.host for one in await waiting] == ["10.0.0.2"]
