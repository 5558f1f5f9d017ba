"""Times in words, for a person. Pure."""

from __future__ import annotations

import datetime


def span(seconds: float) -> str:
    """A duration, as exact as a person wants it."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def utc(at: float) -> str:
    """Unix seconds as a date and a time of day."""
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
