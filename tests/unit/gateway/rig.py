"""The whole gateway with scripted ends: a cloud, an engine and a client that plays no tricks."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import Any

from fallback.core.client_policy import ClientMember
from fallback.core.health import Board, Change, Evidence, HealthSettings, upstream_scope
from fallback.core.hedging import HedgeSettings
from fallback.core.latency import Baselines
from fallback.core.passed import Passed
from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers
from fallback.core.record import Books, FinishedRequest
from fallback.core.routing import Router
from fallback.core.rules import Rule, Rules
from fallback.dialects import DIALECTS
from fallback.gateway import Gateway, GatewaySettings
from fallback.handling.delivery import Delivery
from fallback.handling.knowledge import Knowledge
from fallback.handling.vigil import Vigil
from fallback.local.mock import ScriptedEngine
from fallback.tiers.alternate import Alternate, AlternateTier
from fallback.tiers.cloud import CloudTier
from fallback.tiers.local import LocalLimits, LocalTier
from fallback.tiers.stale import Answers, StaleTier
from fallback.upstream.mock import Answerer, Script, ScriptedTransport
from fallback.upstream.transport import UpstreamConfig

PATHS = {
    "anthropic": "/v1/messages",
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
}
LIMITS = LocalLimits(
    max_output_tokens=64, max_prompt_tokens=512, ready_timeout_s=1.0, keepalive_s=5.0
)


def body(dialect: str, *, stream: bool) -> bytes:
    """A small request in a dialect."""
    said = [{"role": "user", "content": "Is anybody there?"}]
    fields: dict[str, Any] = {"model": "cloud-model", "stream": stream}
    if dialect == "openai-responses":
        return json.dumps({**fields, "input": said}).encode()
    return json.dumps({**fields, "messages": said, "max_tokens": 50}).encode()


class Client:
    """Satisfies `gateway.Exchange` and keeps what it was sent."""

    def __init__(
        self,
        path: str = "/v1/messages",
        sent: bytes = b"",
        *,
        method: str = "POST",
        headers: Headers | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.query = b""
        self.headers: Headers = headers or [(b"content-type", b"application/json")]
        self.status: int | None = None
        self.got_headers: Headers = []
        self.got = b""
        self.finishes = 0
        self._sent = sent

    async def body(self, limit_bytes: int) -> bytes | AsyncIterable[bytes]:
        return self._sent

    async def start(self, status: int, headers: Headers) -> None:
        assert self.status is None, "an answer starts once"
        self.status, self.got_headers = status, headers

    async def send(self, chunk: bytes) -> None:
        assert self.status is not None
        assert self.finishes == 0
        self.got += chunk

    async def finish(self, chunk: bytes = b"") -> None:
        await self.send(chunk)
        self.finishes += 1

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.got_headers if key == name.encode()]
        return values[-1].decode() if values else None

    @property
    def tier(self) -> str:
        told = self.header("llm-provenance")
        assert told is not None, "every answer carries provenance"
        return told.removeprefix("tier=").partition(",")[0]


class Rig:
    """A gateway in virtual time; `records` are what its observers heard, `passed` the requests that
    tell of a live conversation. `notice` hears of the
    changes of health, as a prober does. `alternates` stand in for both upstreams; `books` keeps
    receipts and `answers` earlier answers, where they are given."""

    def __init__(
        self,
        cloud: Answerer | Sequence[Script],
        engine: ScriptedEngine | None = None,
        *,
        local: bool = True,
        deadlines: Deadlines | None = None,
        rules: Sequence[Rule] = (),
        client_may: Sequence[ClientMember] = (),
        alternates: Mapping[str, Alternate] | None = None,
        books: Books | None = None,
        answers: Answers | None = None,
    ) -> None:
        self.transport = ScriptedTransport(cloud)
        self.engine = engine or ScriptedEngine()
        self.records: list[FinishedRequest] = []
        self.passed: list[Passed] = []
        clock = asyncio.get_running_loop().time
        upstreams = {
            name: UpstreamConfig(name=name, family=name, base_url=f"https://{name}.test")
            for name in ("anthropic", "openai")
        }
        standing_in = alternates or {}
        self.looks: list[str] = []
        self.changes: list[Change] = []
        self.notice: Callable[[Change], None] = lambda change: None
        vigil = Vigil(self.looks.append, look_after_s=4.0)

        def heard(change: Change) -> None:
            self.changes.append(change)
            vigil.changed(change)
            self.notice(change)

        names = [*upstreams, *standing_in]
        self.board = Board(names, HealthSettings(), now=clock(), on_change=heard)
        knowledge = Knowledge(self.board, Baselines(), HedgeSettings(), names, clock=clock)
        tier = LocalTier(self.engine, LIMITS, clock=clock)
        counter = itertools.count()
        self._gateway = Gateway(
            GatewaySettings(
                max_body_bytes=1 << 20,
                local=local,
                alternates=dict.fromkeys(upstreams, tuple(standing_in)),
            ),
            Router({"anthropic": "anthropic", "openai": "openai"}),
            Rules(rules, deadlines or Deadlines(), client_may),
            knowledge,
            vigil,
            CloudTier(self.transport, upstreams, DIALECTS, clock=clock),
            AlternateTier(self.transport, standing_in, DIALECTS, clock=clock),
            tier,
            Delivery(DIALECTS, knowledge, tier, proxy="fallback", max_body_bytes=1 << 20),
            DIALECTS,
            clock=clock,
            token=lambda: f"{next(counter):020x}",
            observe=self.records.append,
            passing=self.passed.append,
            books=books,
            stale=None if answers is None else StaleTier(answers, clock=clock, proxy="fallback"),
        )

    def take_down(self, upstream: str) -> None:
        """As after an outage's first requests."""
        now = asyncio.get_running_loop().time()
        for _ in range(3):
            evidence = Evidence(
                scope=upstream_scope(upstream),
                source="request",
                weight=3.0,
                summary="unreachable-refused",
                reason="unreachable-refused",
            )
            self.board.record(evidence, now)

    async def ask(self, client: Client) -> Client:
        await self._gateway.handle(client)
        return client
