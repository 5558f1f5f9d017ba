"""A healthy cloud passes through untouched: the same bytes as going direct, both ways."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import asks
import brotli
import pytest
import raw_http
from backports import zstd
from standin import Request, StandIn, faults
from standin.service import PATIENT, Fallback, running_fallback


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
    with running_fallback(clouds.url, log, LOCAL__MODE="off", **PATIENT) as service:
        yield service


def _both(
    cloud: StandIn,
    service: Fallback,
    method: str,
    target: str,
    headers: raw_http.Pairs = asks.KEYS,
    body: bytes | list[bytes] | None = None,
) -> tuple[Request, Request]:
    """Send it direct and through the service, compare the answers, return what arrived."""
    direct = raw_http.send(cloud.url, method, target, headers, body)
    through = raw_http.send(service.url, method, target, headers, body)
    assert through.status == direct.status
    assert through.body == direct.body
    assert through.theirs == direct.theirs
    assert through.whole
    assert through.provenance["tier"] == "cloud"
    first, second = (r for r in cloud.requests if r.target == target.encode())
    assert second.method == first.method
    assert second.body == first.body
    expected = dict(raw_http.request_headers(first.headers))
    assert raw_http.request_headers(second.headers) == expected
    return first, second


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_answers(cloud: StandIn, service: Fallback, ask: asks.Ask, stream: bool) -> None:
    """Answers, streamed or not, are those of going direct, headers and body."""
    _both(cloud, service, "POST", ask.path, asks.KEYS, ask.body(stream=stream))


@pytest.mark.parametrize("fault", [faults.unknown_events, faults.split_events])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_odd_streams(cloud: StandIn, service: Fallback, ask: asks.Ask, fault: faults.Fault) -> None:
    """Unknown events, comments and chunks that split events pass through byte for byte."""
    with cloud.failing(fault):
        _both(cloud, service, "POST", ask.path, asks.KEYS, ask.body(stream=True))


TARGETS = (
    "/v1/files/a%2Fb%20c/content",
    "//double//slashes/",
    "/v1/messages/batches/msgbatch_1/results?a=b&a=c&empty=&flag",
    "/v1/x/../y/./z",
    "/v1/caf%C3%A9/%7Etilde~?q=%2B+%20",
    "/v1/semi;colon,comma:(paren)'!*$@",
    "/v1/organizations?after_id=x%3Dy&%5B%5D=1",
)


@pytest.mark.parametrize("target", TARGETS)
def test_paths_and_queries(cloud: StandIn, service: Fallback, target: str) -> None:
    """Path and query arrive exactly as sent: nothing decoded, merged or sorted."""
    _, arrived = _both(cloud, service, "GET", target)
    assert arrived.target == target.encode()


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE"])
def test_methods(cloud: StandIn, service: Fallback, method: str) -> None:
    """Any method passes, with its body."""
    _both(cloud, service, method, "/v1/anything", asks.KEYS, b'{"x":1}')


@pytest.mark.parametrize("target", ["/v1/models", "/api/hello", "/some/file"])
def test_head(cloud: StandIn, service: Fallback, target: str) -> None:
    """HEAD has the headers of the answer and no body."""
    _both(cloud, service, "HEAD", target)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_root_says_that_the_service_runs(cloud: StandIn, service: Fallback, method: str) -> None:
    """Clients look at `/` to see whether anyone is there: we answer that ourselves."""
    assert raw_http.send(service.url, method, "/").status == 200
    assert cloud.requests == []


def test_duplicate_headers(cloud: StandIn, service: Fallback) -> None:
    """Headers sent twice arrive twice, in their order; so do those of the answer."""
    twice = (*asks.KEYS, ("x-twice", "one"), ("x-other", "between"), ("x-twice", "two"))
    _, arrived = _both(cloud, service, "GET", "/v1/twice", twice)
    assert raw_http.request_headers(arrived.headers)["x-twice"] == ["one", "two"]


def test_hop_by_hop_headers_stay(cloud: StandIn, service: Fallback) -> None:
    """What `Connection` names is for the proxy, and ends there."""
    headers = (*asks.KEYS, ("Connection", "x-secret"), ("x-secret", "1"), ("TE", "trailers"))
    raw_http.send(service.url, "GET", "/v1/hop", headers)
    names = {name.lower() for name, _ in cloud.await_request("/v1/hop").headers}
    assert names.isdisjoint({b"x-secret", b"te"})


@pytest.mark.parametrize(
    ("coding", "compress"),
    [("gzip", gzip.compress), ("br", brotli.compress), ("zstd", zstd.compress)],
)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_compressed_requests(
    cloud: StandIn, service: Fallback, ask: asks.Ask, coding: str, compress: object
) -> None:
    """A compressed body arrives as it was compressed."""
    assert callable(compress)
    headers = (*asks.KEYS, ("content-encoding", coding))
    _both(cloud, service, "POST", ask.path, headers, compress(ask.body()))


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "gzip, deflate, br, zstd"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_compressed_answers(cloud: StandIn, service: Fallback, ask: asks.Ask, coding: str) -> None:
    """A compressed answer reaches the client as the cloud compressed it."""
    headers = (*asks.KEYS, ("accept-encoding", coding))
    _both(cloud, service, "POST", ask.path, headers, ask.body())


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_compressed_streams(cloud: StandIn, service: Fallback, ask: asks.Ask, coding: str) -> None:
    """A compressed stream reaches the client plain, event for event, so that it can be mended."""
    headers = (*asks.KEYS, ("accept-encoding", coding))
    plain = raw_http.send(cloud.url, "POST", ask.path, asks.KEYS, ask.body(stream=True))
    with cloud.failing(faults.compressed(coding)):
        through = raw_http.send(service.url, "POST", ask.path, headers, ask.body(stream=True))
    assert through.whole
    assert through.body == plain.body
    assert through.header("content-encoding") is None
    assert through.provenance["tier"] == "cloud"


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_large_bodies(cloud: StandIn, service: Fallback, ask: asks.Ask) -> None:
    """A body of 100 KB and an answer of as much pass unchanged."""
    body = ask.body("[[long 9000]] " + "pad ä 漢字 " * 8000, stream=True)
    assert len(body) > 100_000
    _both(cloud, service, "POST", ask.path, asks.KEYS, body)


def test_unknown_bodies(cloud: StandIn, service: Fallback) -> None:
    """Bytes that are not JSON pass to where nobody asked for JSON."""
    headers = (*asks.KEYS, ("content-type", "multipart/form-data; boundary=x"))
    _both(cloud, service, "POST", "/v1/files", headers, bytes(range(256)) * 64)


def test_chunked_uploads(cloud: StandIn, service: Fallback) -> None:
    """A body uploaded in chunks arrives whole."""
    parts = [b"first ", b"second ", b"x" * 70_000]
    raw_http.send(service.url, "POST", "/v1/upload", asks.KEYS, parts)
    assert cloud.await_request("/v1/upload").body == b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/responses", "/v1/responses"),
    ],
)
def test_base_urls_with_or_without_v1(
    cloud: StandIn, service: Fallback, sent: str, arrives: str
) -> None:
    """Base URLs with one `/v1` too many, too few, or an upstream's prefix work."""
    ask = next(ask for ask in asks.ASKS if ask.path == arrives)
    answer = raw_http.send(service.url, "POST", sent, asks.KEYS, ask.body())
    direct = raw_http.send(cloud.url, "POST", arrives, asks.KEYS, ask.body())
    assert (answer.status, answer.body) == (direct.status, direct.body)


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/realtime?model=x", "/"])
def test_websocket_upgrades_are_refused(cloud: StandIn, service: Fallback, target: str) -> None:
    """An upgrade gets 426 at once, so that the client goes on over HTTP; the cloud is not asked."""
    headers = (
        *asks.KEYS,
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "zrGo7BkvWps4nMgM3jPMIQ=="),
    )
    answer = raw_http.send(service.url, "GET", target, headers)
    assert answer.status == 426
    assert cloud.received(target.partition("?")[0]) == []
