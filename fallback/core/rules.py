"""The operator's rules: what a request looks like -> how it is treated. Pure.

Rules are read from top to bottom. Each one that matches overrides the settings that it names, and
leaves the others as they were. What they forbid no client can allow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache, partial
from itertools import takewhile
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from fallback.core.client_policy import CLIENT_HEADER, ClientMember, as_asked
from fallback.core.notice import Notify
from fallback.core.policy import Deadlines, OnError, OnSeam, Tier, Treatment
from fallback.core.routing import Operation
from fallback.core.units import Priority, Seconds

_MAX_REMEMBERED = 256

Globs: TypeAlias = str | Annotated[tuple[str, ...], Meta(min_length=1)]


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What rules look at. `path` is raw, without the query; `model` is "" where nothing was
    peeked at; the names of `headers` are lower case."""

    path: str
    operation: Operation
    headers: Mapping[bytes, bytes]
    model: str = ""
    user_agent: str = ""


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a request must look like: all that is named, each as one of its globs (`*`, `?`,
    `[seq]`, case ignored). `client` is the user agent, `header` maps names to values."""

    path: Globs | None = None
    model: Globs | None = None
    client: Globs | None = None
    header: dict[str, Globs] = {}


class SomeDeadlines(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Those of `Deadlines` that a rule overrides."""

    connect_s: Seconds | None = None
    first_byte_s: Seconds | None = None
    first_content_s: Seconds | None = None
    whole_s: Seconds | None = None
    stall_s: Seconds | None = None
    progress_s: Seconds | None = None
    canary_s: Seconds | None = None
    local_first_content_s: Seconds | None = None
    alone_s: Seconds | None = None


class Rule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One `[[rules]]`: see `Treatment` for the settings. Without `match` it holds for all.

    `local = "never"` keeps the local tier out whatever `tiers` say, and `reason` tells why, in
    a sentence for the person who gets no answer.
    """

    name: str | None = None
    match: Match = Match()
    tiers: Annotated[tuple[Tier, ...], Meta(min_length=1)] | None = None
    deadlines: SomeDeadlines = SomeDeadlines()
    hedge: bool | Seconds | None = None
    priority: Priority | None = None
    critical: bool | None = None
    on_rate_limit: OnError | None = None
    on_quota: OnError | None = None
    on_credential: OnError | None = None
    splice_tool_call: OnSeam | None = None
    splice_thinking: OnSeam | None = None
    stale_if_error_s: Annotated[float, Meta(ge=0, le=2_592_000)] | None = None
    stale_with_tools: bool | None = None
    keep_bodies: bool | None = None
    notice: Notify | None = None
    local: Literal["allow", "never"] | None = None
    reason: str | None = None

    @property
    def lets_local(self) -> bool:
        """Whether nothing in this rule speaks against a local answer."""
        return self.local != "never" and (self.tiers is None or "local" in self.tiers)


class Rules:
    """`rules` from the configuration, top to bottom; `deadlines` where they set none;
    `client_may`: what a client may ask for."""

    def __init__(
        self,
        rules: Sequence[Rule],
        deadlines: Deadlines,
        client_may: Collection[ClientMember] = (),
    ) -> None:
        compiled = [
            _CompiledRule(rule, rule.name or f"rules[{index}]") for index, rule in enumerate(rules)
        ]
        # What holds for all is settled once, unless it has to come after what holds for some.
        self._always = tuple(takewhile(lambda rule: rule.holds_for_all, compiled))
        self._rules = compiled[len(self._always) :]
        self._treatment = lru_cache(_MAX_REMEMBERED)(partial(_treatment, deadlines))
        self._default = self._treatment(self._always)
        self._client_may = frozenset(client_may)

    def treat(self, facts: RequestFacts) -> Treatment:
        """Raises `BadRequest` where the client asks for what it may not."""
        treatment = self._default
        if self._rules:
            matching = (rule for rule in self._rules if rule.matches(facts))
            treatment = self._treatment((*self._always, *matching))
        if CLIENT_HEADER in facts.headers:
            return as_asked(treatment, facts.headers[CLIENT_HEADER], self._client_may)
        return treatment


class _CompiledRule:
    """One rule, ready to be asked many times. `settings` holds what it names of `Treatment`."""

    def __init__(self, rule: Rule, name: str) -> None:
        match = rule.match
        self._path = _pattern(match.path)
        self._model = _pattern(match.model)
        self._client = _pattern(match.client)
        self._headers = [
            (name.lower().encode("latin-1", "replace"), _pattern(globs))
            for name, globs in match.header.items()
        ]
        self.holds_for_all = match == Match()
        self.deadlines: dict[str, float] = msgspec.to_builtins(rule.deadlines)
        self.settings = _settings(rule, name)

    def matches(self, facts: RequestFacts) -> bool:
        return (
            _fits(self._path, facts.path)
            and _fits(self._model, facts.model)
            and _fits(self._client, facts.user_agent)
            and all(
                name in facts.headers and _fits(pattern, facts.headers[name].decode("latin-1"))
                for name, pattern in self._headers
            )
        )


_TIERS = Treatment().tiers
_OWN_FIELDS = frozenset({"name", "match", "deadlines", "local", "reason"})


def _settings(rule: Rule, name: str) -> dict[str, Any]:
    """The fields of `Treatment` that a rule names; `local_reason` is that of `local`, and
    `tiers_reason` that of `tiers`, since either may be overridden without the other."""
    settings = {
        field: value
        for field in rule.__struct_fields__
        if field not in _OWN_FIELDS and (value := getattr(rule, field)) is not None
    }
    reason = rule.reason or f"The rule {name!r} does not let the local tier answer."
    if rule.tiers is not None:
        settings["tiers_reason"] = None if "local" in rule.tiers else reason
    if rule.local is not None:
        settings["local_reason"] = None if rule.local == "allow" else reason
    return {"rule": name, **settings}


def _treatment(deadlines: Deadlines, rules: tuple[_CompiledRule, ...]) -> Treatment:
    settings: dict[str, Any] = {}
    changed: dict[str, float] = {}
    for rule in rules:
        settings |= rule.settings
        changed |= rule.deadlines
    reason = settings.pop("local_reason", None)
    tiers_reason = settings.pop("tiers_reason", None)
    tiers = settings.pop("tiers", _TIERS)
    return Treatment(
        **settings,
        tiers=tuple(tier for tier in tiers if tier != "local" or reason is None),
        deadlines=msgspec.structs.replace(deadlines, **changed),
        local_reason=reason or tiers_reason,
    )


def _pattern(globs: Globs | None) -> re.Pattern[str] | None:
    if globs is None:
        return None
    several = (globs,) if isinstance(globs, str) else globs
    return re.compile("|".join(map(translate, several)), re.IGNORECASE)


def _fits(pattern: re.Pattern[str] | None, text: str) -> bool:
    return pattern is None or pattern.match(text) is not None
