"""Standby, against an engine that follows a script, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from virtual_time import run

from fallback.core.errors import BadRequest, CloudOnly, EngineNotReady, FallbackError
from fallback.core.passed import Passed, Strain
from fallback.core.ports import EngineStatus
from fallback.local import wire
from fallback.local.pacing import Machine, StandbySettings
from fallback.local.standby import LOOK_S, Standby

SETTINGS = StandbySettings(
    cpu=0.25, memory_bytes=1 << 30, on_battery=False, max_tokens=64, prompt_budget_tokens=512
)


def request(body: bytes = b"body", *, session: bytes = b"one", coding: str | None = None) -> Passed:
    return Passed(strain=Strain("anthropic", session, b""), body=body, coding=coding)


class FakeWarmer:
    """Warms in `takes_s`; `said` has what it was told, with the time. `errors` come first."""

    def __init__(self, *errors: FallbackError, takes_s: float = 3.0) -> None:
        self.generating = self.calibrating = False
        self.pid: int | None = 1
        self.state = "ready"
        self.takes_s = takes_s
        self.errors = list(errors)
        self.bodies: list[bytes] = []
        self.paces: list[float] = []
        self.done: list[bytes] = []
        self.clamps: set[tuple[int, int | None]] = set()

    def status(self) -> EngineStatus:
        return EngineStatus(state=self.state, pid=self.pid)  # type: ignore[arg-type]

    async def warm(
        self, dialect: str, body: bytes, *, max_tokens: int, prompt_budget_tokens: int | None
    ) -> wire.Warmed:
        self.bodies.append(body)
        self.clamps.add((max_tokens, prompt_budget_tokens))
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(self.takes_s)
        self.done.append(body)
        return wire.Warmed(
            id=1, input_tokens=100, cached_tokens=90, prefilled_tokens=10, kv_bytes=1000
        )

    async def pace(self, cpu: float) -> None:
        self.paces.append(cpu)


class Bench:
    """A standby with its surroundings; `machine` is what it sees when it looks."""

    def __init__(self, engine: FakeWarmer) -> None:
        self.engine = engine
        self.machine = Machine()
        self.looks = 0
        self.standby = Standby(
            SETTINGS,
            engine,
            look=self._look,
            plain=plain,
            clock=asyncio.get_running_loop().time,
        )

    def _look(self) -> Machine:
        self.looks += 1
        return self.machine


def plain(body: bytes, coding: str | None) -> bytes:
    if coding == "broken":
        raise BadRequest("cannot be decoded")
    return body.removeprefix(b"packed:") if coding else body


@asynccontextmanager
async def bench(engine: FakeWarmer | None = None) -> AsyncIterator[Bench]:
    made = Bench(engine or FakeWarmer())
    made.standby.start()
    try:
        yield made
    finally:
        await made.standby.stop()


def test_what_passed_is_warmed_and_told() -> None:
    """As it came, with the clamps that the request itself would have."""

    async def story() -> None:
        async with bench() as on:
            on.standby.saw(request())
            assert on.engine.bodies == []
            await asyncio.sleep(1.5)
            assert on.standby.status().state == "warming"
            await asyncio.sleep(5)
            status = on.standby.status()
            assert (status.state, status.why) == ("ready", "")
            assert (status.conversations, status.warm, status.tokens) == (1, 1, 100)
            assert (status.kv_bytes, status.prefilled_tokens, status.cpu) == (1000, 10, 0.25)
            assert on.engine.clamps == {(64, 512)}
            assert on.engine.paces == [0.25]

    run(story())


def test_a_burst_costs_one_look_and_one_prefill() -> None:
    """Of a hundred requests in a second the newest is warmed, and the machine is looked at a
    few times only."""

    async def story() -> None:
        async with bench(FakeWarmer(takes_s=0.1)) as on:
            for turn in range(100):
                on.standby.saw(request(b"x" * (5000 + turn)))
                await asyncio.sleep(0.01)
            await asyncio.sleep(10)
            assert on.engine.bodies[-1] == b"x" * 5099
            assert len(on.engine.bodies) <= 3
            assert on.looks <= 2 * len(on.engine.bodies)

    run(story())


def test_an_idle_standby_does_nothing() -> None:
    """With all warm it neither looks at the machine nor wakes the engine."""

    async def story() -> None:
        async with bench() as on:
            on.standby.saw(request())
            await asyncio.sleep(10)
            looks = on.looks
            await asyncio.sleep(3000)
            assert on.looks == looks

    run(story())


def test_it_waits_while_the_engine_answers() -> None:
    """Whoever wants an answer goes first, and the status says so."""

    async def story() -> None:
        async with bench() as on:
            on.engine.generating = True
            on.standby.saw(request())
            await asyncio.sleep(20)
            status = on.standby.status()
            assert (status.state, status.why) == ("waiting", "the engine is answering")
            assert on.engine.bodies == []
            on.engine.generating = False
            await asyncio.sleep(2 * LOOK_S)
            assert on.engine.done == [b"body"]

    run(story())


def test_an_unplugged_machine_pauses_what_is_under_way() -> None:
    """It is ended within a look, the reason is told, and it goes on when power is back."""

    async def story() -> None:
        async with bench(FakeWarmer(takes_s=60)) as on:
            on.standby.saw(request())
            await asyncio.sleep(10)
            on.machine = Machine(on_battery=True)
            await asyncio.sleep(LOOK_S + 2)
            status = on.standby.status()
            assert (status.state, status.why) == ("paused", "this machine runs on battery")
            await asyncio.sleep(100)
            assert on.engine.done == []
            on.machine = Machine()
            await asyncio.sleep(70)
            assert on.engine.done == [b"body"]

    run(story())


def test_suspicion_is_told_to_the_worker_at_once() -> None:
    """The pace of what is under way rises without waiting for the next look, and falls again."""

    async def story() -> None:
        async with bench(FakeWarmer(takes_s=60)) as on:
            on.standby.saw(request())
            await asyncio.sleep(10)
            on.standby.suspect(True)
            await asyncio.sleep(0.01)
            assert on.engine.paces == [0.25, 1.0]
            on.standby.suspect(False)
            await asyncio.sleep(0.01)
            assert on.engine.paces == [0.25, 1.0, 0.25]

    run(story())


def test_a_new_worker_is_given_everything_again() -> None:
    """And its pace, which it cannot know."""

    async def story() -> None:
        async with bench() as on:
            on.standby.saw(request(b"a", session=b"a"))
            on.standby.saw(request(b"b", session=b"b"))
            await asyncio.sleep(20)
            on.engine.pid, on.engine.state = 2, "starting"
            on.standby.engine_changed(on.engine.status())
            assert on.standby.status().warm == 0
            on.engine.state = "ready"
            on.standby.engine_changed(on.engine.status())
            await asyncio.sleep(20)
            assert sorted(on.engine.done) == [b"a", b"a", b"b", b"b"]
            assert on.engine.paces == [0.25, 0.25]

    run(story())


def test_an_engine_that_rests_is_woken_by_a_new_request_only() -> None:
    """What was warm in it does not bring it back."""

    async def story() -> None:
        async with bench() as on:
            on.standby.saw(request(b"old"))
            await asyncio.sleep(20)
            on.engine.pid, on.engine.state = None, "idle"
            on.standby.engine_changed(on.engine.status())
            await asyncio.sleep(1000)
            assert on.engine.done == [b"old"]
            on.standby.saw(request(b"new"))
            await asyncio.sleep(20)
            assert on.engine.done == [b"old", b"new"]

    run(story())


def test_it_waits_while_the_machine_is_measured() -> None:
    """What it computed would spoil the figures."""

    async def story() -> None:
        async with bench() as on:
            on.engine.calibrating = True
            on.standby.saw(request())
            await asyncio.sleep(20)
            assert on.engine.bodies == []
            assert on.standby.status().why == "the machine is being measured"

    run(story())


def test_what_no_local_model_may_answer_is_forgotten() -> None:
    """It is asked for once."""

    async def story() -> None:
        async with bench(FakeWarmer(CloudOnly("a title"))) as on:
            on.standby.saw(request())
            await asyncio.sleep(60)
            assert len(on.engine.bodies) == 1
            assert on.standby.status().conversations == 0

    run(story())


def test_a_body_is_decoded_before_it_is_sent() -> None:
    """And one that cannot be is forgotten."""

    async def story() -> None:
        async with bench() as on:
            on.standby.saw(request(b"packed:body", coding="zstd"))
            await asyncio.sleep(10)
            on.standby.saw(request(b"packed:body", session=b"two", coding="broken"))
            await asyncio.sleep(10)
            assert on.engine.bodies == [b"body"]
            assert on.standby.status().conversations == 1

    run(story())


def test_a_request_that_workers_die_of_is_not_tried_for_ever() -> None:
    """Once more with the next worker, then never."""

    async def story() -> None:
        lost = EngineNotReady("the local engine was lost")
        async with bench(FakeWarmer(lost, lost, lost)) as on:
            on.standby.saw(request())
            await asyncio.sleep(100)
            assert len(on.engine.bodies) == 2
            assert on.standby.status().conversations == 0

    run(story())


def test_an_engine_that_is_not_there_is_waited_for() -> None:
    """Nothing is sent to it, and the status says what it is."""

    async def story() -> None:
        async with bench() as on:
            on.engine.state = "failed"
            on.standby.saw(request())
            await asyncio.sleep(100)
            assert on.engine.bodies == []
            assert on.standby.status().why == "the engine is failed"

    run(story())


def test_it_stops_at_once() -> None:
    """With a long prefill under way, too."""

    async def story() -> float:
        async with bench(FakeWarmer(takes_s=1000)) as on:
            on.standby.saw(request())
            await asyncio.sleep(10)
        return asyncio.get_running_loop().time()

    assert run(story()) < 11
