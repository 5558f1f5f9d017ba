"""The health of everything an answer depends on: evidence in, state out."""

from fallback.core.health.admission import Admission
from fallback.core.health.board import Board
from fallback.core.health.detector import Detector
from fallback.core.health.evidence import Case, Evidence, Source, evidence_of
from fallback.core.health.scope import (
    NETWORK,
    Scope,
    credential_scope,
    model_scope,
    upstream_scope,
)
from fallback.core.health.settings import HealthSettings
from fallback.core.health.state import Change, HealthView, Remark, State, outage_id

__all__ = [
    "NETWORK",
    "Admission",
    "Board",
    "Case",
    "Change",
    "Detector",
    "Evidence",
    "HealthSettings",
    "HealthView",
    "Remark",
    "Scope",
    "Source",
    "State",
    "credential_scope",
    "evidence_of",
    "model_scope",
    "outage_id",
    "upstream_scope",
]
