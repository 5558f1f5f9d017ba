"""The composition root: the only place that names concrete parts together."""

from __future__ import annotations

import gc
import random
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import platformdirs

from fallback import __version__
from fallback.config import Local, Settings
from fallback.core.health import Board, HealthView
from fallback.core.ports import Engine
from fallback.core.record import FinishedRequest
from fallback.core.routing import Router
from fallback.dialects import DIALECTS
from fallback.gateway import Gateway, GatewaySettings
from fallback.local.engine import LocalEngine
from fallback.local.off import EngineOff
from fallback.local.settings import WorkerSettings
from fallback.modelstore import locate
from fallback.signals.prober import Prober, ProbeTarget, keyless_models
from fallback.telemetry.log import log_engine, log_health, log_request
from fallback.telemetry.recent import Recent
from fallback.tiers.cloud import CloudTier
from fallback.tiers.local import LocalLimits, LocalTier
from fallback.upstream.switch import SwitchTransport
from fallback.upstream.transport import Transport, UpstreamConfig
from fallback.web.app import AsgiApp, WebApp

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Clock:
    """Unix seconds that never go back: anchored to the wall once, then monotonic."""

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def __call__(self) -> float:
        return self._anchor + time.monotonic()


class Service:
    """Everything that runs, wired together; `app` is the ASGI application."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        transport: Transport | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.settings = settings
        self._clock = Clock()
        self._started = self._clock()
        self._recent = Recent()
        self._engine = engine or _engine(settings.local, environ)
        self._transport = transport or SwitchTransport(
            connect_s=settings.deadlines.connect_s,
            max_connections=settings.server.max_connections,
        )
        self._prober = Prober(
            _probe_targets(settings), keyless_models, clock=self._clock, jitter=random.random
        )
        self._board = Board(
            settings.upstreams,
            settings.health,
            now=self._started,
            on_change=self._health_changed,
        )
        self.app: AsgiApp = WebApp(
            self._gateway(),
            self._control,
            proxy=settings.server.name,
            hosts=_hosts(settings),
            startup=self._start,
            shutdown=self._stop,
        )

    def _gateway(self) -> Gateway:
        settings = self.settings
        cloud = CloudTier(
            self._transport, _upstreams(settings), DIALECTS, settings.deadlines, clock=self._clock
        )
        local = LocalTier(self._engine, _limits(settings.local), clock=self._clock)
        return Gateway(
            GatewaySettings(
                proxy=settings.server.name,
                max_body_bytes=settings.server.max_body_bytes,
                local=settings.local.mode == "on",
            ),
            Router({name: upstream.family for name, upstream in settings.upstreams.items()}),
            DIALECTS,
            self._board,
            cloud,
            local,
            clock=self._clock,
            token=lambda: secrets.token_hex(10),
            observe=self._observe,
        )

    def _control(self) -> AsgiApp:
        from fallback.web import admin

        return admin.create(self.status, self._recent.find)

    async def _start(self) -> None:
        # What is here now stays: the collector need not look at it again, nor so often at the
        # short-lived values of requests, which reference counting frees.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        if isinstance(self._engine, LocalEngine):
            self._engine.start()

    async def _stop(self) -> None:
        await self._prober.stop()
        if isinstance(self._engine, LocalEngine):
            await self._engine.stop()
        await self._transport.aclose()

    def _observe(self, record: FinishedRequest) -> None:
        self._recent(record)
        log_request(record)

    def _health_changed(self, upstream: str, view: HealthView) -> None:
        log_health(upstream, view)
        self._prober.notice(self._board, upstream, view)

    def status(self) -> dict[str, Any]:
        """The whole status as JSON types."""
        now = self._clock()
        views = self._board.views(now)
        return {
            "version": __version__,
            "up_s": round(now - self._started, 1),
            "upstreams": {
                name: {
                    "base_url": self.settings.upstreams[name].base_url,
                    **_health_body(view),
                }
                for name, view in views.items()
            },
            "local": msgspec.to_builtins(self._engine.status()),
            "answered_by": self._recent.answered_by(),
        }


def _health_body(view: HealthView) -> dict[str, Any]:
    return {
        "state": view.state.value,
        "since": view.since,
        "outage": view.outage,
        "score": round(view.score, 2),
        "story": msgspec.to_builtins(view.story),
    }


def _upstreams(settings: Settings) -> dict[str, UpstreamConfig]:
    return {
        name: UpstreamConfig(
            name=name,
            family=upstream.family,
            base_url=upstream.base_url,
            proxy=upstream.proxy,
            ca_file=upstream.ca_file,
            api_key=upstream.api_key,
        )
        for name, upstream in settings.upstreams.items()
    }


def _probe_targets(settings: Settings) -> dict[str, ProbeTarget]:
    return {
        name: ProbeTarget(
            base_url=upstream.base_url,
            family=upstream.family,
            proxy=upstream.proxy,
            ca_file=upstream.ca_file,
        )
        for name, upstream in settings.upstreams.items()
    }


def _limits(local: Local) -> LocalLimits:
    return LocalLimits(
        max_output_tokens=local.max_output_tokens,
        max_prompt_tokens=local.max_prompt_tokens,
        ready_timeout_s=local.ready_timeout_s,
        keepalive_s=local.keepalive_s,
    )


def _engine(local: Local, environ: Mapping[str, str]) -> Engine:
    if local.mode == "off":
        return EngineOff('switched off: local.mode = "off"')
    model = locate(local.model, models_dir=local.models_dir)
    return LocalEngine(
        WorkerSettings(
            model_path=str(model.path),
            model_name=model.name,
            model_sha256=local.sha256 or model.sha256,
            quantization=model.quantization,
            context_tokens=local.context_tokens,
            slots=local.slots,
            threads=local.threads,
            ready_timeout_s=local.ready_timeout_s,
            cache_dir=str(platformdirs.user_cache_path("fallback")),
        ),
        environment=environ,
        on_change=log_engine,
    )


def _hosts(settings: Settings) -> frozenset[str] | None:
    server = settings.server
    if "*" in server.allowed_hosts:
        return None
    # In a `Host` field an IPv6 address has brackets.
    listening = f"[{server.host}]" if ":" in server.host else server.host
    return _LOOPBACK | {host.lower() for host in (listening, *server.allowed_hosts)}
