"""Earlier answers that stand in while the cloud is not well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rig import PATHS, Client, Rig
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.outcome import Failure
from fallback.core.rules import Rule
from fallback.core.stale import StaleAnswer
from fallback.upstream.mock import Fault, Script, Wait

JSON = ((b"content-type", b"application/json"),)
SAID = b'{"id": "msg_1", "type": "message", "content": [{"type": "text", "text": "cloud"}]}'
OK = Script(headers=JSON, body=(SAID,))
REFUSED = Script(before=(Fault(Failure.REFUSED, sent=False),))
FRESH = [(b"cache-control", b"stale-if-error=600")]


class Kept:
    """Earlier answers in memory."""

    def __init__(self) -> None:
        self.answers: dict[str, StaleAnswer] = {}

    def keep(self, key: str, answer: StaleAnswer) -> None:
        self.answers[key] = answer

    async def find(self, key: str, since: float) -> StaleAnswer | None:
        found = self.answers.get(key)
        return found if found is not None and found.stored >= since else None


def asks(headers: Any = FRESH, dialect: str = "anthropic", **more: Any) -> Client:
    said = [{"role": "user", "content": "Is anybody there?"}]
    fields = {"model": "m", "max_tokens": 5, "messages": said, "input": said, **more}
    return Client(PATHS[dialect], json.dumps(fields).encode(), headers=list(headers))


def story(
    *scripts: Script, then: Client, first: Client | None = None, rules: tuple[Rule, ...] = ()
) -> tuple[Client, Client, Rig]:
    """One request, and then another, of which each attempt meets the next script."""

    async def told() -> tuple[Client, Client, Rig]:
        rig = Rig(list(scripts), rules=rules, answers=Kept())
        return await rig.ask(first or asks()), await rig.ask(then), rig

    return run(told())


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_gets_the_same_answer(dialect: str, stream: bool) -> None:
    """Byte for byte, whole or as a stream, tagged with its age and whose it was."""
    script = Script(headers=EVENT_STREAM, body=STREAMS[dialect]) if stream else OK
    first = asks(dialect=dialect, stream=stream)
    again = asks(dialect=dialect, stream=stream)
    one, two, rig = story(script, REFUSED, REFUSED, first=first, then=again)
    assert (one.tier, two.tier) == ("cloud", "stale")
    assert (two.status, two.got, two.finishes) == (200, one.got, 1)
    assert two.header("content-type") == one.header("content-type")
    assert two.header("age") == "0"
    assert (two.header("cache-status") or "").startswith("fallback; hit; ttl=0")
    told = rig.records[-1].provenance
    assert told.stale_of == rig.records[0].provenance.receipt
    assert told.reason == "unreachable-refused"
    assert f'stale-of="{told.stale_of}"' in (two.header("llm-provenance") or "")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (asks(), asks(headers=[])),
        (asks(headers=[]), asks()),
        (asks(), asks(max_tokens=6)),
        (asks(tools=[{"name": "pay"}]), asks(tools=[{"name": "pay"}])),
    ],
    ids=["not asked for", "not kept", "another request", "tools"],
)
def test_otherwise_the_local_tier_answers(first: Client, then: Client) -> None:
    """Only who asks for it, the same question, and nothing that acts."""
    _, two, _ = story(OK, REFUSED, REFUSED, first=first, then=then)
    assert two.tier == "local"


def test_while_the_cloud_is_well_it_answers() -> None:
    """A fresh answer is better, and replaces the earlier one."""
    _, two, rig = story(OK, OK, then=asks())
    assert two.tier == "cloud"
    assert len(rig.records) == 2


def test_being_late_is_no_reason() -> None:
    """A slow cloud is raced by the local tier, not by what it said before."""
    late = Script(before=(Wait(30.0),), headers=JSON, body=(SAID,))
    _, two, _ = story(OK, late, then=asks())
    assert two.tier == "local"


@pytest.mark.parametrize("status", [400, 401, 429])
def test_what_is_no_outage_passes(status: int) -> None:
    """The client's own errors are told, not covered."""
    _, two, _ = story(OK, Script(status=status, headers=JSON, body=(b"{}",)), then=asks())
    assert (two.tier, two.status) == ("cloud", status)


def test_an_error_is_not_kept() -> None:
    """Only good answers stand in."""
    _, two, _ = story(
        Script(status=404, headers=JSON, body=(b"{}",)), REFUSED, REFUSED, then=asks()
    )
    assert two.tier == "local"


def test_a_rule_asks_for_it() -> None:
    """For those who do not know of it, with tools if the operator says so."""
    rule = Rule(stale_if_error_s=60.0, stale_with_tools=True)
    call: dict[str, Any] = {"tools": [{"name": "look"}], "headers": []}
    _, two, _ = story(OK, REFUSED, REFUSED, first=asks(**call), then=asks(**call), rules=(rule,))
    assert two.tier == "stale"


def test_tiers_without_stale_leave_it_out() -> None:
    """The operator's order counts."""
    rule = Rule(tiers=("cloud", "local"))
    _, two, _ = story(OK, REFUSED, REFUSED, then=asks(), rules=(rule,))
    assert two.tier == "local"
