"""The free connectivity ladder of an upstream, and of witnesses beside it.

Route, name, TCP, TLS, and a `GET /v1/models` without a key: any authentic answer, a 401 too,
shows that everything up to the edge stands. It shows nothing about inference. Witnesses tell
the own network from the provider; of them no more is asked than a TLS handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from fallback.core.diagnosis import Diagnosis, Subject, diagnose, needs_witness
from fallback.core.outcome import Failure
from fallback.core.rungs import Rung, is_private
from fallback.signals.climb import Climb, Fallen, Limits
from fallback.signals.machine import addresses
from fallback.signals.resolver import Resolve
from fallback.signals.site import Site, site

_WITNESSES = 6
_HEADERS = {"anthropic": {"anthropic-version": "2023-06-01"}}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream to look at. `proxy` and `ca_file` as for its own requests."""

    name: str
    base_url: str
    family: str
    proxy: str | None = None
    ca_file: str | None = None


class _Way(msgspec.Struct, frozen=True, kw_only=True):
    subject: Subject
    site: Site
    path: str
    headers: Mapping[str, str]
    witnesses: tuple[Site, ...]


class Ladder:
    """Looks at upstreams. `control_hosts` are `host` or `host:port`, with TLS; `has_route` says
    whether this machine has a route to the internet."""

    def __init__(
        self,
        targets: Iterable[Target],
        control_hosts: Sequence[str],
        resolve: Resolve,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        has_route: Callable[[], bool] = lambda: bool(addresses()),
    ) -> None:
        self._ways = _ways(tuple(targets), control_hosts)
        self._resolve = resolve
        self._limits = limits
        self._has_route = has_route

    async def look(self, upstream: str) -> Diagnosis:
        """Climb to the upstream and its witnesses at once; takes at most `limits.whole_s`."""
        way = self._ways[upstream]
        route = self._route(way)
        climb = self._climb(way.site)
        witnesses = [self._climb(other) for other in way.witnesses]
        looks = [asyncio.ensure_future(_stands(witness)) for witness in witnesses]
        try:
            await _ask(climb, way)
            if needs_witness(way.subject, climb.rungs):
                await _first_true(looks)
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
        return diagnose(way.subject, route, climb.rungs, [other.rungs for other in witnesses])

    def _climb(self, to: Site) -> Climb:
        return Climb(to, self._resolve, self._limits)

    def _route(self, way: _Way) -> Rung:
        needed = way.site.proxy is None and not way.subject.private
        failure = Failure.NO_ROUTE if needed and not self._has_route() else None
        return Rung(host=way.site.host, step="route", failure=failure)


async def _ask(climb: Climb, way: _Way) -> None:
    try:
        await climb.reach()
        await climb.ask(way.path, way.headers)
    except Fallen:
        pass  # the rungs tell
    finally:
        climb.close()


async def _stands(witness: Climb) -> bool:
    try:
        await witness.reach()
    except Fallen:
        return False
    finally:
        witness.close()
    return True


async def _first_true(looks: Sequence[asyncio.Future[bool]]) -> None:
    for ended in asyncio.as_completed(looks):
        if await ended:
            return


def _ways(targets: Sequence[Target], control_hosts: Sequence[str]) -> dict[str, _Way]:
    public = [target for target in targets if not is_private(_host(target))]
    return {target.name: _way(target, public, control_hosts) for target in targets}


def _way(target: Target, public: Sequence[Target], control_hosts: Sequence[str]) -> _Way:
    host = _host(target)
    return _Way(
        subject=Subject(
            upstream=target.name,
            host=host,
            private=is_private(host),
            whole_network=all(other.proxy == target.proxy for other in public),
        ),
        site=site(target.base_url, proxy=target.proxy, ca_file=target.ca_file),
        path=f"{urlsplit(target.base_url).path}/v1/models",
        headers=_HEADERS.get(target.family, {}),
        witnesses=() if is_private(host) else _witnesses(target, public, control_hosts),
    )


def _witnesses(
    target: Target, public: Sequence[Target], control_hosts: Sequence[str]
) -> tuple[Site, ...]:
    """Control hosts, and the other upstreams that are reached in the same way: the network is
    not to blame while one of them can be."""
    controls = [
        site(f"https://{host}", proxy=target.proxy, ca_file=target.ca_file, stranger=True)
        for host in control_hosts
    ]
    others = [
        site(other.base_url, proxy=other.proxy, ca_file=other.ca_file)
        for other in public
        if other.proxy == target.proxy and other.base_url.startswith("https:")
    ]
    found = {other.host: other for other in (*controls, *others) if other.host != _host(target)}
    return tuple(found.values())[:_WITNESSES]


def _host(target: Target) -> str:
    return urlsplit(target.base_url).hostname or ""
