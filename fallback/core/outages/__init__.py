"""Outages as records: what went wrong, since when, by what evidence, and who was affected."""

from fallback.core.outages.book import OutageBook
from fallback.core.outages.ends import Ends
from fallback.core.outages.record import (
    AttemptCounts,
    EvidenceLine,
    FailedAttempt,
    Outage,
    RequestCounts,
    Transition,
    body,
    brief,
)

__all__ = [
    "AttemptCounts",
    "Ends",
    "EvidenceLine",
    "FailedAttempt",
    "Outage",
    "OutageBook",
    "RequestCounts",
    "Transition",
    "body",
    "brief",
]
