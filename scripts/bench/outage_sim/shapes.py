"""The shapes of trouble that are played, each a small function registered by its name.

Times are seconds from the onset. An `Outage` is the truth that a rule is measured by; trouble
that is nobody's outage (a rate limit, a bad key, background errors) has none, and every `down`
in it is false.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from outage_sim.world import (
    FAMILIES,
    Condition,
    Fault,
    Phase,
    overloaded,
    rate_limited,
    refused,
    silence,
    status,
    unresolved,
)

Blame: TypeAlias = Literal["upstream", "model", "network", "nobody"]


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """The truth: from `start` to `end` requests for `families` are served badly or not at all.
    Where `blame` is nobody's, requests fail and yet nothing is down."""

    start: float
    end: float
    blame: Blame = "upstream"
    families: frozenset[str] = frozenset(FAMILIES)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of trouble. `bad_keys` is the share of requests whose credential is refused,
    `poisoned` of those whose body always fails."""

    says: str
    phases: tuple[Phase, ...]
    outages: tuple[Outage, ...] = ()
    length_s: float
    bad_keys: float = 0.0
    poisoned: float = 0.0


Draw: TypeAlias = Callable[[np.random.Generator], Shape]
SHAPES: dict[str, Draw] = {}


def _shape(draw: Draw) -> Draw:
    SHAPES[draw.__name__.replace("_", "-")] = draw
    return draw


def _plain(says: str, length_s: float, condition: Condition, **truth: object) -> Shape:
    """One condition from the onset to the end."""
    phase = Phase(start=0.0, end=length_s, condition=condition)
    outage = msgspec.convert({"start": 0.0, "end": length_s, **truth}, Outage)
    return Shape(says=says, phases=(phase,), outages=(outage,), length_s=length_s)


def _all(fault: Fault, *, probe: Fault | None = None, online: bool = True) -> Condition:
    return Condition(faults=((1.0, fault),), probe=probe, online=online)


@_shape
def dead(random: np.random.Generator) -> Shape:
    condition = _all(refused(), probe=refused())
    return _plain("connections are refused for 10 minutes", 600.0, condition)


@_shape
def dead_for_a_minute(random: np.random.Generator) -> Shape:
    condition = _all(status(503), probe=status(503))
    return _plain("every request gets a 503 for one minute", 60.0, condition)


@_shape
def silent(random: np.random.Generator) -> Shape:
    condition = _all(silence(), probe=silence())
    return _plain("the upstream accepts and says nothing, 10 minutes", 600.0, condition)


@_shape
def half_overloaded(random: np.random.Generator) -> Shape:
    condition = Condition(faults=((0.5, overloaded()),))
    return _plain("529 for half the requests, 15 minutes", 900.0, condition)


@_shape
def part_silent(random: np.random.Generator) -> Shape:
    condition = Condition(faults=((0.4, silence()),))
    return _plain("40 % of requests get no answer, 15 minutes", 900.0, condition)


@_shape
def brownout(random: np.random.Generator) -> Shape:
    condition = Condition(ttft_s=37.0, spread=0.08)
    says = "first content after 30 to 45 s instead of 0.8 s, 15 minutes"
    return _plain(says, 900.0, condition)


@_shape
def one_model_down(random: np.random.Generator) -> Shape:
    phase = Phase(start=0.0, end=900.0, condition=_all(overloaded()), families=("large",))
    return Shape(
        says="529 for one of two model families, 15 minutes",
        phases=(phase,),
        outages=(Outage(start=0.0, end=900.0, blame="model", families=frozenset({"large"})),),
        length_s=900.0,
    )


@_shape
def edge_alive(random: np.random.Generator) -> Shape:
    condition = _all(status(500))
    says = "inference answers 500, the list of models answers well, 15 minutes"
    return _plain(says, 900.0, condition)


@_shape
def flapping(random: np.random.Generator) -> Shape:
    down = _all(status(503), probe=status(503))
    starts = [120.0 * cycle for cycle in range(6)]
    return Shape(
        says="a minute of 503, a minute well, six times",
        phases=tuple(Phase(start=s, end=s + 60.0, condition=down) for s in starts),
        outages=tuple(Outage(start=s, end=s + 60.0) for s in starts),
        length_s=660.0,
    )


@_shape
def slow_recovery(random: np.random.Generator) -> Shape:
    shares = (1.0, 0.7, 0.4, 0.15)
    phases = [
        Phase(start=180.0 * n, end=180.0 * (n + 1), condition=_failing(share))
        for n, share in enumerate(shares)
    ]
    return Shape(
        says="503 for all, then for 70, 40 and 15 % of requests, 3 minutes each",
        phases=tuple(phases),
        outages=(Outage(start=0.0, end=720.0),),
        length_s=720.0,
    )


def _failing(share: float) -> Condition:
    return Condition(faults=((share, status(503)),), probe=status(503) if share == 1.0 else None)


@_shape
def overloaded_again(random: np.random.Generator) -> Shape:
    return Shape(
        says="refused for 5 minutes, well for 2, then 529 for all for 5",
        phases=(
            Phase(start=0.0, end=300.0, condition=_all(refused(), probe=refused())),
            Phase(start=420.0, end=720.0, condition=_all(overloaded())),
        ),
        outages=(Outage(start=0.0, end=300.0), Outage(start=420.0, end=720.0)),
        length_s=720.0,
    )


@_shape
def network_lost(random: np.random.Generator) -> Shape:
    condition = _all(unresolved(), probe=unresolved(), online=False)
    says = "this machine is offline for 5 minutes"
    return _plain(says, 300.0, condition, blame="network")


@_shape
def rate_limit_storm(random: np.random.Generator) -> Shape:
    condition = Condition(faults=((0.9, rate_limited(20.0)),))
    says = "429 with Retry-After 20 s for 90 % of requests, 10 minutes"
    return _plain(says, 600.0, condition, blame="nobody")


@_shape
def bad_key(random: np.random.Generator) -> Shape:
    return Shape(
        says="half the requests carry a key that is refused with 401, 30 minutes",
        phases=(),
        length_s=1800.0,
        bad_keys=0.5,
    )


@_shape
def poison(random: np.random.Generator) -> Shape:
    return Shape(
        says="one body always gets a 500, and is a fifth of the requests, 30 minutes",
        phases=(),
        length_s=1800.0,
        poisoned=0.2,
    )


@_shape
def bursts(random: np.random.Generator) -> Shape:
    """Background errors that come in clumps (Gilbert, Bell System Technical Journal 39, 1960):
    2 % of the time, 40 % of requests."""
    length_s, phases, now = 1800.0, [], 0.0
    condition = Condition(faults=((0.4, status(500)),))
    while (start := now + 1.0 + float(random.exponential(99.0))) < length_s - 10.0:
        now = start + min(10.0, float(random.exponential(2.0)))
        phases.append(Phase(start=start, end=now, condition=condition))
    return Shape(
        says="errors in bursts of 2 s, in which 40 % of requests fail, every 100 s",
        phases=tuple(phases),
        length_s=length_s,
    )
