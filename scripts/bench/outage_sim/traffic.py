"""Who asks for what and when, with the draws that decide what the world does to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from outage_sim.world import FAMILIES

GOOD, BAD = "aaaaaa", "bbbbbb"
POISON = "poison"


class Call(NamedTuple):
    """One request of a client. `body` stands for what is in it, `chance` is uniform in [0, 1),
    `normal` standard normal."""

    at: float
    family: str
    credential: str
    body: str
    chance: float
    normal: float


def poisson(
    random: np.random.Generator,
    *,
    rate: float,
    start: float,
    end: float,
    bad_keys: float = 0.0,
    poisoned: float = 0.0,
) -> list[Call]:
    """Independent arrivals at `rate` a second, both model families alike. A share `bad_keys` of
    them carries a credential that is refused, a share `poisoned` the one body that always fails.
    """
    count = int(random.poisson(rate * (end - start)))
    instants = np.sort(random.uniform(start, end, count))
    families = random.integers(len(FAMILIES), size=count)
    keys = np.where(random.random(count) < bad_keys, BAD, GOOD)
    bodies = np.where(random.random(count) < poisoned, POISON, np.arange(count).astype(str))
    columns = (instants, families, keys, bodies, random.random(count), random.normal(size=count))
    return [
        Call(at, FAMILIES[family], key, body, chance, normal)
        for at, family, key, body, chance, normal in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]
