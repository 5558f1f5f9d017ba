"""Nothing reaches the client before the answer is good; what fails before is answered here."""

import gzip
import json

import pytest
from rig import PATHS, Client, Rig, body
from streams import ERRORS, EVENT_STREAM, PROLOGUES, STREAMS
from virtual_time import run

from fallback.core.outcome import Failure
from fallback.upstream.mock import Beat, Fault, Script, Wait

JSON = ((b"content-type", b"application/json"),)
HTML = ((b"content-type", b"text/html"),)
GZIP = ((b"content-type", b"application/json"), (b"content-encoding", b"gzip"))
FOREVER = Wait(1e9)
DIALECTS = list(PATHS)

WHOLE_FAULTS = {
    "refused": Script(before=(Fault(Failure.REFUSED, sent=False),)),
    "dns": Script(before=(Fault(Failure.DNS, sent=False),)),
    "reset": Script(before=(Fault(Failure.RESET),)),
    "silence": Script(before=(FOREVER,)),
    "silent-body": Script(headers=JSON, body=(b'{"a"', FOREVER)),
    "529": Script(status=529, headers=JSON, body=(b'{"error":{"type":"overloaded_error"}}',)),
    "500": Script(status=500, headers=HTML, body=(b"<html>oops</html>",)),
    "redirect": Script(
        status=302, headers=(*JSON, (b"location", b"http://portal.test/")), body=(b"{}",)
    ),
    "html": Script(headers=HTML, body=(b"<html>Sign in to the hotel's Wi-Fi</html>",)),
    "not-json": Script(headers=JSON, body=(b"upstream connect error",)),
    "empty": Script(headers=JSON, body=()),
    "truncated": Script(headers=JSON, body=(b'{"id": "msg', Fault(Failure.TRUNCATED))),
    "half-json": Script(headers=JSON, body=(b'{"id": "msg',)),
    "corrupt-gzip": Script(headers=GZIP, body=(gzip.compress(b'{"id": 1}')[:-6] + b"xxxxxx",)),
    "cut-gzip": Script(headers=GZIP, body=(gzip.compress(b'{"id": 1}')[:-9],)),
    "strange-coding": Script(
        headers=(*JSON, (b"content-encoding", b"rot13")), body=(b'{"id": 1}',)
    ),
}


@pytest.mark.parametrize("fault", WHOLE_FAULTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_failed_answer_in_one_piece_is_answered_here(dialect: str, fault: str) -> None:
    """Whatever goes wrong, the same request gets one whole local answer, in its dialect."""

    async def story() -> tuple[Client, Rig]:
        rig = Rig([WHOLE_FAULTS[fault]] * 2)
        return await rig.ask(Client(PATHS[dialect], body(dialect, stream=False))), rig

    client, rig = run(story())
    assert (client.status, client.tier, client.finishes) == (200, "local", 1)
    answer = json.loads(client.got)
    assert answer["model"] == "scripted"
    assert answer["provenance"]["attempts"][0]["upstream"] in ("anthropic", "openai")
    assert rig.transport.open_responses == 0


def stream_faults(dialect: str) -> dict[str, tuple[Beat, ...]]:
    prologue = STREAMS[dialect][: PROLOGUES[dialect]]
    return {
        "empty": (),
        "silence": (FOREVER,),
        "prologue-then-silence": (*prologue, FOREVER),
        "prologue-then-end": prologue,
        "prologue-then-reset": (*prologue, Fault(Failure.TRUNCATED)),
        "error-first": (ERRORS[dialect],),
        "error-after-prologue": (*prologue, ERRORS[dialect]),
        "not-json": (*prologue, b"data: {nonsense\n\n"),
    }


@pytest.mark.parametrize("fault", stream_faults("anthropic"))
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_fails_before_content_is_answered_here(dialect: str, fault: str) -> None:
    """Of the cloud's prologue the client sees nothing: one whole local stream instead."""

    async def story() -> tuple[Client, Rig]:
        beats = stream_faults(dialect)[fault]
        rig = Rig([Script(headers=EVENT_STREAM, body=beats)])
        return await rig.ask(Client(PATHS[dialect], body(dialect, stream=True))), rig

    client, rig = run(story())
    assert (client.status, client.tier, client.finishes) == (200, "local", 1)
    assert b"Hello" in client.got
    assert b"scripted" in client.got
    assert client.got.endswith(b"\n\n")
    assert rig.transport.open_responses == 0
    assert rig.records[-1].ended == "complete"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_good_stream_passes_byte_for_byte(dialect: str) -> None:
    """However its bytes are cut into chunks."""
    whole = b"".join(STREAMS[dialect])
    for size in (1, 7, 64, 10_000):
        chunks = tuple(whole[i : i + size] for i in range(0, len(whole), size))

        async def story(chunks: tuple[bytes, ...] = chunks) -> Client:
            rig = Rig([Script(headers=EVENT_STREAM, body=chunks)])
            return await rig.ask(Client(PATHS[dialect], body(dialect, stream=True)))

        client = run(story())
        assert client.got == whole
        assert (client.tier, client.finishes) == ("cloud", 1)


@pytest.mark.parametrize(
    "end",
    [(), (FOREVER,), (Fault(Failure.TRUNCATED),), (Fault(Failure.RESET),)],
    ids=["early-end", "stall", "truncated", "reset"],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_nobody_can_go_on_with_says_so(dialect: str, end: tuple[Beat, ...]) -> None:
    """Half an event is dropped, the dialect's error event comes, and never a clean end."""
    events = STREAMS[dialect][: PROLOGUES[dialect] + 2]
    half = b'event: x\ndata: {"half'
    events = tuple(event for event in events if b'finish_reason": "stop' not in event)

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=(*events, half, *end))], local=False)
        return await rig.ask(Client(PATHS[dialect], body(dialect, stream=True))), rig

    client, rig = run(story())
    passed, _, rest = client.got.partition(events[-1])
    assert passed + events[-1] == b"".join(events)
    assert b"half" not in rest
    assert b'"error"' in rest
    assert client.tier == "cloud"
    assert rig.records[-1].ended == "broken"
    assert rig.transport.open_responses == 0


@pytest.mark.parametrize("dialect", ["anthropic", "openai-chat"])
def test_a_whole_answer_without_its_last_event_gets_one(dialect: str) -> None:
    """The terminal event alone was lost: nothing of the answer is, and clients want it."""
    events = STREAMS[dialect][:-1]

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=events)])
        return await rig.ask(Client(PATHS[dialect], body(dialect, stream=True))), rig

    client, rig = run(story())
    assert client.got.startswith(b"".join(events))
    assert client.got.rstrip().endswith(STREAMS[dialect][-1].rstrip()[-12:])
    assert rig.records[-1].ended == "complete"


def test_one_finished_choice_of_two_is_not_the_whole_answer() -> None:
    """With n = 2 the stream broke while the second choice was still being written."""

    def chunk(index: int, **choice: object) -> bytes:
        choices = [{"index": index, "delta": {}, **choice}]
        return f"data: {json.dumps({'id': 'c1', 'choices': choices})}\n\n".encode()

    events = (
        chunk(0, delta={"content": "a"}),
        chunk(0, finish_reason="stop"),
        chunk(1, delta={"content": "b"}),
    )

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=events)])
        return await rig.ask(Client(PATHS["openai-chat"], body("openai-chat", stream=True))), rig

    client, rig = run(story())
    assert rig.records[-1].ended == "broken"
    assert b'"error"' in client.got


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_compressed_stream_is_passed_on_plain(coding: str) -> None:
    """Its events are the cloud's, byte for byte; compressed, they could not be gone on with."""
    import brotli
    from backports import zstd

    compress = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstd.compress}[coding]
    headers = (*EVENT_STREAM, (b"content-encoding", coding.encode()))

    async def story(packed: bytes) -> Client:
        rig = Rig([Script(headers=headers, body=(packed[:20], packed[20:]))])
        return await rig.ask(Client("/v1/messages", body("anthropic", stream=True)))

    whole = b"".join(STREAMS["anthropic"])
    client = run(story(compress(whole)))
    assert (client.got, client.finishes, client.tier) == (whole, 1, "cloud")
    assert client.header("content-encoding") is None
    early = b"".join(STREAMS["anthropic"][:4])
    client = run(story(compress(early)))
    assert client.got.startswith(early)
    assert client.got.endswith(b'message_stop"}\n\n')


def test_an_error_event_that_nobody_can_make_good_is_the_upstreams_own() -> None:
    """It passes as it is, and nothing of ours follows."""
    events = (*STREAMS["anthropic"][:4], ERRORS["anthropic"])

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=events)], local=False)
        return await rig.ask(Client("/v1/messages", body("anthropic", stream=True))), rig

    client, rig = run(story())
    assert client.got == b"".join(events)
    assert rig.records[-1].ended == "broken"
