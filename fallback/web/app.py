"""The ASGI application: the data plane in front, the control plane behind `/fallback`.

The data plane is this handler and nothing between it and the gateway. FastAPI is imported only
when somebody first asks for `/fallback/...`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from fallback.core.provenance import own_headers
from fallback.gateway import Gateway
from fallback.web.exchange import AsgiExchange, ClientGone, Receive, Scope, SendMessage

_log = logging.getLogger("fallback.web")

AsgiApp = Callable[[Scope, Receive, SendMessage], Awaitable[None]]

_CONTROL = "/fallback"
_LINE = "/fallback/line"
_PORT = re.compile(r":\d+$")
_WEB_ORIGIN = re.compile(r"(?:null|https?://(?P<host>.*))")


class WebApp:
    """`proxy` is this deployment's name in the headers of its own answers. `hosts` are the
    values of `Host` that are answered, without port; None answers all. `line` tells at once whether
    all is well, and how things stand. The check, and the same
    of `Origin`, keep pages of other origins out: DNS rebinding reaches loopback servers
    (CVE-2025-66414), and a plain form post does too, on the operator's key.
    """

    def __init__(
        self,
        gateway: Gateway,
        load_control: Callable[[], AsgiApp],
        *,
        proxy: str,
        hosts: frozenset[str] | None,
        line: Callable[[], tuple[bool, str]],
        startup: Callable[[], Awaitable[None]],
        shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._gateway = gateway
        self._load_control = load_control
        self._control: AsgiApp | None = None
        self._proxy = proxy
        self._hosts = hosts
        self._line = line
        self._startup = startup
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        path: str = scope["path"]
        refusal = self._refusal(scope)
        if refusal is not None:
            return await self._answer(send, *refusal)
        if path == _LINE and scope["method"] in ("GET", "HEAD"):
            well, text = self._line()
            return await self._answer(send, 200 if well else 503, "status", text)
        if path == _CONTROL or path.startswith(_CONTROL + "/"):
            return await self._to_control(scope, receive, send)
        if path == "/" and scope["method"] in ("GET", "HEAD"):
            text = "fallback is running; see /fallback/status"
            return await self._answer(send, 200, "root", text)
        return await self._to_gateway(AsgiExchange(scope, receive, send), send)

    async def _to_gateway(self, exchange: AsgiExchange, send: SendMessage) -> None:
        try:
            await self._gateway.handle(exchange)
        except ClientGone:
            _log.debug("the client left before its request was complete")
        except asyncio.CancelledError:
            if not exchange.client_left:
                raise
            # The cancellation was ours and ends here: the task is the server's.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        except Exception:  # noqa: BLE001 - the last line of defence: log it, answer, live on
            _log.exception("a bug in fallback: %s %s", exchange.method, exchange.path)
            if not exchange.started:
                text = "fallback failed at this request; its log says why"
                await self._answer(send, 500, "internal-error", text)
        finally:
            exchange.close()

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        host, origin, upgrade = _told(scope["headers"])
        if self._hosts is not None and host not in self._hosts:
            return (
                421,
                "unknown-host",
                (
                    f"This service does not answer for the host {host!r}. If that name is right, "
                    f"add it to server.allowed_hosts."
                ),
            )
        if self._hosts is not None and origin and not _is_from(origin, self._hosts):
            return (
                403,
                "unknown-origin",
                (
                    f"This service does not answer pages of the origin {origin!r}. If they may "
                    f"use it, add the origin's host to server.allowed_hosts."
                ),
            )
        if upgrade:
            text = "This service speaks HTTP only; send the request without an upgrade."
            return 426, "no-websocket", text
        return None

    async def _answer(self, send: SendMessage, status: int, reason: str, text: str) -> None:
        body = text.encode() + b"\n"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            *own_headers(reason, proxy=self._proxy),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _to_control(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        if self._control is None:
            # In a thread, so that streams under way do not halt for the import.
            self._control = await asyncio.to_thread(self._load_control)
        await self._control(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: SendMessage) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._startup()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._shutdown()
                return await send({"type": "lifespan.shutdown.complete"})


def _told(headers: list[tuple[bytes, bytes]]) -> tuple[str, str, bool]:
    """The host without its port, the origin (empty where it is no browser's), the upgrade."""
    host, origin, upgrade = "", "", False
    for name, value in headers:
        if name == b"host":
            host = _without_port(value.decode("latin-1").lower())
        elif name == b"origin":
            origin = value.decode("latin-1").lower()
        elif name == b"upgrade":
            upgrade = value.strip().lower() == b"websocket"
    return host, origin, upgrade


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if _PORT.search(host) else host


def _is_from(origin: str, hosts: frozenset[str]) -> bool:
    """Whether a page of this origin may ask. Others than of the web (extensions, desktop
    applications) were installed by whoever uses them."""
    page = _WEB_ORIGIN.fullmatch(origin)
    return page is None or _without_port(page["host"] or "") in hosts
