"""The neutral form of a request.

Rules of this file:
- Every type is a frozen value; a change makes a new value.
- Nothing here knows a wire protocol, an engine or a storage identity.
- What a local model cannot see (images, documents) stays as an `Attachment`, so that the
  rendering can say so instead of losing it silently.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Plain text that the model reads or wrote."""

    text: str


class Thinking(msgspec.Struct, frozen=True, tag="thinking"):
    """Reasoning that another model wrote (`text` may be empty: signed or redacted)."""

    text: str


class Attachment(msgspec.Struct, frozen=True, kw_only=True, tag="attachment"):
    """Something the client sent that a text model cannot see."""

    kind: Literal["image", "document", "audio", "file", "other"]
    media_type: str | None = None
    name: str | None = None

    def note(self) -> str:
        """What stands in its place where only text can be passed on."""
        kind = "attachment" if self.kind == "other" else self.kind
        name = f" {self.name}" if self.name else ""
        return f"[{kind}{name} not shown: only text reaches this model]"


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A call an assistant turn made. `arguments` is JSON text, or free text for a custom tool."""

    id: str
    name: str
    arguments: str


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, tag="tool_result"):
    """What the client's tool gave back for the call `call_id`."""

    call_id: str
    text: str
    is_error: bool = False


Part: TypeAlias = Text | Thinking | Attachment | ToolCall | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """One message. Turns of one role may follow each other; `parts` may be empty."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool the client can run.

    `parameters` is the JSON Schema of the arguments; with `strict` a call has to keep it, and
    what cannot be guaranteed is refused. A `custom` tool takes free text instead, constrained by
    `grammar` (syntax in `grammar_syntax`) where the client gave one.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    kind: Literal["function", "custom"] = "function"
    grammar_syntax: Literal["lark", "regex"] | None = None
    grammar: str | None = None
    strict: bool = False


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and which tools may be called. `name` only with mode `named`."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None
    parallel: bool = True


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Structured output: any JSON object, or JSON that the schema admits, `strict` or as well
    as it can be done."""

    kind: Literal["json_object", "json_schema"]
    schema: dict[str, Any] = {}
    strict: bool = False


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How to sample; `None` leaves the engine's default. `max_tokens` counts output tokens."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one answer, without anything of the protocol it came in.

    `model` is the name the client asked for, never the one that answers.
    """

    model: str
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    output_format: OutputFormat | None = None
    sampling: Sampling = Sampling()
    stream: bool = False
