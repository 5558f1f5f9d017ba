"""How much of the machine standby may take, and why not more."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.pacing import Machine, Permit, StandbySettings, permit

SETTINGS = StandbySettings(
    cpu=0.25, memory_bytes=1 << 30, on_battery=False, max_tokens=1024, prompt_budget_tokens=None
)
GOING, STOPPED = Permit(cpu=0.25), Permit(cpu=0.0, why="something")
MACHINES = st.builds(
    Machine,
    on_battery=st.booleans(),
    others_cpu=st.floats(0, 1),
    free_memory=st.floats(0, 1),
)


def test_a_quiet_machine_gives_what_the_operator_allows() -> None:
    """No more than that, and no reason."""
    assert permit(SETTINGS, Machine(), GOING, suspect=False) == Permit(cpu=0.25)


def test_suspicion_lifts_the_share_to_the_whole_machine() -> None:
    """Even beside others, and while memory is short: the next request may need it."""
    machine = Machine(others_cpu=1.0, free_memory=0.0)
    assert permit(SETTINGS, machine, STOPPED, suspect=True) == Permit(cpu=1.0)


@given(before=st.sampled_from([GOING, STOPPED]), suspect=st.booleans(), machine=MACHINES)
def test_the_battery_is_the_operators(before: Permit, suspect: bool, machine: Machine) -> None:
    """On battery nothing runs, unless it was allowed."""
    found = permit(SETTINGS, machine, before, suspect=suspect)
    assert found.cpu == 0.0 or not machine.on_battery
    assert bool(found.why) == (found.cpu == 0.0)


@given(machine=MACHINES)
def test_a_battery_that_may_be_used_changes_nothing(machine: Machine) -> None:
    """The rest of the rules holds on it as on mains."""
    allowed = msgspec.structs.replace(SETTINGS, on_battery=True)
    on_mains = msgspec.structs.replace(machine, on_battery=False)
    assert permit(allowed, machine, GOING, suspect=False) == permit(
        allowed, on_mains, GOING, suspect=False
    )


def test_others_go_first_and_it_does_not_flutter() -> None:
    """It stops when others want most of the machine, and goes on when it is quiet again."""
    between = Machine(others_cpu=0.5)
    assert permit(SETTINGS, Machine(others_cpu=0.7), GOING, suspect=False).cpu == 0.0
    assert permit(SETTINGS, between, GOING, suspect=False).cpu == 0.25
    assert permit(SETTINGS, between, STOPPED, suspect=False).cpu == 0.0
    assert permit(SETTINGS, Machine(others_cpu=0.3), STOPPED, suspect=False).cpu == 0.25


def test_short_memory_stops_it() -> None:
    """What would push the machine into swapping is not worth being warm."""
    found = permit(SETTINGS, Machine(free_memory=0.01), GOING, suspect=False)
    assert (found.cpu, found.why) == (0.0, "memory is short")
