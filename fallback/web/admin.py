"""The control plane under `/fallback`: status, receipts and outages, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from fastapi import FastAPI, HTTPException, Response

from fallback.core import provenance as told
from fallback.core.outages import Outage, body, brief, report
from fallback.core.record import FinishedRequest


class Outages(Protocol):
    """Where outages are looked up; times are Unix seconds."""

    async def since(self, when: float) -> list[Outage]: ...

    async def find(self, outage_id: str) -> Outage | None: ...

    def status(self) -> dict[str, Any]:
        """How storing them stands, as JSON types."""
        ...


def create(
    status: Callable[[], dict[str, Any]],
    find: Callable[[str], FinishedRequest | None],
    outages: Outages,
    *,
    clock: Callable[[], float],
) -> FastAPI:
    """The FastAPI application; `status` gives the whole status as JSON types."""
    app = FastAPI(title="fallback", openapi_url="/fallback/openapi.json", docs_url=None)
    _add_status(app, status)
    _add_outages(app, outages, clock)

    @app.get("/fallback/receipts/{receipt}")
    def show_receipt(receipt: str) -> Response:
        record = find(receipt)
        if record is None:
            raise HTTPException(
                404, f"No record of {receipt!r}: the last 1000 requests since the start are kept."
            )
        return _json(receipt_body(record))

    return app


def _add_status(app: FastAPI, status: Callable[[], dict[str, Any]]) -> None:
    @app.get("/fallback")
    @app.get("/fallback/")
    @app.get("/fallback/status")
    def show_status() -> Response:
        return _json(status())

    @app.get("/fallback/livez")
    def live() -> Response:
        return _json({"live": True})

    @app.get("/fallback/readyz")
    def ready() -> Response:
        """200 once the local tier could answer, or is switched off."""
        local = status()["local"]
        return _json(local, 200 if local["state"] in ("ready", "idle", "off") else 503)


def _add_outages(app: FastAPI, outages: Outages, clock: Callable[[], float]) -> None:
    @app.get("/fallback/outages")
    async def list_outages(since: float = 0.0) -> Response:
        """Those that were on at or after `since` (Unix seconds), newest first, without the long
        lists of each."""
        listed = [body(brief(o), now=clock()) for o in await outages.since(since)]
        return _json({"as_of": clock(), "outages": listed, "storage": outages.status()})

    @app.get("/fallback/outages/{outage_id}")
    async def show_outage(outage_id: str) -> Response:
        return _json(body(await found(outage_id), now=clock()))

    @app.get("/fallback/outages/{outage_id}/report")
    async def report_outage(outage_id: str, format: Literal["md", "json"] = "md") -> Response:
        outage = await found(outage_id)
        if format == "json":
            return _json(report.as_json(outage, now=clock()))
        return Response(report.markdown(outage, now=clock()), media_type="text/markdown")

    async def found(outage_id: str) -> Outage:
        outage = await outages.find(outage_id)
        if outage is None:
            raise HTTPException(
                404, f"No record of the outage {outage_id!r}: /fallback/outages lists them."
            )
        return outage


def receipt_body(record: FinishedRequest) -> dict[str, Any]:
    """A record as JSON types."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["provenance"] = told.body(record.provenance)
    return fields


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
