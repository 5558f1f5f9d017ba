"""Who may be asked over the network: upstreams, and a model server of the operator's own.

What is checked here would otherwise fail every request, or send a key to a stranger.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from fallback.core.errors import ConfigError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_KEY = re.compile(r"[!-~]+")
_RESERVED = ("v1", "api", "fallback", "models", "messages", "chat", "responses", "embeddings")

Positive = Annotated[int, Meta(gt=0)]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]+$")]
HttpsUrl = Annotated[str, Meta(pattern=r"^https://[!-~]+$")]

# The host of the API -> its status page, and the components that its requests depend on.
_STATUS_PAGES = {
    "api.anthropic.com": ("https://status.claude.com", ("Claude API (api.anthropic.com)",)),
    "api.openai.com": ("https://status.openai.com", ("Responses", "Chat Completions")),
}


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cloud endpoint. `key = "client"` passes the client's credentials on; `"config"`
    replaces them by `api_key`, or by the content of the environment variable `api_key_env`;
    `"none"` sends no credentials at all.

    `alternates` are the upstreams that are asked in its place, in this order. As one of them an
    upstream is asked in `dialect` (by default the client's own, or that of its family's chat),
    for the model that `models` gives for the client's: glob -> name, the first that matches; a
    model that none matches keeps its name.

    `status_components` are the names on the status page at `status_url` that matter; the page of
    a known provider is known.
    """

    base_url: Url
    family: Literal["anthropic", "openai"]
    key: Literal["client", "config", "none"] = "client"
    api_key: str | None = None
    api_key_env: str | None = None
    proxy: Url | None = None
    ca_file: str | None = None
    alternates: tuple[str, ...] = ()
    dialect: Literal["anthropic", "openai-chat", "openai-responses"] | None = None
    models: dict[str, str] = {}
    status_url: HttpsUrl | None = None
    status_components: tuple[str, ...] = ()


class Remote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenAI-compatible model server: llama-server, vLLM, Ollama. `model` empty is its first;
    `context_tokens` unset is what it says. `prefill`: whether it goes on after the beginning of
    an answer ("auto": known of its make, else tried)."""

    url: Url
    model: str = ""
    api_key: str | None = None
    api_key_env: str | None = None
    ca_file: str | None = None
    context_tokens: Positive | None = None
    max_output_tokens: Positive = 4096
    prefill: Literal["auto", "yes", "no"] = "auto"


def checked(name: str, upstream: Upstream, environ: Mapping[str, str]) -> Upstream:
    """The upstream with its key found and its URL in one spelling. Raises `ConfigError`."""
    at = f"upstreams.{name}"
    base_url = _base_url(upstream.base_url, f"{at}.base_url")
    if upstream.proxy is not None:
        _split(upstream.proxy, f"{at}.proxy")
    if upstream.ca_file is not None:
        _try_ca_file(upstream.ca_file, f"{at}.ca_file")
    key = "" if upstream.key == "none" else None
    if upstream.key == "config":
        key = _key(at, upstream.api_key, upstream.api_key_env, environ)
        if not key:
            wanted = upstream.api_key_env or "api_key or api_key_env"
            raise ConfigError(
                f'{at}.key = "config" needs a key, but {wanted} is not set. '
                f'Set it, or use key = "client" to pass the clients\' keys on.'
            )
    return _with_status_page(msgspec.structs.replace(upstream, base_url=base_url, api_key=key), at)


def _with_status_page(upstream: Upstream, at: str) -> Upstream:
    if upstream.status_url is not None:
        _split(upstream.status_url, f"{at}.status_url")
        if not upstream.status_components:
            raise ConfigError(f"{at}.status_url needs {at}.status_components: whose status counts.")
        return upstream
    known = _STATUS_PAGES.get(urlsplit(upstream.base_url).hostname or "")
    if known is None:
        return upstream
    return msgspec.structs.replace(
        upstream, status_url=known[0], status_components=upstream.status_components or known[1]
    )


def checked_remote(remote: Remote, environ: Mapping[str, str]) -> Remote:
    """The model server with its key found and its URL in one spelling. Raises `ConfigError`."""
    at = "local.remote"
    url = _base_url(remote.url, f"{at}.url")
    if remote.ca_file is not None:
        _try_ca_file(remote.ca_file, f"{at}.ca_file")
    key = _key(at, remote.api_key, remote.api_key_env, environ)
    if remote.api_key_env and not key:
        raise ConfigError(f"{at}.api_key_env = {remote.api_key_env!r}, but that is not set.")
    return msgspec.structs.replace(remote, url=url, api_key=key or None)


def check_alternates(upstreams: Mapping[str, Upstream]) -> None:
    """Raises `ConfigError` for one that does not exist, or that would get a stranger's key."""
    for name, upstream in upstreams.items():
        at = f"upstreams.{name}"
        for alternate in upstream.alternates:
            if alternate not in upstreams or alternate == name:
                others = ", ".join(sorted(upstreams.keys() - {name}))
                raise ConfigError(
                    f"{at}.alternates names {alternate!r}, but allowed are the other upstreams: "
                    f"{others}."
                )
            _check_alternate(alternate, upstreams[alternate])
        if upstream.dialect is not None and _family(upstream.dialect) != upstream.family:
            raise ConfigError(
                f"{at}.dialect = {upstream.dialect!r} is not spoken by the family "
                f"{upstream.family!r}: set family = {_family(upstream.dialect)!r}."
            )


def check_control_hosts(hosts: Iterable[str]) -> None:
    """Raises `ConfigError` for one that cannot be connected to."""
    for host in hosts:
        _split(f"https://{host}", "signals.control_hosts")


def _check_alternate(name: str, upstream: Upstream) -> None:
    if upstream.key == "client":
        raise ConfigError(
            f"upstreams.{name} is an alternate, so the clients' keys are another provider's: "
            f'set upstreams.{name}.key = "config" with api_key_env, or key = "none" for a server '
            f"that wants no key."
        )


def _family(dialect: str) -> str:
    return "anthropic" if dialect == "anthropic" else "openai"


def named(upstreams: Any) -> dict[str, Any]:
    """The table of upstreams. Raises `ConfigError` for a name that no path can hold."""
    if not isinstance(upstreams, dict):
        raise ConfigError(f"upstreams = {upstreams!r} is not valid: it is a table of upstreams.")
    for name in upstreams:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"upstreams.{name} is not a valid name. Allowed: lower-case letters, digits, - "
                f"and _, at most 32, beginning with a letter, except {', '.join(_RESERVED)}."
            )
    return upstreams


def _base_url(given: str, at: str) -> str:
    url = _split(given, at)
    if url.username or url.query or url.fragment:
        raise ConfigError(
            f"{at} is not valid: it may have a host, a port and a path, no more. "
            f"A key belongs into api_key or api_key_env."
        )
    # The paths of clients begin with /v1 themselves.
    return given.rstrip("/").removesuffix("/v1")


def _split(url: str, at: str) -> SplitResult:
    """The parts of a URL that can be connected to."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError as error:
        raise ConfigError(f"{at} is not valid: {error}.") from error
    if not host:
        raise ConfigError(f"{at} is not valid: it has no host.")
    return parts


def _try_ca_file(path: str, at: str) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(f"{at} = {path!r} cannot be read as PEM: {error}.") from error


def _key(at: str, given: str | None, variable: str | None, environ: Mapping[str, str]) -> str:
    """The key that is set, in the file or in a variable; empty if none is."""
    # Line ends come with keys out of files, and would end a header.
    key = (given or environ.get(variable or "", "")).strip()
    if key and not _KEY.fullmatch(key):
        raise ConfigError(f"{at}: the key is not valid: it has characters that no header may have.")
    return key
