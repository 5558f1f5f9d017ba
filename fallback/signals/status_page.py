"""What a provider's status page says, by component: a hint, never the judge.

Rules of this file:
- Only the components that were named count; the page's own indicator does not, since it speaks
  of products that nobody here uses.
- What cannot be read, or is stale, is unknown (None): it is never taken for fine.
- Redirects are followed to https alone; no key is ever sent.

API: Statuspage v2, https://metastatuspage.com/api; also spoken, with gaps, by incident.io.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urljoin, urlsplit

import msgspec

from fallback.signals.climb import Climb, Fallen, Limits
from fallback.signals.http_get import HttpAnswer
from fallback.signals.resolver import Resolve
from fallback.signals.site import site

_log = logging.getLogger("fallback.signals")

PERIOD_S = 60.0
# The first tells of incidents, too; incident.io leaves components out of it at times.
_FEEDS = ("summary.json", "components.json")
_STALE_S = 600
_REDIRECTS = 3
_MAX_BYTES = 1024 * 1024
_TEXT_CHARS = 120
# In order of severity.
_WEIGHTS = {
    "operational": 0.0,
    "under_maintenance": 0.5,
    "degraded_performance": 0.5,
    "partial_outage": 1.0,
    "major_outage": 1.0,
}
_OVER = frozenset({"resolved", "postmortem", "completed"})


class StatusPage(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is the page's for people, https; `components` are the names that matter there."""

    url: str
    components: tuple[str, ...]
    proxy: str | None = None
    ca_file: str | None = None


class StatusReading(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is the worst of the components', `weight` at most 1, `text` one sentence."""

    status: str
    weight: float
    text: str


class StatusPages:
    """Reads the pages of upstreams, each at most once in `PERIOD_S`."""

    def __init__(
        self,
        pages: Mapping[str, StatusPage],
        resolve: Resolve,
        *,
        clock: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._pages = pages
        self._resolve = resolve
        self._clock = clock
        self._limits = limits
        self._read: dict[str, tuple[float, StatusReading | None]] = {}

    async def read(self, upstream: str) -> StatusReading | None:
        """What the page says now, or said a moment ago; None for unknown."""
        if (page := self._pages.get(upstream)) is None:
            return None
        at, reading = self._read.get(upstream, (float("-inf"), None))
        if self._clock() - at >= PERIOD_S:
            at = self._clock()
            self._read[upstream] = at, None
            reading = await self._reading(page)
            self._read[upstream] = at, reading
        return reading

    async def _reading(self, page: StatusPage) -> StatusReading | None:
        for feed in _FEEDS:
            body = await self._fetch(page, f"{page.url.rstrip('/')}/api/v2/{feed}")
            if body is not None and (reading := parse(body, page)) is not None:
                return reading
        return None

    async def _fetch(self, page: StatusPage, url: str) -> bytes | None:
        for _ in range(1 + _REDIRECTS):
            answer = await self._get(url, page)
            if answer is None or answer.status == 200:
                return answer.body if answer is not None and _is_fresh(answer) else None
            url = urljoin(url, answer.headers.get("location", ""))
            if not 300 <= answer.status < 400 or urlsplit(url).scheme != "https":
                break
        _log.debug("the status page %s cannot be read", page.url)
        return None

    async def _get(self, url: str, page: StatusPage) -> HttpAnswer | None:
        parts = urlsplit(url)
        try:
            host = site(url, proxy=page.proxy, ca_file=page.ca_file, stranger=True)
        except ValueError:  # where a redirect leads is not ours to choose
            return None
        climb = Climb(host, self._resolve, self._limits)
        try:
            await climb.reach()
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            return await climb.ask(path or "/", {}, limit_bytes=_MAX_BYTES)
        except Fallen as error:
            _log.debug("the status page %s cannot be read: %s", url, error)
            return None
        finally:
            climb.close()


def _is_fresh(answer: HttpAnswer) -> bool:
    """A cache may hold an old answer while the page itself is down (RFC 9111 section 5.1)."""
    age = answer.headers.get("age", "0")
    return answer.whole and age.isdecimal() and int(age) <= _STALE_S


class _Component(msgspec.Struct):
    name: str
    status: str = ""


class _Incident(msgspec.Struct):
    name: str
    status: str = ""
    components: list[_Component] | None = None


class _Summary(msgspec.Struct):
    components: list[_Component] | None = None
    incidents: list[_Incident] | None = None


def parse(body: bytes, page: StatusPage) -> StatusReading | None:
    """The reading of a feed; None where it does not speak of the page's components."""
    try:
        summary = msgspec.json.decode(body, type=_Summary)
    except (ValueError, RecursionError):
        return None
    wanted = {name.casefold() for name in page.components}
    mine = [each for each in summary.components or () if each.name.casefold() in wanted]
    known = [each for each in mine if each.status in _WEIGHTS]
    if not known:
        return None
    worst = max(known, key=lambda each: list(_WEIGHTS).index(each.status))
    incidents = _open_incidents(summary.incidents or (), wanted)
    said = f"{urlsplit(page.url).hostname} says {_plain(worst.name)}: {_plain(worst.status)}"
    return StatusReading(
        status=worst.status,
        weight=_WEIGHTS[worst.status],
        text="; ".join([said, *incidents[:2]]),
    )


def _open_incidents(incidents: Iterable[_Incident], wanted: set[str]) -> list[str]:
    """The names of those that concern the components, or none in particular."""
    return [
        f"incident {_plain(each.name)!r}"
        for each in incidents
        if each.status not in _OVER
        and (not each.components or any(c.name.casefold() in wanted for c in each.components))
    ]


def _plain(text: str) -> str:
    """Foreign text on its way to logs and pages: one short printable line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.replace("_", " ")[:_TEXT_CHARS]
