"""The outcome of a request -> evidence, each piece about one scope. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.core.health.scope import Scope, credential_scope, model_scope, upstream_scope
from fallback.core.outcome import Failure, Outcome, Verdict

Source: TypeAlias = Literal["request", "probe", "status-page"]

_OVERLOADED = frozenset({"overloaded_error", "server_is_overloaded"})
_NOT_OF_MODELS = ("unreachable-", "invalid-")
_NOT_THE_PROVIDER = frozenset(
    {Failure.HTML, Failure.NOT_JSON, Failure.ENCODING, Failure.PROTOCOL, Failure.CLIENT_GONE}
)
_WHOLE = 2.0
_OF_MODEL = 0.5
_SAID_CHARS = 200


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about a scope. `weight` as in `core.outcome`; `alive` marks a sign of life that
    proves only the edge (a probe, a list of models), not that models answer. `reason` is a
    stable token, `summary` for people."""

    scope: Scope
    source: Source
    weight: float
    summary: str
    alive: bool = False
    reason: str = ""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for what. Without a `family` only the upstream's own scope is concerned;
    `credential` is a digest. `infers`: the request makes a model answer."""

    upstream: str
    family: str = ""
    credential: str = ""
    infers: bool = True


def evidence_of(case: Case, outcome: Outcome) -> tuple[Evidence, ...]:
    """What an outcome says, about which scopes: the widest first, and nothing about what is the
    client's own doing but that the upstream's edge lives."""
    upstream = upstream_scope(case.upstream)
    if outcome.weight == 0.0 or (outcome.weight < 0 and not case.infers):
        # Tokens are counted, models listed and mistakes refused while no model answers.
        alive = (_evidence(upstream, outcome, 0.0, alive=True),) if answers(outcome) else ()
        return _refused_key(case, outcome) + alive
    if not case.family or outcome.reason.startswith(_NOT_OF_MODELS):
        return (_evidence(upstream, outcome, outcome.weight),)
    model = model_scope(case.upstream, case.family)
    if outcome.facts.error_type in _OVERLOADED:
        return (_evidence(model, outcome, outcome.weight),)
    # Should all models fail alike, then the upstream is to be found down before any of them.
    share = min(_WHOLE, outcome.weight) * _OF_MODEL if outcome.weight > 0 else outcome.weight
    return _evidence(upstream, outcome, outcome.weight), _evidence(model, outcome, share)


def answers(outcome: Outcome) -> bool:
    """Whether the provider itself spoke: then there is a way to it, whatever it said."""
    facts = outcome.facts
    return facts.status is not None and facts.failure not in _NOT_THE_PROVIDER


def _refused_key(case: Case, outcome: Outcome) -> tuple[Evidence, ...]:
    if outcome.verdict is not Verdict.CREDENTIAL or not case.credential:
        return ()
    return (_evidence(credential_scope(case.upstream, case.credential), outcome, _WHOLE),)


def _evidence(scope: Scope, outcome: Outcome, weight: float, *, alive: bool = False) -> Evidence:
    said = outcome.facts.error_message
    return Evidence(
        scope=scope,
        source="request",
        weight=weight,
        alive=alive,
        reason=outcome.reason,
        summary=f"{outcome.reason}: {said[:_SAID_CHARS]}" if said else outcome.reason,
    )
