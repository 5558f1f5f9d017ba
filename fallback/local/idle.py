"""When a worker may rest: be ended until someone asks, or be replaced by a better one. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

Rest: TypeAlias = Literal["idle", "renewed"]


class Idleness:
    """How long nobody has wanted anything. Times in seconds of the caller's clock;
    `unload_s` 0: it is never too long."""

    def __init__(self, unload_s: float, now: float) -> None:
        self._unload_s = unload_s
        self._worked_at = now
        self._renewal = False

    def __repr__(self) -> str:
        return f"<Idleness since={self._worked_at:.1f} renewal={self._renewal}>"

    def worked(self, now: float) -> None:
        """Somebody asks, or is being answered."""
        self._worked_at = now

    def renew(self) -> None:
        """A new worker would be better than this one."""
        self._renewal = True

    def rest(self, busy: bool, now: float) -> Rest | None:
        """What is due now, if anything; never while it is busy."""
        if busy:
            self._worked_at = now
            return None
        if self._renewal:
            return "renewed"
        overdue = self._unload_s > 0 and now - self._worked_at >= self._unload_s
        return "idle" if overdue else None
