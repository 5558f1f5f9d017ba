"""When an upstream says that it may be asked again. Pure.

Sources: RFC 9110 section 10.2.3 (`Retry-After`: seconds, or a date in one of the three forms of
section 5.6.7); openai-py and anthropic-py (`retry-after-ms`, read first since it is finer, and
fractions of seconds).
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite

from fallback.core.provenance import Headers

MOST_S = 3600.0
"""No longer than this is anybody held off: a provider's typing error must not close it for days."""


def retry_after_s(headers: Headers, now: float) -> float | None:
    """Seconds from `now` (Unix time) in 0..`MOST_S`; None where nothing legible is said.

    Names are lower case. What is negative or past is 0.
    """
    fields = dict(headers)
    if (wait_s := _number(fields.get(b"retry-after-ms", b""))) is not None:
        wait_s /= 1000
    elif (value := fields.get(b"retry-after")) is not None:
        wait_s = _number(value)
        if wait_s is None:
            wait_s = _until(value, now)
    return None if wait_s is None else min(max(wait_s, 0.0), MOST_S)


def _number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _until(value: bytes, now: float) -> float | None:
    try:
        date = parsedate_to_datetime(value.decode("ascii"))
        # A zone of "-0000" says that it is UTC and unknown where.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None
