"""How long a client waits before it gives up, as the SDKs tell it. Pure.

Sources: captured requests of anthropic-py and openai-py (`x-stainless-read-timeout`), and of
their JavaScript siblings, Claude Code and anthropic-py (`x-stainless-timeout`), in seconds.
Where nothing was set the value is `NOT_GIVEN`, or the header is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite


def patience_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds of silence that the client bears, the least that it tells; None if it tells none.

    Names are lower case. 0 counts as untold: JavaScript SDKs write it for any part of a second.
    """
    read_s = _seconds(headers.get(b"x-stainless-read-timeout"))
    whole_s = _seconds(headers.get(b"x-stainless-timeout"))
    if read_s is None or whole_s is None:
        return whole_s if read_s is None else read_s
    return min(read_s, whole_s)


def _seconds(value: bytes | None) -> float | None:
    if value is None or value == b"NOT_GIVEN":
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if isfinite(seconds) and seconds > 0 else None
