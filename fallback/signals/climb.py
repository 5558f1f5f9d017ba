"""One way up to one host: its name, TCP, TLS, and one free request; each rung is kept.

TLS is always verified. Through an HTTP proxy the first rungs are the proxy's own and its answer
to CONNECT.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httptools
import msgspec
from aiohappyeyeballs import AddrInfoType, start_connection

from fallback import __version__
from fallback.core.os_errors import from_os_error
from fallback.core.outcome import Failure
from fallback.core.rungs import Rung, Step, answer_failure
from fallback.signals.http_get import HttpAnswer, get, tunnel
from fallback.signals.resolver import Resolve
from fallback.signals.site import Proxy, Site

_MAX_BYTES = 64 * 1024
_HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 section 5
_HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"fallback/{__version__}",
    "connection": "close",
}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `connect_s` bounds name, TCP, TLS and CONNECT together, `whole_s` all rungs."""

    connect_s: float = 3.0
    answer_s: float = 4.0
    whole_s: float = 6.0


class Fallen(Exception):
    """A rung did not hold; it is the last of `Climb.rungs`."""


class _Find(msgspec.Struct, kw_only=True):
    """What a rung finds out beside whether it holds."""

    status: int | None = None
    addresses: tuple[str, ...] = ()
    failure: Failure | None = None


class Climb:
    """One climb, made once, begun when it is made. Close it in any case."""

    def __init__(self, site: Site, resolve: Resolve, limits: Limits) -> None:
        self.site = site
        self.rungs: list[Rung] = []
        self._resolve = resolve
        self._limits = limits
        self._began = self._now()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def __repr__(self) -> str:
        return f"<Climb {self.site.origin} {[rung.step for rung in self.rungs]}>"

    async def reach(self) -> None:
        """All rungs below the request. Raises `Fallen`."""
        if (proxy := self.site.proxy) is not None:
            await self._through(proxy)
        else:
            async with self._rung("dns") as find:
                found = await self._resolve(self.site.host, self.site.port)
                find.addresses = tuple(str(info[4][0]) for info in found)
            async with self._rung("tcp"):
                await self._connect(found)
        if self.site.secure:
            async with self._rung("tls"):
                await self._secure(self.site.host, stranger=self.site.stranger)

    async def ask(
        self, path: str, headers: Mapping[str, str], *, limit_bytes: int = _MAX_BYTES
    ) -> HttpAnswer:
        """The last rung, on which whatever is answered is kept. Raises `Fallen`."""
        async with self._rung("answer") as find:
            answer = await self._get(path, headers, limit_bytes)
            find.status = answer.status
            find.failure = answer_failure(
                answer.status, answer.media_type, answer.body, whole=answer.whole
            )
        return answer

    def close(self) -> None:
        """Drop the connection."""
        if self._streams is not None:
            self._streams[1].transport.abort()

    # -- rungs -------------------------------------------------------------------------------

    @asynccontextmanager
    async def _rung(self, step: Step) -> AsyncIterator[_Find]:
        began, find = self._now(), _Find()
        try:
            async with asyncio.timeout_at(self._deadline(step)):
                yield find
        except _FALLS as error:
            find.failure = _failure(step, error)
            self._keep(step, began, find, str(error) or type(error).__name__)
            raise Fallen(self.rungs[-1].detail) from error
        self._keep(step, began, find)

    def _deadline(self, step: Step) -> float:
        if step != "answer":
            return self._began + self._limits.connect_s
        return min(self._now() + self._limits.answer_s, self._began + self._limits.whole_s)

    def _keep(self, step: Step, began: float, find: _Find, detail: str = "") -> None:
        rung = Rung(
            host=self.site.host,
            step=step,
            failure=find.failure,
            status=find.status,
            addresses=find.addresses,
            detail=detail,
            duration_s=self._now() - began,
        )
        self.rungs.append(rung)

    async def _through(self, proxy: Proxy) -> None:
        async with self._rung("proxy"):
            await self._connect(await self._resolve(proxy.host, proxy.port))
            if proxy.secure:
                await self._secure(proxy.host, stranger=True)
        if self.site.secure:
            async with self._rung("tunnel") as find:
                streams = self._open_streams()
                find.status = await tunnel(*streams, self.site.authority, proxy.authorization)
                if not 200 <= find.status < 300:
                    raise ValueError(f"the proxy answers {find.status}")

    async def _connect(self, found: Sequence[AddrInfoType]) -> None:
        sock = await start_connection(
            found, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S, interleave=1
        )
        try:
            self._streams = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise

    async def _secure(self, host: str, *, stranger: bool) -> None:
        # In a thread: reading the system's certificates takes a while, for which the streams
        # that pass just now should not halt.
        context = await asyncio.to_thread(_trust, self.site.ca_file, stranger)
        _, writer = self._open_streams()
        await writer.start_tls(context, server_hostname=host)

    async def _get(self, path: str, headers: Mapping[str, str], limit_bytes: int) -> HttpAnswer:
        site, proxy = self.site, self.site.proxy
        head = {"host": site.host_header, **_HEADERS, **headers}
        if proxy is None or site.secure:
            return await get(*self._open_streams(), path, head, limit_bytes=limit_bytes)
        if proxy.authorization is not None:
            head["proxy-authorization"] = proxy.authorization
        target = f"{site.origin}{path}"
        return await get(*self._open_streams(), target, head, limit_bytes=limit_bytes)

    def _open_streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self._streams is not None, "the rungs are climbed in order"
        return self._streams

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


@functools.cache
def _trust(ca_file: str | None, stranger: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is not None and stranger:
        context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


_FALLS = (OSError, EOFError, ValueError, asyncio.LimitOverrunError, httptools.HttpParserError)


def _failure(step: Step, error: Exception) -> Failure:
    if step == "dns" or isinstance(error, socket.gaierror | UnicodeError):
        return Failure.DNS
    if isinstance(error, TimeoutError):
        return Failure.TIMEOUT if step == "answer" else Failure.CONNECT_TIMEOUT
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure.CERTIFICATE
    if isinstance(error, ssl.SSLError):
        return Failure.TLS
    if isinstance(error, OSError):
        return from_os_error(error)
    return Failure.RESET if isinstance(error, EOFError) else Failure.PROTOCOL
