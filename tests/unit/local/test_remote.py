"""The engine over a model server: what it asks, what it makes of the answers and of failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import pytest
from virtual_time import run

from fallback.core.answer import ThinkingDelta, ToolCallDelta, ToolCallEnded, ToolCallStarted
from fallback.core.conversation import (
    Conversation,
    OutputFormat,
    Sampling,
    Text,
    Tool,
    Turn,
)
from fallback.core.errors import EngineBusy, EngineError, EngineNotReady
from fallback.core.outcome import Failure
from fallback.core.ports import (
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.dialects import DIALECTS
from fallback.local.remote.engine import RemoteEngine
from fallback.local.remote.settings import RemoteSettings
from fallback.upstream.mock import Fault, Script, ScriptedTransport, SeenRequest, Wait
from fallback.upstream.transport import TransportError, UpstreamConfig

SERVER = UpstreamConfig(name="local", family="openai", base_url="http://gpu:8000")
STREAM = ((b"content-type", b"text/event-stream"),)
LLAMA = {"data": [{"id": "qwen", "owned_by": "llamacpp"}]}
META = {"n_ctx": 1024, "ftype": "Q4_0"}
NEW_LLAMA = {"data": [{"id": "qwen", "owned_by": "llamacpp", "meta": META}]}
VLLM = {"data": [{"id": "qwen", "owned_by": "vllm", "max_model_len": 512}]}
OTHER = {"data": [{"id": "qwen", "owned_by": "acme"}]}
PROPS = {"default_generation_settings": {"n_ctx": 2048}}
READ = Tool(name="read", parameters={"type": "object"})
Answers = dict[str, Script | list[Script]]


def json_script(value: Any, status: int = 200) -> Script:
    return Script(status=status, body=(json.dumps(value).encode(),))


def chunk(finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], "usage": usage}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
END = chunk("stop") + b'data: {"choices": [], "usage": %s}\n\n' % json.dumps(USAGE).encode()
DONE = b"data: [DONE]\n\n"


def saying(*texts: str) -> Script:
    body = b"".join(chunk(content=text) for text in texts) + END + DONE
    return Script(headers=STREAM, body=(body[:25], body[25:]))


class Scene:
    """An engine in front of a server that answers by path."""

    def __init__(self, answers: Answers, models: Any = LLAMA, **settings: Any) -> None:
        self.answers: Answers = {
            "/v1/models": json_script(models),
            "/props": json_script(PROPS),
            **answers,
        }
        self.transport = ScriptedTransport(self._answer)
        self.changes: list[EngineStatus] = []
        self.engine = RemoteEngine(
            RemoteSettings(url=SERVER.base_url, **settings),
            DIALECTS["openai-chat"],
            partial(self.transport.send, SERVER),
            failures=TransportError,
            on_change=self.changes.append,
        )

    def _answer(self, request: SeenRequest) -> Script:
        found = self.answers[request.target]
        return found.pop(0) if isinstance(found, list) else found

    def asked(self, path: str = "/v1/chat/completions") -> list[Any]:
        """The bodies of the requests to `path`."""
        return [json.loads(seen.body) for seen in self.transport.seen if seen.target == path]

    def seen(self, path: str) -> int:
        return sum(seen.target == path for seen in self.transport.seen)

    async def collect(self, request: GenerateRequest) -> list[EngineEvent]:
        try:
            return [event async for event in self.engine.generate(request)]
        finally:
            await self.engine.stop()


def request(prefix: str = "", max_tokens: int = 100, **conversation: Any) -> GenerateRequest:
    fields = {"model": "claude", "turns": (Turn("user", (Text("hi"),)),), **conversation}
    return GenerateRequest(
        id="rcp_1",
        conversation=Conversation(**fields),
        max_tokens=max_tokens,
        prompt_budget_tokens=2**31,
        prefix=prefix,
    )


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


CHAT = "/v1/chat/completions"


def test_an_answer_streams_through() -> None:
    """Pieces come as the server sends them, the end with its own counts."""
    scene = Scene({CHAT: saying("Hel", "lo")})
    started, *pieces, last = run(scene.collect(request(sampling=Sampling(top_k=5, seed=1))))
    assert isinstance(started, GenerationStarted)
    assert pieces == [Piece("Hel"), Piece("lo")]
    assert last == GenerationFinished(
        reason="end", input_tokens=9, output_tokens=4, cached_tokens=5
    )
    (body,) = scene.asked()
    assert (body["model"], body["max_tokens"], body["top_k"], body["seed"]) == ("qwen", 100, 5, 1)
    assert body["stream"] is True
    assert scene.transport.open_responses == 0


def test_the_model_is_told_as_far_as_it_is_known() -> None:
    """Its name and its context; of its file nothing is claimed."""

    async def main() -> None:
        scene = Scene({})
        model = await scene.engine.ready(1)
        assert (model.name, model.context_tokens, model.engine) == (
            "qwen",
            2048,
            "remote llama-server",
        )
        assert (model.sha256, model.quantization) == (None, "unknown")
        assert scene.engine.status().state == "ready"
        await scene.engine.stop()

    run(main())


def test_a_server_that_says_more_is_asked_no_more() -> None:
    """Newer ones tell context and quantization with their models."""

    async def main() -> None:
        scene = Scene({}, NEW_LLAMA)
        model = await scene.engine.ready(1)
        assert (model.context_tokens, model.quantization) == (1024, "Q4_0")
        assert scene.seen("/props") == 0
        await scene.engine.stop()

    run(main())


def test_the_clients_own_beginning_is_part_of_it() -> None:
    """Messages of the assistant at the end are the answer's beginning, as one."""
    hello, more = Turn("assistant", (Text("Hello"),)), Turn("assistant", (Text("I am"),))
    turns = (Turn("user", (Text("hi"),)), hello, more)
    scene = Scene({CHAT: saying(" well")})
    run(scene.collect(request(turns=turns, prefix=" very")))
    (body,) = scene.asked()
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]
    assert body["messages"][-1]["content"] == "Hello\n\nI am very"


def test_calls_and_thoughts_of_the_server_pass_as_such() -> None:
    """What the server has parsed is not parsed again."""
    call = {"index": 0, "id": "x", "function": {"name": "read", "arguments": "{}"}}
    body = chunk(reasoning_content="hm") + chunk(tool_calls=[call]) + chunk("tool_calls") + DONE
    scene = Scene({CHAT: Script(headers=STREAM, body=(body,))})
    _, *events, last = run(scene.collect(request(tools=(READ,))))
    assert events == [
        ThinkingDelta("hm"),
        ToolCallStarted(id="x", name="read"),
        ToolCallDelta("{}"),
        ToolCallEnded(),
    ]
    assert isinstance(last, GenerationFinished)
    assert last.reason == "tool_calls"
    assert last.input_tokens > 0  # an estimate, where the server does not count


def test_a_beginning_is_gone_on_with() -> None:
    """The text so far is the last message, and the server is told to go on after it."""
    scene = Scene({CHAT: saying(" world")})
    assert text_of(run(scene.collect(request(prefix="Hello")))) == " world"
    (body,) = scene.asked()
    assert body["messages"][-1] == {"role": "assistant", "content": "Hello"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize(("models", "prefill"), [(OTHER, "auto"), (LLAMA, "no")])
def test_a_server_that_starts_again_is_cut_to_the_rest(models: Any, prefill: str) -> None:
    """Where the server cannot go on, what it repeats is taken off."""
    scene = Scene({CHAT: saying("Hello", " wor", "ld")}, models, prefill=prefill)
    assert text_of(run(scene.collect(request(prefix="Hello wo")))) == "rld"
    (body,) = scene.asked()
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_a_server_that_refuses_a_beginning_is_asked_without() -> None:
    """It turns out only when it is tried, once."""
    refusal = json_script({"error": {"message": "prefill is incompatible with thinking"}}, 400)
    scene = Scene({CHAT: [refusal, saying("Hello world"), saying("Hello you")]})

    async def main() -> list[str]:
        first = [event async for event in scene.engine.generate(request(prefix="Hello"))]
        return [text_of(first), text_of(await scene.collect(request(prefix="Hello")))]

    assert run(main()) == [" world", " you"]
    assert len(scene.asked()) == 3


@pytest.mark.parametrize(
    ("prefix", "conversation"),
    [
        ('{"a":', {"output_format": OutputFormat(kind="json_object")}),
        ("Hm.\n<tool_call>", {"tools": (READ,)}),
    ],
)
def test_a_seam_that_the_server_cannot_know_is_refused(
    prefix: str, conversation: dict[str, Any]
) -> None:
    """Structured output and calls that another model began would come out broken."""
    scene = Scene({})
    with pytest.raises(EngineError, match="send the request again"):
        run(scene.collect(request(prefix, **conversation)))


def test_a_format_leaves_no_room_for_tools() -> None:
    """Servers refuse both; a call that is demanded comes first."""
    scene = Scene({CHAT: saying("{}")})
    run(scene.collect(request(tools=(READ,), output_format=OutputFormat(kind="json_object"))))
    (body,) = scene.asked()
    assert ("tools" in body, body["response_format"]) == (False, {"type": "json_object"})


def test_a_long_conversation_is_cut_to_the_servers_context() -> None:
    """What was cut is told, and the answer keeps a part of the context."""
    turns = tuple(Turn("user", (Text(f"{n} " + "word " * 60),)) for n in range(30))
    scene = Scene({CHAT: saying("Hi")}, VLLM)
    started, *_ = run(scene.collect(request(turns=turns)))
    assert isinstance(started, GenerationStarted)
    assert started.cuts[0].what == "turns"
    (body,) = scene.asked()
    assert started.input_tokens + body["max_tokens"] <= 512
    assert "29 word" in json.dumps(body["messages"][-1])


def test_a_prompt_that_is_too_long_after_all_is_halved_once() -> None:
    """The estimate was wrong: the server says so, and gets less."""
    error = {"type": "exceed_context_size_error", "message": "too long", "n_ctx": 2048}
    refusal = json_script({"error": error}, 400)
    turns = tuple(Turn("user", (Text(f"{n} " + "word " * 60),)) for n in range(30))
    scene = Scene({CHAT: [refusal, saying("Hi"), refusal, refusal]})

    async def main() -> None:
        events = [event async for event in scene.engine.generate(request(turns=turns))]
        assert text_of(events) == "Hi"
        with pytest.raises(EngineError, match="too long"):
            await scene.collect(request(turns=turns))

    run(main())
    first, second, *_ = scene.asked()
    assert len(json.dumps(second)) < len(json.dumps(first)) * 0.7


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (json_script({"error": {"message": "no"}}, 401), EngineError, "local.remote.api_key"),
        (json_script({"error": {"message": "full"}}, 429), EngineBusy, "full"),
        (json_script({"error": {"message": "loading"}}, 503), EngineBusy, "loading"),
        (json_script({"error": {"message": "crash"}}, 500), EngineError, "crash"),
        (json_script({"choices": []}), EngineError, "did not stream"),
        (Script(before=(Fault(Failure.REFUSED, sent=False),)), EngineNotReady, "local.remote.url"),
        (Script(before=(Wait(1e9),)), EngineNotReady, "cannot be reached"),
    ],
)
def test_a_failure_before_the_answer_says_what_to_do(
    script: Script, error: type[Exception], words: str
) -> None:
    """Nothing is yielded, so that another tier may answer."""
    scene = Scene({CHAT: script})
    with pytest.raises(error, match=words):
        run(scene.collect(request()))
    assert scene.transport.open_responses == 0


@pytest.mark.parametrize(("wait_s", "said"), [(290.0, "Hello"), (310.0, "")])
def test_a_long_prompt_may_take_its_time(wait_s: float, said: str) -> None:
    """The first words have longer than what comes between words."""
    scene = Scene({CHAT: Script(headers=STREAM, body=(Wait(wait_s), *saying("Hello").body))})

    async def main() -> str:
        try:
            return text_of(await scene.collect(request()))
        except EngineError:
            return ""

    assert run(main()) == said


@pytest.mark.parametrize(
    "rest",
    [
        (),
        (Fault(Failure.RESET),),
        (Wait(1e9),),
        (b'data: {"error": {"message": "out of memory"}}\n\n',),
    ],
)
def test_an_answer_that_keeps_breaking_off_is_never_whole(rest: tuple[Any, ...]) -> None:
    """A clean end without the terminal event, a reset, silence and an error event all raise."""
    scene = Scene({CHAT: Script(headers=STREAM, body=(chunk(content="Hel"), *rest))})
    seen: list[EngineEvent] = []

    async def main() -> None:
        async for event in scene.engine.generate(request()):
            seen.append(event)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(EngineError):
        run(main())
    assert text_of(seen) in ("Hel", "HelHel")
    assert scene.transport.open_responses == 0


LOST = (Fault(Failure.RESET),)


@pytest.mark.parametrize(("models", "again"), [(LLAMA, ("lo", "!")), (OTHER, ("Hel", "lo!"))])
def test_a_server_that_is_lost_is_asked_for_the_rest(models: Any, again: tuple[str, ...]) -> None:
    """The consumer has one answer, with one start, and the tokens of both requests."""
    broken = Script(headers=STREAM, body=(chunk(content="H"), chunk(content="el"), *LOST))
    scene = Scene({CHAT: [broken, saying(*again)]}, models)
    started, *pieces, last = run(scene.collect(request(sampling=Sampling(max_tokens=9))))
    assert isinstance(started, GenerationStarted)
    assert text_of(pieces) == "Hello!"
    assert isinstance(last, GenerationFinished)
    assert last.output_tokens == 4 + 2
    assert [body["max_tokens"] for body in scene.asked()] == [9, 7]
    assert [status.state for status in scene.changes] == ["ready", "failed", "ready"]


def test_a_call_is_lost_with_its_server() -> None:
    """Nobody can go on inside it."""
    call = {"index": 0, "id": "x", "function": {"name": "read", "arguments": '{"a"'}}
    scene = Scene({CHAT: Script(headers=STREAM, body=(chunk(tool_calls=[call]), *LOST))})
    with pytest.raises(EngineError, match="broke off"):
        run(scene.collect(request(tools=(READ,))))
    assert len(scene.asked()) == 1


def test_a_consumer_that_leaves_frees_the_server() -> None:
    """Closing the generator drops the connection at once."""
    scene = Scene({CHAT: Script(headers=STREAM, body=(chunk(content="Hel"), Wait(1e9)))})

    async def main() -> None:
        events: AsyncGenerator[EngineEvent, None] = scene.engine.generate(request())
        await anext(events)
        await anext(events)
        assert (scene.transport.open_responses, scene.engine.status().active) == (1, 1)
        await events.aclose()
        assert (scene.transport.open_responses, scene.engine.status().active) == (0, 0)
        await scene.engine.stop()

    run(main())


def test_a_server_that_comes_later_is_found() -> None:
    """Requests wait for it up to the limit, and its state is told all along."""
    down = Script(before=(Fault(Failure.REFUSED, sent=False),))
    scene = Scene({"/v1/models": [down, down, down, json_script(VLLM)]}, retry_s=2.0)

    async def main() -> float:
        with pytest.raises(EngineNotReady, match=r"local\.remote\.url"):
            await scene.engine.ready(1)
        assert scene.engine.status().state == "failed"
        await scene.engine.ready(60)
        waited = asyncio.get_running_loop().time()
        await scene.engine.stop()
        return waited

    assert run(main()) <= 5
    assert [status.state for status in scene.changes] == ["failed", "ready"]


def test_a_model_that_the_server_lacks_is_named() -> None:
    """The message lists what there is."""

    async def main() -> None:
        scene = Scene({}, model="llama-70b")
        with pytest.raises(EngineNotReady, match=r"llama-70b.*qwen"):
            await scene.engine.ready(1)
        await scene.engine.stop()

    run(main())


def test_the_key_is_sent_to_the_server() -> None:
    """As every OpenAI-compatible server takes it."""
    scene = Scene({CHAT: saying("Hi")}, api_key="k-1")
    run(scene.collect(request()))
    assert all((b"authorization", b"Bearer k-1") in seen.headers for seen in scene.transport.seen)


def counted(models: Any, answers: Answers) -> tuple[int, Scene]:
    scene = Scene(answers, models)

    async def main() -> int:
        try:
            return await scene.engine.count(request(tools=(READ,)).conversation)
        finally:
            await scene.engine.stop()

    return run(main()), scene


def test_llama_server_counts_what_it_renders() -> None:
    """Its template, then its tokenizer."""
    tokens, scene = counted(
        LLAMA,
        {
            "/apply-template": json_script({"prompt": "<s>hi"}),
            "/tokenize": json_script({"tokens": [1, 2, 3]}),
        },
    )
    assert tokens == 3
    assert scene.asked("/apply-template")[0]["tools"][0]["function"]["name"] == "read"
    assert scene.asked("/tokenize") == [{"content": "<s>hi", "add_special": True}]


def test_vllm_counts_a_conversation() -> None:
    """One request, tools included."""
    tokens, scene = counted(VLLM, {"/tokenize": json_script({"count": 12})})
    assert tokens == 12
    assert scene.asked("/tokenize")[0].keys() == {"model", "messages", "tools"}


BROKEN: list[Callable[[], tuple[Any, Answers]]] = [
    lambda: (OTHER, {}),
    lambda: (VLLM, {"/tokenize": json_script({"detail": "Not Found"}, 404)}),
]


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_counted_is_estimated(case: Callable[[], tuple[Any, Answers]]) -> None:
    """An estimate is better than no answer."""
    tokens, _ = counted(*case())
    assert 10 < tokens < 100
