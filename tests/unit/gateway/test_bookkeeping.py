"""What is put on record of each request."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from rig import PATHS, Client, Rig, body
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.outcome import Failure
from fallback.core.record import FinishedRequest, Seen
from fallback.core.rules import Rule
from fallback.handling.witness import Witness
from fallback.upstream.mock import Fault, Script

JSON = ((b"content-type", b"application/json"),)
REFUSED = Script(before=(Fault(Failure.REFUSED, sent=False),))
SAID = b'{"id": "msg_1", "type": "message"}'


class Books:
    """Remembers what is put on record."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.kept: list[tuple[FinishedRequest, Seen, bool]] = []

    def begun(self, id: str, started: float, method: str, path: str) -> None:
        self.began.append(id)

    def finished(self, record: FinishedRequest, seen: Seen, *, keep_bodies: bool) -> None:
        self.kept.append((record, seen, keep_bodies))


def kept(*scripts: Script, client: Client, rules: tuple[Rule, ...] = ()) -> Books:
    """What is put on record of one request."""
    books = Books()

    async def story() -> None:
        await Rig(list(scripts), rules=rules, books=books).ask(client)

    run(story())
    return books


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("out", [False, True])
def test_what_passed_is_on_record(dialect: str, stream: bool, out: bool) -> None:
    """The request as it came and the answer as it went, whoever gave it."""
    well = Script(headers=EVENT_STREAM, body=STREAMS[dialect])
    whole = Script(headers=JSON, body=(SAID,))
    client = Client(PATHS[dialect], body(dialect, stream=stream))
    scripts = (REFUSED, REFUSED) if out else (well if stream else whole,)
    ((record, seen, keeps),) = kept(*scripts, client=client).kept
    assert record.provenance.tier == ("local" if out else "cloud")
    assert seen.request == body(dialect, stream=stream)
    assert seen.answer == client.got
    assert seen.answer_size == len(client.got)
    assert seen.answer_sha256 == hashlib.sha256(client.got).hexdigest()
    assert seen.answer_type == client.header("content-type")
    assert not keeps


def test_a_request_is_known_of_before_it_is_answered() -> None:
    """By the receipt that it will have."""
    books = kept(Script(headers=JSON, body=(SAID,)), client=Client(sent=b"{}"))
    ((record, _, _),) = books.kept
    assert books.began == [record.provenance.receipt]


def test_a_rule_keeps_bodies() -> None:
    """Those that it names."""
    rule = Rule(keep_bodies=True)
    books = kept(Script(headers=JSON, body=(SAID,)), client=Client(sent=b"{}"), rules=(rule,))
    assert books.kept[0][2]


def test_a_compressed_answer_is_read() -> None:
    """Its hash is of what was sent, its text of what that says; what cannot be read has none."""
    packed = gzip.compress(SAID)
    headers = (*JSON, (b"content-encoding", b"gzip"))
    client = Client(sent=body("anthropic", stream=False))
    ((_, seen, _),) = kept(Script(headers=headers, body=(packed,)), client=client).kept
    assert seen.answer == SAID
    assert seen.answer_sha256 == hashlib.sha256(packed).hexdigest()


async def test_a_long_answer_is_hashed_as_it_passes() -> None:
    """And not kept."""
    client = Client(sent=b"{}")
    witness = Witness(client, kept_bytes=10)
    await witness.start(200, [])
    for _ in range(9):
        await witness.send(b"abc")
    await witness.finish(b"d")
    seen = witness.seen({}, "")
    assert client.got == b"abc" * 9 + b"d"
    assert seen.answer is None
    assert seen.answer_sha256 == hashlib.sha256(client.got).hexdigest()
    assert seen.answer_size == 28
    assert json.loads(seen.request or b"null") is None
