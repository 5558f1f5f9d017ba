"""One line a request, without content and keys; the healthy path only at level debug."""

from __future__ import annotations

import logging

from fallback.core.health import Change
from fallback.core.ports import EngineStatus
from fallback.core.record import FinishedRequest

_log = logging.getLogger("fallback")


def log_request(record: FinishedRequest) -> None:
    """The line for one finished request."""
    provenance = record.provenance
    routine = provenance.tier == "cloud" and record.ended == "complete"
    level = logging.DEBUG if routine else logging.INFO
    if not _log.isEnabledFor(level):
        return
    _log.log(
        level,
        "%s %s -> %s by %s in %.2f s, %s, reason %s, receipt %s%s",
        record.method,
        record.path,
        record.status if record.status is not None else "no answer",
        provenance.tier,
        record.duration_s,
        record.ended,
        provenance.reason,
        provenance.receipt,
        f": {record.detail}" if record.detail else "",
    )


def log_health(change: Change) -> None:
    """The line for one change of health, with its reason."""
    why = change.view.story[-1].text if change.view.story else ""
    _log.warning("%s is %s (%s)", change.scope, change.after.value, why)


def log_engine(status: EngineStatus) -> None:
    """The line for one change of the local engine's state."""
    model = status.model
    if model is not None:
        took = f" in {status.load_s:.1f} s" if status.load_s is not None else ""
        _log.info("local is ready: %s %s, loaded%s", model.name, model.quantization, took)
    elif status.state == "failed":
        _log.error("local is not ready: %s", status.detail)
    elif status.detail:
        _log.info("local is %s: %s", status.state, status.detail)
