"""How much of this machine keeping conversations warm may take, and when its next step may begin.
Pure: time is an argument.

Rules of this file:
- The share is one of all cores. It is met with as few threads as it needs, for these are computed
  with all the time: few busy cores are felt less than all of them in bursts. What is over the
  share even so (one thread is half of two cores) is made up for by a rest after each step.
- Below the whole machine, one core is always left to whoever else wants one.
- Steps are short, for a request that comes has to wait for the end of one.
- Nothing runs before the parent has said how much may.
"""

from __future__ import annotations

import math

STEP_S = 0.1
_MIN_TOKENS, _MAX_TOKENS = 16, 512
_FIRST_TOKENS = 32
_FORGET = 0.5


class Warming:
    """The pace of standby steps on `cores`, of which the model uses `threads` at most."""

    def __init__(self, *, cores: int, threads: int) -> None:
        self._cores = max(1, cores)
        self._all_threads = max(1, threads)
        self._cpu = 0.0
        self._ended_at = -math.inf
        self._took_s = 0.0
        self._core_s = 0.0
        self._token_s: float | None = None

    def __repr__(self) -> str:
        return f"<Warming cpu={self._cpu:g} threads={self.threads} tokens={self.tokens}>"

    def pace(self, cpu: float) -> None:
        """From now on it may take this share of the cores, 0 (none) to 1."""
        self._cpu = min(1.0, max(0.0, cpu))

    @property
    def threads(self) -> int:
        """With how many threads the next step is computed."""
        if self._cpu >= 1.0:
            return self._all_threads
        wanted = math.ceil(self._cpu * self._cores)
        return max(1, min(wanted, self._cores - 1, self._all_threads))

    @property
    def tokens(self) -> int:
        """How many tokens the next step may compute at most, so that it is a short one."""
        if self._token_s is None:
            return _FIRST_TOKENS
        return min(_MAX_TOKENS, max(_MIN_TOKENS, int(STEP_S / self._token_s)))

    def wait_s(self, now: float) -> float:
        """Seconds until the next step may begin: 0 at once, infinite while none may."""
        if self._cpu <= 0.0:
            return math.inf
        # The step has used its cores for this long; the share allows that within so much time.
        due_at = self._ended_at + self._core_s / (self._cpu * self._cores) - self._took_s
        return max(0.0, due_at - now)

    def may_run(self, now: float) -> bool:
        """Whether a standby step may begin now."""
        return self.wait_s(now) <= 0.0

    def worked(self, now: float, took_s: float, tokens: int) -> None:
        """A standby step of so many tokens, on `threads`, has ended."""
        self._ended_at = now
        self._took_s = took_s
        self._core_s = took_s * self.threads
        if tokens > 0:
            last = took_s / tokens
            known = last if self._token_s is None else self._token_s
            self._token_s = known + _FORGET * (last - known)
