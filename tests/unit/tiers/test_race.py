"""Two ways to one answer, in virtual time."""

import asyncio
from typing import Any

import pytest
from virtual_time import run

from fallback.tiers.race import Race


class Runner:
    """Takes `seconds`, then gives `result`; knows whether it was cancelled."""

    def __init__(self, seconds: float, result: str | None) -> None:
        self.seconds, self.result = seconds, result
        self.began: float | None = None
        self.cancelled = False

    async def __call__(self) -> str | None:
        self.began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.result


class Meeting:
    def __init__(self, first: Runner, second: Runner, **settings: Any) -> None:
        self.first, self.second = first, second
        self.discarded: list[str] = []
        settings.setdefault("start_after_s", 5.0)
        self.race: Race[str] = Race(first, second, discard=self.discard, **settings)

    async def discard(self, result: str) -> None:
        self.discarded.append(result)

    async def run(self) -> tuple[Any, Any, float]:
        result = await self.race.run()
        return *result, asyncio.get_running_loop().time()


def hold(first: Runner, second: Runner, **settings: Any) -> tuple[Any, Meeting]:
    async def main() -> tuple[Any, Meeting]:
        meeting = Meeting(first, second, **settings)
        return await meeting.run(), meeting

    return run(main())


def test_a_first_in_time_is_alone() -> None:
    """No second starts while the first is not late."""
    outcome, meeting = hold(Runner(4, "good"), Runner(1, "other"))
    assert outcome == ("good", None, 4)
    assert meeting.second.began is None


def test_the_second_starts_beside_a_late_first_and_wins() -> None:
    """The loser is cancelled at that moment."""
    outcome, meeting = hold(Runner(60, "good"), Runner(2, "other"))
    assert outcome == (None, "other", 7)
    assert meeting.first.cancelled


def test_a_late_first_may_still_win() -> None:
    """What the second was about to say is dropped."""
    outcome, meeting = hold(Runner(6, "good"), Runner(2, "other"))
    assert outcome == ("good", None, 6)
    assert meeting.second.cancelled


def test_a_second_with_nothing_to_offer_leaves_the_first_alone() -> None:
    """The first has all the time it needs."""
    outcome, _ = hold(Runner(60, "good"), Runner(2, None))
    assert outcome == ("good", None, 60)


def test_a_failed_first_waits_for_a_second_under_way() -> None:
    """The second has begun already."""
    outcome, _ = hold(Runner(6, None), Runner(4, "other"))
    assert outcome == (None, "other", 9)


def test_a_failed_first_without_a_second_returns_at_once() -> None:
    """What comes next is the caller's to decide."""
    outcome, meeting = hold(Runner(1, None), Runner(4, "other"))
    assert outcome == (None, None, 1)
    assert not meeting.race.second_started


def test_a_second_that_is_early_gives_the_first_its_grace() -> None:
    """A first within the grace wins, one past it does not."""
    early = {"start_after_s": 0.0, "win_after_s": 4.0}
    assert hold(Runner(3, "good"), Runner(1, "other"), **early)[0] == ("good", None, 3)
    outcome, meeting = hold(Runner(9, "good"), Runner(1, "other"), **early)
    assert outcome == (None, "other", 4)
    assert meeting.discarded == []


def test_an_answer_nobody_uses_is_discarded() -> None:
    """The second was ready and had to wait: its answer holds something that must be freed."""
    early = {"start_after_s": 0.0, "win_after_s": 4.0}
    _, meeting = hold(Runner(3, "good"), Runner(1, "other"), **early)
    assert meeting.discarded == ["other"]


def test_a_first_that_shows_signs_gets_more_time() -> None:
    """Asked once, when the time has come."""
    fine = {"more_s": lambda: 10.0}
    assert hold(Runner(14, "good"), Runner(1, "other"), **fine)[0] == ("good", None, 14)
    assert hold(Runner(60, "good"), Runner(1, "other"), **fine)[0] == (None, "other", 16)


def test_hurry_starts_the_second() -> None:
    """News that the first is in vain need not wait for the timer."""

    async def main() -> tuple[Any, Any, float]:
        meeting = Meeting(Runner(60, "good"), Runner(1, "other"))
        asyncio.get_running_loop().call_later(2.0, meeting.race.hurry)
        return await meeting.run()

    assert run(main()) == (None, "other", 3)


@pytest.mark.parametrize("leaves_s", [1.0, 6.0, 20.0])
def test_a_cancelled_race_cancels_both(leaves_s: float) -> None:
    """The client left: nothing goes on, whatever was under way or ready."""

    async def main() -> Meeting:
        meeting = Meeting(Runner(60, "good"), Runner(2, "other"), win_after_s=50.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(meeting.run(), leaves_s)
        return meeting

    meeting = run(main())
    assert meeting.first.cancelled
    assert meeting.second.cancelled == (leaves_s == 6.0)
    assert meeting.discarded == (["other"] if leaves_s == 20.0 else [])


def test_a_bug_in_the_second_is_raised() -> None:
    """It ends the race instead of going unseen."""

    class Broken(Runner):
        async def __call__(self) -> str | None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hold(Runner(60, "good"), Broken(1, None))
