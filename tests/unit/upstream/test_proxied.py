"""The transport through an HTTP proxy, against a real one that forwards and tunnels."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from fallback.core.outcome import Failure
from fallback.core.policy import Deadlines
from fallback.upstream.attempt import Attempt, Request
from fallback.upstream.switch import SwitchTransport
from fallback.upstream.transport import TransportError, UpstreamConfig

OK = b"HTTP/1.1 200 OK\r\nX-Two: a\r\nX-Two: b\r\ncontent-length: 2\r\n\r\nok"


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


class Proxy:
    """Answers absolute targets itself and tunnels CONNECT; keeps the heads it was sent."""

    def __init__(self, answer: bytes = OK, connect: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self._answer = answer
        self._connect = connect
        self._pumps: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if not head.startswith(b"CONNECT "):
            writer.write(self._answer)
            writer.close()
            return
        writer.write(self._connect)
        if b" 200 " not in self._connect:
            writer.close()
            return
        host, _, port = head.split(b" ")[1].decode().partition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        self._pumps.append(asyncio.ensure_future(pipe(reader, inner_writer)))
        await pipe(inner_reader, writer)

    def stop(self) -> None:
        for pump in self._pumps:
            pump.cancel()


@asynccontextmanager
async def through(proxy: Proxy) -> AsyncIterator[tuple[SwitchTransport, str]]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    transport = SwitchTransport(connect_s=2.0, max_connections=10)
    try:
        yield transport, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await transport.aclose()
        proxy.stop()
        server.close()


async def ask(transport: SwitchTransport, upstream: UpstreamConfig) -> tuple[bytes, object]:
    headers = [(b"x-api-key", b"sk-1"), (b"x-b", b"1"), (b"x-b", b"2")]
    response = await transport.send(
        upstream, "POST", "/v1/a%2Fb?q=1", headers, b"hello", limit_s=5.0
    )
    try:
        body = await response.read(5.0)
        assert await response.read(5.0) == b""
    finally:
        response.close()
    return body, response.headers


def behind(proxy: str, base_url: str, ca_file: str | None = None) -> UpstreamConfig:
    return UpstreamConfig(
        name="cloud", family="openai", base_url=base_url, proxy=proxy, ca_file=ca_file
    )


async def test_a_plain_upstream_is_asked_for_by_its_whole_url() -> None:
    """RFC 9112 section 3.2.2, with raw path and repeated headers, and nothing of aiohttp's own."""
    proxy = Proxy()
    async with through(proxy) as (transport, url):
        body, headers = await ask(transport, behind(url, "http://cloud.test"))
    assert body == b"ok"
    assert headers == [(b"x-two", b"a"), (b"x-two", b"b"), (b"content-length", b"2")]
    head = proxy.heads[0].decode()
    assert head.startswith("POST http://cloud.test/v1/a%2Fb?q=1 HTTP/1.1\r\n")
    names = [line.partition(":")[0].lower() for line in head.split("\r\n")[1:-2]]
    assert sorted(names) == ["content-length", "host", "x-api-key", "x-b", "x-b"]


async def test_a_secure_upstream_is_reached_through_a_tunnel(tmp_path: Path) -> None:
    """The proxy sees CONNECT and never the key."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(OK)
        await writer.drain()
        writer.close()

    cloud = await asyncio.start_server(serve, "localhost", 0, ssl=context)
    port = cloud.sockets[0].getsockname()[1]
    proxy = Proxy()
    async with through(proxy) as (transport, url):
        upstream = behind(url, f"https://localhost:{port}", str(tmp_path / "ca.pem"))
        body, _ = await ask(transport, upstream)
    cloud.close()
    assert body == b"ok"
    assert proxy.heads[0].startswith(b"CONNECT localhost:")
    assert b"sk-1" not in proxy.heads[0]


@pytest.mark.parametrize(
    ("proxy", "failure"),
    [
        (Proxy(connect=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), Failure.PROTOCOL),
        (Proxy(connect=b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Failure.PROTOCOL),
    ],
    ids=["407", "502"],
)
async def test_a_proxy_that_refuses_the_tunnel_is_a_failure(proxy: Proxy, failure: Failure) -> None:
    """Nothing of the request was sent."""
    async with through(proxy) as (transport, url):
        with pytest.raises(TransportError) as caught:
            await ask(transport, behind(url, "https://cloud.test"))
    assert (caught.value.failure, caught.value.sent) == (failure, False)


async def test_a_proxy_that_is_not_there_is_refused() -> None:
    """The same failure as an upstream that is not there."""
    async with through(Proxy()) as (_, url):
        pass
    transport = SwitchTransport(connect_s=2.0, max_connections=10)
    with pytest.raises(TransportError) as caught:
        await ask(transport, behind(url, "http://cloud.test"))
    await transport.aclose()
    assert (caught.value.failure, caught.value.sent) == (Failure.REFUSED, False)


@pytest.mark.parametrize(
    ("proxy", "base_url"),
    [
        (Proxy(connect=b"HTTP/1.1 407 No\r\n\r\n"), "https://cloud.test"),
        (Proxy(connect=b"SSH-2.0\r\n\r\n"), "https://cloud.test"),
        (Proxy(answer=b"SSH-2.0\r\n\r\n"), "http://cloud.test"),
        (Proxy(answer=b""), "http://cloud.test"),
        (Proxy(answer=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), "http://cloud.test"),
    ],
    ids=["refuses", "no-http-tunnel", "no-http", "silent", "cut"],
)
async def test_a_proxys_password_is_not_told(proxy: Proxy, base_url: str) -> None:
    """Details reach logs, receipts and clients; whatever the proxy does, its password does not."""
    async with through(proxy) as (transport, url):
        known = url.replace("http://", "http://joe:secret@")
        with pytest.raises(TransportError) as caught:
            await ask(transport, behind(known, base_url))
    assert str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_client_that_leaves_during_its_upload_is_no_failure_of_the_upstreams() -> None:
    """What its body raised comes out of the attempt as it is."""

    class Gone(Exception):
        pass

    async def parts() -> AsyncIterator[bytes]:
        yield b"x"
        raise Gone

    async with through(Proxy(connect=b"")) as (transport, url):
        request = Request(
            method="POST",
            target="/v1/files",
            headers=[],
            body=parts(),
            dialect=None,
            generates=False,
            streams=False,
        )
        attempt = Attempt(
            transport,
            behind(url, "http://cloud.test"),
            request,
            Deadlines(),
            clock=lambda: 0.0,
        )
        with pytest.raises(Gone):
            await attempt.run()


async def test_a_cut_answer_raises() -> None:
    """Truncation is seen through a proxy too."""
    proxy = Proxy(answer=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
    async with through(proxy) as (transport, url):
        with pytest.raises(TransportError) as caught:
            await ask(transport, behind(url, "http://cloud.test"))
    assert caught.value.failure is Failure.TRUNCATED
