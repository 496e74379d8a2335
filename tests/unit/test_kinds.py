"""Tables of parts."""

from __future__ import annotations

import pytest

from protogw.kinds import table


class One:
    kind = "one"


class Other:
    kind = "one"


def test_a_table_finds_a_part_by_its_kind() -> None:
    assert table("things", One)["one"] is One


def test_two_parts_of_one_kind_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"things: kind 'one' is claimed by both .*One.* and .*Other"):
        table("things", One, Other)


def test_a_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        table("things", One)["two"] = Other  # type: ignore[index]
