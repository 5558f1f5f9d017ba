"""What may come of each fault: the one table of expectations. Rows are by the fault's name.

What a client may see (see `sdk.Seen`), what the attempt may be called, how many requests may
reach the upstream for one of the client's, and the health that may follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NO_VERDICT: frozenset[str] = frozenset()
_WELL = frozenset({"healthy"})
# The edge is well in most rows: a probe may have ended the suspicion already.
_SUSPECTED = frozenset({"healthy", "suspect"})
_UNWELL = frozenset({"suspect", "down"})
# What a silent upstream is called by the moment at which another tier had answered.
_SILENT = ("timeout", "silent", "slow")
_LATE = ("unreachable-connect-timeout", *_SILENT)
_ANY = frozenset({"healthy", "suspect", "down", "recovering"})


@dataclass(frozen=True, kw_only=True)
class Expected:
    """`stream` and `whole` are the results allowed; an empty set of verdicts allows any.

    `reached` bounds the requests for an answer at the upstream, for each of the client's.
    """

    stream: frozenset[str]
    whole: frozenset[str]
    verdicts: frozenset[str] = _NO_VERDICT
    reached: int = 1
    health: frozenset[str] = _SUSPECTED

    def results(self, *, stream: bool) -> frozenset[str]:
        return self.stream if stream else self.whole


def _local(*verdicts: str, reached: int = 1, health: frozenset[str] = _SUSPECTED) -> Expected:
    """The local tier answers, and the client notices nothing."""
    only = frozenset({"local"})
    return Expected(
        stream=only, whole=only, verdicts=frozenset(verdicts), reached=reached, health=health
    )


def _passes(result: str, verdict: str) -> Expected:
    """The upstream's own error reaches the client, and says nothing about health."""
    only = frozenset({result})
    return Expected(stream=only, whole=only, verdicts=frozenset({verdict}), health=_WELL)


def _goes_on(*verdicts: str) -> Expected:
    """The stream is continued in the same response."""
    return Expected(
        stream=frozenset({"spliced"}), whole=frozenset({"local"}), verdicts=frozenset(verdicts)
    )


def _well() -> Expected:
    only = frozenset({"cloud"})
    return Expected(stream=only, whole=only, verdicts=frozenset({"ok"}), health=_WELL)


def _mixed(*, reached: int = 1, health: frozenset[str] = _ANY) -> Expected:
    """Some requests are answered by the cloud, some here; none fails."""
    both = frozenset({"cloud", "local"})
    return Expected(stream=both, whole=both, reached=reached, health=health)


EXPECTED: Mapping[str, Expected] = {
    "nxdomain": _local("unreachable-dns", reached=0, health=_UNWELL),
    "servfail": _local("unreachable-dns", reached=0, health=_UNWELL),
    "dns-black-hole": _local(*_LATE, reached=0, health=_ANY),
    "refused": _local("unreachable-refused", reached=0, health=_UNWELL),
    "syn-dropped": _local(*_LATE, reached=0, health=_UNWELL),
    "no-route": _local("unreachable-no-route", reached=0, health=_UNWELL),
    "bad-certificate": _local("unreachable-certificate", reached=0, health=_UNWELL),
    "expired-certificate": _local("unreachable-certificate", reached=0, health=_UNWELL),
    "tls-stall": _local(*_LATE, reached=0, health=_UNWELL),
    "reset-before-headers": _local("unreachable-reset", reached=2, health=_UNWELL),
    "close-before-headers": _local("unreachable-reset", reached=2, health=_UNWELL),
    "silence": _local(*_SILENT, health=_ANY),
    "slow-headers": _local(*_SILENT),
    "one-byte-drip": _local(*_SILENT),
    "oversized-headers": _local("unreachable-protocol"),
    "html-200": _local("invalid-html", health=_UNWELL),
    "html-503": _local("upstream-503", reached=2, health=_UNWELL),
    "portal-redirect": _local("invalid-redirect", health=_UNWELL),
    "redirect-in-json": _local("invalid-redirect"),
    "garbage-json": _local("invalid-not-json"),
    "corrupt-gzip": _local("invalid-encoding"),
    "gzip-bomb": _local("invalid-encoding"),
    "short-content-length": Expected(stream=frozenset({"spliced"}), whole=frozenset({"local"})),
    "long-content-length": Expected(stream=frozenset({"spliced"}), whole=frozenset({"local"})),
    "missing-last-chunk": Expected(stream=frozenset({"cloud"}), whole=frozenset({"local"})),
    "empty-stream": _local("empty"),
    "error-event-first": _local("upstream-529", "upstream-503", "upstream-500", reached=2),
    "error-before-content": _local("upstream-529", "upstream-503", "upstream-500", reached=2),
    "cut-before-content": _local("truncated"),
    "stall-before-content": _local(*_SILENT),
    "clean-end-no-terminal": _goes_on("stream-truncated"),
    "only-terminal-missing": Expected(
        # `response.completed` carries the whole answer: nobody but the next tier can make it up.
        stream=frozenset({"cloud", "spliced"}),
        whole=frozenset(),
    ),
    "cut-mid-stream": _goes_on("stream-truncated"),
    "reset-mid-stream": _goes_on("stream-truncated", "stream-reset"),
    "stall-mid-stream": _goes_on("stream-stall"),
    "stall-with-pings": _goes_on("stream-stall"),
    "error-after-content": _goes_on(
        "stream-upstream-529", "stream-upstream-503", "stream-upstream-500"
    ),
    "half-event-mid-stream": _goes_on("stream-truncated"),
    "malformed-mid-stream": _goes_on(),
    "split-utf8-crlf": _well(),
    "unknown-events": _well(),
    "503-always": _local("upstream-503", reached=2),
    "500-always": _local("upstream-500", reached=2),
    "504-timeout": _local("upstream-504", reached=2),
    "529-always": _local("upstream-529", reached=2),
    "529-burst": _mixed(reached=2, health=_WELL),
    "one-model-down": _mixed(reached=2),
    "poison-request": _mixed(reached=2, health=_SUSPECTED),
    "429-retry-after-2": _passes("status 429", "rate-limited"),
    "429-retry-after-3600": _passes("status 429", "rate-limited"),
    "429-retry-after-negative": _passes("status 429", "rate-limited"),
    "429-retry-after-date": _passes("status 429", "rate-limited"),
    "spend-limit": _passes("status 402", "quota"),
    "bad-key": _passes("status 401", "credential"),
    "context-length": _passes("status 400", "client-error"),
    "content-filter": _passes("status 400", "client-error"),
    "brownout": _mixed(health=_SUSPECTED),
    "half-errors": _mixed(reached=2),
    "flapping": _mixed(reached=2),
    "relapse": _mixed(reached=2, health=_WELL),
    "worker-killed": _local("upstream-503", reached=2),
    "worker-stopped": _local("upstream-503", reached=2),
}
