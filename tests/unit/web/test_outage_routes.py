"""The outages of the control plane."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from outage_events import START, down

from fallback.core.outages import Outage
from fallback.web import admin

NOW = START + 25


class Outages:
    """Stands where the recorder stands."""

    def __init__(self, *outages: Outage) -> None:
        self.outages = outages

    async def since(self, when: float) -> list[Outage]:
        return [outage for outage in self.outages if outage.last_known >= when]

    async def find(self, outage_id: str) -> Outage | None:
        return next((outage for outage in self.outages if outage.id == outage_id), None)

    def status(self) -> dict[str, Any]:
        return {"state": "ok"}


@pytest.fixture
def app() -> FastAPI:
    outages = Outages(down(START, number=1), down(START - 90, number=2))
    return admin.create(dict, lambda receipt: None, outages, clock=lambda: NOW)


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.get(f"/fallback/outages{path}")


async def test_the_list_counts_and_leaves_the_lists_out(app: FastAPI) -> None:
    """Each with its phase, and how storing stands."""
    listed = (await get(app, "")).json()
    assert [(outage["id"], outage["phase"]) for outage in listed["outages"]] == [
        ("out-1", "on"),
        ("out-2", "unknown"),
    ]
    first = msgspec.convert(listed["outages"][0], Outage)
    assert (len(first.transitions), list(first.transitions)) == (2, [])
    assert listed["storage"] == {"state": "ok"}


async def test_the_list_can_be_cut_by_time(app: FastAPI) -> None:
    """What ended before is left out."""
    listed = (await get(app, f"?since={START}")).json()
    assert [outage["id"] for outage in listed["outages"]] == ["out-1"]


async def test_one_outage_is_told_whole(app: FastAPI) -> None:
    """It converts back into the record."""
    assert msgspec.convert((await get(app, "/out-1")).json(), Outage) == down(START)


async def test_a_report_is_markdown_or_json(app: FastAPI) -> None:
    """Markdown unless asked otherwise; a third is refused."""
    markdown = await get(app, "/out-1/report")
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert markdown.text.startswith("# Outage of anthropic")
    assert (await get(app, "/out-1/report?format=json")).json()["outage"] == "out-1"
    assert (await get(app, "/out-1/report?format=pdf")).status_code == 422


@pytest.mark.parametrize("path", ["/out-9", "/out-9/report"])
async def test_an_unknown_outage_is_told_where_the_known_are(app: FastAPI, path: str) -> None:
    """404, with the way to the list."""
    response = await get(app, path)
    assert response.status_code == 404
    assert "/fallback/outages lists them" in response.json()["detail"]
