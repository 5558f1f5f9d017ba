"""Asks a suspicious or dead upstream, at no cost, whether its edge lives.

The probe is a `GET /v1/models` without a key: any authentic answer, a 401 in JSON too, proves
that network, DNS, TLS and edge stand. It proves nothing about inference, so it only opens the
way for a canary. Nothing is asked of a healthy upstream.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from fallback.core.health import Board, Evidence, HealthView, State
from fallback.core.outcome import AttemptFacts, Failure, classify

if TYPE_CHECKING:
    import httpx

_log = logging.getLogger("fallback.signals")

_PROBED = (State.SUSPECT, State.DOWN)
_LIMIT_S = 15.0
_MAX_BYTES = 1024 * 1024
_HEADERS = {"anthropic": {"anthropic-version": "2023-06-01"}, "openai": {}}


class ProbeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where to ask. `proxy` and `ca_file` as for the upstream's own requests."""

    base_url: str
    family: str
    proxy: str | None = None
    ca_file: str | None = None


Probe = Callable[[ProbeTarget], Awaitable[Evidence]]


class Prober:
    """One task per unwell upstream. `jitter` gives a random number in [0, 1)."""

    def __init__(
        self,
        targets: Mapping[str, ProbeTarget],
        probe: Probe,
        *,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self._targets = targets
        self._probe = probe
        self._clock = clock
        self._jitter = jitter
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def notice(self, board: Board, upstream: str, view: HealthView) -> None:
        """Hear of a change of health; begins to probe where there is reason to."""
        task = self._tasks.get(upstream)
        if view.state in _PROBED and (task is None or task.done()):
            self._tasks[upstream] = asyncio.ensure_future(self._watch(board, upstream))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _watch(self, board: Board, upstream: str) -> None:
        detector = board[upstream]
        if detector.state is State.SUSPECT:
            # The first strong evidence: look at once, it costs nothing.
            await self._ask(board, upstream)
        attempt = 0
        while detector.state in _PROBED:
            await asyncio.sleep(detector.probe_delay_s(attempt, self._jitter()))
            if detector.state in _PROBED:
                await self._ask(board, upstream)
            attempt += 1

    async def _ask(self, board: Board, upstream: str) -> None:
        try:
            evidence = await self._probe(self._targets[upstream])
        except Exception:  # noqa: BLE001 - the last line: without probes it would stay down
            _log.exception("a bug in fallback: the probe of %s", upstream)
            return
        _log.debug("probe of %s: %s", upstream, evidence.summary)
        board.record(upstream, evidence, self._clock())


async def keyless_models(target: ProbeTarget) -> Evidence:
    """One free request to the upstream's edge -> evidence; never raises."""
    try:
        # In a thread: importing httpx and reading the certificates take a tenth of a second,
        # for which the streams that pass just now should not halt.
        client = await asyncio.to_thread(_client, target)
    except (OSError, ValueError) as error:
        return Evidence(source="probe", weight=3.0, summary=f"probe failed: {error}")
    import httpx

    try:
        async with client, asyncio.timeout(_LIMIT_S):
            return await _ask_models(client, target)
    except httpx.HTTPError as error:
        return _unreachable(error)
    except TimeoutError:
        return _unreachable(httpx.ReadTimeout(f"no whole answer within {_LIMIT_S:g} s"))
    except (OSError, ValueError) as error:
        return Evidence(source="probe", weight=3.0, summary=f"probe failed: {error}")


def _client(target: ProbeTarget) -> httpx.AsyncClient:
    import httpx

    return httpx.AsyncClient(
        proxy=target.proxy,
        verify=_trust(target.ca_file),
        timeout=httpx.Timeout(10.0, connect=3.0),
        trust_env=False,
    )


@functools.cache
def _trust(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


async def _ask_models(client: httpx.AsyncClient, target: ProbeTarget) -> Evidence:
    headers = {"accept-encoding": "identity", **_HEADERS.get(target.family, {})}
    url = f"{target.base_url}/v1/models"
    body = b""
    async with client.stream("GET", url, headers=headers) as response:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > _MAX_BYTES:
                break
    return _answered(response.status_code, body)


def _unreachable(error: httpx.HTTPError) -> Evidence:
    import httpx

    timeouts = (httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout)
    failure = Failure.TIMEOUT if isinstance(error, timeouts) else Failure.RESET
    outcome = classify(AttemptFacts(phase="headers", failure=failure))
    text = f"probe failed: {type(error).__name__} {error}".rstrip()
    return Evidence(source="probe", weight=outcome.weight, summary=text)


def _answered(status: int, body: bytes) -> Evidence:
    if status >= 500:
        outcome = classify(AttemptFacts(phase="done", status=status))
        return Evidence(
            source="probe", weight=outcome.weight, summary=f"probe answered with {status}"
        )
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return Evidence(
            source="probe", weight=3.0, summary=f"probe answered with {status}, not of the API"
        )
    return Evidence(source="probe", weight=0.0, alive=True, summary=f"probe answered with {status}")
