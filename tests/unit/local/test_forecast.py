"""How honest the expected wait is."""

from __future__ import annotations

import random
from statistics import median

import pytest
from scheduling import DECODE_S, PREFILL_S, Engine, job, make, standby

from fallback.core.errors import EngineBusy
from fallback.local.worker.scheduler import Chunk, Sampled


class Crowd(Engine):
    """An engine busy with random jobs, whose answers have 128 tokens on average."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        scheduler = make(
            slots=self.random.randint(1, 4),
            sequence_tokens=4000,
            context_tokens=20_000,
            batch_tokens=512,
            mixed_batch_tokens=128,
            queue_limit=40,
        )
        super().__init__(scheduler, self.say)
        self.lengths: dict[int, int] = {}
        for id in range(self.random.randint(1, 12)):
            self.come(id)
            for _ in range(self.random.randint(0, 20)):
                self.step()

    def come(self, id: int) -> None:
        prompt = self.random.choice((50, 500, 2000))
        priority = self.random.choice((0, 0, 1))
        self.add(job(id, prompt, 1000, client=self.random.choice("ab"), priority=priority))

    def say(self, chunk: Chunk) -> Sampled:
        length = self.lengths.setdefault(chunk.id, 1 + int(self.random.expovariate(1 / 128)))
        self.lengths[chunk.id] = length - 1
        return Sampled(id=chunk.id, tokens=(7,), ended=length <= 1)

    def wait(self) -> tuple[float, float]:
        """How long a short request should wait for its first token, and how long it does."""
        client = self.random.choice("abc")
        expected_s = self.scheduler.expected_wait_s(self.now, client=client) + 20 * PREFILL_S
        came_at = self.now
        self.add(job(99, 20, 20, client=client))
        return expected_s, self.until(99) - came_at


def test_honest_on_the_whole() -> None:
    """Over many busy engines the expected waits are what comes: in sum within a seventh, half of
    them within three tenths."""
    waits = [Crowd(seed).wait() for seed in range(40)]
    expected_s, came_s = map(sum, zip(*waits, strict=True))
    assert expected_s == pytest.approx(came_s, rel=1 / 7)
    assert median(abs(expected - came) / came for expected, came in waits) < 0.3


def test_an_idle_engine_lets_nobody_wait() -> None:
    """Neither does one that only keeps warm, or that answers what has lower priority."""
    engine = Engine(make(slots=1))
    assert engine.scheduler.expected_wait_s(0.0) == 0
    engine.add(standby(1, 500))
    engine.step()
    assert engine.scheduler.expected_wait_s(0.0) == 0
    engine.add(job(2, 300))
    engine.step()
    assert engine.scheduler.expected_wait_s(0.0) > 0
    assert engine.scheduler.expected_wait_s(0.0, priority=1) == 0


def test_a_free_slot_waits_for_the_prompts_before_it() -> None:
    """A request that gets a slot at once waits for what is left of the prompts in turn before."""
    engine = Engine(make())
    engine.add(job(1, 400))
    engine.step()
    rest_s = PREFILL_S * (400 - 64)
    assert engine.scheduler.expected_wait_s(engine.now) == pytest.approx(rest_s, rel=0.1)
    assert engine.scheduler.expected_wait_s(engine.now, client="short") == 0


def test_a_taken_slot_waits_for_the_answer_to_end() -> None:
    """Without a free slot it is the shortest of the limits left, or an answer's usual length."""
    engine = Engine(make(slots=1))
    engine.add(job(1, 10, 51))
    engine.step()
    assert engine.scheduler.expected_wait_s(engine.now) == pytest.approx(50 * DECODE_S, rel=0.1)
    engine.scheduler.cancel(1)
    engine.add(job(2, 10, 900))
    engine.step()
    assert engine.scheduler.expected_wait_s(engine.now) == pytest.approx(128 * DECODE_S, rel=0.1)


def test_usual_lengths_are_learned() -> None:
    """Where answers are short, waits are."""
    engine = Engine(make(), lambda chunk: Sampled(id=chunk.id, tokens=(7,), ended=True))
    for id in range(50):
        engine.add(job(id, 10, 900))
        engine.until_idle()
    engine.sample = lambda chunk: Sampled(id=chunk.id, tokens=(7,), ended=False)
    engine.add(job(100, 10, 400), job(101, 10, 400))
    engine.step()
    assert engine.scheduler.expected_wait_s(engine.now) < 10 * DECODE_S


def test_those_who_will_be_late_are_not_waited_for() -> None:
    """Who waits and is sure to be given up costs those behind it nothing."""
    engine = Engine(make(slots=1, queue_limit=9))
    engine.add(job(1, 10, 101))
    engine.step()
    before_s = engine.scheduler.expected_wait_s(engine.now)
    engine.add(job(2, 800, 100, start_by_s=engine.now + 4.5))
    assert engine.scheduler.expected_wait_s(engine.now) > before_s + 4
    assert engine.scheduler.expected_wait_s(engine.now + 2) == pytest.approx(before_s)


def test_what_was_cached_is_not_read_again() -> None:
    """A request whose beginning is held in memory can be in time where another cannot."""
    engine = Engine(make(slots=1, queue_limit=9))
    engine.add(job(1, 10, 101))
    engine.step()
    with pytest.raises(EngineBusy):
        engine.add(job(2, 800, 10, start_by_s=engine.now + 3))
    engine.add(job(3, 800, 10, start_by_s=engine.now + 3, cached_tokens=700))


def test_retry_after_is_one_that_clients_heed() -> None:
    """Waits of minutes are told as they are, but nobody is sent away for more than a minute."""
    engine = Engine(make(slots=1, context_tokens=100_000, queue_limit=9))
    engine.add(*(job(id, 20_000, 10) for id in range(9)))
    with pytest.raises(
        EngineBusy, match=r"would wait about 2\d\d\d s .* try again in 60 s"
    ) as busy:
        engine.add(job(9, start_by_s=engine.now + 20))
    assert busy.value.retry_after_s == 60
