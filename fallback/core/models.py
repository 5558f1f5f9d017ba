"""Names of models -> families, so that what is learned of one version counts for the next."""

from __future__ import annotations

import functools
import re

_STAMP = re.compile(r"[-@:](?:20\d{6}|20\d\d-\d\d-\d\d|latest|preview|\d{4})(?=$|[-@:\[])")
_CONTEXT = re.compile(r"\[\w+\]$")
_FAMILY_CHARS = 64


@functools.lru_cache(maxsize=256)
def model_family(name: str) -> str:
    """`claude-opus-4-5-20251101` -> `claude-opus-4-5`; "" for "".

    Date stamps, `-latest`, `-preview` and Claude Code's `[1m]` go; the rest stays, in lower
    case and at most 64 characters long.
    """
    plain = _STAMP.sub("", _CONTEXT.sub("", name.strip().lower()))
    return plain[:_FAMILY_CHARS]
