"""Faults that are more than an upstream's: of the model's place on this machine, and of clients.

Each is a function of an empty folder, registered in `SCENARIOS`: it tells what was seen, and
what should not have been.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asks
import raw_http
from standin import PATIENCE_S

from support.cells import Table, laid, run_fault
from support.fault import DIALECTS, Ask, Cell, Fault
from support.faults import FAULTS
from support.sdk import ASKS, Seen

_WELL = Fault(name="well")
_DOWN = FAULTS["503-always"]
_STORY = "Write a long story about a lighthouse keeper."
_BRIEF = Ask(text="Say hi.")
_CROWD, _IN_THE_HOUSE = 40, 1 + 32  # one is being answered, and the queue holds so many
_STORM, _THREADS = 48, 8
_LONG_WORDS, _HELD_KIB = 100_000, 16 * 1024


@dataclass(frozen=True, kw_only=True)
class Told:
    """`saw` is what was seen, in words; `wrong` what should not have been."""

    saw: str
    wrong: tuple[str, ...] = ()


Scenario = Callable[[Path], Told]


def model_missing(folder: Path) -> Told:
    """Without a model the cloud's answers pass, and its errors; where it says nothing, we do."""
    return _without_model(folder, {"LOCAL__MODEL": str(folder / "missing.gguf")})


def out_of_memory(folder: Path) -> Told:
    """The same where the model needs more memory than it may take."""
    return _without_model(folder, {"LOCAL__MEMORY_MB": "1"})


def _without_model(folder: Path, settings: Mapping[str, str]) -> Told:
    rows = {_WELL: "cloud", _DOWN: "status 503", FAULTS["refused"]: "status 503"}
    brief = {"LOCAL__READY_TIMEOUT_S": "1", **settings}
    saw, wrong = [], []
    with laid(tuple(rows), folder, brief, ready=False) as table:
        table.service.await_status(_is_failing, "told why there is no model")
        for fault, wanted in rows.items():
            seen = [one for result in run_fault(table, fault) for one in result.seen]
            saw.append(f"{fault.name}: {counted(seen)}")
            wrong += [f"{fault.name}: {one}" for one in seen if one.result != wanted]
    return Told(saw="; ".join(saw), wrong=tuple(wrong))


def _is_failing(status: Mapping[str, Mapping[str, Any]]) -> bool:
    local = status["local"]
    return bool(local["state"] == "failed" or local["restarts"])


def queue_full(folder: Path) -> Told:
    """Who finds the queue full is told so at once; when those in it leave, all is well again."""
    cell = Cell(_DOWN, "messages", stream=False)
    with laid([_DOWN], folder, {"LOCAL__SLOTS": "1"}) as table, ExitStack() as crowd:
        waiting = [crowd.enter_context(_open(table, cell, _STORY)) for _ in range(_CROWD)]
        refused = _first_answered(waiting, count=_CROWD - _IN_THE_HOUSE)
        answers = [connection.recv(64) for connection in refused]
        crowd.close()
        table.service.await_status(_is_idle, "idle after the crowd left")
        after = table.ask(cell, _BRIEF)
    wrong = [f"not refused: {answer!r}" for answer in answers if b" 503 " not in answer]
    wrong += [] if len(answers) == _CROWD - _IN_THE_HOUSE else [f"{len(answers)} were refused"]
    wrong += [] if after.result == "local" else [f"afterwards: {after}"]
    return Told(saw=f"{len(answers)} of {_CROWD} status 503 at once", wrong=tuple(wrong))


def _first_answered(waiting: list[socket.socket], *, count: int) -> list[socket.socket]:
    """Those that have bytes to read, once there are so many, or time is up."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ready: list[socket.socket] = select.select(waiting, [], [], PATIENCE_S)[0]
        if len(ready) >= count:
            break
        time.sleep(0.05)
    return ready


def client_disconnects(folder: Path) -> Told:
    """Whoever leaves in mid-stream frees what he held, at the cloud and here."""
    stalls = FAULTS["stall-mid-stream"]
    wrong: list[str] = []
    with laid([stalls, _DOWN], folder, {}) as table:
        for dialect in DIALECTS:
            cell = Cell(stalls, dialect, stream=True)
            _leave(table, cell, once=b"stand")
            request = table.server.await_request(f"/{cell.name}{ASKS[dialect].path}")
            wrong += [] if request.left.wait(PATIENCE_S) else [f"{cell}: the cloud was not told"]
            _leave(table, Cell(_DOWN, dialect, stream=True), once=b"delta")
            table.service.await_status(_is_idle, f"idle after a client of {dialect} left")
    return Told(saw="left in mid-stream, 6 times", wrong=tuple(wrong))


def _leave(table: Table, cell: Cell, *, once: bytes) -> None:
    with closing(_open(table, cell, _BRIEF.text)) as connection:
        raw_http.read_until(connection, once)


def _open(table: Table, cell: Cell, text: str) -> socket.socket:
    ask = ASKS[cell.dialect]
    target, body = f"/{cell.name}{ask.path}", ask.body(text, stream=cell.stream)
    return raw_http.open_request(table.service.url, target, asks.KEYS, body)


def _is_idle(status: Mapping[str, Mapping[str, int]]) -> bool:
    return status["local"]["active"] == 0 == status["local"]["queued"]


def client_reads_slowly(folder: Path) -> Told:
    """A client that does not read its 15 MB holds up nobody, and little memory."""
    cell = Cell(_WELL, "messages", stream=True)
    with laid([_WELL], folder, {}) as table:
        before_kib = _rss_kib(table.service.pid)
        with closing(_open(table, cell, f"[[long {_LONG_WORDS}]]")) as connection:
            raw_http.read_until(connection, b"word1")
            others = [table.ask(cell) for _ in range(10)]
            held_kib = _rss_kib(table.service.pid) - before_kib
            raw_http.read_until(connection, b"message_stop")
    slowest = max(one.total_s for one in others)
    wrong = [str(one) for one in others if one.result != "cloud"]
    wrong += [f"{held_kib} KiB are held"] if held_kib > _HELD_KIB else []
    saw = f"others: {counted(others)} within {slowest:.2f} s; {held_kib} KiB more held"
    return Told(saw=saw, wrong=tuple(wrong))


def _rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)


def client_retry_storm(folder: Path) -> Told:
    """Clients that see errors and retry reach a dead upstream a few times, not each time."""
    cell = Cell(_DOWN, "messages", stream=False)
    bound = 3 * _THREADS
    off = {"LOCAL__MODE": "off"}
    with laid([_DOWN], folder, off, ready=False) as table, ThreadPoolExecutor(_THREADS) as pool:
        seen = list(pool.map(lambda _: table.ask(cell, retries=2), range(_STORM)))
        reached = table.server.answers_asked(cell)
    wrong = [str(one) for one in seen if one.result != "status 503"]
    wrong += [f"{reached} attempts upstream, at most {bound} allowed"] if reached > bound else []
    return Told(saw=f"{counted(seen)}; {reached} attempts upstream", wrong=tuple(wrong))


def counted(seen: Iterable[Seen]) -> str:
    """`7 local, 5 cloud`."""
    counts = Counter(one.result for one in seen)
    return ", ".join(f"{count} {result}" for result, count in counts.most_common())


SCENARIOS: Mapping[str, Scenario] = {
    "model-missing": model_missing,
    "out-of-memory": out_of_memory,
    "queue-full": queue_full,
    "client-disconnects": client_disconnects,
    "client-reads-slowly": client_reads_slowly,
    "client-retry-storm": client_retry_storm,
}
