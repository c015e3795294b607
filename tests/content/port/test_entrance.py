"""Who may be connected, and who gives way."""

from __future__ import annotations

from dataclasses import dataclass

from fastmarket.content.port.entrance import Entrance, PortAdmission


@dataclass(eq=False)
class Guest:
    """A connection."""

    address: str
    is_busy: bool = False
    was_served: bool = False
    closed: bool = False

    def make_room(self) -> None:
        self.closed = True


def entered(entrance: Entrance, *guests: Guest) -> list[PortAdmission]:
    return [entrance.enter(guest) for guest in guests]


def test_an_idle_one_gives_way() -> None:
    entrance = Entrance(3, 3, 1)
    busy, served, silent = Guest("a", is_busy=True), Guest("b", was_served=True), Guest("c")
    entered(entrance, busy, served, silent)
    new = Guest("d")
    assert entrance.enter(new) is PortAdmission.SERVED
    assert [one.closed for one in (busy, served, silent)] == [False, False, True]
    assert len(entrance) == 3


def test_the_address_with_the_most_gives_way() -> None:
    entrance = Entrance(4, 4, 1)
    crowd = [Guest("crowd", was_served=True) for _ in range(3)]
    single = Guest("single")
    entered(entrance, single, *crowd)
    assert entrance.enter(Guest("new")) is PortAdmission.SERVED
    assert crowd[0].closed
    assert not single.closed


def test_an_address_at_its_limit_makes_room_among_its_own() -> None:
    entrance = Entrance(10, 2, 1)
    other, mine, busy = Guest("b"), Guest("a"), Guest("a", is_busy=True)
    entered(entrance, other, mine, busy)
    assert entrance.enter(Guest("a")) is PortAdmission.SERVED
    assert mine.closed
    assert not other.closed


def test_when_all_are_busy_a_few_are_told_so_and_the_rest_are_closed() -> None:
    entrance = Entrance(2, 2, 1)
    inside = [Guest("a", is_busy=True), Guest("b", is_busy=True)]
    assert entered(entrance, *inside) == [PortAdmission.SERVED] * 2
    waiting = Guest("c")
    assert entered(entrance, waiting, Guest("d")) == [PortAdmission.TURNED_AWAY, PortAdmission.CLOSED]
    entrance.leave(waiting)
    entrance.leave(waiting)
    assert entrance.enter(Guest("e")) is PortAdmission.TURNED_AWAY
    entrance.leave(inside[0])
    assert entrance.enter(Guest("f")) is PortAdmission.SERVED


def test_nothing_is_kept_of_who_left() -> None:
    entrance = Entrance(2, 1, 2)
    for number in range(100):
        guest = Guest(f"address {number}", is_busy=True)
        entrance.enter(guest)
        entrance.enter(Guest(f"address {number}"))
        entrance.leave(guest)
    assert not entrance._per_address
