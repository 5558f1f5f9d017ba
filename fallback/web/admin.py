"""The control plane under `/fallback`: status and receipts, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException, Response

from fallback.core import provenance as told
from fallback.core.record import FinishedRequest


def create(
    status: Callable[[], dict[str, Any]], find: Callable[[str], FinishedRequest | None]
) -> FastAPI:
    """The FastAPI application; `status` gives the whole status as JSON types."""
    app = FastAPI(title="fallback", openapi_url="/fallback/openapi.json", docs_url=None)

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
        return _json(local, 200 if local["state"] in ("ready", "off") else 503)

    @app.get("/fallback/receipts/{receipt}")
    def show_receipt(receipt: str) -> Response:
        record = find(receipt)
        if record is None:
            raise HTTPException(
                404, f"No record of {receipt!r}: the last 1000 requests since the start are kept."
            )
        return _json(receipt_body(record))

    return app


def receipt_body(record: FinishedRequest) -> dict[str, Any]:
    """A record as JSON types."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    fields["provenance"] = told.body(record.provenance)
    return fields


def _json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
