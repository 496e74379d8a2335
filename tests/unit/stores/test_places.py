"""Places that processes share: never more than there are, in order, and none lost with the process that had it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from protogw.stores.places import Rooms


class Wishes:
    """What became of each wish, in the order in which that was told."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.told: list[tuple[int, bool]] = []
        self._last = 0

    def enter(self, who: str, *, limit: int = 1, pending: int = 0) -> int:
        self._last += 1
        number = self._last
        self.rooms.enter(who, number, "k", limit, pending, lambda entered: self.told.append((number, entered)))
        return number


def test_a_place_is_free_again_when_its_holder_leaves() -> None:
    wishes = Wishes()
    wishes.enter("a")
    wishes.enter("b")
    wishes.rooms.leave("a", "k")
    wishes.enter("b")
    assert wishes.told == [(1, True), (2, False), (3, True)]
    wishes.rooms.leave("b", "k")
    assert len(wishes.rooms) == 0


def test_who_waits_longest_is_next_whichever_process_it_is_in() -> None:
    wishes = Wishes()
    for who in "abcd":
        wishes.enter(who, pending=2)
    assert wishes.told == [(1, True), (4, False)]
    wishes.rooms.leave("a", "k")
    assert wishes.told[-1] == (2, True)
    wishes.rooms.forgo("c", 3, "k")
    wishes.rooms.leave("b", "k")
    assert len(wishes.told) == 3
    assert len(wishes.rooms) == 0


def test_a_process_that_ends_leaves_its_places_to_others() -> None:
    wishes = Wishes()
    for who in ("a", "a", "a", "b", "b"):
        wishes.enter(who, limit=2, pending=3)
    wishes.rooms.gone("a")
    assert wishes.told == [(1, True), (2, True), (4, True), (5, True)]
    wishes.rooms.leave("a", "k")  # what it had said before it ended
    wishes.enter("c", limit=2)
    assert wishes.told[-1] == (6, False)
    wishes.rooms.gone("b")
    assert len(wishes.rooms) == 0


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "forgo", "gone"]), st.sampled_from("abc")), max_size=60))
def test_there_are_never_more_than_the_limit_and_nothing_is_left_behind(steps: list[tuple[str, str]]) -> None:
    wishes = Wishes()
    room = wishes.rooms
    for what, who in steps:
        if what == "enter":
            wishes.enter(who, limit=2, pending=2)
        elif what == "leave":
            room.leave(who, "k")
        elif what == "forgo":
            room.forgo(who, wishes._last, "k")
        else:
            room.gone(who)
        one = room._rooms.get("k")
        assert one is None or (sum(one.held.values()) == one.running <= 2 and len(one.waiting) <= 2)
        assert one is None or not one.waiting or one.running == 2
    for who in "abc":
        room.gone(who)
    assert len(room) == 0
