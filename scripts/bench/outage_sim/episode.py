"""One episode: a shape of trouble, the requests that come while it lasts, and one rule."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TypeAlias

import msgspec
import numpy as np

from outage_sim.agenda import Agenda
from outage_sim.desk import Desk
from outage_sim.rules.base import Rule
from outage_sim.shapes import SHAPES, Outage, Shape
from outage_sim.tally import Tally
from outage_sim.traffic import Call, poisson
from outage_sim.world import World

TAIL_S = 400.0


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """What all rules meet alike. Trouble begins at 0, after a quiet lead."""

    world: World
    calls: list[Call]
    outages: tuple[Outage, ...]
    asked_again: tuple[float, ...]
    start: float
    end: float
    seed: int


Build: TypeAlias = Callable[[Agenda, World, Random, float], Rule]


def drawn(shape: str, seed: int) -> Shape:
    """The shape of that name, with what is left to chance in it decided."""
    return SHAPES[shape](np.random.default_rng(seed))


def stage(shape: str, *, rate: float, seed: int) -> Stage:
    """`rate` is requests a second. The lead is long enough to learn what is usual."""
    trouble = drawn(shape, seed)
    seed = zlib.crc32(f"{shape} {rate:g} {seed}".encode())
    random = np.random.default_rng(seed)
    start, end = -min(1800.0, max(30.0, 60.0 / rate)), trouble.length_s + TAIL_S
    calls = poisson(
        random,
        rate=rate,
        start=start,
        end=end,
        bad_keys=trouble.bad_keys,
        poisoned=trouble.poisoned,
    )
    return Stage(
        world=World(trouble.phases),
        calls=calls,
        outages=trouble.outages,
        asked_again=tuple(_first_after(outage, calls) for outage in trouble.outages),
        start=start,
        end=end,
        seed=seed,
    )


def _first_after(outage: Outage, calls: list[Call]) -> float:
    later = calls[bisect_left(calls, outage.end, key=lambda call: call.at) :]
    return next((call.at for call in later if call.family in outage.families), math.inf)


def play(scene: Stage, build: Build) -> tuple[Tally, Rule]:
    """All requests of the stage under one rule."""
    agenda, tally = Agenda(), Tally(scene.outages, scene.asked_again)
    rule = build(agenda, scene.world, Random(scene.seed), scene.start)
    desk = Desk(scene.world, agenda, rule, tally)
    for number, outage in enumerate(scene.outages):
        agenda.at(outage.start, partial(desk.begins, number))
        agenda.at(outage.end, partial(desk.ends, number))
    settled = scene.end - TAIL_S + 60.0
    for call in scene.calls:
        desk.catch_up(call.at)
        desk.answer(call)
        if call.at > settled and tally.is_back:
            break
    desk.finish()
    tally.close(call.at)
    return tally, rule
