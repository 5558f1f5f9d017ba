"""The operator's function that takes out of bodies what must not be kept."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from typing import TypeAlias

from fallback.core.errors import ConfigError
from fallback.storage.lines import Bodies, Line

_log = logging.getLogger("fallback.storage")

Redact: TypeAlias = Callable[[str, bytes], bytes]


def redaction(name: str) -> Redact:
    """The function `module:name`. Raises `ConfigError`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"receipts.redact = {name!r} cannot be used: {error}. The module has to be importable "
            f"where fallback runs (PYTHONPATH)."
        ) from error
    if not callable(found):
        raise ConfigError(f"receipts.redact = {name!r} is no function.")
    redact: Redact = found
    return redact


def redacted(line: Line, redact: Redact) -> Line:
    """The line with bodies that may be kept; without any where that function fails."""
    if line.bodies is None:
        return line
    try:
        bodies = Bodies(
            bytes(redact("request", line.bodies.request)),
            bytes(redact("answer", line.bodies.answer)),
        )
    except Exception as error:  # noqa: BLE001 - it is the operator's, and may fail in any way
        _log.error("the bodies of %s are not kept, redaction failed: %r", line.receipt.id, error)
        return line._replace(bodies=None)
    return line._replace(bodies=bodies)
