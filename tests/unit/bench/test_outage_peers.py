"""The peers' rules do what their documentation says their defaults do."""

from itertools import pairwise
from random import Random

import pytest
from outage_sim.rules.base import Rule
from outage_sim.rules.envoy import Envoy
from outage_sim.rules.finagle import Finagle
from outage_sim.rules.litellm import LiteLLM
from outage_sim.rules.polly import Polly
from outage_sim.rules.resilience4j import Resilience4j
from outage_sim.traffic import GOOD, Call
from outage_sim.world import rate_limited, refused, silence, status

from fallback.core.outcome import AttemptFacts

OK = AttemptFacts(phase="done", status=200, duration_s=0.8)
ERROR = status(500).facts


def asks(rule: Rule, facts: AttemptFacts, now: float, family: str = "large") -> bool:
    """One request and its outcome at once; whether the rule let it pass."""
    call = Call(now, family, GOOD, "", 0.0, 0.0)
    ticket = rule.admit(call, now)
    if ticket is not None:
        rule.learn(call, ticket, facts, now)
    return ticket is not None


def play(rule: Rule, facts: AttemptFacts, times: int, *, start: float = 0.0) -> None:
    """So many requests, a tenth of a second apart."""
    for number in range(times):
        assert asks(rule, facts, start + number / 10)


class TestResilience4j:
    def test_it_opens_at_half_of_a_hundred(self) -> None:
        """99 outcomes decide nothing; with the hundredth, 50 % failures open it for 60 s."""
        rule = Resilience4j()
        play(rule, OK, 50)
        play(rule, ERROR, 49)
        assert not rule.closed("large", 10.0)
        play(rule, ERROR, 1, start=10.0)
        assert rule.closed("large", 10.0)
        assert not asks(rule, OK, 69.9)

    def test_ten_trials_decide(self) -> None:
        """After a minute ten calls pass, and their failures open it again."""
        rule = Resilience4j()
        play(rule, ERROR, 100)
        play(rule, ERROR, 10, start=70.0)
        assert not asks(rule, OK, 72.0)
        play(rule, OK, 10, start=131.0)
        assert not rule.closed("large", 133.0)

    def test_any_exception_counts(self) -> None:
        """A refused key is an exception like another."""
        rule = Resilience4j()
        play(rule, status(401).facts, 100)
        assert rule.closed("large", 10.0)


class TestPolly:
    def test_it_breaks_at_a_tenth_of_a_hundred_in_thirty_seconds(self) -> None:
        """Ten failures among a hundred calls break it; for five seconds."""
        rule = Polly()
        play(rule, OK, 90)
        play(rule, ERROR, 9, start=9.0)
        assert not rule.closed("large", 10.0)
        play(rule, ERROR, 1, start=10.0)
        assert not asks(rule, OK, 14.9)
        assert asks(rule, OK, 15.1)
        assert not rule.closed("large", 15.2)

    def test_one_trial_at_a_time(self) -> None:
        """While the trial is under way nobody else passes; should it fail, it breaks again."""
        rule = Polly()
        play(rule, ERROR, 100)
        call = Call(15.0, "large", GOOD, "", 0.0, 0.0)
        trial = rule.admit(call, 15.0)
        assert trial is not None
        assert not asks(rule, OK, 15.1)
        rule.learn(call, trial, ERROR, 15.5)
        assert not asks(rule, OK, 20.4)

    def test_few_calls_decide_nothing(self) -> None:
        """At two requests a second there are never a hundred calls in thirty seconds."""
        rule = Polly()
        for number in range(200):
            assert asks(rule, ERROR, number / 2)


class TestEnvoy:
    def test_five_in_a_row_eject(self) -> None:
        """A success in between starts the count anew; failures without an answer count too."""
        rule = Envoy(started=0.0)
        play(rule, ERROR, 4)
        play(rule, OK, 1, start=0.5)
        play(rule, refused().facts, 5, start=1.0)
        assert rule.closed("large", 2.0)

    def test_the_sweep_after_thirty_seconds_lets_it_back(self) -> None:
        """Back at the first ten-second sweep after 30 s, the second time after 60 s."""
        rule = Envoy(started=0.0)
        play(rule, ERROR, 5)
        assert rule.closed("large", 39.9)
        play(rule, ERROR, 5, start=40.0)
        assert rule.closed("large", 99.9)
        assert not rule.closed("large", 110.0)

    def test_a_rate_limit_is_no_failure(self) -> None:
        """Only 5xx count."""
        rule = Envoy(started=0.0)
        play(rule, rate_limited(20.0).facts, 50)


class TestFinagle:
    def test_five_in_a_row_are_dead(self) -> None:
        """For five seconds at first; then one trial."""
        rule = Finagle(Random(1), started=0.0)
        play(rule, ERROR, 5)
        assert not asks(rule, OK, 5.3)
        assert asks(rule, OK, 5.5)
        assert not rule.closed("large", 5.6)

    def test_a_poor_average_is_dead(self) -> None:
        """A third of failures never makes five in a row, but less than 80 % success."""
        rule = Finagle(Random(1), started=0.0)
        outcomes = [ERROR if number % 3 == 0 else OK for number in range(60)]
        passed = [asks(rule, facts, float(now)) for now, facts in enumerate(outcomes)]
        assert all(passed[:31])
        assert not all(passed)

    def test_each_failed_trial_makes_the_next_wait_longer(self) -> None:
        """5 s, then 5 to 10, 10 to 20 and so on."""
        rule = Finagle(Random(1), started=0.0)
        play(rule, ERROR, 5)
        instants = [t / 10 for t in range(50, 1000) if asks(rule, ERROR, t / 10)]
        waits = [b - a for a, b in pairwise(instants)]
        assert 5.0 <= waits[0] <= 10.1
        assert 10.0 <= waits[1] <= 20.1
        assert 20.0 <= waits[2] <= 40.1


class TestLiteLLM:
    def test_one_rate_limit_cools_down(self) -> None:
        """For the answer's Retry-After, and only that model."""
        rule = LiteLLM()
        play(rule, rate_limited(20.0).facts, 1)
        assert rule.closed("large", 19.9)
        assert not rule.closed("small", 1.0)
        assert not rule.closed("large", 20.1)

    def test_most_of_five_in_a_minute_cool_down(self) -> None:
        """Four failures are too few to tell, the fifth cools down for 5 s."""
        rule = LiteLLM()
        play(rule, ERROR, 4)
        assert not rule.closed("large", 0.5)
        play(rule, ERROR, 1, start=0.5)
        assert rule.closed("large", 5.4)
        assert not rule.closed("large", 5.6)

    def test_connection_errors_never_do(self) -> None:
        """`APIConnectionError` is left out; a timeout is not."""
        rule = LiteLLM()
        play(rule, refused().facts, 100)
        play(rule, silence().facts, 1, start=20.0)
        assert rule.closed("large", 20.1)


@pytest.mark.parametrize("rule", [Resilience4j(), Polly(), Envoy(started=0.0), LiteLLM()])
def test_success_never_closes(rule: Rule) -> None:
    """Nothing is kept from a well upstream."""
    play(rule, OK, 1000)
