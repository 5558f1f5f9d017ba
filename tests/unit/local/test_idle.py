"""When a worker may rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fallback.local.idle import Idleness


def test_unload() -> None:
    """It is ended once nobody has wanted anything for so long, counted from the last work."""
    idleness = Idleness(60.0, now=100.0)
    assert idleness.rest(False, 159.0) is None
    assert idleness.rest(True, 159.5) is None
    assert idleness.rest(False, 219.0) is None
    idleness.worked(219.2)
    assert idleness.rest(False, 219.5) is None
    assert idleness.rest(False, 280.0) == "idle"


def test_renewal() -> None:
    """It is replaced as soon as it has nothing to do, however short that is."""
    idleness = Idleness(60.0, now=0.0)
    idleness.renew()
    assert idleness.rest(True, 1.0) is None
    assert idleness.rest(False, 1.0) == "renewed"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans())))
def test_never(looks: list[tuple[float, bool]]) -> None:
    """Without a limit it is never unloaded, and never while it is busy with one."""
    never, soon = Idleness(0.0, now=0.0), Idleness(1e-9, now=0.0)
    for now, busy in sorted(looks):
        assert never.rest(busy, now) is None
        assert not (busy and soon.rest(busy, now))
