"""The control plane under `/fallback`: status, receipts and outages, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol

import msgspec
from fastapi import FastAPI, Header, HTTPException, Response

from fallback.core.outages import Outage, body, brief, report
from fallback.core.receipt import Shown, unsigned
from fallback.core.record import FinishedRequest


class Outages(Protocol):
    """Where outages are looked up; times are Unix seconds."""

    async def since(self, when: float) -> list[Outage]: ...

    async def find(self, outage_id: str) -> Outage | None: ...

    def status(self) -> dict[str, Any]:
        """How storing them stands, as JSON types."""
        ...


class Receipts(Protocol):
    """Where receipts are looked up. Neither method raises."""

    async def show(self, receipt_id: str) -> Shown | None: ...

    async def public_keys(self) -> Mapping[str, Any]: ...


def create(
    status: Callable[[], dict[str, Any]],
    find: Callable[[str], FinishedRequest | None],
    outages: Outages,
    receipts: Receipts | None = None,
    *,
    clock: Callable[[], float],
) -> FastAPI:
    """The FastAPI application; `status` gives the whole status as JSON types."""
    app = FastAPI(title="fallback", openapi_url="/fallback/openapi.json", docs_url=None)
    _add_status(app, status)
    _add_outages(app, outages, clock)
    _add_receipts(app, receipts, find)
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


def _add_receipts(
    app: FastAPI, receipts: Receipts | None, find: Callable[[str], FinishedRequest | None]
) -> None:
    @app.get("/fallback/receipts/{receipt}")
    async def show_receipt(receipt: str, accept: Annotated[str, Header()] = "") -> Response:
        """With `Accept: application/jose` the signed form alone."""
        shown = None if receipts is None else await receipts.show(receipt)
        if shown is None and (record := find(receipt)) is not None:
            shown = Shown(receipt=unsigned(record))
        if shown is None:
            raise HTTPException(
                404, f"No record of {receipt!r}: it is older than what is kept, or not of here."
            )
        if "application/jose" in accept and shown.jws is not None:
            return Response(shown.jws, media_type="application/jose")
        return _json(msgspec.to_builtins(shown))

    @app.get("/fallback/jwks.json")
    async def show_keys() -> Response:
        """The public keys that receipts are signed with, a JWK Set (RFC 7517)."""
        keys = {"keys": []} if receipts is None else await receipts.public_keys()
        return Response(msgspec.json.encode(keys), media_type="application/jwk-set+json")


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
