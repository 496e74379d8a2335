"""Numbers that stay: what the lock file keeps, and what its lines may not say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protogw.descriptors import numbers as lock
from protogw.descriptors.model import SchemaError
from protogw.descriptors.numbers import Numbers, parse


def asked(numbers: Numbers, *members: str, kind: str = "string") -> list[int]:
    numbers.begin("shop")
    return [numbers.number("shop.Pet", member, kind) for member in members]


def again(numbers: Numbers) -> Numbers:
    return parse(numbers.text())


def test_members_are_numbered_in_the_order_in_which_they_are_asked_for() -> None:
    assert asked(Numbers(), "id", "name", "tag") == [1, 2, 3]


def test_a_member_that_comes_between_takes_a_number_behind_all_others() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    assert asked(again(numbers), "id", "born", "name") == [1, 3, 2]


def test_the_number_of_what_is_gone_is_not_given_to_another_and_comes_back_with_it() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    second = again(numbers)
    assert asked(second, "id", "born") == [1, 3]
    assert second.reserved("shop.Pet") == [2]
    third = again(second)
    assert asked(third, "id", "name", "born") == [1, 2, 3]
    assert third.reserved("shop.Pet") == []


def test_a_member_whose_kind_changes_gets_another_number() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    second = again(numbers)
    assert asked(second, "id", kind="int64") == [3]
    assert second.reserved("shop.Pet") == [1, 2]


def test_the_numbers_that_protobuf_keeps_for_itself_are_skipped() -> None:
    numbers = parse("shop.Pet\n  18999 id string\n")
    assert asked(numbers, "id", "name", "tag") == [18_999, 20_000, 20_001]


def test_a_type_without_a_number_left_is_a_fault() -> None:
    numbers = parse(f"shop.Pet\n  {lock.MAX_NUMBER} id string\n")
    with pytest.raises(SchemaError, match="has no field number left"):
        asked(numbers, "name")


def test_what_breaks_clients_is_told_until_it_is_written_down() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    second = again(numbers)
    asked(second, "id")
    assert second.breaks() == ["shop.Pet.name (2, string) is gone: clients that use it get nothing there"]
    third = again(second)
    asked(third, "id")
    assert third.breaks() == []
    assert third.changes() == []


def test_what_is_new_is_told() -> None:
    numbers = Numbers()
    asked(numbers, "id")
    assert numbers.changes() == ["shop.Pet is new"]
    second = again(numbers)
    asked(second, "id", "first name")
    assert second.changes() == ['shop.Pet."first name" (2, string) is new']


def test_an_upstream_that_did_not_describe_itself_loses_nothing() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    second = again(numbers)
    second.begin("other")
    second.number("other.Thing", "id", "string")
    assert second.breaks() == []
    assert "removed" not in second.text()


def test_a_change_of_one_member_is_a_change_of_one_line() -> None:
    numbers = Numbers()
    asked(numbers, "id", "name")
    before = numbers.text().splitlines()
    second = again(numbers)
    asked(second, "id", "name", "tag")
    after = second.text().splitlines()
    assert [line for line in after if line not in before] == ["  3 tag string"]
    assert [line for line in before if line not in after] == []


@pytest.mark.parametrize("member", ["first name", 'a"b', "a\nb", "shop.Pet", "#", "", "ü", "  x", "\u2028"])
def test_any_member_survives_the_file(member: str) -> None:
    numbers = Numbers()
    asked(numbers, "id", member)
    text = numbers.text()
    assert asked(parse(text), member) == [2]
    assert parse(text).text() == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("  1 id string\n", "protogw.lock:1: is not `  NUMBER MEMBER KIND`"),
        ("shop.Pet\n  id string\n", "protogw.lock:2: is not `  NUMBER MEMBER KIND`"),
        ("shop.Pet\n  0 id string\n", "protogw.lock:2: 0 cannot be a field's number"),
        ("shop.Pet\n  19000 id string\n", "protogw.lock:2: 19000 cannot be a field's number"),
        ("shop.Pet\n  1 id string\n  1 name string\n", "has the number 1, or name, twice"),
        ("shop.Pet\n  1 id string\n  2 id string\n", "has the number 2, or id, twice"),
        ("shop.Pet\n\nshop.Pet\n", "protogw.lock:3: 'shop.Pet' is no type's name, or is there twice"),
        ("<<<<<<< HEAD\n", "protogw.lock:1: '<<<<<<< HEAD' is no type's name"),
        ('shop.Pet\n  1 "\\u12" string\n', "protogw.lock:2:"),
    ],
)
def test_a_line_that_is_wrong_is_named(text: str, fault: str) -> None:
    with pytest.raises(SchemaError) as raised:
        parse(text)
    assert fault in raised.value.faults[0]


def test_a_file_is_written_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / lock.LOCK
    numbers = lock.load(path)
    assert numbers.is_empty
    asked(numbers, "id")
    assert lock.save(numbers, path)
    assert not lock.save(numbers, path)
    assert lock.load(path).text() == numbers.text()
    assert os.listdir(tmp_path) == [lock.LOCK]


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / lock.LOCK
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SchemaError, match="is not UTF-8 text"):
        lock.load(path)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    numbers = Numbers()
    asked(numbers, "id")
    path = tmp_path / "in_the_way"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        lock.save(numbers, path)
    assert os.listdir(tmp_path) == ["in_the_way"]


def test_a_part_is_asked_elsewhere_and_put_back() -> None:
    numbers = Numbers()
    assert numbers.number("a.T", "x", "string") == 1
    assert numbers.number("b.T", "x", "string") == 1
    part = numbers.part("a")
    part.begin("a")
    assert part.number("a.T", "y", "string") == 2
    assert part.number("a.New", "x", "string") == 1
    assert not part.reserved("b.T")
    assert numbers.reserved("a.T") == []
    numbers.put(part)
    assert numbers.reserved("a.T") == [1]
    assert numbers.number("a.T", "z", "string") == 3
    assert numbers.number("b.T", "y", "string") == 2
