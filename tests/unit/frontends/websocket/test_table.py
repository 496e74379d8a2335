"""Which paths lead to which methods, and which rules never can."""

from __future__ import annotations

from protogw.descriptors.model import SocketRule
from protogw.frontends.websocket.table import Table
from tests.support.sockets import catalog


def rule(template: str, **more: bool) -> SocketRule:
    return SocketRule(template=template, **more)


def test_methods_are_found_under_their_own_paths_and_their_rules() -> None:
    table = Table(catalog(Talk=[rule("/rooms/{room}"), rule("/chat")]), "/calls")
    for path, name in ((b"/rooms/tea", "Talk"), (b"/chat", "Talk"), (b"/chat.v1.Chat/Watch", "Watch")):
        found = table.find(path)
        assert found is not None
        assert found.binding is not None
        assert found.binding.method.name == name
    session = table.find(b"/calls")
    assert session is not None
    assert session.binding is None
    assert table.find(b"/rooms") is None
    assert Table(catalog(), None).find(b"/calls") is None


def test_a_call_begins_with_the_socket_where_the_path_says_all() -> None:
    rules = [rule("/a"), rule("/b/{room}"), rule("/c/{room}", starts=False), rule("/d", starts=True)]
    table = Table(catalog(Watch=rules), None)
    starts = {path: found.binding.starts for path in (b"/a", b"/b/x", b"/c/x", b"/d") if (found := table.find(path))}  # type: ignore[union-attr]
    assert starts == {b"/a": False, b"/b/x": True, b"/c/x": False, b"/d": True}


def test_rules_that_cannot_be_served_are_named() -> None:
    table = Table(catalog(Watch=[rule("/a/{nothing}"), rule("/b/{labels}"), rule("/same")], Talk=[rule("/same")]), None)
    assert len(table.faults) == 3
    assert any("Watch: socket /a/{nothing}: " in fault for fault in table.faults)
    assert any("Watch: socket /b/{labels}: " in fault for fault in table.faults)
    assert any("never matches" in fault and "/same" in fault for fault in table.faults)
