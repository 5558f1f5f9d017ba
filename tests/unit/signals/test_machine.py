"""Changes of network and wake-ups, in virtual time."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from virtual_time import run

from fallback.signals import machine
from fallback.signals.machine import Glimpse

HOME = Glimpse(addresses=("192.168.1.7",), asleep_s=100.0)


@pytest.mark.parametrize(
    ("glimpses", "woken_at"),
    [
        ([HOME] * 9, []),
        ([HOME, HOME, Glimpse(addresses=("10.0.0.3",), asleep_s=100.0)], [2.0]),
        ([HOME, Glimpse(addresses=(), asleep_s=100.0), HOME], [1.0, 2.0]),
        ([HOME, HOME, HOME, Glimpse(addresses=HOME.addresses, asleep_s=3700.0)], [3.0]),
        ([HOME, Glimpse(addresses=HOME.addresses, asleep_s=100.5)], []),
    ],
    ids=["calm", "another-network", "lost-and-found", "woke-up", "clock-nudged"],
)
def test_each_change_wakes_once(glimpses: list[Glimpse], woken_at: list[float]) -> None:
    """A look each second, and no more than one call for each change."""

    async def story() -> list[float]:
        woken: list[float] = []
        coming = list(glimpses)
        now = asyncio.get_running_loop().time
        watching = asyncio.ensure_future(
            machine.watch(
                lambda: woken.append(now()),
                glance=lambda: coming.pop(0) if len(coming) > 1 else coming[0],
            )
        )
        await asyncio.sleep(20.0)
        watching.cancel()
        return woken

    assert run(story()) == woken_at


def test_a_real_glimpse_holds_still() -> None:
    """Two in a row are the same, and name real addresses."""
    before, after = machine.glance(), machine.glance()
    assert before.addresses == after.addresses
    assert all(ipaddress.ip_address(address) for address in before.addresses)
    assert abs(after.asleep_s - before.asleep_s) < 1.0
