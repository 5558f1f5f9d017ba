"""A cloud that is down for a minute, under a request every four seconds, in virtual time.

The flap of FailoverBench (September 2026): there 33 to 45 attempts at the dead primary are
usual, 4 the best after tuning, and 4 s until the return to it.

Where the edge is dead, too, free probes find the return. Where it answers all the while, only a
real request can: each is raced by the local tier, so that more of them cost nobody anything, and
fewer would mean a later return.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import rig
from rig import Rig
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.diagnosis import Diagnosis
from fallback.core.health import Evidence, upstream_scope
from fallback.core.outcome import Failure
from fallback.signals.prober import Prober
from fallback.upstream.mock import Fault, Script, SeenRequest, Wait

_DOWN_S, _EVERY_S, _WATCHED_S = 60.0, 4.0, 100.0
_BUSY = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
_BROKEN = b'{"type":"error","error":{"type":"api_error","message":"Service unavailable"}}'
_UPSTREAMS = {"anthropic": "anthropic", "openai-chat": "openai", "openai-responses": "openai"}
_OUTAGES = {
    "refused": Script(before=(Fault(Failure.REFUSED, sent=False),)),
    "503": Script(status=503, body=(_BROKEN,)),
    "529": Script(status=529, body=(_BUSY,)),
    "silence": Script(before=(Wait(math.inf),)),
}


class Limits(NamedTuple):
    """What is allowed: attempts while it is down, seconds from its return to its first answer."""

    attempts: int
    back_s: float


_EDGE_DEAD = Limits(attempts=4, back_s=4.0)
_EDGE_LIVES = {
    "503": Limits(attempts=10, back_s=4.0),
    "529": Limits(attempts=10, back_s=4.0),
    "silence": Limits(attempts=4, back_s=30.0),  # each canary holds a connection for seconds
}


class Minute:
    """The gateway, its prober, and a cloud that fails in one way until the minute is over.

    `edge_lives`: the free probes are answered all the while. `asked_s` is when the cloud was
    asked, `answers` are when clients asked and which tier answered.
    """

    def __init__(self, dialect: str, failing: Script, *, edge_lives: bool, jitter: float) -> None:
        self.now = asyncio.get_running_loop().time
        self.asked_s: list[float] = []
        self.answers: list[tuple[float, str]] = []
        self._dialect = dialect
        self._failing = failing
        self._edge_lives = edge_lives
        self._rig = Rig(self._cloud)
        self._prober = Prober(
            self._rig.board,
            self._look,
            public=("anthropic", "openai"),
            clock=self.now,
            jitter=lambda: jitter,
            watch_machine=_never,
        )
        self._rig.notice = self._prober.notice

    async def live(self) -> None:
        """Ask every four seconds, until a while after the cloud's return."""
        try:
            while self.now() <= _WATCHED_S:
                began = self.now()
                sent = rig.body(self._dialect, stream=True)
                client = await self._rig.ask(rig.Client(rig.PATHS[self._dialect], sent))
                self.answers.append((began, client.tier))
                await asyncio.sleep(max(0.0, began + _EVERY_S - self.now()))
        finally:
            await self._prober.stop()

    def _cloud(self, request: SeenRequest) -> Script:
        self.asked_s.append(self.now())
        well = Script(headers=EVENT_STREAM, body=STREAMS[self._dialect])
        return self._failing if self.now() < _DOWN_S else well

    async def _look(self, upstream: str) -> Diagnosis:
        lives = self._edge_lives or self.now() >= _DOWN_S
        evidence = Evidence(
            scope=upstream_scope(_UPSTREAMS[self._dialect]),
            source="probe",
            weight=0.0 if lives else 3.0,
            alive=lives,
            summary="answers (401)" if lives else "refused",
            reason="" if lives else "unreachable-refused",
        )
        return Diagnosis(
            rungs=(),
            at_fault="nobody" if lives else "upstream",
            evidence=(evidence,),
            summary="",
        )


async def _never(wake: Callable[[], None]) -> None:
    await asyncio.sleep(math.inf)


async def _minute(dialect: str, outage: str, *, edge_lives: bool, jitter: float) -> Limits:
    """What came of it. Asserts that every request was answered by somebody."""
    minute = Minute(dialect, _OUTAGES[outage], edge_lives=edge_lives, jitter=jitter)
    await minute.live()
    assert {tier for _, tier in minute.answers} == {"cloud", "local"}
    return Limits(
        attempts=sum(at < _DOWN_S for at in minute.asked_s),
        back_s=next(at for at, tier in minute.answers if tier == "cloud") - _DOWN_S,
    )


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("outage", _OUTAGES)
@pytest.mark.parametrize("dialect", rig.PATHS)
def test_a_dead_primary_is_asked_four_times_and_found_again_at_once(
    dialect: str, outage: str, jitter: float
) -> None:
    """Down with its edge: at most 4 attempts in 60 s, and back within 4 s of its return."""
    found = run(_minute(dialect, outage, edge_lives=False, jitter=jitter))
    assert found.attempts <= _EDGE_DEAD.attempts
    assert found.back_s <= _EDGE_DEAD.back_s


@pytest.mark.parametrize("outage", _EDGE_LIVES)
@pytest.mark.parametrize("dialect", rig.PATHS)
def test_behind_a_living_edge_canaries_find_the_return(dialect: str, outage: str) -> None:
    """Where every probe is answered, attempts stay bounded and the return is found soon."""
    found = run(_minute(dialect, outage, edge_lives=True, jitter=0.5))
    assert found.attempts <= _EDGE_LIVES[outage].attempts
    assert found.back_s <= _EDGE_LIVES[outage].back_s
