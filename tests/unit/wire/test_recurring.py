"""Bounded tables: what is met once passes by, what comes back stays."""

from __future__ import annotations

from protogw.wire.recurring import ByName, Recurring


def test_what_is_met_once_is_not_kept() -> None:
    table: Recurring[bytes, int] = Recurring(4)
    table.keep(b"a", 1)
    assert b"a" not in table
    table.keep(b"a", 2)
    assert table[b"a"] == 2


def test_a_full_table_is_emptied_and_fills_again() -> None:
    table: Recurring[int, int] = Recurring(3)
    for number in range(100):
        for _ in range(2):
            table.keep(number, number)
        assert table[number] == number
        assert len(table) <= 3
        assert len(table._met) <= 3


def test_those_that_come_back_stay_among_many_that_do_not() -> None:
    table: Recurring[int, str] = Recurring(8)
    for number in range(1000):
        table.keep(100 + number, "once")
        if 7 not in table:
            table.keep(7, "again")
    assert dict(table) == {7: "again"}


def test_a_cleared_table_has_met_nothing() -> None:
    table: Recurring[int, int] = Recurring(4)
    table.keep(1, 1)
    table.clear()
    table.keep(1, 1)
    assert not table


def test_a_name_is_judged_once() -> None:
    asked: list[bytes] = []

    def judge(name: bytes) -> bool:
        asked.append(name)
        return name.startswith(b"x-")

    table = ByName(judge)
    assert [table[name] for name in (b"x-a", b"b", b"x-a", b"b")] == [True, False, True, False]
    assert asked == [b"x-a", b"b"]


def test_the_names_that_are_remembered_are_bounded() -> None:
    table = ByName(len)
    for number in range(5000):
        assert table[b"%d" % number] == len(b"%d" % number)
    assert len(table) <= 1024
    assert table[b"n" * 1000] == 1000
    assert b"n" * 1000 not in table
