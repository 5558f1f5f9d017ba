"""TOML and environment -> frozen settings. The only reader of the environment.

Every key can be set in the file or in the environment: `server.port` is
`FALLBACK_SERVER__PORT`, `upstreams.anthropic.base_url` is
`FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL`. The environment wins.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from fallback.core.errors import ConfigError
from fallback.core.health import HealthSettings
from fallback.core.policy import Deadlines
from fallback.core.units import Seconds

_PREFIX = "FALLBACK_"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_KEY = re.compile(r"[!-~]+")
_RESERVED = ("v1", "api", "fallback", "models", "messages", "chat", "responses", "embeddings")
_NOT_SETTINGS = frozenset({"FALLBACK_CONFIG", "FALLBACK_URL", "FALLBACK_LLAMA_WHEEL"})

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(gt=0)]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]+$")]


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is this deployment's in `Via` and `Proxy-Status`. `allowed_hosts` are the further
    values of `Host` to answer beside the loopback names; ["*"] answers all."""

    host: str = "127.0.0.1"
    port: Port = 8484
    name: Annotated[str, Meta(pattern=r"^[A-Za-z*][A-Za-z0-9._-]{0,62}$")] = "fallback"
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_connections: Positive = 1024


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cloud endpoint. `key = "client"` passes the client's credentials on; `"config"`
    replaces them by `api_key`, or by the content of the environment variable `api_key_env`."""

    base_url: Url
    family: Literal["anthropic", "openai"]
    key: Literal["client", "config"] = "client"
    api_key: str | None = None
    api_key_env: str | None = None
    proxy: Url | None = None
    ca_file: str | None = None


class Local(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model on this machine. `model` is an id of the catalog or the path of a GGUF file;
    `sha256` pins a file of your own. `threads = 0` takes the physical cores."""

    mode: Literal["on", "off"] = "on"
    model: str = "smollm2-135m-instruct"
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    models_dir: str | None = None
    context_tokens: Positive = 8192
    slots: Positive = 4
    threads: Annotated[int, Meta(ge=0)] = 0
    max_output_tokens: Positive = 1024
    max_prompt_tokens: Positive = 2048
    ready_timeout_s: Seconds = 20.0
    keepalive_s: Seconds = 5.0


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"


_DEFAULT_UPSTREAMS: dict[str, dict[str, str]] = {
    "anthropic": {"base_url": "https://api.anthropic.com", "family": "anthropic"},
    "openai": {"base_url": "https://api.openai.com", "family": "openai"},
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set. Upstreams beside `anthropic` and `openai` are reached by
    `/<name>/...`."""

    server: Server = Server()
    upstreams: dict[str, Upstream] = {}
    deadlines: Deadlines = Deadlines()
    health: HealthSettings = HealthSettings()
    local: Local = Local()
    log: Log = Log()


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from a file, the environment and the command line, later ones first.

    `overrides` maps dotted keys to values. Raises `ConfigError`, naming the key, the value and
    what is allowed.
    """
    tree: dict[str, Any] = {"upstreams": {k: dict(v) for k, v in _DEFAULT_UPSTREAMS.items()}}
    _merge(tree, _read(path) if path else {})
    for key, value in environ.items():
        if key.startswith(_PREFIX) and key not in _NOT_SETTINGS and value:
            _put(tree, key.removeprefix(_PREFIX).lower().split("__"), value)
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(tree, key.split("."), value)
    upstreams = {
        name: _checked(name, _convert(entry, Upstream, f"upstreams.{name}"), environ)
        for name, entry in _named(tree.pop("upstreams")).items()
    }
    return msgspec.structs.replace(_convert(tree, Settings, ""), upstreams=upstreams)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"There is no config file {path}.") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The config file {path} cannot be read: {error}.") from error


def _merge(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        below = tree.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            _merge(below, value)
        else:
            tree[key] = value


def _put(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{'.'.join(keys)} cannot be set: {key} is a value, not a section.")
        tree = below
    if isinstance(value, str) and keys[-1] == "allowed_hosts":
        tree[keys[-1]] = [host.strip() for host in value.split(",")]
    else:
        tree[keys[-1]] = value


def _checked(name: str, upstream: Upstream, environ: Mapping[str, str]) -> Upstream:
    at = f"upstreams.{name}"
    url = _split(upstream.base_url, f"{at}.base_url")
    if url.username or url.query or url.fragment:
        raise ConfigError(
            f"{at}.base_url is not valid: it may have a host, a port and a path, no more. "
            f"A key belongs into api_key or api_key_env."
        )
    if upstream.proxy is not None:
        _split(upstream.proxy, f"{at}.proxy")
    if upstream.ca_file is not None:
        _try_ca_file(upstream.ca_file, f"{at}.ca_file")
    # The paths of clients begin with /v1 themselves.
    base_url = upstream.base_url.rstrip("/").removesuffix("/v1")
    key = _key(at, upstream, environ) if upstream.key == "config" else None
    return msgspec.structs.replace(upstream, base_url=base_url, api_key=key)


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


def _key(at: str, upstream: Upstream, environ: Mapping[str, str]) -> str:
    # Line ends come with keys out of files, and would end a header.
    key = (upstream.api_key or environ.get(upstream.api_key_env or "", "")).strip()
    if not key:
        wanted = upstream.api_key_env or "api_key or api_key_env"
        raise ConfigError(
            f'{at}.key = "config" needs a key, but {wanted} is not set. '
            f'Set it, or use key = "client" to pass the clients\' keys on.'
        )
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{at}: the key is not valid: it has characters that no header may have.")
    return key


def _named(upstreams: Any) -> dict[str, Any]:
    if not isinstance(upstreams, dict):
        raise ConfigError(f"upstreams = {upstreams!r} is not valid: it is a table of upstreams.")
    for name in upstreams:
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise ConfigError(
                f"upstreams.{name} is not a valid name. Allowed: lower-case letters, digits, - "
                f"and _, at most 32, beginning with a letter, except {', '.join(_RESERVED)}."
            )
    return upstreams


_AT = re.compile(r"^(?P<what>.*) - at `\$\.?(?P<path>.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<field>.*)`")

_T = TypeVar("_T", bound=msgspec.Struct)


def _convert(tree: Any, kind: type[_T], at: str) -> _T:
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), tree, kind, at)) from error


def _explain(message: str, tree: Any, kind: type[msgspec.Struct], at: str) -> str:
    found = _AT.match(message)
    what, path = (found["what"], found["path"]) if found else (message, "")
    section = f"{at}.{path}".strip(".")
    if unknown := _UNKNOWN.match(what):
        allowed = ", ".join(_struct_at(kind, path).__struct_fields__)
        where = section or "the file"
        return f"{section}.{unknown['field']} is not a setting. ".lstrip(".") + (
            f"Allowed in {where}: {allowed}."
        )
    if missing := _MISSING.match(what):
        return f"{section}.{missing['field']} is missing."
    value = _value_at(tree, path)
    secret = "key" in path or "@" in str(value)
    shown = "" if value is None or secret else f" = {value!r}"
    return f"{section}{shown} is not valid: {_allowed(kind, path) or what}."


def _value_at(tree: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def _struct_at(kind: type[msgspec.Struct], path: str) -> type[msgspec.Struct]:
    for key in path.split(".") if path else ():
        below = get_type_hints(kind)[key]
        if not (isinstance(below, type) and issubclass(below, msgspec.Struct)):
            break
        kind = below
    return kind


def _allowed(kind: type[msgspec.Struct], path: str) -> str | None:
    """The choices of a key that has a fixed set of them."""
    section, _, key = path.rpartition(".")
    hint = get_type_hints(_struct_at(kind, section)).get(key)
    if get_origin(hint) is not Literal:
        return None
    return "allowed are " + ", ".join(repr(choice) for choice in get_args(hint))
