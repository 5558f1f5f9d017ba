"""The rungs of a connectivity ladder -> whose fault it is that an upstream cannot be reached.

Rules of this file:
- Pure: the same rungs give the same diagnosis.
- The upstream is innocent until a witness (a control host, or another upstream) was reached by
  the same way: what stops both is the network's.
- A verified certificate proves that the host itself spoke, whatever it said; without one only
  an answer in the API's own form does.
- No diagnosis blames the network on an upstream of one's own: no witness stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from fallback.core.health import NETWORK, Evidence, Scope, upstream_scope
from fallback.core.outcome import AttemptFacts, Failure, Phase, classify
from fallback.core.rungs import Climb, Rung, is_private

AtFault: TypeAlias = Literal["nobody", "network", "proxy", "upstream", "unclear"]

# One look that finds the network dead is enough: several hosts were asked.
SURE = 10.0
# Somebody answered, if not as an API does: not every upstream has a list of models.
_DOUBTFUL = 1.0


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who is diagnosed. `private`: its host is on this machine or in the own network.
    `whole_network`: all public upstreams are reached the same way (directly, or through the
    same proxy), so that what blocks this way blocks them all."""

    upstream: str
    host: str
    private: bool = False
    whole_network: bool = True


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """`evidence` is about the scopes concerned, `summary` one plain sentence."""

    rungs: tuple[Rung, ...]
    at_fault: AtFault
    evidence: tuple[Evidence, ...]
    summary: str


def needs_witness(subject: Subject, climb: Climb) -> bool:
    """Whether the judgement hangs on what others say: not where the host itself spoke."""
    return not (subject.private or _verified(climb) or _lives(subject, climb))


def diagnose(subject: Subject, route: Rung, climb: Climb, witnesses: Sequence[Climb]) -> Diagnosis:
    """The judgement. `climb` leads to the upstream and has a rung at least; a witness that has
    none was not waited for."""
    tried = [witness for witness in witnesses if witness]
    if subject.private or _in_own_network(climb, tried):
        subject, tried = msgspec.structs.replace(subject, private=True), []
    at_fault = _at_fault(subject, route, climb, tried)
    summary = _summary(at_fault, subject, route, climb, tried)
    return Diagnosis(
        rungs=(route, *climb, *(rung for witness in tried for rung in witness)),
        at_fault=at_fault,
        evidence=tuple(_evidence(at_fault, subject, climb, tried, summary)),
        summary=summary,
    )


def _in_own_network(climb: Climb, witnesses: Sequence[Climb]) -> bool:
    """A public name may stand for a private address, unless all do: then a portal answers."""
    return _all_private(climb) and not any(_all_private(witness) for witness in witnesses)


def _all_private(climb: Climb) -> bool:
    addresses = [address for rung in climb for address in rung.addresses]
    return bool(addresses) and all(map(is_private, addresses))


# -- the decision ------------------------------------------------------------------------------


def _at_fault(subject: Subject, route: Rung, climb: Climb, witnesses: Sequence[Climb]) -> AtFault:
    last = climb[-1]
    if _lives(subject, climb):
        return "nobody"
    if last.step == "proxy" or (last.step == "tunnel" and not _of_server(last)):
        return "proxy"
    if subject.private or _verified(climb):
        return "upstream" if _of_server(last) else "unclear"
    if route.failure is not None:
        return "network"
    if not witnesses:
        return "unclear"
    if not any(map(_verified, witnesses)):
        return "network"
    return "upstream" if _of_server(last) else "unclear"


def _of_server(last: Rung) -> bool:
    """Whether this is no answer, or one that tells of a fault on the answering side."""
    return last.status is None or last.status >= 500


def _lives(subject: Subject, climb: Climb) -> bool:
    """Whether the upstream's edge answered: in the API's form, or with an error of the
    client's from where nobody else can speak."""
    last = climb[-1]
    if last.step != "answer" or last.status is None or last.status >= 500:
        return False
    own_voice = subject.private or _verified(climb)
    return last.failure is None or (own_voice and last.status >= 400)


def _verified(climb: Climb) -> bool:
    return any(rung.step == "tls" and rung.failure is None for rung in climb)


# -- the evidence ------------------------------------------------------------------------------


def _evidence(
    at_fault: AtFault,
    subject: Subject,
    climb: Climb,
    witnesses: Sequence[Climb],
    summary: str,
) -> Iterable[Evidence]:
    upstream = upstream_scope(subject.upstream)
    if at_fault == "nobody":
        yield _alive(upstream, summary)
    elif at_fault in ("network", "proxy") and subject.whole_network and not subject.private:
        yield _bad(NETWORK, SURE, f"{at_fault}-{_token(climb[-1])}", summary)
        return
    else:
        outcome = classify(_facts(climb[-1]))
        answered = at_fault == "unclear" and climb[-1].status is not None
        weight = min(outcome.weight, _DOUBTFUL) if answered else outcome.weight
        yield _bad(upstream, weight, outcome.reason, summary)
    if not subject.private and (at_fault == "nobody" or any(map(_verified, (climb, *witnesses)))):
        yield _alive(NETWORK, summary)


def _facts(last: Rung) -> AttemptFacts:
    if last.status is not None and last.status >= 500:
        return AttemptFacts(phase="done", status=last.status)
    phase: Phase = "headers" if last.step == "answer" else "connect"
    return AttemptFacts(phase=phase, status=last.status, failure=last.failure)


def _token(last: Rung) -> str:
    """`407`, `dns`, `connect-timeout`: the second half of a reason."""
    if last.failure is None or last.step == "tunnel":
        return str(last.status)
    return last.failure.value.replace("_", "-")


def _alive(scope: Scope, summary: str) -> Evidence:
    return Evidence(scope=scope, source="probe", weight=0.0, alive=True, summary=summary)


def _bad(scope: Scope, weight: float, reason: str, summary: str) -> Evidence:
    return Evidence(scope=scope, source="probe", weight=weight, reason=reason, summary=summary)


# -- in plain words ----------------------------------------------------------------------------

_MISSING = {
    Failure.DNS: ("no DNS", "for"),
    Failure.NO_ROUTE: ("no route", "to"),
    Failure.REFUSED: ("connection refused", "by"),
    Failure.CERTIFICATE: ("no trusted certificate", "from"),
    Failure.TLS: ("no TLS", "with"),
    Failure.TIMEOUT: ("no answer", "from"),
    Failure.RESET: ("connection broken", "by"),
    Failure.TRUNCATED: ("answer broken off", "by"),
    Failure.PROTOCOL: ("no HTTP", "from"),
}


def _summary(
    at_fault: AtFault, subject: Subject, route: Rung, climb: Climb, witnesses: Sequence[Climb]
) -> str:
    last = climb[-1]
    match at_fault:
        case "nobody":
            return f"{subject.host} answers ({last.status})"
        case "proxy":
            return f"your proxy: {_phrase(last)}{_advice(subject, last)}"
        case "network" if route.failure is not None:
            return f"your network: no route to the internet, {_phrase(last)}"
        case "network":
            return f"your network: {_alike(last, witnesses[0][-1])}"
        case _:
            return (
                f"{_blamed(at_fault, subject)}: {_phrase(last)}{_beside(subject, climb, witnesses)}"
            )


def _blamed(at_fault: AtFault, subject: Subject) -> str:
    if at_fault == "unclear":
        return "unclear"
    return "the upstream" if subject.private else "the provider"


def _beside(subject: Subject, climb: Climb, witnesses: Sequence[Climb]) -> str:
    standing = next((witness[-1].host for witness in witnesses if _verified(witness)), None)
    if standing is not None:
        return f", while {standing} answers"
    lonely = not witnesses and needs_witness(subject, climb)
    return ", and no control host to compare with" if lonely else ""


def _alike(last: Rung, other: Rung) -> str:
    if last.status is None and (last.step, last.failure) == (other.step, other.failure):
        what, by = _missing(last)
        return f"{what} {by} {last.host} nor {by} {other.host}"
    return f"{_phrase(last)} and {_phrase(other)}"


def _phrase(rung: Rung) -> str:
    if rung.step == "tunnel" and rung.status is not None:
        return f"it answers {rung.status} to CONNECT {rung.host}"
    if rung.status is not None and (rung.failure is None or rung.status >= 500):
        return f"{rung.host} answers {rung.status}"
    if rung.failure in (Failure.HTML, Failure.NOT_JSON):
        return f"{rung.host} answers {rung.status} with what is not the API's"
    what, by = _missing(rung)
    return f"{what} {by} {'it' if rung.step == 'proxy' else rung.host}"


def _missing(rung: Rung) -> tuple[str, str]:
    assert rung.failure is not None, "what held lacks nothing"
    return _MISSING.get(rung.failure, ("no connection", "to"))


def _advice(subject: Subject, last: Rung) -> str:
    if last.status == 407:
        return f"; give it a user and a password in upstreams.{subject.upstream}.proxy"
    return ""
