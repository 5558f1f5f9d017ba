"""What is learned of the model's speed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.speed import Speed, Work

MEASURED = Speed((5.36e-3, 1.56e-6), (9e-3, 3.9e-6))


class Machine:
    """A model's true times, with noise of 15 %, and now and then a step that takes ten times."""

    def __init__(self, prefill: tuple[float, float], decode: tuple[float, float, float]) -> None:
        self.prefill = prefill
        self.decode = decode
        self.random = random.Random(1)

    def prefill_s(self, tokens: int, start: int = 0) -> float:
        return tokens * (self.prefill[0] + self.prefill[1] * (start + tokens / 2))

    def decode_s(self, sequences: int, depth: float) -> float:
        fixed_s, token_s, depth_s = self.decode
        return fixed_s + sequences * (token_s + depth_s * depth)

    def noisy(self, seconds: float) -> float:
        seconds *= self.random.lognormvariate(0.0, 0.15)
        return seconds * 10 if self.random.random() < 0.03 else seconds

    def teach(self, speed: Speed, prompts: list[int]) -> None:
        for prompt in prompts:
            for start in range(0, prompt, 512):
                tokens = min(512, prompt - start)
                speed.learn([Work(start, tokens)], self.noisy(self.prefill_s(tokens, start)))
            for _ in range(40):
                streams = self.random.choice((1, 2, 4))
                took_s = self.noisy(self.decode_s(streams, prompt))
                speed.learn([Work(prompt, 1)] * streams, took_s)


MACHINES = {
    "this one": Machine((5.4e-3, 1.6e-6), (2e-3, 7e-3, 4e-6)),
    "five times slower": Machine((2.7e-2, 8e-6), (1e-2, 3.5e-2, 2e-5)),
    "steep": Machine((2e-3, 5e-6), (1e-3, 5e-3, 1e-5)),
    "a GPU": Machine((1e-4, 2e-9), (6e-3, 1e-5, 1e-9)),
}


def test_measured_prompts() -> None:
    """The two prompts measured on the first machine: 951 tokens in 5.8 s, 3,921 in 33 s."""
    assert MEASURED.prefill_s(951) == pytest.approx(5.8, rel=0.01)
    assert MEASURED.prefill_s(3921) == pytest.approx(33.0, rel=0.01)


def test_decode_gets_slower_with_depth_and_streams() -> None:
    """A step takes longer deep in a conversation and for more sequences, but not n times."""
    assert MEASURED.decode_s(1, 0) == pytest.approx(9e-3)
    assert MEASURED.decode_s(1, 4000) == pytest.approx(24.6e-3)
    assert MEASURED.decode_s(1, 100) < MEASURED.decode_s(4, 100) < 4 * MEASURED.decode_s(1, 100)


@given(seconds=st.floats(0.0, 1000.0), start=st.integers(0, 100_000))
def test_tokens_within_a_time(seconds: float, start: int) -> None:
    """As many tokens as can be read in that time, and not one more."""
    tokens = MEASURED.prefill_tokens_within(seconds, start)
    assert tokens >= 0
    assert MEASURED.prefill_s(tokens, start) <= seconds + 1e-9
    assert MEASURED.prefill_s(tokens + 1, start) >= seconds - 1e-9


def test_no_time_left_reads_nothing() -> None:
    """A deadline that is past leaves no tokens."""
    assert MEASURED.prefill_tokens_within(-1.0) == 0


@pytest.mark.parametrize("name", MACHINES)
def test_learned_within_a_few_prompts(name: str) -> None:
    """From the first model's figures to any machine's within a few prompts of several lengths,
    in spite of noise and of single steps that take ten times as long."""
    machine, speed = MACHINES[name], Speed()
    machine.teach(speed, [500, 3000, 12_000, 1000, 4000] * 2)
    for tokens in (500, 4000, 12_000):
        assert speed.prefill_s(tokens) == pytest.approx(machine.prefill_s(tokens), rel=0.35)
    for streams, depth in ((1, 500), (4, 2000), (1, 8000)):
        assert speed.decode_s(streams, depth) == pytest.approx(
            machine.decode_s(streams, depth), rel=0.35
        )


def test_one_bad_step_teaches_little() -> None:
    """A step during which the machine swapped, a hundred times too slow, changes a learned speed
    by less than a tenth."""
    speed = Speed((5.36e-3, 1.56e-6), (9e-3, 3.9e-6))
    for _ in range(30):
        speed.learn([Work(0, 512)], MEASURED.prefill_s(512))
    before_s = speed.prefill_s(512)
    assert before_s == pytest.approx(MEASURED.prefill_s(512))
    speed.learn([Work(0, 512)], 100 * before_s)
    assert speed.prefill_s(512) < 1.1 * before_s


def test_what_is_slower_for_good_is_learned() -> None:
    """A machine that runs at a third of its speed from now on is known within 40 steps."""
    speed = Speed((5.36e-3, 1.56e-6), (9e-3, 3.9e-6))
    for _ in range(100):
        speed.learn([Work(0, 512)], MEASURED.prefill_s(512))
    for _ in range(40):
        speed.learn([Work(0, 512)], 3 * MEASURED.prefill_s(512))
    assert speed.prefill_s(512) == pytest.approx(3 * MEASURED.prefill_s(512), rel=0.1)


def test_decode_and_prefill_are_learned_apart() -> None:
    """Slow prompts say nothing about single tokens, nor the other way round."""
    speed = Speed()
    decode_s, prefill_s = speed.decode_s(4, 1000), speed.prefill_s(1000)
    speed.learn([Work(0, 512)], 60.0)
    assert speed.decode_s(4, 1000) == decode_s
    slow_s = speed.prefill_s(1000)
    assert slow_s > prefill_s
    speed.learn([Work(1000, 1), Work(900, 3)], 1.0)
    assert speed.prefill_s(1000) == slow_s
    assert speed.decode_s(4, 1000) > decode_s


def test_an_empty_step_teaches_nothing() -> None:
    """Nothing computed, nothing learned."""
    speed = Speed()
    before = repr(speed)
    speed.learn([], 1.0)
    assert repr(speed) == before == "<Speed prefill=161/s decode=78/s>"


def test_a_speed_of_nothing_is_refused() -> None:
    """Times that are zero or less cannot have been measured."""
    with pytest.raises(ValueError, match=r"no model takes 0\.0 s a token"):
        Speed(prefill=(0.0, 1e-6))


def test_no_growth_with_depth_can_have_been_measured() -> None:
    """A GPU's noise may give none, or less than none: that counts as a tenth in 4,000 tokens."""
    speed = Speed(prefill=(1e-4, -1e-9), decode=(6e-3, 0.0))
    assert speed.prefill_s(1, 4000) == pytest.approx(1.12e-4, rel=0.01)
    assert speed.decode_s(1, 4000) == pytest.approx(6.72e-3, rel=0.01)
