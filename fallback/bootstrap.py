"""The composition root: the only place that names concrete parts together."""

from __future__ import annotations

import gc
import random
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec
import platformdirs

from fallback import __version__
from fallback.config import Local, Settings
from fallback.config_upstreams import Remote
from fallback.core.health import Board, Change, HealthView, Scope, upstream_scope
from fallback.core.latency import Baselines
from fallback.core.notice import Notice
from fallback.core.outages import OutageBook
from fallback.core.ports import Engine, EngineStatus
from fallback.core.record import FinishedRequest
from fallback.core.routing import Router
from fallback.core.rules import Rules
from fallback.core.rungs import is_private
from fallback.core.status_line import Unwell, status_line
from fallback.dialects import DIALECTS
from fallback.gateway import Gateway, GatewaySettings
from fallback.handling.delivery import Delivery
from fallback.handling.knowledge import Knowledge
from fallback.handling.vigil import Vigil
from fallback.local.engine import LocalEngine
from fallback.local.off import EngineOff
from fallback.local.pacing import StandbySettings
from fallback.local.remote.engine import RemoteEngine
from fallback.local.remote.settings import RemoteSettings
from fallback.local.settings import WorkerSettings
from fallback.local.standby import Standby
from fallback.modelstore import locate
from fallback.signals.ladder import Ladder, Target
from fallback.signals.prober import Prober
from fallback.signals.resolver import Resolver
from fallback.signals.status_page import StatusPage, StatusPages
from fallback.storage.answers import Answers, answers
from fallback.storage.bookkeeper import Bookkeeper, bookkeeper
from fallback.storage.ledger_writer import Retention
from fallback.storage.place import database_place, keys_folder
from fallback.storage.recorder import OutageRecorder
from fallback.storage.redaction import redaction
from fallback.telemetry.log import log_engine, log_health, log_request
from fallback.telemetry.recent import Recent
from fallback.tiers.alternate import Alternate, AlternateTier
from fallback.tiers.cloud import CloudTier
from fallback.tiers.local import LocalLimits, LocalTier
from fallback.tiers.stale import StaleTier
from fallback.upstream.encoding import plain
from fallback.upstream.switch import SwitchTransport
from fallback.upstream.transport import Transport, TransportError, UpstreamConfig
from fallback.web.app import AsgiApp, WebApp

_LOOK_AFTER_S = 4.0
_SWITCH_S = 0.0005
_FLASH_ATTENTION = {"auto": None, "on": True, "off": False}
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Clock:
    """Unix seconds that never go back: anchored to the wall once, then monotonic. The time that
    the machine sleeps counts, where the system can tell it: evidence ages in it as well."""

    def __init__(self) -> None:
        self._anchor = time.time() - _ticks_s()

    def __call__(self) -> float:
        return self._anchor + _ticks_s()


def _ticks_s() -> float:
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


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
        self._outages = _outages(settings, self._clock)
        self._books = _books(settings)
        self._answers = _answers(settings)
        self._resolve = Resolver(socket.getaddrinfo)
        self._transport = transport or SwitchTransport(
            connect_s=settings.deadlines.connect_s,
            max_connections=settings.server.max_connections,
            resolve=self._resolve,
        )
        self._engine = engine or _engine(
            settings.local,
            environ,
            self._transport,
            self._engine_changed,
            may_calibrate=lambda: not self._board.unwell(),
        )
        self._standby = _standby(settings, self._engine, self._clock)
        self._vigil = Vigil(self._look, look_after_s=_LOOK_AFTER_S)
        self._board = Board(
            settings.upstreams,
            settings.health,
            now=self._started,
            on_change=self._health_changed,
            on_evidence=self._outages.noticed,
            loopback=_private(settings),
        )
        self._prober = self._signals()
        self.app: AsgiApp = WebApp(
            self._gateway(),
            self._control,
            proxy=settings.server.name,
            hosts=_hosts(settings),
            line=self.line,
            startup=self._start,
            shutdown=self._stop,
        )

    def _gateway(self) -> Gateway:
        settings, server = self.settings, self.settings.server
        knowledge = Knowledge(
            self._board, Baselines(), settings.hedging, settings.upstreams, clock=self._clock
        )
        local = LocalTier(
            self._engine,
            _limits(settings.local),
            clock=self._clock,
            notice=Notice(settings.notice),
        )
        return Gateway(
            GatewaySettings(
                max_body_bytes=server.max_body_bytes,
                local=settings.local.mode != "off",
                alternates={
                    name: upstream.alternates for name, upstream in settings.upstreams.items()
                },
            ),
            Router({name: upstream.family for name, upstream in settings.upstreams.items()}),
            Rules(settings.rules, settings.deadlines, settings.client.may),
            knowledge,
            self._vigil,
            CloudTier(self._transport, _upstreams(settings), DIALECTS, clock=self._clock),
            AlternateTier(self._transport, _alternates(settings), DIALECTS, clock=self._clock),
            local,
            Delivery(
                DIALECTS,
                knowledge,
                local,
                proxy=server.name,
                max_body_bytes=server.max_body_bytes,
            ),
            DIALECTS,
            clock=self._clock,
            token=lambda: secrets.token_hex(10),
            observe=self._observe,
            passing=self._standby.saw if self._standby else None,
            books=self._books,
            stale=None
            if self._answers is None
            else StaleTier(self._answers, clock=self._clock, proxy=server.name),
        )

    def _signals(self) -> Prober:
        settings, resolve = self.settings, self._resolve
        ladder = Ladder(_targets(settings), settings.signals.control_hosts, resolve)
        pages = StatusPages(_status_pages(settings), resolve, clock=self._clock)
        return Prober(
            self._board,
            ladder.look,
            public=[name for name in settings.upstreams if name not in _private(settings)],
            clock=self._clock,
            jitter=random.random,
            read_page=pages.read if settings.signals.status_pages else None,
        )

    def _control(self) -> AsgiApp:
        from fallback.web import admin

        return admin.create(
            self.status, self._recent.find, self._outages, self._books, clock=self._clock
        )

    async def _start(self) -> None:
        # What is here now stays: the collector need not look at it again, nor so often at the
        # short-lived values of requests, which reference counting frees.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)
        # A thread that writes receipts may hold the interpreter for so long while a request waits.
        sys.setswitchinterval(_SWITCH_S)
        if isinstance(self._engine, RemoteEngine) or self.settings.local.standby != "off":
            self._load()
        if self._standby is not None:
            self._standby.start()
        if self._books is not None:
            self._books.start()

    def _load(self) -> None:
        if isinstance(self._engine, LocalEngine | RemoteEngine):
            self._engine.start()

    async def _stop(self) -> None:
        await self._prober.stop()
        if self._standby is not None:
            await self._standby.stop()
        if isinstance(self._engine, LocalEngine | RemoteEngine):
            await self._engine.stop()
        await self._transport.aclose()
        await self._outages.aclose()
        if self._answers is not None:
            await self._answers.aclose()
        if self._books is not None:
            await self._books.aclose()

    def _observe(self, record: FinishedRequest) -> None:
        self._recent(record)
        self._outages.finished(record)
        log_request(record)

    def _health_changed(self, change: Change) -> None:
        log_health(change)
        self._outages.changed(change)
        self._prober.notice(change)
        self._vigil.changed(change)
        suspect = bool(self._board.unwell())
        if suspect:
            self._load()
        if self._standby is not None:
            self._standby.suspect(suspect)

    def _engine_changed(self, status: EngineStatus) -> None:
        log_engine(status)
        if self._standby is not None:
            self._standby.engine_changed(status)

    def _look(self, upstream: str) -> None:
        self._prober.look(upstream)

    def status(self) -> dict[str, Any]:
        """The whole status as JSON types."""
        now = self._clock()
        return {
            "version": __version__,
            "up_s": round(now - self._started, 1),
            "upstreams": {
                name: {
                    "base_url": self.settings.upstreams[name].base_url,
                    **_health_body(self._board.view(upstream_scope(name), now)),
                }
                for name in self.settings.upstreams
            },
            "unwell": [self._unwell_body(scope, now) for scope in self._board.unwell()],
            "local": msgspec.to_builtins(self._engine.status()),
            "standby": self._standby_body(),
            "storage": self._outages.status(),
            "receipts": self._books.status() if self._books is not None else None,
            "answered_by": self._recent.answered_by(),
        }

    def line(self) -> tuple[bool, str]:
        """Whether all is well, and how things stand, in one line."""
        now = self._clock()
        unwell = [
            Unwell(str(scope), view.state.value, now - view.since)
            for scope in self._board.unwell()
            for view in (self._board.view(scope, now),)
        ]
        return status_line(unwell, self._engine.status())

    def _standby_body(self) -> dict[str, Any]:
        status = self._standby.status() if self._standby else None
        mode = self.settings.local.standby if isinstance(self._engine, LocalEngine) else "off"
        return {"mode": mode, **(msgspec.to_builtins(status) if status else {})}

    def _unwell_body(self, scope: Scope, now: float) -> dict[str, Any]:
        view = self._board.view(scope, now)
        why = self._board.explain(scope, now)
        return {"scope": str(scope), "kind": scope.kind, "why": why, **_health_body(view)}


def _outages(settings: Settings, clock: Clock) -> OutageRecorder:
    storage = settings.storage
    book = OutageBook(
        {name: upstream.base_url for name, upstream in settings.upstreams.items()},
        software=f"fallback {__version__}",
    )
    place = database_place(storage.path, storage.url) if storage.enabled else None
    return OutageRecorder(book, place, clock=clock)


def _books(settings: Settings) -> Bookkeeper | None:
    """Who keeps the receipts, where they are kept. Raises `ConfigError`."""
    storage, receipts = settings.storage, settings.receipts
    if not (storage.enabled and receipts.enabled):
        return None
    place = database_place(storage.path, storage.url)
    return bookkeeper(
        place,
        keys_folder(receipts.keys, place),
        Retention(days=receipts.keep_days, receipts=receipts.most),
        redact=None if receipts.redact is None else redaction(receipts.redact),
        waiting_bytes=receipts.waiting_mb * 1_000_000,
        max_body_bytes=receipts.max_body_kb * 1000,
        software=f"fallback {__version__}",
    )


def _answers(settings: Settings) -> Answers | None:
    """Where earlier answers are kept, if they are."""
    storage = settings.storage
    if not (storage.enabled and settings.stale.enabled):
        return None
    place = database_place(storage.path, storage.url)
    return answers(place, most_bytes=settings.stale.max_mb * 1_000_000)


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


def _alternates(settings: Settings) -> dict[str, Alternate]:
    """Those upstreams that stand in for another."""
    configs = _upstreams(settings)
    named = {name for upstream in settings.upstreams.values() for name in upstream.alternates}
    return {
        name: Alternate(
            upstream=configs[name],
            dialect=settings.upstreams[name].dialect,
            models=settings.upstreams[name].models,
        )
        for name in named
    }


def _targets(settings: Settings) -> list[Target]:
    return [
        Target(
            name=name,
            base_url=upstream.base_url,
            family=upstream.family,
            proxy=upstream.proxy,
            ca_file=upstream.ca_file,
        )
        for name, upstream in settings.upstreams.items()
    ]


def _private(settings: Settings) -> frozenset[str]:
    """The upstreams that do not depend on the internet."""
    hosts = {name: urlsplit(each.base_url).hostname for name, each in settings.upstreams.items()}
    return frozenset(name for name, host in hosts.items() if is_private(host or ""))


def _status_pages(settings: Settings) -> dict[str, StatusPage]:
    return {
        name: StatusPage(
            url=upstream.status_url,
            components=upstream.status_components,
            proxy=upstream.proxy,
            ca_file=upstream.ca_file,
        )
        for name, upstream in settings.upstreams.items()
        if upstream.status_url is not None
    }


def _limits(local: Local) -> LocalLimits:
    remote = local.remote if local.mode == "remote" else None
    return LocalLimits(
        max_output_tokens=remote.max_output_tokens if remote else local.max_output_tokens,
        max_prompt_tokens=None if remote else local.max_prompt_tokens,
        ready_timeout_s=local.ready_timeout_s,
        keepalive_s=local.keepalive_s,
        show_reasoning=local.reasoning == "show",
    )


def _standby(settings: Settings, engine: Engine, clock: Clock) -> Standby | None:
    """What keeps conversations warm, where that is wanted and the engine can."""
    local = settings.local
    if local.standby != "warm" or not isinstance(engine, LocalEngine):
        return None
    # Only here is it worth its import.
    from fallback.local.machine import MachineWatch

    return Standby(
        StandbySettings(
            cpu=local.standby_cpu,
            memory_bytes=local.standby_mb * 1_000_000,
            on_battery=local.standby_on_battery,
            max_tokens=local.max_output_tokens,
            prompt_budget_tokens=local.max_prompt_tokens,
        ),
        engine,
        look=MachineWatch(lambda: engine.status().pid),
        plain=partial(plain, limit_bytes=settings.server.max_body_bytes),
        clock=clock,
    )


def _engine(
    local: Local,
    environ: Mapping[str, str],
    transport: Transport,
    on_change: Callable[[EngineStatus], None],
    may_calibrate: Callable[[], bool],
) -> Engine:
    if local.mode == "off":
        return EngineOff('switched off: local.mode = "off"')
    if local.mode == "remote" and local.remote is not None:
        return _remote_engine(local.remote, local.ready_timeout_s, transport, on_change)
    model = locate(local.model, models_dir=local.models_dir)
    return LocalEngine(
        WorkerSettings(
            model_path=str(model.path),
            model_name=model.name,
            model_sha256=local.sha256 or model.sha256,
            quantization=model.quantization,
            context_tokens=local.context_tokens,
            request_tokens=local.request_tokens,
            slots=local.slots,
            threads=local.threads,
            gpu_layers=local.gpu_layers,
            flash_attention=_FLASH_ATTENTION[local.flash_attention],
            kv_type=local.kv_type,
            memory_mb=local.memory_mb,
            calibrate=local.calibrate,
            requantize=local.requantize,
            idle_unload_s=local.idle_unload_s,
            ready_timeout_s=local.ready_timeout_s,
            prefix_cache_bytes=local.standby_mb * 1_000_000,
            spill_bytes=local.spill_mb * 1_000_000,
            cache_dir=str(platformdirs.user_cache_path("fallback")),
        ),
        environment=environ,
        on_change=on_change,
        may_calibrate=may_calibrate,
    )


def _remote_engine(
    remote: Remote,
    ready_timeout_s: float,
    transport: Transport,
    on_change: Callable[[EngineStatus], None],
) -> RemoteEngine:
    server = UpstreamConfig(
        name="local", family="openai", base_url=remote.url, ca_file=remote.ca_file
    )
    return RemoteEngine(
        RemoteSettings(
            url=remote.url,
            model=remote.model,
            api_key=remote.api_key,
            context_tokens=remote.context_tokens,
            prefill=remote.prefill,
            ready_timeout_s=ready_timeout_s,
        ),
        DIALECTS["openai-chat"],
        partial(transport.send, server),
        failures=TransportError,
        on_change=on_change,
    )


def _hosts(settings: Settings) -> frozenset[str] | None:
    server = settings.server
    if "*" in server.allowed_hosts:
        return None
    # In a `Host` field an IPv6 address has brackets.
    listening = f"[{server.host}]" if ":" in server.host else server.host
    return _LOOPBACK | {host.lower() for host in (listening, *server.allowed_hosts)}
