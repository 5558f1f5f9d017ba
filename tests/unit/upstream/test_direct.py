"""The transport of the healthy path, against a real socket that answers as it is told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohappyeyeballs import AddrInfoType

from fallback.core.outcome import Failure
from fallback.core.provenance import Headers
from fallback.upstream.direct import DirectTransport
from fallback.upstream.transport import TransportError, TransportResponse, UpstreamConfig

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """Answers each request (read whole) with the next of `answers`; None closes unanswered."""

    def __init__(self, answers: list[bytes | None], *, close_after: bool = False) -> None:
        self.answers = answers
        self.close_after = close_after
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.lost = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await _head(reader):
                self.requests.append(head + await _body(head, reader))
                self.asked.set()
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if self.close_after:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.lost.set()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if b"chunked" in head:
        return await reader.readuntil(b"0\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length: ")
    return await reader.readexactly(int(rest.split(b"\r\n")[0])) if rest else b""


@asynccontextmanager
async def serving(
    answers: list[bytes | None],
    *,
    close_after: bool = False,
    tls: ssl.SSLContext | None = None,
    ca_file: str | None = None,
) -> AsyncIterator[tuple[Server, UpstreamConfig, DirectTransport]]:
    server = Server(answers, close_after=close_after)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    upstream = UpstreamConfig(
        name="cloud", family="openai", base_url=f"{scheme}://{host}:{port}", ca_file=ca_file
    )
    transport = DirectTransport(connect_s=2.0)
    try:
        yield server, upstream, transport
    finally:
        await transport.aclose()
        listening.close()


async def get(
    transport: DirectTransport,
    upstream: UpstreamConfig,
    *,
    method: str = "GET",
    target: str = "/",
    headers: Headers | None = None,
    body: bytes = b"",
    limit_s: float = 5.0,
) -> tuple[TransportResponse, bytes]:
    response = await transport.send(upstream, method, target, headers or [], body, limit_s=limit_s)
    try:
        return response, await everything(response, limit_s)
    finally:
        response.close()


async def everything(response: TransportResponse, limit_s: float = 5.0) -> bytes:
    got = b""
    while chunk := await response.read(limit_s):
        got += chunk
    return got


async def test_a_request_reaches_the_server_as_it_is() -> None:
    """Raw target, header order and repetition, body: nothing is added but the framing."""
    async with serving([OK]) as (server, upstream, transport):
        headers = [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]
        await get(
            transport,
            upstream,
            method="POST",
            target="/a%2Fb//c?q=%20&q=1",
            headers=headers,
            body=b"hello",
        )
        host = upstream.base_url.removeprefix("http://").encode()
        assert server.requests == [
            b"POST /a%2Fb//c?q=%20&q=1 HTTP/1.1\r\nhost: " + host + b"\r\n"
            b"x-b: 1\r\nx-a: 2\r\nx-b: 3\r\ncontent-length: 5\r\n\r\nhello"
        ]


async def test_a_base_url_with_a_path_goes_before_the_target() -> None:
    """`https://gateway/llm` is a base URL too."""
    async with serving([OK]) as (server, upstream, transport):
        below = UpstreamConfig(name="b", family="openai", base_url=upstream.base_url + "/llm")
        await get(transport, below, target="/v1/models")
        assert server.requests[0].startswith(b"GET /llm/v1/models HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\n" + b"x" * 600_000, b"x" * 600_000),
    ],
    ids=["length", "chunked", "no-content", "early-hints", "large"],
)
async def test_a_whole_answer_gives_its_connection_back(answer: bytes, body: bytes) -> None:
    """Whatever its framing, the next request goes over the same connection."""
    async with serving([answer, OK]) as (server, upstream, transport):
        response, got = await get(transport, upstream)
        assert got == body
        assert b"link" not in dict(response.headers)
        await get(transport, upstream)
        assert server.connections == 1


async def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    """No length and no chunks: RFC 9112 ends the body with the connection."""
    answer = b"HTTP/1.1 200 OK\r\n\r\nuntil the end"
    async with serving([answer], close_after=True) as (_, upstream, transport):
        assert (await get(transport, upstream))[1] == b"until the end"


async def test_an_answer_to_head_has_no_body() -> None:
    """Its content-length announces what a GET would bring."""
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
    async with serving([answer]) as (_, upstream, transport):
        response, got = await get(transport, upstream, method="HEAD")
        assert (response.status, got) == (200, b"")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (None, Failure.RESET),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", Failure.TRUNCATED),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", Failure.TRUNCATED),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Failure.PROTOCOL),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000, Failure.PROTOCOL),
        (b"HTTP/1.1 101 OK\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Failure.PROTOCOL),
    ],
    ids=["unanswered", "short", "missing-last-chunk", "not-http", "huge-head", "upgrade"],
)
async def test_a_bad_answer_raises(answer: bytes | None, failure: Failure) -> None:
    """An end that is not proper by the answer's own framing is never taken for one."""
    async with serving([answer], close_after=True) as (_, upstream, transport):
        with pytest.raises(TransportError) as caught:
            await get(transport, upstream)
        assert caught.value.failure is failure


async def test_a_connection_that_died_idle_is_replaced() -> None:
    """The server closed it between two requests: the second is sent once more, on a new one."""
    async with serving([OK, None, OK]) as (server, upstream, transport):
        await get(transport, upstream)
        _, got = await get(transport, upstream, method="POST", body=b"x")
        assert (got, server.connections, len(server.requests)) == (b"ok", 2, 3)


async def test_work_that_a_server_broke_off_is_not_given_to_it_twice() -> None:
    """A pooled connection that ends long after the request did not die idle."""
    async with serving([OK, None, OK]) as (server, upstream, _):
        transport = DirectTransport(connect_s=2.0, stale_s=0.0)
        await get(transport, upstream)
        with pytest.raises(TransportError):
            await get(transport, upstream, method="POST", body=b"x")
        assert len(server.requests) == 2
        await transport.aclose()


async def test_a_new_connection_that_dies_is_not_tried_again() -> None:
    """One attempt is one attempt: only a pooled connection is forgiven."""
    async with serving([None, OK]) as (server, upstream, transport):
        with pytest.raises(TransportError):
            await get(transport, upstream)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"],
    ids=["before-the-head", "inside-the-body"],
)
async def test_silence_is_a_timeout(answer: bytes) -> None:
    """Past the limit nothing is waited for any more, and the connection is dropped."""
    async with serving([answer]) as (server, upstream, transport):
        with pytest.raises(TransportError) as caught:
            await get(transport, upstream, limit_s=0.05)
        assert caught.value.failure is Failure.TIMEOUT
        await asyncio.wait_for(server.lost.wait(), 5)


async def test_leaving_an_answer_drops_its_connection() -> None:
    """Closing before the end, or cancelling before the head, ends the upstream's work at once."""

    async def close(transport: DirectTransport, upstream: UpstreamConfig) -> None:
        (await transport.send(upstream, "GET", "/", [], b"", limit_s=5.0)).close()

    async def cancel(transport: DirectTransport, upstream: UpstreamConfig) -> None:
        task = asyncio.ensure_future(transport.send(upstream, "GET", "/", [], b"", limit_s=5.0))
        await server.asked.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    ways: list[tuple[bytes, Callable[[DirectTransport, UpstreamConfig], Awaitable[None]]]] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", close),
        (b"", cancel),
    ]
    for answer, leave in ways:
        async with serving([answer]) as (server, upstream, transport):
            await leave(transport, upstream)
            await asyncio.wait_for(server.lost.wait(), 5)
            assert repr(transport) == "<DirectTransport idle={}>"


async def test_bytes_after_an_answer_are_nobodys() -> None:
    """A second answer in the same packet is not this one's body, nor the next request's."""
    async with serving([OK + OK.replace(b"ok", b"no"), OK]) as (server, upstream, transport):
        assert (await get(transport, upstream))[1] == b"ok"
        assert (await get(transport, upstream))[1] == b"ok"
        assert server.connections == 2


async def test_silence_on_a_pooled_connection_is_waited_for_once() -> None:
    """Only a connection that died idle is replaced; a silent server gets no second request."""
    async with serving([OK, b"", OK]) as (server, upstream, transport):
        await get(transport, upstream)
        with pytest.raises(TransportError) as caught:
            await get(transport, upstream, limit_s=0.05)
        assert (caught.value.failure, len(server.requests)) == (Failure.TIMEOUT, 2)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def test_an_answer_ends_the_upload() -> None:
    """A 413 before the end of a streamed body reaches the client, though nobody reads the rest."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await over.wait()
        writer.close()

    over = asyncio.Event()
    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    upstream = UpstreamConfig(name="c", family="openai", base_url=f"http://127.0.0.1:{port}")
    transport = DirectTransport(connect_s=2.0)
    response = await transport.send(upstream, "POST", "/", [], endless(), limit_s=5.0)
    assert (response.status, await everything(response)) == (413, b"no")
    response.close()
    assert repr(transport) == "<DirectTransport idle={}>"
    over.set()
    listening.close()


async def test_a_request_may_have_less_patience_with_the_connection() -> None:
    """A rule, or the client's own patience, shortens what holds for all."""

    async def hang(host: str, port: int) -> list[AddrInfoType]:
        await asyncio.Event().wait()
        return []

    upstream = UpstreamConfig(name="c", family="openai", base_url="http://cloud.test")
    transport = DirectTransport(connect_s=3600.0, resolve=hang)
    with pytest.raises(TransportError, match=r"within 0\.01 s") as caught:
        await transport.send(upstream, "GET", "/", [], b"", limit_s=9.0, connect_s=0.01)
    assert caught.value.failure is Failure.CONNECT_TIMEOUT


async def test_an_upload_that_nobody_reads_is_a_timeout() -> None:
    """Neither an answer nor room for more: past the limit that is silence, too."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    over = asyncio.Event()
    listening = await asyncio.start_server(ignore, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    upstream = UpstreamConfig(name="c", family="openai", base_url=f"http://127.0.0.1:{port}")
    with pytest.raises(TransportError) as caught:
        await DirectTransport(connect_s=2.0).send(
            upstream, "POST", "/", [], endless(), limit_s=0.05
        )
    assert caught.value.failure is Failure.TIMEOUT
    over.set()
    listening.close()


async def test_a_streamed_body_gets_a_connection_of_its_own() -> None:
    """It cannot be sent twice, so the pooled connection that died idle is not risked."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"

    async with serving([OK, OK]) as (server, upstream, transport):
        await get(transport, upstream)
        response = await transport.send(upstream, "POST", "/", [], parts(), limit_s=5.0)
        assert await everything(response) == b"ok"
        response.close()
        assert server.connections == 2


async def test_a_streamed_body_goes_out_in_chunks() -> None:
    """A body over the limit is passed on as it comes."""

    async def parts() -> AsyncIterator[bytes]:
        for part in (b"one", b"", b"three"):
            yield part

    async with serving([OK]) as (server, upstream, transport):
        response = await transport.send(upstream, "POST", "/", [], parts(), limit_s=5.0)
        assert await everything(response) == b"ok"
        response.close()
        assert server.requests[0].endswith(b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")


async def test_a_closed_port_is_refused_before_anything_is_sent() -> None:
    """Nothing was sent, and the failure says so."""
    async with serving([]) as (_, upstream, _):
        pass
    with pytest.raises(TransportError) as caught:
        await get(DirectTransport(connect_s=2.0), upstream)
    assert (caught.value.failure, caught.value.sent) == (Failure.REFUSED, False)


async def test_a_name_that_does_not_exist_is_a_dns_failure() -> None:
    """`.invalid` never resolves (RFC 2606)."""
    upstream = UpstreamConfig(name="x", family="openai", base_url="http://nowhere.invalid")
    with pytest.raises(TransportError) as caught:
        await get(DirectTransport(connect_s=5.0), upstream)
    assert caught.value.failure in (Failure.DNS, Failure.CONNECT_TIMEOUT)


async def test_tls_is_verified_against_the_operators_ca(tmp_path: object) -> None:
    """With the CA it works; without it the certificate is the failure; plain is no TLS."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca_file = f"{tmp_path}/ca.pem"
    ca.cert_pem.write_to_path(ca_file)
    async with serving([OK, OK], tls=context, ca_file=ca_file) as (server, upstream, transport):
        assert (await get(transport, upstream))[1] == b"ok"
        assert (await get(transport, upstream))[1] == b"ok"
        assert server.connections == 1
        stranger = UpstreamConfig(name="y", family="openai", base_url=upstream.base_url)
        with pytest.raises(TransportError) as caught:
            await get(transport, stranger)
        assert caught.value.failure is Failure.CERTIFICATE


async def test_a_server_that_speaks_no_tls_is_a_tls_failure() -> None:
    """An https base URL before a server that greets in plain text."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    upstream = UpstreamConfig(name="z", family="openai", base_url=f"https://localhost:{port}")
    with pytest.raises(TransportError) as caught:
        await get(DirectTransport(connect_s=5.0), upstream)
    assert (caught.value.failure, caught.value.sent) == (Failure.TLS, False)
    listening.close()
