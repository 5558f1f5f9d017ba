"""Who is looked at, and when; in virtual time, beside a real board."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from virtual_time import run

from fallback.core.diagnosis import SURE, Diagnosis
from fallback.core.health import (
    NETWORK,
    Board,
    Change,
    Evidence,
    HealthSettings,
    Scope,
    State,
    model_scope,
    upstream_scope,
)
from fallback.signals.prober import Prober
from fallback.signals.status_page import StatusReading

CLOUD, OTHER = upstream_scope("cloud"), upstream_scope("other")


def bad(scope: Scope = CLOUD, *, source: Any = "request", weight: float = 3.0) -> Evidence:
    return Evidence(
        scope=scope, source=source, weight=weight, summary="refused", reason="unreachable-refused"
    )


def alive(scope: Scope = CLOUD) -> Evidence:
    return Evidence(scope=scope, source="probe", weight=0.0, alive=True, summary="answers (401)")


DEAD, ALIVE, OFFLINE, ONLINE = (
    (bad(source="probe"),),
    (alive(),),
    (bad(NETWORK, source="probe", weight=SURE),),
    (alive(), alive(NETWORK)),
)


class Machine:
    """Stands in for the watch on this machine; `wake` is set while somebody watches."""

    wake: Callable[[], None] | None = None

    async def watch(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        try:
            await asyncio.sleep(1e9)
        finally:
            self.wake = None


class Scene:
    """A board, its prober, and who was looked at when (seconds of the loop's time).

    The last of `finds` is found again and again; a look takes `takes_s`.
    """

    def __init__(
        self,
        *finds: tuple[Evidence, ...],
        takes_s: float = 0.0,
        pages: list[StatusReading | None] | None = None,
    ) -> None:
        self.looks: list[tuple[str, float]] = []
        self.page_reads: list[float] = []
        self.recorded: list[Evidence] = []
        self.machine = Machine()
        self._finds = list(finds)
        self._takes_s = takes_s
        self._pages = pages or []
        self.now = asyncio.get_running_loop().time
        self.board = Board(
            ["cloud", "other", "own"],
            HealthSettings(),
            now=0.0,
            on_change=self._changed,
            loopback={"own"},
        )
        self.prober = Prober(
            self.board,
            self._look,
            public=["cloud", "other"],
            clock=self.now,
            jitter=lambda: 0.0,
            read_page=None if pages is None else self._read_page,
            watch_machine=self.machine.watch,
        )

    def _changed(self, change: Change) -> None:
        self.recorded.append(change.evidence)
        self.prober.notice(change)

    async def _look(self, upstream: str) -> Diagnosis:
        self.looks.append((upstream, self.now()))
        await asyncio.sleep(self._takes_s)
        found = self._finds.pop(0) if len(self._finds) > 1 else self._finds[0]
        return Diagnosis(rungs=(), at_fault="unclear", evidence=found, summary="")

    async def _read_page(self, upstream: str) -> StatusReading | None:
        self.page_reads.append(self.now())
        return self._pages.pop(0) if self._pages else None

    @property
    def times(self) -> list[float]:
        return [at for _, at in self.looks]

    def find(self, *finds: tuple[Evidence, ...]) -> None:
        """What is found from now on."""
        self._finds = list(finds)

    def fail(self, scope: Scope = CLOUD) -> None:
        """One request fails: reason to look, no more."""
        self.board.record(bad(scope), self.now())

    async def go_down(self) -> None:
        """Requests fail until the cloud is down."""
        while self.board.state("cloud") is not State.DOWN:
            self.fail()
            await asyncio.sleep(1.0)


def playing(scene: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs in virtual time, and must leave no task behind."""

    async def whole() -> None:
        await scene()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def test() -> None:
        run(whole())

    test.__doc__ = scene.__doc__
    return test


@playing
async def test_a_models_trouble_is_looked_into() -> None:
    """An overload is the model's, unless its upstream cannot even list its models."""
    scene = Scene(DEAD)
    scene.fail(model_scope("cloud", "opus"))
    await asyncio.sleep(0.5)
    assert scene.looks[0] == ("cloud", 0.0)
    assert scene.board.state("cloud") is not State.HEALTHY
    await scene.prober.stop()


@playing
async def test_the_first_strong_evidence_is_looked_into_at_once() -> None:
    """One failed request is enough to ask, and what is found is folded in."""
    scene = Scene(DEAD)
    scene.fail()
    await asyncio.sleep(0.5)
    assert scene.looks == [("cloud", 0.0)]
    await asyncio.sleep(60.0)
    assert scene.board.state("cloud") is State.DOWN
    await scene.prober.stop()


@playing
async def test_looks_come_on_the_boards_schedule() -> None:
    """Ever further apart as the outage ages, but never so far that its end goes unnoticed."""
    scene = Scene(DEAD)
    await scene.go_down()
    await asyncio.sleep(3600.0)
    await scene.prober.stop()
    pauses = [round(b - a, 3) for a, b in itertools.pairwise(scene.times[3:])]
    assert pauses == sorted(pauses)
    assert 1.0 <= pauses[0] <= 2.0
    assert 20.0 <= pauses[-1] <= 60.0


@playing
async def test_a_sign_of_life_ends_the_looking() -> None:
    """From there on it is a real request's turn, and nobody watches the machine any more."""
    scene = Scene(DEAD)
    await scene.go_down()
    assert scene.machine.wake is not None
    scene.find(ALIVE)
    await asyncio.sleep(10.0)
    looks = len(scene.looks)
    await asyncio.sleep(1000.0)
    assert scene.board.state("cloud") is State.RECOVERING
    assert len(scene.looks) == looks
    assert scene.machine.wake is None


@playing
async def test_nothing_is_asked_of_the_healthy() -> None:
    """Nor of one that only had a weak moment; there is not even a task."""
    scene = Scene(DEAD)
    scene.board.record(bad(weight=0.5), 0.0)
    await asyncio.sleep(1000.0)
    assert scene.looks == []


def test_a_look_that_raises_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """Without looks an upstream that is down would stay so."""

    async def story() -> State:
        scene = Scene(DEAD)
        await scene.go_down()
        scene.find()
        await asyncio.sleep(100.0)
        scene.find(ALIVE)
        await asyncio.sleep(100.0)
        return scene.board.state("cloud")

    assert run(story()) is State.RECOVERING
    assert "the look at cloud" in caplog.text


@playing
async def test_after_a_wake_up_the_pauses_begin_small_again() -> None:
    """A machine that slept knows nothing of the outage's last hour."""
    scene = Scene(DEAD)
    await scene.go_down()
    await asyncio.sleep(3600.0)
    scene.looks.clear()
    woken = scene.now()
    assert scene.machine.wake is not None
    scene.machine.wake()
    await asyncio.sleep(10.0)
    await scene.prober.stop()
    assert [at - woken for at in scene.times] == [0.0, 2.0, 6.0]


@playing
async def test_everything_unwell_can_be_woken() -> None:
    """For whoever else learns of another network."""
    scene = Scene(DEAD)
    await scene.go_down()
    await asyncio.sleep(3600.0)
    scene.looks.clear()
    scene.prober.wake()
    await asyncio.sleep(0.1)
    await scene.prober.stop()
    assert [name for name, _ in scene.looks] == ["cloud"]


@playing
async def test_looks_are_shared() -> None:
    """Many silent requests start one look, and none so soon after the last."""
    scene = Scene(ALIVE, takes_s=3.0)
    for _ in range(5):
        scene.prober.look("cloud")
        await asyncio.sleep(0.5)
    assert scene.times == [0.0]
    await asyncio.sleep(1.0)
    scene.prober.look("cloud")
    await asyncio.sleep(3.1)
    assert scene.times == [0.0, 3.5]


@playing
async def test_a_look_is_not_repeated_at_once() -> None:
    """A second has to pass."""
    scene = Scene(ALIVE)
    for _ in range(12):
        scene.prober.look("cloud")
        await asyncio.sleep(0.25)
    assert scene.times == [0.0, 1.0, 2.0]


@playing
async def test_one_upstream_looks_after_the_network() -> None:
    """All share it: one is asked until it is back, whichever was silent first."""
    scene = Scene(OFFLINE)
    scene.prober.look("other")
    await asyncio.sleep(60.0)
    assert scene.board.state("cloud") is State.DOWN
    assert scene.board.state("own") is State.HEALTHY
    assert {name for name, at in scene.looks if at > 0.0} == {"cloud"}
    scene.find(ONLINE)
    await asyncio.sleep(60.0)
    looks = len(scene.looks)
    await asyncio.sleep(1000.0)
    assert len(scene.looks) == looks
    assert scene.board.state("other") is not State.DOWN


@playing
async def test_a_relapse_does_not_wait_for_the_end_of_a_pause() -> None:
    """A request brought the upstream back meanwhile; the next failure is looked into at once."""
    scene = Scene(DEAD)
    await scene.go_down()
    await asyncio.sleep(3600.0)
    scene.board.record(alive(), scene.now())
    while scene.board.state("cloud") is not State.HEALTHY:
        well = Evidence(scope=CLOUD, source="request", weight=-2.0, summary="ok", reason="ok")
        scene.board.record(well, scene.now())
        await asyncio.sleep(0.1)
    scene.looks.clear()
    scene.fail()
    failed = scene.now()
    await asyncio.sleep(0.05)
    assert scene.times == [failed]
    assert scene.machine.wake is not None
    await scene.prober.stop()


MINOR = StatusReading(status="degraded_performance", weight=0.5, text="slow")
MAJOR = StatusReading(status="major_outage", weight=1.0, text="dead")
FINE = StatusReading(status="operational", weight=0.0, text="fine")


@playing
async def test_a_status_page_is_read_only_while_something_is_unwell() -> None:
    """At most once a minute, and its words weigh no more than the worst of them."""
    scene = Scene(DEAD, pages=[FINE, MINOR, None, MINOR, MAJOR, FINE, MAJOR])
    seen: list[Evidence] = []
    record = scene.board.record

    def recording(evidence: Evidence, now: float) -> None:
        seen.append(evidence)
        record(evidence, now)

    scene.board.record = recording  # type: ignore[method-assign]
    await scene.go_down()
    await asyncio.sleep(600.0)
    said = [evidence for evidence in seen if evidence.source == "status-page"]
    assert [(evidence.weight, evidence.summary) for evidence in said] == [
        (0.5, "slow"),
        (0.5, "dead"),
    ]
    assert said[1].reason == "status-major-outage"
    assert all(b - a >= 60.0 for a, b in itertools.pairwise(scene.page_reads))
    scene.find(ALIVE)
    await asyncio.sleep(100.0)
    reads = len(scene.page_reads)
    await asyncio.sleep(1000.0)
    assert len(scene.page_reads) == reads


@playing
async def test_stopping_ends_every_task() -> None:
    """In the midst of a look, too."""
    scene = Scene(DEAD, takes_s=5.0, pages=[])
    scene.fail()
    await asyncio.sleep(1.0)
    assert len(asyncio.all_tasks()) > 1
    await scene.prober.stop()
