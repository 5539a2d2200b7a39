"""When jobs are asked for, by themselves: whatever happens to them, each keeps the times that it would have alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from aiomig._grid.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable


def double(quiet: float) -> float:
    return max(1.0, 2 * quiet)


def test_jobs_that_came_together_are_asked_for_together() -> None:
    schedule = Schedule()
    assert (schedule.first(), schedule.take(100)) == (math.inf, [])
    schedule.add(["a", "b"], 0, 5)
    schedule.add(["b", "c"], 6, 11)
    assert schedule.ids_view == {"a", "b", "c"}
    assert schedule.first() == 5
    assert schedule.take(5) == ["a", "b", "c"]  # what is new goes with what is due


def test_who_comes_one_by_one_has_one_time_until_it_is_due() -> None:
    schedule = Schedule()
    for number in range(1000):
        schedule.add([str(number)], number / 1000, number / 1000 + 2)
    assert len(schedule._distinct) == 1
    assert schedule.first() == 2
    schedule.add(["too late"], 2.5, 4.5)
    assert len(schedule._distinct) == 2
    assert len(schedule.take(3)) == 1001
    schedule.add(["during the round"], 3, 5)
    schedule.plan(4, double)
    assert schedule.take(5) == ["during the round"]


def test_what_was_quiet_for_longer_is_asked_for_less_often() -> None:
    schedule = Schedule()
    schedule.add(["a", "b"], 0, 0)
    schedule.take(10)
    schedule.touch("b", 10)
    schedule.plan(10, double)
    assert schedule.first() == 11
    assert schedule.take(11) == ["b"]
    schedule.plan(11, double)
    assert schedule.take(20) == ["a", "b"]  # a is due in half its pause, b long since
    schedule.plan(20, double)
    assert schedule.first() == 40


def test_those_that_were_not_of_the_round_keep_their_times() -> None:
    schedule = Schedule()
    schedule.add(["a"], 0, 0)
    schedule.take(1)
    schedule.add(["b"], 2, 3)
    schedule.touch("b", 2.5)
    schedule.plan(4, double)
    assert schedule.first() == 3
    assert schedule.take(4) == ["b"]


def test_the_last_of_those_who_have_a_time_in_common_takes_it_along() -> None:
    schedule = Schedule()
    schedule.add(["a", "b"], 0, 5)
    schedule.remove("a")
    assert schedule.first() == 5
    schedule.remove("b")
    schedule.remove("b")
    assert (schedule.first(), len(schedule.ids_view)) == (math.inf, 0)
    assert schedule._distinct == set()


def test_all_can_be_put_off() -> None:
    schedule = Schedule()
    schedule.add(["a"], 0, 0)
    schedule.take(0)
    schedule.plan(0, double)
    schedule.add(["b"], 0, 0)
    schedule.postpone(10, 8)
    assert schedule.first() == 18
    assert schedule.take(13.5) == []
    assert schedule.take(14.5) == ["a", "b"]


class Beside:
    """A schedule of many jobs, and one for each job alone."""

    def __init__(self) -> None:
        self.many = Schedule()
        self.alone = {name: Schedule() for name in "abcdefgh"}

    def add(self, names: set[str], now: float) -> None:
        self.many.add(sorted(names), now, now)
        for name in names:
            self.alone[name].add([name], now, now)

    def remove(self, names: set[str], now: float) -> None:
        for name in names:
            self.many.remove(name)
            self.alone[name].remove(name)

    def touch(self, names: set[str], now: float) -> None:
        for name in names & self.many.ids_view:
            self.many.touch(name, now)
            self.alone[name].touch(name, now)

    def round(self, names: set[str], now: float) -> None:
        due = {name for name, one in self.alone.items() if one.take(now)}
        assert set(self.many.take(now)) == due
        self.touch(names, now)  # of these the answer tells something new
        for one in (self.many, *self.alone.values()):
            one.plan(now, double)

    def put_off(self, names: set[str], now: float) -> None:
        for one in (self.many, *self.alone.values()):
            one.postpone(now, len(names))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from([Beside.add, Beside.remove, Beside.touch, Beside.round, Beside.put_off]),
        st.sets(st.sampled_from("abcdefgh"), min_size=1),
        st.floats(0, 10),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_sharing_makes_no_difference(
    actions: list[tuple[Callable[[Beside, set[str], float], None], set[str], float]],
) -> None:
    both, now = Beside(), 0.0
    for act, names, later in actions:
        now += later
        act(both, names, now)
        assert both.many.first() == min(one.first() for one in both.alone.values())
        assert len(both.many._distinct) <= len(both.many.ids_view)
