"""Asks with the official SDKs, and tells in one word what the client saw.

The bytes are kept beside what the SDK made of them: several SDKs take a truncated stream for a
whole one, so that their word alone proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import asks
import httpx2
import openai
import raw_http
import valid_answers
from standin.reply import Ask as CloudAsk
from standin.reply import compose

from support.fault import Ask, Dialect
from support.tape import Tape

ASKS = {"messages": asks.MESSAGES, "chat": asks.CHAT, "responses": asks.RESPONSES}
_MAX_TOKENS = 64
_KEY = "sk-test"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of one request.

    `result` is one of: `cloud`, `local`, `spliced` (whole answers, by who gave them); `told` (an
    error event in the stream); `status N` (an error answer); `dropped` (no answer, or one that
    was aborted); `TRUNCATED` (an answer that is not whole and passed for one); `GARBLED` (the
    SDK choked). Seconds count from the request; `first_content_s` is None where none came.
    """

    result: str
    detail: str = ""
    first_content_s: float | None = None
    total_s: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    retry_after: str | None = None

    @property
    def receipt(self) -> str:
        return str(self.provenance.get("receipt", ""))


class _Stopwatch:
    def __init__(self) -> None:
        self._began = time.monotonic()
        self.first_content_s: float | None = None

    def content(self) -> None:
        if self.first_content_s is None:
            self.first_content_s = self.now_s

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began


def ask(
    url: str,
    dialect: Dialect,
    request: Ask,
    *,
    stream: bool,
    patience_s: float = 180.0,
    retries: int = 0,
) -> Seen:
    """One request to the service at `url`, which the SDK retries so often; never raises."""
    tape, watch = Tape(patience_s), _Stopwatch()
    error: Exception | None = None
    try:
        with _client(url, dialect, tape, patience_s, retries) as client:
            _USES[dialect, stream](client, request, watch.content)
    except Exception as raised:  # noqa: BLE001 - whatever an application would see
        error = raised
    return _seen(dialect, request, stream, tape, watch, error)


def _client(url: str, dialect: Dialect, tape: Tape, patience_s: float, retries: int) -> Any:
    # Plain bytes can be compared; codings are what `tests/e2e/test_bytes.py` is about.
    common: dict[str, Any] = {
        "api_key": _KEY,
        "max_retries": retries,
        "timeout": patience_s,
        "default_headers": {"accept-encoding": "identity"},
    }
    if dialect == "messages":
        http = anthropic.DefaultHttpxClient(transport=tape)
        return anthropic.Anthropic(base_url=url, http_client=http, **common)
    http = openai.DefaultHttpxClient(transport=tape)
    return openai.OpenAI(base_url=f"{url}/v1", http_client=http, **common)


def _model(dialect: Dialect, request: Ask) -> str:
    return request.model or ASKS[dialect].model


def _turn(request: Ask) -> Any:
    return {"role": "user", "content": request.text}


def _messages(client: anthropic.Anthropic, request: Ask, content: Callable[[], None]) -> None:
    client.messages.create(
        model=_model("messages", request), max_tokens=_MAX_TOKENS, messages=[_turn(request)]
    )
    content()


def _messages_stream(
    client: anthropic.Anthropic, request: Ask, content: Callable[[], None]
) -> None:
    with client.messages.stream(
        model=_model("messages", request), max_tokens=_MAX_TOKENS, messages=[_turn(request)]
    ) as stream:
        for _ in stream.text_stream:
            content()
        stream.get_final_message()


def _chat(client: openai.OpenAI, request: Ask, content: Callable[[], None]) -> None:
    client.chat.completions.create(
        model=_model("chat", request), max_tokens=_MAX_TOKENS, messages=[_turn(request)]
    )
    content()


def _chat_stream(client: openai.OpenAI, request: Ask, content: Callable[[], None]) -> None:
    # The helper `stream()` raises where a token budget ended the answer, however whole it is.
    with client.chat.completions.create(
        model=_model("chat", request),
        max_tokens=_MAX_TOKENS,
        messages=[_turn(request)],
        stream=True,
    ) as chunks:
        for chunk in chunks:
            if any(choice.delta.content for choice in chunk.choices):
                content()


def _responses(client: openai.OpenAI, request: Ask, content: Callable[[], None]) -> None:
    client.responses.create(
        model=_model("responses", request), max_output_tokens=_MAX_TOKENS, input=[_turn(request)]
    )
    content()


def _responses_stream(client: openai.OpenAI, request: Ask, content: Callable[[], None]) -> None:
    with client.responses.stream(
        model=_model("responses", request), max_output_tokens=_MAX_TOKENS, input=[_turn(request)]
    ) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                content()
            elif event.type == "error":
                raise _ErrorEvent(event.message)
            elif event.type == "response.failed":
                raise _ErrorEvent(str(event.response.error))


_USES: Mapping[tuple[Dialect, bool], Callable[[Any, Ask, Callable[[], None]], None]] = {
    ("messages", False): _messages,
    ("messages", True): _messages_stream,
    ("chat", False): _chat,
    ("chat", True): _chat_stream,
    ("responses", False): _responses,
    ("responses", True): _responses_stream,
}


class _ErrorEvent(Exception):
    """An error event that this SDK yields instead of raising it."""


def _seen(
    dialect: Dialect,
    request: Ask,
    stream: bool,
    tape: Tape,
    watch: _Stopwatch,
    error: Exception | None,
) -> Seen:
    total_s = watch.now_s
    if error is None:
        result, detail = _judge_answer(dialect, request, stream, tape)
    else:
        result, detail = _judge_error(error), f"{type(error).__name__}: {error}"
    told = tape.headers.get("llm-provenance")
    return Seen(
        result=result,
        detail=detail[:300],
        first_content_s=watch.first_content_s,
        total_s=total_s,
        provenance=raw_http.provenance(told) if told else {},
        retry_after=tape.headers.get("retry-after"),
    )


def _judge_answer(dialect: Dialect, request: Ask, stream: bool, tape: Tape) -> tuple[str, str]:
    try:
        path = ASKS[dialect].path
        seen = valid_answers.read(path, streamed=stream, body=_known(tape.body))
    except Exception as wrong:  # noqa: BLE001 - whatever makes it no answer
        return "TRUNCATED", f"{type(wrong).__name__}: {wrong}"
    told = tape.headers.get("llm-provenance", "")
    if "tier=cloud" not in told:
        return ("local", "") if "tier=local" in told else ("TRUNCATED", f"whose is it? {told}")
    if seen.text == compose(CloudAsk(text=request.text)).text:
        return "cloud", ""
    return ("spliced", seen.text) if _has_seam(tape.body) else ("TRUNCATED", seen.text)


def _known(body: bytes) -> bytes:
    """With line ends as usual, and without the events of a version that is not known yet."""
    events = body.replace(b"\r\n", b"\n").split(b"\n\n")
    return b"\n\n".join(event for event in events if b"x_future_event" not in event)


def _has_seam(body: bytes) -> bool:
    """Whether a comment marks the seam, and the provenance says who spoke from where on."""
    return b"\n: fallback: " in body and b'"segments":[{"from_char":' in body.replace(b" ", b"")


def _judge_error(error: Exception) -> str:
    if isinstance(error, _ErrorEvent):
        return "told"
    if isinstance(error, anthropic.APIStatusError | openai.APIStatusError):
        return "told" if error.status_code < 400 else f"status {error.status_code}"
    if isinstance(
        error, anthropic.APIConnectionError | openai.APIConnectionError | httpx2.TransportError
    ):
        return "dropped"
    if isinstance(error, anthropic.APIError | openai.APIError):
        return "told"
    return "GARBLED"
