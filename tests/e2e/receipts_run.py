"""Many requests across an outage, a `kill -9` and a disk that fails: is each one accounted for?

The whole service on real sockets, the real model while the stand-in for the cloud is out. What is
checked: every answer that a client had whole has a receipt that is its own, or is among those that
the chain counts as lost; the chain is whole; one changed record and one changed character are
found and named.

    PYTHONPATH=tests:tests/e2e .venv/bin/python -m receipts_run --requests 10000 [--full-disk]
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import asks
import raw_http
from standin import PATIENCE_S, StandIn, faults
from standin.service import EAGER, TERSE, Fallback, ailing_fallback

from fallback.storage.database import Database
from fallback.storage.keys import RECEIPT_TYPE, Keyring
from fallback.storage.ledger import Ledger
from fallback.storage.verification import Chain, check_answer, check_chain, check_receipt

CLIENTS = 8
# In parts of all requests: when the cloud fails and is well again, the service is killed, the disk
# fails and is well again.
OUT, KILLED, BACK, DISK_OUT, DISK_BACK = 0.30, 0.35, 0.40, 0.55, 0.80


class Disk(Protocol):
    """Where the database lies, and how that fails."""

    @property
    def place(self) -> Path | str: ...

    def fail(self) -> None: ...

    def mend(self) -> None: ...


@dataclass
class LostDisk:
    """The file is taken away; something that is no database stands in its place."""

    place: Path

    def fail(self) -> None:
        self.place.rename(self.place.with_suffix(".away"))
        self.place.mkdir()

    def mend(self) -> None:
        self.place.rmdir()
        self.place.with_suffix(".away").rename(self.place)


@dataclass
class FullDisk:
    """A file system that is filled to its last byte."""

    place: Path

    def fail(self) -> None:
        with (self.place.parent / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return

    def mend(self) -> None:
        (self.place.parent / "filler").unlink()


@dataclass
class Had:
    """What clients had, whole, by receipt."""

    answers: dict[str, bytes] = field(default_factory=dict)
    broken: int = 0


@dataclass
class Found:
    """What came of it: those answered `without` a receipt, those whose receipt is another's."""

    answered: int
    chain: Chain
    without: list[str]
    wrong: list[str]
    tiers: dict[str, int]


class Run:
    """One run of so many requests."""

    def __init__(self, cloud: StandIn, service: Fallback, disk: Disk, requests: int) -> None:
        self._cloud = cloud
        self._service = service
        self._requests = requests
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._events: list[tuple[float, Callable[[], None]]] = [
            (OUT, lambda: cloud.script(faults.status(503, "api_error"))),
            (KILLED, self._kill),
            (BACK, cloud.heal),
            (DISK_OUT, disk.fail),
            (DISK_BACK, disk.mend),
        ]
        self.had = Had()

    def go(self) -> None:
        """All of it."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for client in [pool.submit(self._ask_on) for _ in range(CLIENTS)]:
                client.result()

    def _ask_on(self) -> None:
        while (number := next(self._numbers)) < self._requests:
            self._move(number)
            self._ask(number)

    def _move(self, number: int) -> None:
        """What is due by now happens, once."""
        with self._lock:
            while self._events and number >= self._events[0][0] * self._requests:
                self._events.pop(0)[1]()

    def _kill(self) -> None:
        self._service.kill()
        self._service.start()

    def _ask(self, number: int) -> None:
        ask = asks.ASKS[number % len(asks.ASKS)]
        body = ask.body(f"Request {number}.", stream=number % 2 == 0)
        try:
            answer = raw_http.send(self._service.url, "POST", ask.path, asks.KEYS, body)
        except (OSError, http.client.HTTPException):
            answer = None
        with self._lock:
            if answer is not None and answer.whole:
                self.had.answers[answer.provenance["receipt"]] = answer.body
            else:
                self.had.broken += 1


def run(folder: Path, disk: Disk, requests: int, **overrides: str) -> Had:
    """Let the clients ask; what they had."""
    settings = {"STORAGE__PATH": str(disk.place), **EAGER, **TERSE, **overrides}
    if isinstance(disk.place, str):
        settings |= {"STORAGE__URL": disk.place, "RECEIPTS__KEYS": str(folder / "keys")}
        del settings["STORAGE__PATH"]
    with (
        StandIn() as cloud,
        ailing_fallback(cloud.url, folder / "fallback.log", **settings) as service,
    ):
        service.await_local()
        asked = Run(cloud, service, disk, requests)
        asked.go()
        service.await_status(
            lambda status: (
                status["receipts"]["state"] == "ok" and status["receipts"]["waiting"] == 0
            ),
            "all written",
        )
        service.terminate()
    return asked.had


def check(had: Had, ledger: Ledger, keys: Keyring) -> Found:
    """Each answer against its receipt, and the chain as a whole."""
    public = keys.public()
    found = Found(
        answered=len(had.answers),
        chain=check_chain(ledger.entries(), ledger.checkpoints(), public),
        without=[],
        wrong=[],
        tiers={},
    )
    for receipt_id, body in had.answers.items():
        entry = ledger.find(receipt_id)
        if entry is None:
            found.without.append(receipt_id)
            continue
        receipt = check_receipt(keys.sign(entry.entry, RECEIPT_TYPE), public).receipt
        assert receipt is not None
        found.tiers[receipt.tier or "killed"] = found.tiers.get(receipt.tier or "killed", 0) + 1
        # One that was on its last steps when the service was killed is known to have begun.
        if receipt.ended != "killed" and check_answer(receipt, body) is not None:
            found.wrong.append(receipt_id)
    return found


def ledger_of(place: Path | str, keys: Keyring) -> Ledger:
    """The chain, as somebody reads it who came later."""
    return Ledger(Database(place), lambda payload: keys.sign(payload, RECEIPT_TYPE))


def fallback(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `fallback` prints about this database, with no service running."""
    command = [str(Path(sys.executable).with_name("fallback")), *arguments]
    env = {
        "PATH": os.environ["PATH"],
        "FALLBACK_URL": "http://127.0.0.1:9",
        "FALLBACK_STORAGE__PATH": str(place),
    }
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def tamper(place: Path, receipt_id: str) -> None:
    """Say that the answer had another status."""
    with sqlite3.connect(place) as connection:
        connection.execute(
            """UPDATE receipts SET entry = replace(entry, '"status":200', '"status":500')
            WHERE id = ?""",
            (receipt_id,),
        )
    connection.close()


def changed(body: bytes, seed: int) -> bytes:
    """One character is another."""
    at = random.Random(seed).randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument(
        "--full-disk", action="store_true", help="a file system of 24 MB that fills up (needs root)"
    )
    options = parser.parse_args(arguments)
    with _folder(full=options.full_disk) as (folder, disk):
        return _show(folder, disk, options.requests)


def _show(folder: Path, disk: LostDisk | FullDisk, requests: int) -> int:
    began = time.monotonic()
    # Little may wait, so that some are lost while the disk is.
    had = run(folder, disk, requests, RECEIPTS__WAITING_MB="1", LOCAL__MAX_OUTPUT_TOKENS="4")
    keys = Keyring(disk.place.parent / "keys")
    found = check(had, ledger_of(disk.place, keys), keys)
    print(
        f"{requests} requests in {time.monotonic() - began:.0f} s: {found.answered} answered whole"
    )
    print(f"by tier: {found.tiers}; {had.broken} broke off or were refused a connection")
    print(f"{len(found.without)} answered without a receipt; the chain: {found.chain}")
    print(f"{len(found.wrong)} receipts that are not of the answer the client had")
    kept = [each for each in had.answers if each not in set(found.without)]
    some, other = kept[len(kept) // 3], kept[len(kept) // 2]
    file = folder / "answer"
    file.write_bytes(had.answers[some])
    print(fallback(disk.place, "verify", some, "--answer", str(file)).stdout, end="")
    file.write_bytes(changed(had.answers[some], 1))
    one = fallback(disk.place, "verify", some, "--answer", str(file))
    print("one character of the answer changed:", one.stderr.strip().splitlines()[-1])
    tamper(disk.place, other)
    record = fallback(disk.place, "verify", "--chain")
    print(f"the record {other} changed:", record.stderr.strip().splitlines()[-1])
    fine = (
        not found.wrong
        and not found.chain.problems
        and len(found.without) <= found.chain.lost <= len(found.without) + CLIENTS
        and one.returncode == record.returncode == 1
        and other in record.stderr
    )
    return 0 if fine else 1


@contextmanager
def _folder(*, full: bool) -> Iterator[tuple[Path, LostDisk | FullDisk]]:
    folder = Path(tempfile.mkdtemp(prefix="fallback-receipts-"))
    disk = folder / "disk"
    disk.mkdir()
    try:
        if full:
            mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
            subprocess.run(mount, check=True)
        yield folder, (FullDisk if full else LostDisk)(disk / "fallback.db")
    finally:
        if full:
            subprocess.run(["umount", str(disk)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
