"""Which scope is to blame, and who may pass."""

import pytest
from scene import ALIVE, BROKEN, CLOUD, DEAD, OK, OVERLOADED, REFUSED, Scene, failure, status

from fallback.core.health import (
    NETWORK,
    Case,
    Evidence,
    Scope,
    State,
    credential_scope,
    evidence_of,
    model_scope,
    upstream_scope,
)
from fallback.core.outcome import Failure, Outcome

LARGE, SMALL, KEY = (
    model_scope("cloud", "large"),
    model_scope("cloud", "small"),
    credential_scope("cloud", "3f2a9c"),
)
NO_NETWORK = Evidence(
    scope=NETWORK, source="probe", weight=3.0, reason="network-dns", summary="your network: no DNS"
)
NETWORK_ALIVE = Evidence(scope=NETWORK, source="probe", weight=0.0, alive=True, summary="it works")
HTML = failure(Failure.HTML)


@pytest.mark.parametrize(
    ("outcome", "scopes"),
    [
        (OVERLOADED, [LARGE]),
        (status(503, "server_is_overloaded"), [LARGE]),
        (BROKEN, [CLOUD, LARGE]),
        (status(504), [CLOUD, LARGE]),
        (OK, [CLOUD, LARGE]),
        (REFUSED, [CLOUD]),
        (HTML, [CLOUD]),
        (status(401), [KEY, CLOUD]),
        (status(429), [CLOUD]),
        (failure(Failure.CLIENT_GONE), []),
    ],
    ids=lambda value: getattr(value, "reason", ""),
)
def test_each_outcome_is_about_its_scopes(outcome: Outcome, scopes: list[Scope]) -> None:
    """Overload is a model's, the rest the upstream's, a refused key the key's."""
    case = Case(upstream="cloud", family="large", credential="3f2a9c")
    assert [evidence.scope for evidence in evidence_of(case, outcome)] == scopes


def test_one_overloaded_model_is_not_its_upstream() -> None:
    """Other families of the same upstream go on."""
    scene = Scene()
    for _ in range(8):
        scene.after(60.0).ask(OVERLOADED, family="large")
    assert scene.state(LARGE) is State.DOWN
    refused = scene.ask(family="large")
    assert (refused.kind, refused.reason, refused.scope) == ("closed", "model-down", LARGE)
    assert scene.ask(family="small").kind == "open"
    assert scene.board.outage_of("cloud", "large") == refused.outage
    assert scene.board.outage_of("cloud", "small") is None


def test_a_model_that_fails_otherwise_is_found_beside_a_well_one() -> None:
    """Plain 500s for one of two families: the other one's successes clear the upstream."""
    scene = Scene()
    for _ in range(40):
        scene.after(10.0).ask(status(500), family="large")
        scene.after(10.0).ask(OK, family="small")
    assert scene.state(LARGE) is State.DOWN
    assert scene.state() is not State.DOWN


def test_a_dead_upstream_absolves_its_models() -> None:
    """One outage, not one for each model."""
    scene = Scene()
    for _ in range(10):
        scene.after(60.0).ask(BROKEN, family="large")
        scene.ask(BROKEN, family="small")
    assert scene.state() is State.DOWN
    assert {scene.state(LARGE), scene.state(SMALL)} == {State.HEALTHY}


def test_a_lost_network_absolves_the_upstreams() -> None:
    """What could not be reached was not the provider's fault: its outage never existed."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.signal(NO_NETWORK)
    assert scene.state(NETWORK) is State.DOWN
    assert scene.state() is State.HEALTHY
    ended = scene.changes[-1]
    assert (ended.scope, ended.ended) == (CLOUD, scene.changes[0].outage)
    admission = scene.ask()
    assert (admission.kind, admission.reason) == ("closed", "network-down")
    assert scene.ask(upstream="other").reason == "network-down"
    assert scene.ask(upstream="here").kind == "open"
    scene.ask(REFUSED)
    scene.signal(DEAD)
    assert scene.board.view(CLOUD, scene.now).score == 0.0


@pytest.mark.parametrize("sign", [ALIVE, NETWORK_ALIVE], ids=["an upstream's edge", "the ladder"])
def test_the_network_is_back_at_the_first_sign(sign: Evidence) -> None:
    """Nobody needs to try it out."""
    scene = Scene()
    scene.signal(NO_NETWORK)
    scene.after(5.0).signal(sign)
    assert scene.state(NETWORK) is State.HEALTHY
    assert scene.ask().kind == "open"


def test_any_authentic_answer_clears_the_network() -> None:
    """A refused key comes from the provider; a portal's page does not."""
    scene, case = Scene(), Case(upstream="cloud")
    scene.signal(NO_NETWORK)
    scene.board.learn(case, HTML, scene.now)
    assert scene.state(NETWORK) is State.DOWN
    scene.board.learn(Case(upstream="here"), OK, scene.now)
    assert scene.state(NETWORK) is State.DOWN
    scene.board.learn(case, status(401), scene.now)
    assert scene.state(NETWORK) is State.HEALTHY


def test_a_silent_ladder_does_not_keep_the_network_down() -> None:
    """Now and then a request looks for itself."""
    scene = Scene()
    scene.signal(NO_NETWORK)
    kinds = [scene.after(1.0).ask().kind for _ in range(100)]
    assert 2 <= kinds.count("canary") <= 4
    scene.after(40.0).ask(OK)
    assert scene.state(NETWORK) is State.HEALTHY


def test_a_bad_key_is_the_keys_own_trouble() -> None:
    """It is told, it closes nothing, and the first success ends it."""
    scene = Scene()
    for _ in range(5):
        scene.after(1.0).ask(status(401), credential="3f2a9c")
    assert scene.state(KEY) is State.DOWN
    assert scene.ask(credential="3f2a9c").kind == "open"
    assert scene.state() is State.HEALTHY
    scene.ask(OK, credential="3f2a9c")
    assert scene.state(KEY) is State.HEALTHY
    assert str(KEY) not in scene.board.views(scene.now)


def test_a_key_that_nobody_uses_any_more_is_forgotten() -> None:
    """It was replaced: no success of its own will ever end what is told of it."""
    scene = Scene()
    for _ in range(5):
        scene.after(1.0).ask(status(401), credential="3f2a9c")
    scene.after(3_600.0).ask(OK, credential="bbbbbb")
    assert scene.state(KEY) is State.DOWN
    scene.after(6 * 3_600.0).ask(OK, credential="bbbbbb")
    assert scene.board.unwell() == []
    assert scene.state(KEY) is State.HEALTHY
    assert scene.changes[-1].ended is not None


def test_a_model_that_nobody_asks_for_any_more_is_forgotten() -> None:
    """Its outage ends, and the others' requests are looked at in passing again."""
    scene = Scene()
    for _ in range(8):
        scene.after(1.0).ask(OVERLOADED, family="large")
    scene.after(60.0).ask(OK, family="small")
    assert scene.board.unwell() != []
    scene.after(7 * 3_600.0).ask(OK, family="small")
    assert scene.board.unwell() == []
    assert scene.changes[-1].ended is not None


def test_what_held_once_is_no_burden_later() -> None:
    """A rate limit that is over leaves the healthy path as it was."""
    scene = Scene()
    well = scene.ask()
    scene.ask(status(429, "rate_limit_error", retry_after_s=20.0), credential="3f2a9c")
    assert scene.after(5.0).ask(credential="3f2a9c") is not well
    assert scene.after(20.0).ask(credential="aaaaaa") is well


def test_a_rate_limit_holds_its_key_and_model_alone() -> None:
    """Not before its Retry-After, and nobody else is held."""
    scene = Scene()
    limited = status(429, "rate_limit_error", retry_after_s=20.0)
    scene.ask(limited, family="large", credential="3f2a9c")
    held = scene.after(5.0).ask(family="large", credential="3f2a9c")
    assert (held.kind, held.held_s, held.reason) == ("open", 15.0, "rate-limited")
    assert scene.ask(family="small", credential="3f2a9c").held_s == 0.0
    assert scene.ask(family="large", credential="aaaaaa").held_s == 0.0
    assert scene.after(16.0).ask(family="large", credential="3f2a9c").held_s == 0.0


def test_a_poison_request_is_no_outage() -> None:
    """The same body's 500 counts once, however often it is sent; another one's counts too."""
    scene, case = Scene(), Case(upstream="cloud")
    for _ in range(50):
        scene.after(1.0).board.learn(case, status(500), scene.now, fingerprint=lambda: "a")
    assert scene.state() is not State.DOWN
    for body in "bcdefg":
        scene.after(1.0).board.learn(case, status(500), scene.now, fingerprint=body.lower)
    assert scene.state() is State.DOWN


def test_a_503_of_the_same_body_counts_each_time() -> None:
    """Only a 500 can be the body's fault."""
    scene, case = Scene(), Case(upstream="cloud")
    for _ in range(8):
        scene.after(60.0).board.learn(case, BROKEN, scene.now, fingerprint=lambda: "a")
    assert scene.state() is State.DOWN


def test_an_overloaded_canary_keeps_the_upstream_down() -> None:
    """Whatever ails a model then, its upstream ails as well."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    assert scene.ask(OVERLOADED, family="large").kind == "canary"
    assert scene.state() is State.DOWN


def test_an_outage_keeps_its_id_until_it_is_over() -> None:
    """Suspicion, outage and recovery are one story with one id; the next has another."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    scene.ask(OK)
    assert len({change.outage for change in scene.changes[:-1]}) == 1
    last = scene.changes[-1]
    assert (last.after, last.outage, last.ended) == (State.HEALTHY, None, scene.changes[0].outage)


def test_evidence_about_a_stranger_is_not_kept() -> None:
    """An upstream that nobody configured has no health."""
    scene = Scene()
    scene.signal(Evidence(scope=upstream_scope("nobody"), source="probe", weight=3.0, summary="?"))
    scene.signal(
        Evidence(scope=model_scope("nobody", "x"), source="probe", weight=3.0, summary="?")
    )
    assert set(scene.board.views(scene.now)) == {"network", "cloud", "other", "here"}


def test_names_that_clients_choose_fill_no_memory() -> None:
    """At most 64 families and keys of an upstream are kept, and what makes room ends its outage."""
    scene = Scene()
    for number in range(300):
        scene.after(1.0).ask(OVERLOADED, family=f"model-{number}")
        scene.ask(status(401), credential=f"{number:06x}")
    assert len(scene.board.views(scene.now)) <= 4 + 64 + 64
    begun = {change.outage for change in scene.changes if change.outage}
    ended = {change.ended for change in scene.changes if change.ended}
    assert len(begun - ended) <= 128


def test_while_all_is_well_there_is_one_answer() -> None:
    """Nothing is made for a request of the healthy path."""
    scene = Scene()
    assert scene.ask() is scene.ask(upstream="other")
    scene.ask(BROKEN)
    for _ in range(10):
        scene.after(1.0).ask(OK)
    assert scene.ask() is scene.ask(upstream="other")
