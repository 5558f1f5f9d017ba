"""Streams that break off, and an engine that knows how they would have gone on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

import llguidance
import msgspec
from standin.anthropic_cloud import messages
from standin.openai_chat import chat
from standin.openai_responses import responses
from standin.wire import Answer, Request

from fallback.core.answer import PartialAnswer, SaidCall
from fallback.core.conversation import Conversation
from fallback.core.errors import FallbackError
from fallback.core.grammar_text import engine_text
from fallback.core.json_scan import plain_escapes
from fallback.core.ports import (
    EngineEvent,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.core.provenance import Provenance
from fallback.core.tool_formats import GENERAL
from fallback.dialects import DIALECTS
from fallback.dialects.base import Seam
from fallback.local.mock import Act, Say, Script, ScriptedEngine
from fallback.tiers.local import LocalLimits, LocalTier, StreamedAnswer

CLOUDS: Mapping[str, Callable[[Request], Answer]] = {
    "anthropic": messages,
    "openai-chat": chat,
    "openai-responses": responses,
}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "units": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["city", "days", "units"],
}
TOKENIZER = llguidance.LLTokenizer("byte")
PROVENANCE = Provenance(
    receipt="rcp_0123456789", tier="cloud", upstream="anthropic", reason="stream-reset"
)
OUTPUT_TOKENS = 5


def events_of(dialect: str, body: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The events of the stand-in's answer to `body`."""
    sent = json.dumps({**body, "stream": True}).encode()
    return CLOUDS[dialect](Request("POST", b"/v1/messages", (), sent)).events


class Finisher(ScriptedEngine):
    """Says what is left of `whole`, in pieces of `size` characters; what the grammar does not
    admit, no engine could have said."""

    def __init__(self, said: PartialAnswer, whole: PartialAnswer, size: int = 3) -> None:
        super().__init__()
        written = PartialAnswer(tuple(_written(said, whole)))
        self._text = GENERAL.partial_text(written, Conversation(model="m"))[0]
        self._size = size

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        self.requests.append(request)
        assert self._text.startswith(request.prefix)
        rest = self._text[len(request.prefix) :]
        assert admits(request, rest)
        yield GenerationStarted(input_tokens=7)
        for at in range(0, len(rest), self._size):
            yield Piece(rest[at : at + self._size])
        yield GenerationFinished(reason="end", input_tokens=7, output_tokens=OUTPUT_TOKENS)


def _written(said: PartialAnswer, whole: PartialAnswer) -> Iterator[Any]:
    """The parts of `whole`: calls not yet begun as our grammar has them, without white space."""
    for index, part in enumerate(whole.parts):
        if isinstance(part, SaidCall) and part.kind == "function" and index >= len(said.parts):
            value = json.loads(part.arguments)
            compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
            yield msgspec.structs.replace(part, arguments=plain_escapes(compact))
        else:
            yield part


def admits(request: GenerateRequest, rest: str) -> bool:
    """Whether the request's grammar admits this end of an answer."""
    if request.grammar is None:
        return True
    matcher = llguidance.LLMatcher(TOKENIZER, engine_text(request.grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    counted = TOKENIZER.tokenize_str(request.prefix[request.grammar_start :])
    assert matcher.consume_tokens(counted), "the grammar refuses what was said"
    return matcher.consume_tokens(TOKENIZER.tokenize_str(rest)) and matcher.is_accepting()


def saying(*texts: str) -> ScriptedEngine:
    """An engine that goes on with these."""
    acts: tuple[Act, ...] = tuple(map(Say, texts))
    return ScriptedEngine(Script(acts=acts))


def seam_of(dialect: str, sent: bytes) -> Seam:
    """The seam, where there must be one."""
    seam = DIALECTS[dialect].seam(sent)
    assert isinstance(seam, Seam), seam
    return seam


def spliced(
    dialect: str, body: Mapping[str, Any], sent: bytes, engine: ScriptedEngine
) -> tuple[bytes, Provenance]:
    """All that the client gets, and the final provenance."""
    rest, answer, error = asyncio.run(_go_on(dialect, body, sent, engine))
    assert error is None, error
    return sent + rest, answer.provenance


def told(seam: Seam) -> list[dict[str, Any]]:
    """The segments that the provenance must tell of."""
    cloud = {"tier": "cloud", "model": seam.model, "output_tokens": seam.output_tokens}
    local = {"tier": "local", "model": "scripted", "reason": "stream-reset"}
    return [
        {"from_char": 0, **cloud, "estimated": True},
        {"from_char": len(seam.said.text), **local},
    ]


def data_of(stream: bytes) -> list[dict[str, Any]]:
    """The data of a stream's events."""
    lines = stream.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


async def _go_on(
    dialect: str, body: Mapping[str, Any], sent: bytes, engine: ScriptedEngine
) -> tuple[bytes, StreamedAnswer, FallbackError | None]:
    limits = LocalLimits(
        max_output_tokens=512, max_prompt_tokens=512, ready_timeout_s=1.0, keepalive_s=5.0
    )
    tier = LocalTier(engine, limits, clock=lambda: 1_700_000_000.0)
    seam = seam_of(dialect, sent)
    answer = await tier.go_on(DIALECTS[dialect], json.dumps(body).encode(), seam, PROVENANCE)
    got: list[bytes] = []

    async def send(chunk: bytes) -> None:
        got.append(chunk)

    error = await answer.deliver(send)
    return b"".join(got), answer, error
