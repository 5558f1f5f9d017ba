"""TOML and environment -> frozen settings. The only reader of the environment.

Every key can be set in the file or in the environment: `server.port` is
`FALLBACK_SERVER__PORT`, `upstreams.anthropic.base_url` is
`FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL`. The environment wins.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fallback.config_convert import convert
from fallback.config_upstreams import (
    Positive,
    Remote,
    Upstream,
    check_alternates,
    check_control_hosts,
    checked,
    checked_remote,
    named,
)
from fallback.core.client_policy import ClientMember
from fallback.core.errors import ConfigError
from fallback.core.health import HealthSettings
from fallback.core.hedging import HedgeSettings
from fallback.core.notice import NoticeSettings
from fallback.core.policy import Deadlines
from fallback.core.rules import Rule
from fallback.core.units import Ratio, Seconds

_PREFIX = "FALLBACK_"
_LISTS = frozenset(
    {"allowed_hosts", "alternates", "clients", "control_hosts", "may", "status_components"}
)
_NOT_SETTINGS = frozenset({"FALLBACK_CONFIG", "FALLBACK_URL", "FALLBACK_LLAMA_WHEEL"})

_HOST = r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is this deployment's in `Via` and `Proxy-Status`. `allowed_hosts` are the further
    values of `Host` to answer beside the loopback names; ["*"] answers all."""

    host: str = "127.0.0.1"
    port: Port = 8484
    name: Annotated[str, Meta(pattern=r"^[A-Za-z*][A-Za-z0-9._-]{0,62}$")] = "fallback"
    allowed_hosts: tuple[str, ...] = ()
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_connections: Positive = 1024


class Local(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model on this machine, or on a server of yours (`mode = "remote"`, which heeds
    `remote`, `reasoning` and the two times alone). `model` is an id of the catalog or the path of a
    GGUF file; `sha256` pins a file of your own. Without `max_prompt_tokens` the context and
    `deadlines.local_first_content_s` bound a prompt.

    The requests that run, up to `slots` of them, share `context_tokens` (0: what the model was
    trained for, at most 32768, if the memory suffices), of which one may have `request_tokens` (0:
    half, so that at least two can always run side by side). `threads` is the most it computes with
    (0: the physical cores). `memory_mb = 0` takes four fifths of what is free, `gpu_layers = -1` as
    many as the GPUs hold.
    `calibrate` measures, when nobody needs the model, how it runs best here; `requantize` lets a
    faster quantization of it be made. After `idle_unload_s` without work (0: never) the model is
    unloaded until someone asks.

    `reasoning = "show"` lets clients see what a reasoning model thinks: some clouds refuse a
    history with reasoning in it that is not their own.

    `standby`: what is done for the moment the cloud fails. `off` loads the model when it is needed,
    `loaded` at the start, `warm` also keeps the beginnings of live conversations computed, with
    `standby_cpu` of all cores and `standby_mb` of memory, on battery only if that is allowed. What
    was computed of conversations is kept on disk over a restart, in `spill_mb` of the user's
    cache folder (0: never)."""

    mode: Literal["on", "off", "remote"] = "on"
    model: str = "smollm2-135m-instruct"
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    models_dir: str | None = None
    context_tokens: Count = 0
    request_tokens: Count = 0
    slots: Annotated[int, Meta(ge=1, le=64)] = 4
    threads: Count = 0
    gpu_layers: Annotated[int, Meta(ge=-1)] = -1
    flash_attention: Literal["auto", "on", "off"] = "auto"
    kv_type: Literal["auto", "f16", "q8_0"] = "auto"
    memory_mb: Count = 0
    calibrate: Literal["auto", "off"] = "auto"
    requantize: Literal["auto", "off"] = "auto"
    idle_unload_s: Annotated[float, Meta(ge=0)] = 0.0
    max_output_tokens: Positive = 1024
    max_prompt_tokens: Positive | None = None
    ready_timeout_s: Seconds = 20.0
    keepalive_s: Seconds = 5.0
    reasoning: Literal["hide", "show"] = "hide"
    standby: Literal["off", "loaded", "warm"] = "warm"
    standby_cpu: Ratio = 0.25
    standby_mb: Count = 512
    standby_on_battery: bool = False
    spill_mb: Count = 1024
    remote: Remote | None = None


class Client(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients may ask for in a `Fallback-Policy` header. `deadlines` allows all of them."""

    may: tuple[ClientMember, ...] = ()


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where outages and receipts are kept: a SQLite file, by default in the user's data folder, or
    the database of a `url` such as `postgresql://user@host/fallback`."""

    enabled: bool = True
    path: str | None = None
    url: Annotated[str, Meta(pattern=r"^[a-z0-9+]+://")] | None = None


class Receipts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A receipt of each request: who answered it, with what, why; no content. Those older than
    `keep_days` go, and the oldest of more than `most`. While the database cannot be written,
    `waiting_mb` of them wait. `keys` is the folder of the keys that sign them, by default beside
    the database's file.

    Where a rule says `keep_bodies`, request and answer are kept beside the receipt, of up to
    `max_body_kb` each, as `redact` leaves them: a Python function `module:name` that is given
    "request" or "answer" and the bytes, and returns bytes."""

    enabled: bool = True
    keep_days: Annotated[float, Meta(gt=0)] = 400.0
    most: Positive = 1_000_000
    waiting_mb: Positive = 32
    max_body_kb: Positive = 256
    redact: Annotated[str, Meta(pattern=r"^[\w.]+:\w+$")] | None = None
    keys: str | None = None


class Stale(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Earlier answers that stand in for the cloud's while it is not well: kept only of requests
    that ask for it (`Cache-Control: stale-if-error=SECONDS`), or where a rule does
    (`stale_if_error_s`). `max_mb` bounds them on disk."""

    enabled: bool = True
    max_mb: Positive = 256


class Signals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Free looks at what is unwell. `control_hosts` (`host` or `host:port`, with TLS) tell the own
    network from a provider; `status_pages` reads what the providers say of themselves."""

    control_hosts: tuple[Annotated[str, Meta(pattern=_HOST)], ...] = (
        "www.google.com",
        "www.microsoft.com",
    )
    status_pages: bool = True


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
    rules: tuple[Rule, ...] = ()
    client: Client = Client()
    health: HealthSettings = HealthSettings()
    hedging: HedgeSettings = HedgeSettings()
    signals: Signals = Signals()
    local: Local = Local()
    storage: Storage = Storage()
    receipts: Receipts = Receipts()
    stale: Stale = Stale()
    notice: NoticeSettings = NoticeSettings()
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
        name: checked(name, convert(entry, Upstream, f"upstreams.{name}"), environ)
        for name, entry in named(tree.pop("upstreams")).items()
    }
    check_alternates(upstreams)
    rules = _rules(tree.pop("rules", []))
    settings = convert(tree, Settings, "")
    check_control_hosts(settings.signals.control_hosts)
    local = _with_remote(settings.local, environ)
    return msgspec.structs.replace(settings, upstreams=upstreams, rules=rules, local=local)


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
    if isinstance(value, str) and keys[-1] in _LISTS:
        tree[keys[-1]] = [item.strip() for item in value.split(",")]
    else:
        tree[keys[-1]] = value


def _with_remote(local: Local, environ: Mapping[str, str]) -> Local:
    """The local tier's settings with its server's key found. Raises `ConfigError`."""
    if local.mode == "remote" and local.remote is None:
        raise ConfigError(
            'local.mode = "remote" needs a server: set local.remote.url, '
            'for example "http://127.0.0.1:8080/v1".'
        )
    remote = None if local.remote is None else checked_remote(local.remote, environ)
    return msgspec.structs.replace(local, remote=remote)


def _rules(entries: Any) -> tuple[Rule, ...]:
    if not isinstance(entries, list):
        raise ConfigError("rules is not valid: it is a list of tables, each headed [[rules]].")
    return tuple(_rule(entry, f"rules[{index}]") for index, entry in enumerate(entries))


def _rule(entry: Any, at: str) -> Rule:
    if isinstance(entry, dict) and "name" in entry:
        at = f"{at} ({entry['name']})"
    rule = convert(entry, Rule, at)
    if rule.tiers is not None and len(set(rule.tiers)) < len(rule.tiers):
        raise ConfigError(f"{at}.tiers = {list(rule.tiers)} is not valid: one is named twice.")
    if rule.reason is not None and rule.lets_local:
        raise ConfigError(
            f"{at}.reason is without effect: it tells why the local tier may not answer, which "
            f'takes local = "never", or tiers without "local".'
        )
    return rule
