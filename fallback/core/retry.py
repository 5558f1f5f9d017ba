"""The retry budget of one upstream, so that retries never multiply an outage's load. Pure.

Source: gRPC proposal A6, "Throttling Retry Attempts and Hedged RPCs": a failure takes one
token, a success gives back a fraction of one, and no retry is made at half the tokens or fewer.
"""

from __future__ import annotations


class RetryBudget:
    """A token bucket, full at first. With the defaults five failures in a row stop the retries,
    and each ten successes make up for one."""

    def __init__(self, *, tokens: float = 10.0, ratio: float = 0.1) -> None:
        self._most = self._tokens = tokens
        self._ratio = ratio

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:.1f} of {self._most:.1f} tokens>"

    def allow(self) -> bool:
        """Whether an attempt may be made once more, its failure told before. Takes nothing."""
        return self._tokens > self._most / 2

    def failed(self) -> None:
        self._tokens = max(0.0, self._tokens - 1.0)

    def succeeded(self) -> None:
        self._tokens = min(self._most, self._tokens + self._ratio)
