"""How one request may be treated: who may answer it, and how long each may take. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.core.notice import Notify
from fallback.core.routing import Operation
from fallback.core.units import Seconds

Tier: TypeAlias = Literal["cloud", "alternate", "stale", "local"]
OnError: TypeAlias = Literal["pass", "next"]
OnSeam: TypeAlias = Literal["error", "continue"]

LOCAL_OPERATIONS: frozenset[Operation] = frozenset(
    {"generate", "count_tokens", "models", "model", "hello"}
)


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each phase of an attempt may take, in seconds.

    `connect_s` bounds name, TCP and TLS. Past `first_byte_s` (a stream's headers), half of
    `first_content_s` (its first content, once the headers are here) or `whole_s` (an answer in
    one piece, whose headers come with its last token) the next tier starts beside the upstream,
    at the latest: hedging does it sooner. What is there first is sent, so that a slow answer is
    not cut short for nothing; `alone_s` ends it in any case. `stall_s` is the longest silence
    inside an answer, `progress_s` the longest time without progress in one: pings end a silence,
    but are no progress. `canary_s` is how long a recovering upstream has to answer before
    another tier's answer, made beside it, is sent. `local_first_content_s` is how soon the local
    model should begin to answer: what it would have to read for longer is cut to that.
    """

    connect_s: Seconds = 3.0
    first_byte_s: Seconds = 20.0
    first_content_s: Seconds = 60.0
    whole_s: Seconds = 120.0
    stall_s: Seconds = 45.0
    progress_s: Seconds = 120.0
    canary_s: Seconds = 4.0
    local_first_content_s: Seconds = 10.0
    alone_s: Seconds = 600.0

    def within(self, patience_s: float | None) -> Deadlines:
        """These for a client that gives up after `patience_s` of silence: at most half of it
        for each wait, so that the other half is left for the next tier to begin in.

        `progress_s` stays, since a client counts pings as signs of life, and `alone_s`, after
        which nobody else would answer. The 600 s that the SDKs have by default shorten nothing.
        """
        if patience_s is None:
            return self
        half_s = patience_s / 2
        before = max(self.connect_s, self.first_byte_s, self.first_content_s, self.canary_s)
        if half_s >= max(before, self.whole_s, self.stall_s):
            return self
        return msgspec.structs.replace(
            self,
            connect_s=min(self.connect_s, half_s),
            first_byte_s=min(self.first_byte_s, half_s),
            first_content_s=min(self.first_content_s, half_s),
            whole_s=min(self.whole_s, half_s),
            stall_s=min(self.stall_s, half_s),
            canary_s=min(self.canary_s, half_s),
            local_first_content_s=min(self.local_first_content_s, half_s),
        )


_CRITICAL_RANK = 1000


class Treatment(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is to be treated, by the operator's rules and as far as they let it by
    its client.

    `tiers` are those that may answer, in order; it is empty where rules contradict each other.
    `local_reason` says why `local` is not among them. `hedge`: whether the next tier starts
    beside a slow cloud, or after how many seconds. `priority`: higher first; `critical` before all
    that is not. `on_*`: whether such an error of the upstream's passes to the client, or the next
    tier answers instead. `stale_if_error_s`: how old an earlier answer to the same request may be
    that stands in for the cloud's, `stale_with_tools`: also where the request has tools.
    `keep_bodies`: whether what was asked and answered is kept beside the receipt. `notice`: whether
    a line tells the person that a local model answers. `splice_*`: what becomes of a stream that
    broke inside a tool call's arguments, or after signed thinking: an error event, or another tier
    goes on. `rule` is the name of the last rule that applied.
    """

    tiers: tuple[Tier, ...] = ("cloud", "alternate", "stale", "local")
    deadlines: Deadlines = Deadlines()
    hedge: bool | float = True
    priority: int = 0
    critical: bool = False
    on_rate_limit: OnError = "pass"
    on_quota: OnError = "pass"
    on_credential: OnError = "pass"
    splice_tool_call: OnSeam = "error"
    splice_thinking: OnSeam = "error"
    stale_if_error_s: float = 0.0
    stale_with_tools: bool = False
    keep_bodies: bool = False
    notice: Notify = "auto"
    local_reason: str | None = None
    rule: str | None = None

    @property
    def rank(self) -> int:
        """The place in the local tier's queue: all that is critical first, then by priority."""
        return self.priority + (_CRITICAL_RANK if self.critical else 0)
