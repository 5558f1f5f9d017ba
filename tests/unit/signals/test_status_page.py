"""What is read off a provider's status page, and what is not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from loopback_hosts import LIMITS, Authority, Names, Speaker, http, mute, serving

from fallback.signals.status_page import PERIOD_S, StatusPage, StatusPages, StatusReading, parse

NAME = "Claude API (api.anthropic.com)"
PAGE = StatusPage(url="https://status.test", components=(NAME,))


def component(name: str, status: str) -> dict[str, Any]:
    return {"id": "c1", "name": name, "status": status, "position": 1, "group": False}


def summary(**fields: Any) -> bytes:
    page = {"id": "p1", "name": "Claude", "updated_at": "2026-11-20T10:00:00Z"}
    whole = {"page": page, "status": {"indicator": "critical"}, "components": [], **fields}
    return json.dumps(whole).encode()


DOWN = summary(
    components=[component("claude.ai", "operational"), component(NAME, "major_outage")],
    incidents=[
        {"name": "Elevated\n errors", "status": "investigating", "components": []},
        {"name": "Old trouble", "status": "resolved", "components": []},
        {"name": "Login", "status": "identified", "components": [component("claude.ai", "x")]},
    ],
)


def test_the_component_that_matters_is_told_with_its_incidents() -> None:
    """The page's own indicator, other components and what is over are left out."""
    assert parse(DOWN, PAGE) == StatusReading(
        status="major_outage",
        weight=1.0,
        text=f"status.test says {NAME}: major outage; incident 'Elevated errors'",
    )


@pytest.mark.parametrize(
    ("status", "weight"),
    [
        ("operational", 0.0),
        ("degraded_performance", 0.5),
        ("under_maintenance", 0.5),
        ("partial_outage", 1.0),
        ("major_outage", 1.0),
    ],
)
def test_no_status_weighs_more_than_a_hint(status: str, weight: float) -> None:
    """Two failed requests weigh more than the worst page."""
    reading = parse(summary(components=[component(NAME.upper(), status)]), PAGE)
    assert reading is not None
    assert (reading.status, reading.weight) == (status, weight)


def test_the_worst_of_several_components_counts() -> None:
    """An upstream may serve requests that depend on more than one."""
    page = StatusPage(url="https://status.test", components=("Responses", "Chat Completions"))
    found = [component("Responses", "operational"), component("Chat Completions", "partial_outage")]
    reading = parse(summary(components=found), page)
    assert reading is not None
    assert reading.text == "status.test says Chat Completions: partial outage"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"[" * 100_000,
        summary(components=None),
        summary(components=[]),
        summary(components=[component("claude.ai", "operational")]),
        summary(components=[component(NAME, "on_fire")]),
        summary(components=[{"name": None, "status": "operational"}]),
        b'{"components": "\xff"}',
    ],
    ids=["empty", "page", "list", "deep", "null", "none", "others", "new", "nameless", "bytes"],
)
def test_what_does_not_speak_of_the_component_is_unknown(body: bytes) -> None:
    """It is never taken for fine."""
    assert parse(body, PAGE) is None


def test_foreign_text_is_one_short_printable_line() -> None:
    """It goes to logs and pages."""
    incident = {"name": "a\x1b[31m\r\nb" + "c" * 500, "status": "investigating"}
    reading = parse(
        summary(components=[component(NAME, "operational")], incidents=[incident]), PAGE
    )
    assert reading is not None
    assert reading.text.isprintable()
    assert len(reading.text) < 400


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def pages(url: str, authority: Authority, clock: Clock | None = None) -> StatusPages:
    page = StatusPage(url=url, components=(NAME,), ca_file=authority.pem)
    names = Names("status.test", "old.test")
    return StatusPages({"cloud": page}, names, clock=clock or Clock(), limits=LIMITS)


async def test_a_page_is_asked_at_most_once_a_minute(authority: Authority) -> None:
    """Without any key, over TLS that is verified."""
    clock, speaker = Clock(), Speaker(http("200 OK", DOWN))
    async with serving(speaker, authority.context("status.test")) as port:
        reader = pages(f"https://status.test:{port}/", authority, clock)
        first, second = await asyncio.gather(reader.read("cloud"), reader.read("cloud"))
        assert first is not None
        assert second is None  # not known yet
        assert await reader.read("cloud") == first
        assert len(speaker.heard) == 1
        clock.now += PERIOD_S
        assert await reader.read("cloud") == first
        assert len(speaker.heard) == 2
    assert speaker.heard[0].startswith(b"GET /api/v2/summary.json HTTP/1.1\r\n")
    assert b"authorization" not in speaker.heard[0].lower()
    assert b"x-api-key" not in speaker.heard[0].lower()


async def test_a_feed_without_components_is_not_the_only_one(authority: Authority) -> None:
    """incident.io's summary can have none."""
    heard: list[bytes] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        full = b"components.json" in heard[-1]
        writer.write(http("200 OK", DOWN if full else summary(components=None)))
        await writer.drain()
        writer.close()

    async with serving(speak, authority.context("status.test")) as port:
        reading = await pages(f"https://status.test:{port}", authority).read("cloud")
    assert reading is not None
    assert reading.status == "major_outage"
    assert len(heard) == 2


async def test_pages_move(authority: Authority) -> None:
    """status.anthropic.com leads to status.claude.com."""
    async with serving(Speaker(http("200 OK", DOWN)), authority.context("status.test")) as port:
        location = f"location: https://status.test:{port}/api/v2/summary.json?x=1"
        moved = Speaker(http("302 Found", b"", location))
        async with serving(moved, authority.context("old.test")) as old:
            reading = await pages(f"https://old.test:{old}", authority).read("cloud")
    assert reading is not None
    assert reading.status == "major_outage"


@pytest.mark.parametrize(
    "location",
    ["http://status.test/", "", "file:///etc/passwd", "https://status.test:99999/", "/round"],
)
async def test_no_redirect_leaves_https(location: str, authority: Authority) -> None:
    """Nor is one followed that leads nowhere, or round in a circle."""
    moved = Speaker(http("301 Moved Permanently", b"", f"location: {location}"))
    async with serving(moved, authority.context("old.test")) as old:
        assert await pages(f"https://old.test:{old}", authority).read("cloud") is None
    assert len(moved.heard) <= 8


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", DOWN, "age: 86400"),
        http("200 OK", DOWN, "age: soon"),
        http("200 OK", DOWN + b" " * 2_000_000),
        http("404 Not Found", DOWN),
        http("503 Service Unavailable", DOWN),
        b"",
    ],
    ids=["stale", "no-age", "endless", "gone", "down", "reset"],
)
async def test_a_failed_or_stale_read_is_unknown(answer: bytes, authority: Authority) -> None:
    """A cache in front of a dead page must not say that all is well."""
    async with serving(Speaker(answer), authority.context("status.test")) as port:
        assert await pages(f"https://status.test:{port}", authority).read("cloud") is None


async def test_a_silent_page_is_given_up(authority: Authority, tmp_path: Path) -> None:
    """So is one with a certificate that nobody trusts, and an upstream without a page."""
    async with serving(mute, authority.context("status.test")) as port:
        reader = pages(f"https://status.test:{port}", authority)
        assert await reader.read("cloud") is None
        stranger = pages(f"https://status.test:{port}", Authority(tmp_path))
        assert await stranger.read("cloud") is None
        assert await reader.read("other") is None
