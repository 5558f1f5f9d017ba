"""Receipts of the whole service: across an outage, a kill and a lost disk, and as they are asked
for."""

from __future__ import annotations

import json
from pathlib import Path

import asks
import httpx
import pytest
import raw_http
from receipts_run import (
    LostDisk,
    changed,
    check,
    fallback,
    ledger_of,
    run,
    tamper,
)
from standin import StandIn
from standin.service import PATIENT, running_fallback

from fallback.storage.keys import Keyring


class _NoFault:
    """A database that does not fail."""

    def __init__(self, place: Path | str) -> None:
        self.place = place

    def fail(self) -> None:
        pass

    def mend(self) -> None:
        pass


def test_every_answer_is_accounted_for(tmp_path: Path) -> None:
    """600 requests, an outage, a kill, a database that is gone for a while: all have receipts,
    which are theirs; one changed record and one changed character are found and named."""
    disk = LostDisk(tmp_path / "fallback.db")
    had = run(tmp_path, disk, 600)
    keys = Keyring(tmp_path / "keys")
    found = check(had, ledger_of(disk.place, keys), keys)
    assert found.answered > 550
    assert (found.without, found.wrong) == ([], [])
    assert (found.chain.problems, found.chain.lost) == ((), 0)
    assert {"cloud", "local"} <= set(found.tiers)
    assert "The chain is whole" in fallback(disk.place, "verify", "--chain").stdout
    some, other = list(had.answers)[50], list(had.answers)[500]
    file = tmp_path / "answer"
    file.write_bytes(had.answers[some])
    whole = fallback(disk.place, "verify", some, "--answer", str(file))
    assert "is the answer of this receipt" in whole.stdout
    file.write_bytes(changed(had.answers[some], 1))
    told = fallback(disk.place, "verify", some, "--answer", str(file))
    assert (told.returncode, f"NOT the answer of {some}" in told.stderr) == (1, True)
    tamper(disk.place, other)
    told = fallback(disk.place, "verify", "--chain")
    assert (told.returncode, f"({other}) was changed" in told.stderr) == (1, True)


def test_the_same_in_postgresql(tmp_path: Path, postgresql_server: str) -> None:
    """An outage and a kill, with the ledger in another database."""
    import postgresql

    place = postgresql.create(postgresql_server, "receipts")
    had = run(tmp_path, _NoFault(place), 200)
    keys = Keyring(tmp_path / "keys")
    found = check(had, ledger_of(place, keys), keys)
    assert found.answered > 150
    assert (found.without, found.wrong) == ([], [])
    assert (found.chain.problems, found.chain.lost) == ((), 0)


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_a_receipt_can_be_had_and_verified_offline(tmp_path: Path, ask: asks.Ask) -> None:
    """Asked for at once and later, as JSON and as a JWS; verified with the keys alone, by the text
    that an SDK's user has."""
    with (
        StandIn() as cloud,
        running_fallback(cloud.url, tmp_path / "log", LOCAL__MODE="off", **PATIENT) as service,
    ):
        answer = raw_http.send(service.url, "POST", ask.path, asks.KEYS, ask.body(stream=True))
        receipt = answer.provenance["receipt"]
        at = f"{service.url}/fallback/receipts/{receipt}"
        assert httpx.get(at).json()["receipt"]["id"] == receipt
        service.await_status(lambda status: status["receipts"]["written"] == 1, "written")
        found = httpx.get(at).json()
        token = httpx.get(at, headers={"accept": "application/jose"})
        assert token.headers["content-type"] == "application/jose"
        keys = httpx.get(f"{service.url}/fallback/jwks.json")
        service.terminate()
    (tmp_path / "receipt.jws").write_text(token.text)
    (tmp_path / "receipt.json").write_text(json.dumps(found))
    (tmp_path / "jwks.json").write_text(keys.text)
    said = found["receipt"]["answer"]
    assert said["text_size"] > 0
    (tmp_path / "answer.sse").write_bytes(answer.body)
    for name in ("receipt.jws", "receipt.json"):
        given = ["verify", str(tmp_path / name), "--keys", str(tmp_path / "jwks.json")]
        told = fallback(tmp_path / "nowhere.db", *given, "--answer", str(tmp_path / "answer.sse"))
        assert told.returncode == 0, told.stderr
        assert "by anthropic" in told.stdout or "by openai" in told.stdout
