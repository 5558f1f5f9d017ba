"""How long a client waits with default settings, and how often a dead upstream is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from standin import PATIENCE_S
from standin.service import TERSE

from support.cells import Result, Table, laid, run_fault
from support.fault import DIALECTS, Cell, Fault, always, cells
from support.faults import FAULTS
from support.scenarios import Scenario, Told, counted
from support.sdk import Seen
from support.semantic_faults import refusal

_SILENT_S, _MORE_S = 10.5, 1.0
_DOWN_S, _EVERY_S, _BACK_S, _ATTEMPTS = 60.0, 4.0, 4.0, 4
_CLOCK_S = 0.1  # a request every 4 s is not sent to the microsecond
_DOWN = refusal(503, "api_error", "server_error")


def silent_upstream(folder: Path) -> Told:
    """A silent upstream's client waits 11 s at most.

    Half a second of it is the local tier's, on a machine that is not busy; on one that is, as
    much as it takes there.
    """
    refused, silence = FAULTS["refused"], FAULTS["silence"]
    terser = {**TERSE, "LOCAL__MAX_OUTPUT_TOKENS": "4"}
    with laid([refused, silence], folder, terser) as table:
        alone = _slowest(run_fault(table, refused))
        results = run_fault(table, silence)
    wrong = [said for result in results for said in result.objections()]
    more_s = _slowest(results) - alone
    wrong += [f"{more_s:.1f} s more than the local tier alone"] if more_s > _SILENT_S else []
    saw = f"content after {_slowest(results):.1f} s at most, {alone:.1f} s of it the local tier's"
    return Told(saw=saw, wrong=tuple(wrong))


def _slowest(results: Iterable[Result]) -> float:
    """Seconds to the first content."""
    return max(_content_s(one) for result in results for one in result.seen)


def persistent_503(folder: Path) -> Told:
    """A 503 costs its client less than a second beside what the local tier needs itself."""
    refused, down = FAULTS["refused"], FAULTS["503-always"]
    slowest = {refused: 0.0, down: 0.0}
    wrong: list[str] = []
    with laid([refused, down], folder, TERSE) as table:
        for dialect in DIALECTS:
            for fault in slowest:
                seen = table.ask(Cell(fault, dialect, stream=True))
                slowest[fault] = max(slowest[fault], _content_s(seen))
                wrong += [] if seen.result == "local" else [str(seen)]
    more_s = slowest[down] - slowest[refused]
    wrong += [f"{more_s:.2f} s more than the local tier alone"] if more_s > _MORE_S else []
    return Told(saw=f"content after {slowest[down]:.2f} s at most", wrong=tuple(wrong))


def names_that_hang(folder: Path) -> Told:
    """Look-ups of one upstream's name that hang hold up no connection to another."""
    hanging, well = FAULTS["dns-black-hole"], Fault(name="well", place="named")
    with laid([hanging, well], folder, TERSE) as table, ThreadPoolExecutor(1) as pool:
        row = pool.submit(run_fault, table, hanging)
        _await_queries(table, len(cells(hanging)))
        seen = [one for result in run_fault(table, well) for one in result.seen]
        wrong = [said for result in row.result() for said in result.objections()]
    wrong += [str(one) for one in seen if one.result != "cloud" or one.total_s > _MORE_S]
    slowest = max(one.total_s for one in seen)
    return Told(saw=f"others: {counted(seen)} within {slowest:.2f} s", wrong=tuple(wrong))


def _await_queries(table: Table, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while table.server.names.queries < count and time.monotonic() < deadline:
        time.sleep(0.01)


def _content_s(seen: Seen) -> float:
    return seen.total_s if seen.first_content_s is None else seen.first_content_s


def sixty_second_outage(folder: Path) -> Told:
    """Down for 60 s, a request every 4 s: at most 4 attempts, and back within 4 s of the return.

    The flap of FailoverBench (September 2026); takes over a minute.
    """
    outage = Fault(name="sixty-seconds", script=always(_DOWN), everywhere=True)
    cell = Cell(outage, "chat", stream=True)
    seen: list[tuple[float, Seen]] = []
    reached = 0
    with laid([outage], folder, TERSE) as table:
        began = time.monotonic()
        threading.Timer(_DOWN_S, table.server.mend, [cell]).start()
        while (now := time.monotonic() - began) <= _DOWN_S + _BACK_S + _EVERY_S:
            seen.append((now, table.ask(cell)))
            if now < _DOWN_S:
                reached = table.server.answers_asked(cell)
            time.sleep(max(0.0, began + len(seen) * _EVERY_S - time.monotonic()))
    return _told_of_outage(seen, reached)


def _told_of_outage(seen: list[tuple[float, Seen]], reached: int) -> Told:
    wrong = [f"{at:.0f} s: {one}" for at, one in seen if one.result not in ("cloud", "local")]
    back_s = next((at for at, one in seen if one.result == "cloud"), float("inf")) - _DOWN_S
    wrong += [f"{reached} attempts, at most {_ATTEMPTS} allowed"] if reached > _ATTEMPTS else []
    wrong += [f"back after {back_s:.1f} s"] if back_s > _BACK_S + _CLOCK_S else []
    saw = f"{reached} attempts in 60 s, back on the primary after {back_s:.1f} s"
    return Told(saw=saw, wrong=tuple(wrong))


TIMINGS: Mapping[str, Scenario] = {
    "silent-upstream": silent_upstream,
    "persistent-503": persistent_503,
    "names-that-hang": names_that_hang,
}
SLOW_TIMINGS: Mapping[str, Scenario] = {"sixty-second-outage": sixty_second_outage}
