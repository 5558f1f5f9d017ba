"""What happens to this machine: another network, a wake-up. Looked at only while it matters."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import TypeAlias

import msgspec

_log = logging.getLogger("fallback.signals")

_SLEPT_S = 2.0
# a.root-servers.net, whose addresses have stood for decades; nothing is sent there.
_FAR = ((socket.AF_INET, "198.41.0.4"), (socket.AF_INET6, "2001:503:ba3e::2:30"))


class Glimpse(msgspec.Struct, frozen=True, kw_only=True):
    """`addresses`: what this machine would send from, for each family that has a route to the
    internet. `asleep_s`: seconds that it has slept since some fixed moment."""

    addresses: tuple[str, ...]
    asleep_s: float


Glance: TypeAlias = Callable[[], Glimpse]


def glance() -> Glimpse:
    """How things are now."""
    return Glimpse(addresses=addresses(), asleep_s=_asleep_s())


def addresses() -> tuple[str, ...]:
    """This machine's addresses towards the internet, empty where there is no route to it.

    To connect a datagram socket only chooses the route: nothing is sent.
    """
    found = (_address(family, far) for family, far in _FAR)
    return tuple(address for address in found if address is not None)


def _address(family: socket.AddressFamily, far: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 53))
            return str(probe.getsockname()[0])
    except OSError:
        return None


def _asleep_s() -> float:
    """Linux counts its sleep in CLOCK_BOOTTIME alone (clock_gettime(2)); elsewhere the wall
    clock runs on, and setting it costs no more than a needless look."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.time() - time.monotonic()


async def watch(
    wake: Callable[[], None], *, period_s: float = 1.0, glance: Glance = glance
) -> None:
    """Call `wake` after each change of network and each sleep, until cancelled."""
    last = glance()
    while True:
        await asyncio.sleep(period_s)
        seen = glance()
        if what := _difference(last, seen):
            _log.debug("looking again at once: %s", what)
            wake()
        last = seen


def _difference(before: Glimpse, after: Glimpse) -> str | None:
    if after.asleep_s - before.asleep_s >= _SLEPT_S:
        return "this machine woke up"
    if after.addresses != before.addresses:
        return "the network changed"
    return None
