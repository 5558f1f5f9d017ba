"""What the adapters must satisfy. The core and the gateway know only these."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol, TypeAlias

import msgspec

from fallback.core.answer import (
    Cut,
    StopReason,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import Conversation


class ModelIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Which model answers, precisely enough for an audit.

    `sha256` is the file's; None where the model is a remote server's, whose file nobody here
    has seen. Then `quantization` is what the server says, or "unknown". `requantized_from` is
    set where this machine made the file out of a coarser or slower one, once: that one's.
    """

    name: str
    sha256: str | None
    quantization: str
    context_tokens: int
    engine: str
    requantized_from: str | None = None


class GrammarPart(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of a grammar that says what the client asked for: by `body`, the rule's right side,
    or by `lark`, a whole grammar of the client's own.

    `about` names it in errors. `instead` is the right side to take where the engine cannot
    express the first; without one such a request is refused.
    """

    rule: str
    about: str
    body: str = ""
    lark: str | None = None
    instead: str | None = None


class Grammar(msgspec.Struct, frozen=True, kw_only=True):
    """A constraint on the whole output, in llguidance's Lark dialect. `lark` refers to `parts` by
    their rules' names. `loosened` says in words what the output is not held to.

    Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
    """

    lark: str
    parts: tuple[GrammarPart, ...] = ()
    loosened: tuple[str, ...] = ()


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One generation.

    `prefix` is the beginning of the answer that the client already has, as the model would have
    written it: the engine goes on after it, and the grammar counts it as written from the
    character `grammar_start` on. `max_tokens` is the operator's clamp; the client's own is in
    the conversation. `priority`: higher first. `client` is whom fair shares are between.

    The prompt is fitted to what the context holds, to `prompt_budget_tokens` where the operator
    set one, and to what can be read within `first_token_s` seconds, if that is set. Where others
    go first, so that it would begin only after `late_after_s`, it is refused instead.
    """

    id: str
    conversation: Conversation
    max_tokens: int
    prompt_budget_tokens: int | None = None
    first_token_s: float | None = None
    late_after_s: float | None = None
    grammar: Grammar | None = None
    prefix: str = ""
    grammar_start: int = 0
    priority: int = 0
    client: str = ""

    def prompt_room(self, room_tokens: int) -> int:
        """What the prompt may take of `room_tokens` under the operator's clamp."""
        budget = self.prompt_budget_tokens
        return room_tokens if budget is None else min(room_tokens, budget)


class GenerationStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The request was accepted and fitted; sent before the prefill. Of its tokens
    `cached_tokens` need not be computed again."""

    input_tokens: int
    cuts: tuple[Cut, ...] = ()
    loosened: tuple[str, ...] = ()
    cached_tokens: int = 0


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """More text, whole characters, never a stop sequence."""

    text: str


class GenerationFinished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end of a generation, with what it took. Times in seconds."""

    reason: StopReason
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    stop_sequence: str | None = None
    prefill_s: float = 0.0
    decode_s: float = 0.0


EngineEvent: TypeAlias = (
    GenerationStarted
    | Piece
    | ThinkingDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallEnded
    | GenerationFinished
)


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is a sentence for a person; `model` is set once a model is loaded. `tool_format`
    names the one of `core.tool_formats` that this model's template has, `tuning` says in words how
    the model is run. An `idle` engine has no model loaded and loads it for whoever asks."""

    state: Literal["starting", "ready", "failed", "off", "idle"]
    detail: str = ""
    model: ModelIdentity | None = None
    pid: int | None = None
    restarts: int = 0
    load_s: float | None = None
    active: int = 0
    queued: int = 0
    tool_format: str = "general"
    tuning: str = ""


class Engine(Protocol):
    """Local inference, whoever does it."""

    def status(self) -> EngineStatus:
        """The state now; never blocks."""
        ...

    async def ready(self, timeout_s: float) -> ModelIdentity:
        """Wait for a loaded model. Raises `EngineNotReady` with the reason."""
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield `GenerationStarted`, pieces, `GenerationFinished`.

        Pieces are the model's own text, calls in its tool format. An engine whose server
        understands those itself yields the events of thinking and of calls instead.

        Closing the generator frees everything it held at once. Raises `EngineError` (or
        `BadRequest` for a grammar that cannot be expressed); survives a crash of the worker by
        going on after the text already yielded.
        """
        ...

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the whole, unfitted conversation. Raises `EngineNotReady`."""
        ...
