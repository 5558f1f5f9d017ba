"""Shares, order and first tokens, against a model of known speed."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import DECODE_S, PREFILL_S, Engine, job, make

from fallback.local.worker.scheduler import Plan, Scheduler

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 60))
STEP_S = 128 * PREFILL_S
"""The longest step, about."""


def a_scheduler(slots: int) -> Scheduler:
    return make(
        slots=slots,
        context_tokens=10_000,
        batch_tokens=128,
        mixed_batch_tokens=32,
        queue_limit=40,
    )


class Market:
    """Keeps clients supplied with work for ever, each with jobs of one size."""

    def __init__(self, slots: int, sizes: dict[str, tuple[int, int]]) -> None:
        self.engine = Engine(a_scheduler(slots))
        self.sizes = sizes
        self.clients: dict[int, str] = {}
        self.here: set[int] = set()
        self.had_s = dict.fromkeys(sizes, 0.0)

    def run(self, seconds: float) -> None:
        while self.engine.now < seconds:
            self.supply()
            before = self.engine.now
            plan = self.engine.step()
            self.share(plan, self.engine.now - before)

    def supply(self) -> None:
        scheduler = self.engine.scheduler
        self.here = {id for id in self.here if id in scheduler}
        held = Counter(self.clients[id] for id in self.here)
        for client, (prompt, output) in self.sizes.items():
            for _ in range(6 - held[client]):
                id = len(self.clients)
                self.here.add(id)
                self.clients[id] = client
                self.engine.add(job(id, prompt, output, client=client))

    def share(self, plan: Plan, took_s: float) -> None:
        for chunk in plan.chunks:
            part = (chunk.stop - chunk.start) / plan.tokens
            self.had_s[self.clients[chunk.id]] += took_s * part

    def largest_s(self) -> float:
        return max(
            2 * PREFILL_S * prompt + DECODE_S * output for prompt, output in self.sizes.values()
        )


@settings(max_examples=10)
@given(slots=st.integers(1, 4), sizes=st.lists(SIZES, min_size=2, max_size=3))
def test_equal_shares(slots: int, sizes: list[tuple[int, int]]) -> None:
    """Clients that always have work have had the same of the model, at any time, but for one
    job and the two seconds that a prompt may be ahead."""
    market = Market(slots, dict(zip("abc", sizes, strict=False)))
    for seconds in (10, 20):
        market.run(seconds)
        for one, other in combinations(market.had_s.values(), 2):
            assert abs(one - other) <= market.largest_s() + 2.0 + STEP_S


def test_newcomers_do_not_starve_who_waits() -> None:
    """An endless stream of new clients with small jobs cannot keep a large one waiting for longer
    than equal shares would."""
    engine = Engine(a_scheduler(slots=1))
    engine.add(job(0, prompt=5, output=1), job(1, prompt=2000, client="large"))
    alone_s = 2000 * PREFILL_S
    newcomers = iter(range(2, 10**6))
    while 1 not in engine.first_token_at:
        while engine.scheduler.queued < 5:
            id = next(newcomers)
            engine.add(job(id, prompt=50, output=1, client=str(id)))
        engine.step()
        assert engine.now < 6 * 1.3 * alone_s


def test_of_two_equally_long_prompts_one_is_done_in_half_the_time() -> None:
    """Long prompts of two clients are not read in turns, which would delay both."""
    engine = Engine(a_scheduler(slots=2))
    engine.add(job(1, prompt=2000, client="one"), job(2, prompt=2000, client="other"))
    assert engine.until(1) < 0.55 * engine.until(2)


def test_a_stream_goes_on_beside_a_long_prompt_of_another_client() -> None:
    """Both get half of the model: the stream ends in twice its time alone and the two seconds
    that a prompt may be ahead, and the prompt loses no more than the stream took."""
    stream, prompt = job(1, 10, 400, client="stream"), job(2, 3000, client="prompt")
    alone = Engine(a_scheduler(slots=2))
    alone.add(stream)
    alone.until_idle()
    engine = Engine(a_scheduler(slots=2))
    engine.add(stream)
    engine.step()
    engine.add(prompt)
    while 1 in engine.scheduler:
        engine.step()
    assert engine.now < 2 * alone.now + 2.0 + STEP_S
    quiet = Engine(a_scheduler(slots=2))
    quiet.add(prompt)
    assert engine.until(2) < quiet.until(2) + alone.now + STEP_S


BUSY = st.lists(
    st.tuples(st.integers(1, 300), st.integers(1, 200), st.integers(0, 1), st.sampled_from("ab")),
    max_size=9,
)


@settings(max_examples=50)
@given(slots=st.integers(1, 4), busy=BUSY, steps=st.integers(0, 40), prompt=st.integers(1, 900))
def test_critical_first_token(
    slots: int,
    busy: list[tuple[int, int, int, str]],
    steps: int,
    prompt: int,
) -> None:
    """Whatever of lower priority is there, a critical request has its first token as soon as on
    an idle engine, after the step under way when it came."""
    critical = job(99, prompt, 3, priority=2)
    idle = Engine(a_scheduler(slots))
    idle.add(critical)
    engine = Engine(a_scheduler(slots))
    for id, (tokens, output, priority, client) in enumerate(busy):
        engine.add(job(id, tokens, output, priority=priority, client=client))
    for _ in range(steps):
        engine.step()
    came_at, plan = engine.now, engine.plan()
    engine.add(critical)
    engine.finish(plan, [engine.sample(chunk) for chunk in plan.chunks if chunk.sample])
    step_s = engine.now - came_at
    assert engine.until(99) - came_at <= idle.until(99) + step_s + 1e-9
