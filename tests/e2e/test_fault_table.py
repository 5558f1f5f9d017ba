"""The table of faults: what the official SDKs see of each, streamed and whole, in every dialect.

The real service with the real model stands between them and `support.server.FaultServer`; what
is allowed is said in `support.expected`. `python -m support.table` prints it all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from standin.service import TERSE
from support.cells import Table, laid, run_fault
from support.expected import EXPECTED
from support.faults import FAULTS
from support.scenarios import SCENARIOS
from support.timings import TIMINGS

# What waits for silence is to be over soon; `TIMINGS` are about the default settings.
_IMPATIENT = {
    "DEADLINES__CONNECT_S": "1.5",
    "DEADLINES__FIRST_BYTE_S": "1.5",
    "DEADLINES__FIRST_CONTENT_S": "2",
    "DEADLINES__WHOLE_S": "2",
    "DEADLINES__STALL_S": "1.5",
    "DEADLINES__PROGRESS_S": "1.5",
}
_TERSER = {**TERSE, "LOCAL__MAX_OUTPUT_TOKENS": "4"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    faults = list(FAULTS.values())
    with laid(faults, tmp_path_factory.mktemp("table"), {**_TERSER, **_IMPATIENT}) as table:
        yield table


@pytest.mark.parametrize("name", FAULTS)
def test_clients_see_of_a_fault_what_is_allowed(table: Table, name: str) -> None:
    """A whole answer wherever policy allows one, the right error elsewhere, nothing cut short."""
    wrong = [said for result in run_fault(table, FAULTS[name]) for said in result.objections()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [*SCENARIOS, *TIMINGS])
def test_a_scenario_goes_well(tmp_path: Path, name: str) -> None:
    """What a scenario of the table says should not be seen is not seen."""
    told = {**SCENARIOS, **TIMINGS}[name](tmp_path)
    assert not told.wrong, "\n".join((told.saw, *told.wrong))


def test_every_fault_has_its_line_of_expectations() -> None:
    """A fault that is registered is expected, and the other way round."""
    assert set(FAULTS) == set(EXPECTED)
