"""Another upstream in the place of the one that was meant: what it is asked, what of its answer
reaches the client, and what does not."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from virtual_time import run

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    Usage,
)
from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest
from fallback.core.outcome import Failure, Outcome
from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers, Provenance
from fallback.core.routing import Route
from fallback.dialects import DIALECTS
from fallback.dialects.base import AnswerContext, Seam
from fallback.dialects.blocks import CallBlock, TextBlock, whole_blocks
from fallback.dialects.sse import split_events
from fallback.tiers.alternate import Alternate, AlternateTier
from fallback.upstream.attempt import Whole
from fallback.upstream.live import Live
from fallback.upstream.mock import Beat, Fault, Script, ScriptedTransport, SeenRequest, Wait
from fallback.upstream.transport import UpstreamConfig

ANTHROPIC, CHAT, RESPONSES = "anthropic", "openai-chat", "openai-responses"
JSON = ((b"content-type", b"application/json"),)
EVENT_STREAM = ((b"content-type", b"text/event-stream"),)
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}
CLIENT_HEADERS: Headers = [
    (b"content-type", b"application/json"),
    (b"user-agent", b"claude-cli/2.1"),
    (b"x-api-key", b"sk-ant-client"),
    (b"authorization", b"Bearer sk-client"),
    (b"cookie", b"session=1"),
    (b"openai-organization", b"org-client"),
    (b"x-claude-code-session-id", b"s-1"),
    (b"anthropic-version", b"2023-06-01"),
    (b"anthropic-beta", b"tools-2025"),
    (b"accept-encoding", b"gzip, br"),
]
PROVENANCE = Provenance(
    receipt="rcp_t0k3n", tier="alternate", upstream="backup", reason="upstream-503"
)
CONTEXT = AnswerContext(
    token="up", served_model="big-one", created_s=0, request={}, provenance={"tier": "alternate"}
)
TOOL_ANSWER: list[AnswerEvent] = [
    Started(input_tokens=7),
    ThinkingDelta("what now"),
    TextDelta("Let me "),
    TextDelta("look."),
    ToolCallStarted(id="1", name="look"),
    ToolCallDelta('{"at"'),
    ToolCallDelta(': "home"}'),
    ToolCallEnded(),
    Finished(reason="tool_calls", usage=Usage(input_tokens=7, output_tokens=3)),
]
PAIRS = [(client, server) for client in DIALECTS for server in DIALECTS if client != server]


def asked(dialect: str, *, stream: bool) -> bytes:
    """A request with a tool, in a dialect."""
    said = [{"role": "user", "content": "Where is it?"}]
    fields: dict[str, Any] = {"model": "claude-opus-4-5", "stream": stream}
    named = {"name": "look", "parameters": SCHEMA}
    if dialect == ANTHROPIC:
        tool = {"name": "look", "input_schema": SCHEMA}
        return json.dumps({**fields, "messages": said, "max_tokens": 50, "tools": [tool]}).encode()
    if dialect == CHAT:
        tools = [{"type": "function", "function": named}]
        return json.dumps({**fields, "messages": said, "tools": tools}).encode()
    tools = [{"type": "function", **named}]
    return json.dumps({**fields, "input": said, "tools": tools}).encode()


def streamed(dialect: str) -> list[bytes]:
    """The answer as the server's events, with all that `encode_request` asks for."""
    request = {"stream_options": {"include_usage": True}}
    context = AnswerContext(
        token="up", served_model="big-one", created_s=0, request=request, provenance={}
    )
    encoder = DIALECTS[dialect].stream_encoder(context)
    events = split_events(b"".join(map(encoder.encode, TOOL_ANSWER)))[0]
    thought = {
        ANTHROPIC: b'data: {"type":"content_block_delta","index":9,"delta":'
        b'{"type":"thinking_delta","thinking":"hm"}}\n\n',
        CHAT: b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]}\n\n',
        RESPONSES: b'data: {"type":"response.reasoning_text.delta","delta":"hm"}\n\n',
    }
    return [events[0], thought[dialect], *events[1:]]


class Scene:
    """The alternate `backup`, which speaks `server`, behind a scripted transport."""

    def __init__(
        self, server: str, *scripts: Script, api_key: str | None = "sk-backup", **fields: Any
    ) -> None:
        self.transport = ScriptedTransport(scripts)
        upstream = UpstreamConfig(
            name="backup",
            family="anthropic" if server == ANTHROPIC else "openai",
            base_url="https://backup.test",
            api_key=api_key,
        )
        models = {"claude-opus-*": "big-one", "*": "small-one"}
        alternate = Alternate(upstream=upstream, **{"dialect": server, "models": models, **fields})
        self.tier = AlternateTier(
            self.transport,
            {"backup": alternate},
            DIALECTS,
            clock=lambda: asyncio.get_running_loop().time(),
        )

    async def ask(
        self, client: str, body: bytes, *, query: bytes = b"beta=true"
    ) -> Whole | Live | Outcome:
        route = Route(
            upstream="anthropic",
            path=DIALECTS[client].path,
            operation="generate",
            dialect=client,
        )
        attempt = self.tier.prepare(
            "backup", route, query, CLIENT_HEADERS, body, Deadlines(), PROVENANCE
        )
        return await attempt.run()

    @property
    def seen(self) -> SeenRequest:
        (request,) = self.transport.seen
        return request


def answered(scene: Scene, client: str, body: bytes) -> tuple[Any, bytes, Outcome | None]:
    """The result, the bytes that the client gets of it, and the outcome in the end."""

    async def story() -> tuple[Any, bytes, Outcome | None]:
        result = await scene.ask(client, body)
        if isinstance(result, Outcome):
            return result, b"", result
        if isinstance(result, Whole):
            return result, result.body, result.outcome
        got: list[bytes] = []

        async def send(chunk: bytes) -> None:
            got.append(chunk)

        outcome = await result.deliver(send)
        return result, b"".join(got), outcome

    return run(story())


def read(client: str, got: bytes) -> list[AnswerEvent]:
    """The events of a stream that the client got."""
    conversation = DIALECTS[client].decode(asked(client, stream=True))[0]
    reader = DIALECTS[client].answer_reader(conversation)
    events, rest = split_events(got)
    assert rest == b""
    return [found for event in events for found in reader.feed(event)]


def assert_told(events: list[AnswerEvent]) -> None:
    """The answer of the server, whole: its text, its call, its end and its counts."""
    (text, call), finished = whole_blocks(events)
    assert text == TextBlock("Let me look.")
    assert isinstance(call, CallBlock)
    assert (call.call.name, json.loads(call.arguments)) == ("look", {"at": "home"})
    assert finished.reason == "tool_calls"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_dialect_is_asked_byte_for_byte(dialect: str, stream: bool) -> None:
    """Only the model's name changes, and the answer comes back as it is."""
    body = asked(dialect, stream=stream)
    events = streamed(dialect)
    whole = DIALECTS[dialect].encode_whole(CONTEXT, TOOL_ANSWER)
    script = (
        Script(headers=EVENT_STREAM, body=tuple(events))
        if stream
        else Script(headers=JSON, body=(whole,))
    )
    scene = Scene(dialect, script)
    _, got, outcome = answered(scene, dialect, body)
    assert scene.seen.body == body.replace(b"claude-opus-4-5", b"big-one")
    assert scene.seen.target == f"{DIALECTS[dialect].path}?beta=true"
    assert got == (b"".join(events) if stream else whole)
    assert outcome is not None
    assert outcome.reason == "ok"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_another_dialect_is_translated(client: str, server: str, stream: bool) -> None:
    """Text, calls and counts reach the client in its own dialect, streamed and whole, with the
    true model and the provenance."""
    script = (
        Script(headers=EVENT_STREAM, body=tuple(streamed(server)))
        if stream
        else Script(headers=JSON, body=(DIALECTS[server].encode_whole(CONTEXT, TOOL_ANSWER),))
    )
    scene = Scene(server, script)
    result, got, outcome = answered(scene, client, asked(client, stream=stream))
    sent, _ = DIALECTS[server].decode(scene.seen.body)
    assert (sent.model, sent.stream, sent.tools[0].name) == ("big-one", stream, "look")
    assert scene.seen.target == DIALECTS[server].path
    conversation: Conversation = DIALECTS[client].decode(asked(client, stream=stream))[0]
    assert_told(read(client, got) if stream else DIALECTS[client].read_whole(got, conversation))
    assert b'"big-one"' in got
    assert b'"tier":"alternate"' in got
    kind = b"text/event-stream; charset=utf-8" if stream else b"application/json"
    assert dict(result.headers)[b"content-type"] == kind
    assert outcome is not None
    assert outcome.reason == "ok"
    assert scene.transport.open_responses == 0


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("server", DIALECTS)
def test_the_clients_credentials_stay_here(client: str, server: str) -> None:
    """The alternate gets its own key, in its own header, and nothing of the client's account."""
    scene = Scene(server, Script(status=500))
    answered(scene, client, asked(client, stream=True))
    headers = dict(scene.seen.headers)
    key = (b"x-api-key", b"sk-backup")
    if server != ANTHROPIC:
        key = (b"authorization", b"Bearer sk-backup")
    assert headers.pop(key[0]) == key[1]
    allowed = {b"accept", b"accept-encoding", b"content-type", b"user-agent"}
    allowed |= {b"anthropic-version", b"anthropic-beta"}
    assert headers.keys() <= allowed
    assert (b"anthropic-version" in headers) or server != ANTHROPIC
    assert headers[b"accept-encoding"] == b"identity"
    assert len(headers) + 1 == len(scene.seen.headers)


@pytest.mark.parametrize("api_key", ["", None])
def test_an_alternate_without_a_key_gets_none(api_key: str | None) -> None:
    """Not the client's, whatever was set."""
    scene = Scene(ANTHROPIC, Script(status=500), api_key=api_key)
    answered(scene, ANTHROPIC, asked(ANTHROPIC, stream=True))
    assert not {b"x-api-key", b"authorization"} & dict(scene.seen.headers).keys()


@pytest.mark.parametrize(
    ("family", "client", "spoken"),
    [
        ("openai", RESPONSES, RESPONSES),
        ("openai", ANTHROPIC, CHAT),
        ("anthropic", CHAT, ANTHROPIC),
        ("anthropic", ANTHROPIC, ANTHROPIC),
    ],
)
def test_the_clients_dialect_is_spoken_where_it_can_be(
    family: str, client: str, spoken: str
) -> None:
    """Unless the operator names another one."""
    upstream = UpstreamConfig(name="backup", family=family, base_url="https://backup.test")
    assert Alternate(upstream=upstream).speaks(client) == spoken
    assert Alternate(upstream=upstream, dialect=RESPONSES).speaks(client) == RESPONSES


def test_the_first_name_that_fits_is_asked_for() -> None:
    """Globs in their order, case ignored; a model that none fits keeps its name."""
    upstream = UpstreamConfig(name="backup", family="openai", base_url="https://backup.test")
    alternate = Alternate(upstream=upstream, models={"Claude-Opus-*": "big", "claude-*": "small"})
    names = [alternate.model(name) for name in ("claude-opus-4-5", "claude-haiku", "gpt-5")]
    assert names == ["big", "small", "gpt-5"]


ERROR = b'{"error": {"type": "invalid_request_error", "message": "prompt is too long"}}'
FAILURES = {
    "refused": Script(before=(Fault(Failure.REFUSED, sent=False),)),
    "too-long": Script(status=400, headers=JSON, body=(ERROR,)),
    "bad-key": Script(status=401, headers=JSON, body=(ERROR,)),
    "rate-limit": Script(status=429, headers=JSON, body=(ERROR,)),
    "down": Script(status=503, headers=JSON, body=(ERROR,)),
    "large-error": Script(status=400, headers=JSON, body=(b"x" * 2_000_000,)),
    "html": Script(headers=((b"content-type", b"text/html"),), body=(b"<html>",)),
    "error-event": Script(headers=EVENT_STREAM, body=(b"data: " + ERROR + b"\n\n",)),
    "empty": Script(headers=EVENT_STREAM),
    "silence": Script(headers=EVENT_STREAM, body=(Wait(1e9),)),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("client", "server"), [(CHAT, CHAT), (CHAT, ANTHROPIC)])
def test_an_alternates_error_is_no_answer(client: str, server: str, failure: str) -> None:
    """Whatever it says, the client is not told: it would act on what is not about it."""
    scene = Scene(server, FAILURES[failure])
    result, _, _ = answered(scene, client, asked(client, stream=True))
    assert isinstance(result, Outcome)
    assert scene.transport.open_responses == 0


@pytest.mark.parametrize("body", [b"{}", b'{"object": "list"}', b'{"choices": []}'])
def test_json_that_is_no_answer_is_none(body: bytes) -> None:
    """A translated answer has to be one."""
    scene = Scene(CHAT, Script(headers=JSON, body=(body,)))
    result, _, _ = answered(scene, ANTHROPIC, asked(ANTHROPIC, stream=False))
    assert isinstance(result, Outcome)
    assert result.reason == "invalid-not-json"


def test_a_packed_answer_is_unpacked() -> None:
    """A server that packs although it was asked not to is understood."""
    packed = gzip.compress(DIALECTS[CHAT].encode_whole(CONTEXT, TOOL_ANSWER))
    headers = (*JSON, (b"content-encoding", b"gzip"))
    scene = Scene(CHAT, Script(headers=headers, body=(packed,)))
    result, got, _ = answered(scene, ANTHROPIC, asked(ANTHROPIC, stream=False))
    assert json.loads(got)["stop_reason"] == "tool_use"
    assert dict(result.headers).keys() == {b"content-type", b"content-length"}


@pytest.mark.parametrize("client", DIALECTS)
def test_a_stream_that_was_answered_in_one_piece_is_a_stream(client: str) -> None:
    """The client asked for events and gets them, whatever the server made of it."""
    server = ANTHROPIC if client != ANTHROPIC else CHAT
    script = Script(headers=JSON, body=(DIALECTS[server].encode_whole(CONTEXT, TOOL_ANSWER),))
    result, got, _ = answered(Scene(server, script), client, asked(client, stream=True))
    assert dict(result.headers)[b"content-type"].startswith(b"text/event-stream")
    assert_told(read(client, got))


@pytest.mark.parametrize("fault", [Fault(Failure.RESET), Wait(1e9), b""])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_a_translated_stream_that_breaks_can_be_gone_on_with(
    client: str, server: str, fault: Beat
) -> None:
    """What the client has is in its own dialect, so that its seam is found there."""
    events = streamed(server)
    at = next(n for n, event in enumerate(events) if b"look." in event)
    body = (*events[: at + 1], *([fault] if fault != b"" else []))
    scene = Scene(server, Script(headers=EVENT_STREAM, body=body))
    live, got, outcome = answered(scene, client, asked(client, stream=True))
    assert (live.broken, live.speaks, live.said) == (True, True, b"")
    assert outcome is not None
    assert outcome.reason.startswith("stream-")
    assert live.sent == got
    seam = DIALECTS[client].seam(got)
    assert isinstance(seam, Seam)
    assert seam.said.text == "Let me look."


def test_an_error_of_the_other_dialect_is_not_passed_on() -> None:
    """It would mean nothing to the client, who is told in its own words."""
    begin, *rest = streamed(CHAT)[:4]
    body = (begin, *rest, b'data: {"error": {"message": "busy"}}\n\n')
    scene = Scene(CHAT, Script(headers=EVENT_STREAM, body=body))
    live, got, outcome = answered(scene, ANTHROPIC, asked(ANTHROPIC, stream=True))
    assert (live.broken, live.said) == (True, b"")
    assert b"busy" not in got
    assert outcome is not None
    assert outcome.facts.error_message == "busy"


@pytest.mark.parametrize(("client", "server"), [(CHAT, ANTHROPIC), (ANTHROPIC, CHAT)])
def test_a_missing_last_event_is_made_up_for(client: str, server: str) -> None:
    """An answer that was whole but for its terminal event ends properly in the client's dialect."""
    *events, _ = streamed(server)
    scene = Scene(server, Script(headers=EVENT_STREAM, body=tuple(events)))
    live, got, _ = answered(scene, client, asked(client, stream=True))
    assert not live.broken
    assert_told(read(client, got))


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_a_client_hears_of_a_server_that_thinks(client: str, server: str) -> None:
    """Reasoning is not passed on; what keeps the client waiting is."""
    begin, thought, *rest = streamed(server)
    waits = [beat for _ in range(3) for beat in (thought, Wait(6.0))]
    scene = Scene(server, Script(headers=EVENT_STREAM, body=(begin, *waits, *rest)))
    _, got, _ = answered(scene, client, asked(client, stream=True))
    assert_told(read(client, got))
    marks = {ANTHROPIC: b"event: ping", CHAT: b'"delta":{}', RESPONSES: b"response.in_progress"}
    assert got.count(marks[client]) >= 2


def test_nothing_is_committed_before_the_first_content() -> None:
    """A beginning without content leaves the request to the next tier."""
    begin, *_ = streamed(ANTHROPIC)
    scene = Scene(ANTHROPIC, Script(headers=EVENT_STREAM, body=(begin, Fault(Failure.RESET))))
    result, _, _ = answered(scene, CHAT, asked(CHAT, stream=True))
    assert isinstance(result, Outcome)


def test_a_request_that_cannot_be_translated_is_the_clients_mistake() -> None:
    """No server could answer it."""
    with pytest.raises(BadRequest):
        answered(Scene(ANTHROPIC), CHAT, b'{"model": "gpt"}')
