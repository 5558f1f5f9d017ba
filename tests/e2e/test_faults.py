"""Every way an upstream can fail, over real sockets, with the real model behind it.

Before the commit the client sees one whole local answer; after it the dialect's error event,
never an end that looks complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import anthropic
import asks
import openai
import pytest
import raw_http
import valid_answers
from standin import PATIENCE_S, StandIn, faults
from standin.faults import Fault
from standin.service import PATIENT, TERSE, Fallback, running_fallback

_HI: Any = {"role": "user", "content": "Say hi."}
_IMPATIENT = {
    "DEADLINES__FIRST_BYTE_S": "1.5",
    "DEADLINES__FIRST_CONTENT_S": "2",
    "DEADLINES__WHOLE_S": "2",
    "DEADLINES__STALL_S": "2",
}


@pytest.fixture(scope="module")
def clouds() -> Iterator[StandIn]:
    with StandIn() as clouds:
        yield clouds


@pytest.fixture
def cloud(clouds: StandIn) -> Iterator[StandIn]:
    clouds.forget()
    yield clouds
    clouds.heal()


@pytest.fixture(scope="module")
def service(clouds: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    log = tmp_path_factory.mktemp("service") / "fallback.log"
    with running_fallback(clouds.url, log, **PATIENT, **TERSE) as service:
        yield service


@pytest.fixture(scope="module")
def alone(clouds: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    """Without a local tier: nobody can go on with what breaks."""
    log = tmp_path_factory.mktemp("alone") / "fallback.log"
    off = {"LOCAL__MODE": "off"}
    with running_fallback(clouds.url, log, **PATIENT, **_IMPATIENT, **off) as service:
        yield service


@pytest.fixture(scope="module")
def hasty(clouds: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    log = tmp_path_factory.mktemp("hasty") / "fallback.log"
    with running_fallback(clouds.url, log, **PATIENT, **TERSE, **_IMPATIENT) as service:
        yield service


def _post(url: str, ask: asks.Ask, *, stream: bool = False) -> raw_http.RawAnswer:
    return raw_http.send(url, "POST", ask.path, asks.KEYS, ask.body(stream=stream))


def _assert_local(answer: raw_http.RawAnswer, ask: asks.Ask, *, stream: bool) -> None:
    assert answer.status == 200, answer.body
    assert answer.whole
    seen = valid_answers.read(ask.path, streamed=stream, body=answer.body)
    told = answer.provenance
    assert told["tier"] == "local"
    assert told["requested-model"] == ask.model
    assert told["model"] == seen.model != ask.model
    assert seen.provenance is not None
    assert seen.provenance["receipt"] == told["receipt"]
    assert answer.header("request-id") is None, "no id of the provider's on an answer of ours"


BEFORE_ANY_ANSWER: dict[str, Fault] = {
    "reset": faults.reset_before_headers,
    "close": faults.close_before_headers,
    "500": faults.status(500, "api_error"),
    "502-html": faults.html(502),
    "503-html": faults.html(503),
    "504": faults.status(504, "timeout_error"),
    "520": faults.html(520),
    "529": faults.status(529, "overloaded_error", "Overloaded"),
    "200-html": faults.html(),
    "200-not-json": faults.not_json(),
    "200-empty": faults.body(b"", "application/json"),
    "gzip-corrupt": faults.compressed("gzip", faults.flipped),
    "gzip-cut": faults.compressed("gzip", faults.halved),
    "br-corrupt": faults.compressed("br", faults.flipped),
    "zstd-cut": faults.compressed("zstd", faults.halved),
}
BEFORE_CONTENT: dict[str, Fault] = {
    **{name: fault for name, fault in BEFORE_ANY_ANSWER.items() if not name.endswith("-cut")},
    "empty-stream": faults.empty_stream,
    "error-event-first": faults.error_event_first,
    "error-event-after-prologue": faults.error_event(0),
    "cut-after-prologue": faults.cut(0),
    "reset-after-prologue": faults.reset(0),
    "clean-end-after-prologue": faults.clean_end(0),
    "half-first-content": faults.half_event(0),
}
BEFORE_WHOLE: dict[str, Fault] = {
    **BEFORE_ANY_ANSWER,
    "truncated-body": faults.truncated_body,
    "half-json": faults.half_json,
}
AFTER_CONTENT: dict[str, Fault] = {
    "cut": faults.cut(3, held=True),
    "reset": faults.reset(3, held=True),
    "clean-end": faults.clean_end(3, held=True),
    "half-event": faults.half_event(3, held=True),
    "error-event": faults.error_event(3, held=True),
}


@pytest.mark.parametrize("name", BEFORE_CONTENT)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_stream_that_fails_before_content_is_answered_locally(
    cloud: StandIn, service: Fallback, ask: asks.Ask, name: str
) -> None:
    """A stream that fails before its first content costs the client nothing."""
    with cloud.failing(BEFORE_CONTENT[name], ask.path):
        answer = _post(service.url, ask, stream=True)
    _assert_local(answer, ask, stream=True)


@pytest.mark.parametrize("name", BEFORE_WHOLE)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_whole_answer_that_fails_is_answered_locally(
    cloud: StandIn, service: Fallback, ask: asks.Ask, name: str
) -> None:
    """An answer in one piece is checked to its last byte before the client sees any of it."""
    with cloud.failing(BEFORE_WHOLE[name], ask.path):
        answer = _post(service.url, ask)
    _assert_local(answer, ask, stream=False)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_refused_connection_is_answered_locally(
    cloud: StandIn, service: Fallback, ask: asks.Ask, stream: bool
) -> None:
    """The first request after the cloud died is answered, on a connection that had been good."""
    assert _post(service.url, ask).provenance["tier"] == "cloud"
    cloud.kill()
    try:
        answer = _post(service.url, ask, stream=stream)
    finally:
        cloud.revive()
    _assert_local(answer, ask, stream=stream)
    assert "connection_refused" in (answer.header("proxy-status") or "")


@pytest.mark.parametrize(
    "fault", [faults.silence, faults.slow_headers, faults.stall(0)], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_silent_stream_is_answered_locally(
    cloud: StandIn, hasty: Fallback, ask: asks.Ask, fault: Fault
) -> None:
    """A stream without headers or content by its deadline is answered here, and let go."""
    cloud.script(fault, ask.path)
    answer = _post(hasty.url, ask, stream=True)
    _assert_local(answer, ask, stream=True)
    assert cloud.await_request(ask.path).left.wait(PATIENCE_S)


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_silent_upstream_is_answered_locally(
    cloud: StandIn, hasty: Fallback, ask: asks.Ask
) -> None:
    """An answer in one piece that does not come by its deadline is given here."""
    cloud.script(faults.silence, ask.path)
    _assert_local(_post(hasty.url, ask), ask, stream=False)
    assert cloud.await_request(ask.path).left.wait(PATIENCE_S)


def _assert_told_broken(answer: raw_http.RawAnswer, ask: asks.Ask, cloud: StandIn) -> None:
    whole = _post(cloud.url, ask, stream=True).body
    shared = answer.body[: answer.body.index(ask.error)]
    assert whole.startswith(shared), "what came before the break is the cloud's, byte for byte"
    assert shared.endswith(b"\n\n"), "only whole events were passed on"
    assert ask.end not in answer.body, "a broken stream never ends as a complete one"
    assert answer.provenance["tier"] == "cloud"


@pytest.mark.parametrize("name", AFTER_CONTENT)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_stream_that_breaks_after_content_says_so(
    cloud: StandIn, alone: Fallback, ask: asks.Ask, name: str
) -> None:
    """After content, a break that nobody mends reaches the client as its dialect's error event."""
    with cloud.failing(AFTER_CONTENT[name], ask.path):
        body = ask.body(stream=True)
        answer = raw_http.send(
            alone.url, "POST", ask.path, asks.KEYS, body, once=b"stand", then=cloud.release
        )
    _assert_told_broken(answer, ask, cloud)


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_stream_that_stalls_after_content_says_so(
    cloud: StandIn, alone: Fallback, ask: asks.Ask
) -> None:
    """A stall in mid-stream ends, after its deadline, in the dialect's error event."""
    cloud.script(faults.stall(3), ask.path)
    answer = _post(alone.url, ask, stream=True)
    assert cloud.await_request(ask.path).left.wait(PATIENCE_S)
    cloud.heal()
    _assert_told_broken(answer, ask, cloud)


@pytest.mark.parametrize("name", ["cut", "reset", "clean-end", "half-event"])
def test_sdks_raise_on_a_broken_stream(cloud: StandIn, alone: Fallback, name: str) -> None:
    """The official SDKs raise on the error event that we add; none takes it for complete."""

    def _drain(stream: Iterable[object]) -> None:
        for _ in stream:
            cloud.release()  # the first event comes with content or not at all

    claude = anthropic.Anthropic(base_url=alone.url, api_key="k", max_retries=0)
    gpt = openai.OpenAI(base_url=alone.url + "/v1", api_key="k", max_retries=0)
    cloud.script(AFTER_CONTENT[name])
    with claude, gpt:
        with pytest.raises(anthropic.APIError):
            _drain(claude.messages.create(model="c", max_tokens=9, messages=[_HI], stream=True))
        with pytest.raises(openai.APIError):
            _drain(gpt.chat.completions.create(model="g", messages=[_HI], stream=True))
        with pytest.raises(openai.APIError):
            _drain(gpt.responses.create(model="g", input="Say hi.", stream=True))


@pytest.mark.parametrize("ending", [faults.without_last_event, faults.cut_before_last_event])
@pytest.mark.parametrize("ask", [asks.MESSAGES, asks.CHAT], ids=str)
def test_missing_terminal_event_is_made_good(
    cloud: StandIn, service: Fallback, ask: asks.Ask, ending: Fault
) -> None:
    """A stream whose answer is whole but for the terminal event ends with it."""
    with cloud.failing(ending, ask.path):
        answer = _post(service.url, ask, stream=True)
    assert answer.whole
    assert ask.end in answer.body
    assert valid_answers.read(ask.path, streamed=True, body=answer.body).text


def test_missing_response_is_told(cloud: StandIn, alone: Fallback) -> None:
    """`response.completed` carries the whole answer: a stream without it is a broken one."""
    with cloud.failing(faults.without_last_event):
        answer = _post(alone.url, asks.RESPONSES, stream=True)
    _assert_told_broken(answer, asks.RESPONSES, cloud)


PASSED_THROUGH: dict[str, Fault] = {
    "400": faults.status(400, "invalid_request_error"),
    "402": faults.status(402, "billing_error"),
    "404": faults.status(404, "not_found_error"),
    "413": faults.status(413, "request_too_large"),
    "422": faults.status(422, "invalid_request_error"),
    "429": faults.status(429, "rate_limit_error", retry_after_s=17),
    "503-registration": faults.status(503, "registration_pending"),
    "529-compaction": faults.status(529, "compaction_unavailable"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PASSED_THROUGH)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_errors_that_are_not_outages_pass_through(
    cloud: StandIn, service: Fallback, ask: asks.Ask, name: str, stream: bool
) -> None:
    """The client's mistakes, rate limits and quotas reach it byte for byte."""
    with cloud.failing(PASSED_THROUGH[name], ask.path):
        direct = _post(cloud.url, ask, stream=stream)
        answer = _post(service.url, ask, stream=stream)
    assert (answer.status, answer.theirs, answer.body) == (
        direct.status,
        direct.theirs,
        direct.body,
    )
    assert len(cloud.received(ask.path)) == 2, "nothing was tried again"


@pytest.mark.parametrize(
    ("code", "kind"), [(401, "authentication_error"), (403, "permission_error")]
)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_bad_keys_pass_through_and_stop_retries(
    cloud: StandIn, service: Fallback, ask: asks.Ask, code: int, kind: str
) -> None:
    """A bad key's error passes through, `x-should-retry: false` added and nothing else."""
    with cloud.failing(faults.status(code, kind), ask.path):
        direct, answer = _post(cloud.url, ask), _post(service.url, ask)
    assert (answer.status, answer.body) == (code, direct.body)
    assert answer.theirs == [*direct.theirs, ("x-should-retry", "false")]


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_client_that_leaves_before_headers_ends_the_upstream_request(
    cloud: StandIn, service: Fallback, ask: asks.Ask
) -> None:
    """A client that leaves while the cloud is silent ends the request there at once."""
    cloud.script(faults.silence, ask.path)
    connection = raw_http.open_request(service.url, ask.path, asks.KEYS, ask.body(stream=True))
    request = cloud.await_request(ask.path)
    connection.close()
    assert request.left.wait(PATIENCE_S)


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_client_that_leaves_in_mid_stream_ends_the_upstream_request(
    cloud: StandIn, service: Fallback, ask: asks.Ask
) -> None:
    """A client that leaves in mid-stream ends the request at the cloud at once."""
    cloud.script(faults.stall(3), ask.path)
    connection = raw_http.open_request(service.url, ask.path, asks.KEYS, ask.body(stream=True))
    raw_http.read_until(connection, b"stand-in")
    request = cloud.await_request(ask.path)
    assert not request.left.is_set()
    connection.close()
    assert request.left.wait(PATIENCE_S)


def test_client_that_leaves_frees_the_local_engine(cloud: StandIn, service: Fallback) -> None:
    """A client that leaves a local answer in mid-stream frees what it held."""
    cloud.kill()
    try:
        ask = asks.MESSAGES
        connection = raw_http.open_request(service.url, ask.path, asks.KEYS, ask.body(stream=True))
        raw_http.read_until(connection, b"content_block_delta")
        connection.close()
        service.await_status(
            lambda status: status["local"]["active"] == 0 == status["local"]["queued"], "idle"
        )
    finally:
        cloud.revive()


def test_embeddings_are_never_answered_by_another_model(cloud: StandIn, service: Fallback) -> None:
    """Without the cloud, embeddings are refused clearly and without inviting retries."""
    cloud.kill()
    try:
        body = b'{"model":"text-embedding-3-small","input":"hi"}'
        answer = raw_http.send(service.url, "POST", "/v1/embeddings", asks.KEYS, body)
    finally:
        cloud.revive()
    assert answer.status == 503
    assert answer.header("x-should-retry") == "false"
    assert b'"error"' in answer.body
