"""When an outage ends: soon, at nobody's cost, and more slowly each time it comes back."""

import pytest
from scene import ALIVE, BROKEN, DEAD, OK, OVERLOADED, REFUSED, Scene, status

from fallback.core.health import Case, State, model_scope

CASE = Case(upstream="cloud")


def test_a_dead_upstream_is_not_asked() -> None:
    """While it is down and its edge dead, a minute's requests all stay here."""
    scene = Scene()
    scene.take_down(REFUSED)
    kinds = {scene.after(4.0).ask(REFUSED).kind for _ in range(15)}
    assert kinds == {"closed"}


def test_an_upstream_that_is_down_for_a_minute_sees_few_requests() -> None:
    """A 503 to everything, probes too, and a request every four seconds: at most four attempts,
    and back within four seconds of its return."""
    scene = Scene()
    start, attempts, probe_at, back_at = scene.now, 0, scene.now, None
    while back_at is None:
        scene.after(0.5)
        well = scene.now >= start + 60.0
        if scene.board.state("cloud") in (State.SUSPECT, State.DOWN) and scene.now >= probe_at:
            scene.signal(ALIVE if well else DEAD)
            probe_at = scene.now + scene.board.probe_delay_s("cloud", scene.now, 0.9)
        if (scene.now - start) % 4.0 == 0.0:
            admission = scene.ask(OK if well else BROKEN)
            if well and admission.kind != "closed":
                back_at = scene.now
            attempts += not well and admission.kind != "closed"
    assert attempts <= 4
    assert back_at - start - 60.0 <= 4.0


def test_the_edges_return_lets_one_canary_through_at_a_time() -> None:
    """The others stay with the local tier until the canary has shown the way."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    assert scene.state() is State.RECOVERING
    assert [scene.board.admit(CASE, scene.now).kind for _ in range(3)] == [
        "canary",
        "closed",
        "closed",
    ]
    scene.after(1.0).board.learn(CASE, OK, scene.now)
    assert scene.state() is State.HEALTHY
    assert scene.ask().kind == "open"


def test_only_what_infers_is_a_canary() -> None:
    """Counted tokens prove nothing about the models, and take nobody's turn; the edge, which is
    all they need, is back."""
    scene = Scene()
    scene.take_down(REFUSED)
    assert scene.ask(infers=False).kind == "closed"
    scene.after(10.0).signal(ALIVE)
    assert [scene.ask(OK, infers=False).kind for _ in range(5)] == ["open"] * 5
    assert scene.state() is State.RECOVERING
    assert scene.ask(OK).kind == "canary"


def test_a_lost_canary_never_blocks_the_return() -> None:
    """Its lease runs out, and a canary whose client left makes room at once."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    first = scene.ask()
    assert scene.after(29.0).ask().kind == "closed"
    second = scene.after(2.0).ask()
    assert (first.kind, second.kind) == ("canary", "canary")
    scene.board.release(first, scene.now)
    assert scene.ask().kind == "closed", "the first one's lease is not the second one's"
    scene.board.release(second, scene.now)
    assert scene.ask().kind == "canary"


def test_the_first_content_of_a_canary_is_proof_enough() -> None:
    """Nobody waits for the end of a long answer to be let through."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    assert scene.ask().kind == "canary"
    scene.after(1.0).board.begun(CASE, scene.now, started=scene.now - 1.0)
    assert scene.state() is State.HEALTHY


def test_where_the_edge_lived_all_the_while_canaries_follow_a_schedule() -> None:
    """A live edge is no news: one request every few seconds finds out, more rarely with time."""
    scene = Scene()
    scene.take_down(BROKEN)
    scene.signal(ALIVE)
    assert scene.state() is State.DOWN
    assert scene.ask(BROKEN).kind == "closed"
    tries = [scene.after(1.0).ask(BROKEN).kind for _ in range(3600)].count("canary")
    assert 100 < tries < 400
    while scene.after(1.0).ask(OK).kind == "closed":
        pass
    assert scene.state() is State.HEALTHY


def test_a_canary_that_costs_much_comes_rarely() -> None:
    """Nobody waits in vain for more than about a twentieth of the time."""
    scene = Scene()
    scene.take_down(BROKEN)
    scene.signal(ALIVE)
    cost_s, spent_s, started = 4.0, 0.0, scene.now
    while scene.now < started + 600.0:
        if scene.after(1.0).ask().kind == "canary":
            spent_s += cost_s
            scene.after(cost_s).board.learn(CASE, status(503, duration_s=cost_s), scene.now)
    assert spent_s <= 600.0 / 12


def test_an_edge_that_answers_no_probe_is_tried_in_the_end() -> None:
    """Some upstreams answer requests but no probe: they are not down for ever."""
    scene = Scene()
    scene.take_down(REFUSED)
    for _ in range(100):
        scene.after(5.0).signal(DEAD)
        if scene.ask(OK).kind == "canary":
            break
    assert scene.state() is State.HEALTHY


def test_a_failed_canary_after_the_edges_return_goes_back_down() -> None:
    """The edge is there again, the models are not yet."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).signal(ALIVE)
    scene.ask(BROKEN)
    assert scene.state() is State.DOWN
    assert scene.ask(OK).kind == "closed"
    assert scene.after(6.0).ask(OK).kind == "canary"


def test_many_are_let_through_step_by_step() -> None:
    """A hundred a second do not fall upon a cloud that has just come back."""
    scene = Scene()
    scene.take_down(REFUSED)
    for _ in range(2000):
        scene.after(0.01).ask(OK)
    scene.signal(ALIVE)
    first = [scene.ask().kind for _ in range(50)]
    scene.after(1.0).board.learn(CASE, OK, scene.now)
    second = [scene.ask().kind for _ in range(50)]
    assert (first.count("canary"), first.count("open")) == (1, 0)
    assert 1 < second.count("open") < 10
    assert scene.state() is State.RECOVERING
    for _ in range(20):
        scene.board.learn(CASE, OK, scene.now)
    assert scene.state() is State.HEALTHY


def test_a_ramp_bears_one_failure_but_not_two() -> None:
    """A background error is no relapse."""
    scene = Scene()
    scene.take_down(REFUSED)
    for _ in range(2000):
        scene.after(0.01).ask(OK)
    scene.signal(ALIVE)
    for outcome in (OK, OK, BROKEN):
        scene.ask(outcome)
    assert scene.state() is State.RECOVERING
    scene.ask(BROKEN)
    assert scene.state() is State.DOWN


def test_each_relapse_lengthens_the_next_hold_until_it_is_forgiven() -> None:
    """What flaps is kept away longer each time; a quiet time clears its name."""
    scene, holds = Scene(), []
    for _ in range(5):
        scene.take_down(REFUSED)
        fell = scene.now
        scene.signal(ALIVE)
        while scene.after(0.5).ask(OK).kind == "closed":
            pass
        holds.append(scene.now - fell)
        scene.ask(OK)
        assert scene.state() is State.HEALTHY
    assert holds[:4] == sorted(holds[:4])
    assert holds[3] >= 4 * holds[1]
    assert max(holds) <= 31.0
    scene.after(700.0).take_down(REFUSED)
    scene.after(0.5).signal(ALIVE)
    assert scene.ask().kind == "canary"


def test_after_an_outage_less_is_enough_for_the_next() -> None:
    """Recovered and failing again is found sooner than out of the blue."""
    scene = Scene()
    scene.warm(0.05, requests=2000)
    scene.take_down()
    scene.after(10.0).signal(ALIVE)
    while scene.after(5.0).ask(OK).kind == "closed":
        pass
    sent = 0
    while scene.after(5.0).ask(BROKEN).kind == "open":
        sent += 1
    assert sent <= 3


def test_what_began_before_the_outage_says_nothing_about_its_end() -> None:
    """A long answer that ends well now was under way before; one that fails late as well."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.after(10.0).board.learn(CASE, status(200, duration_s=100.0), scene.now)
    assert scene.state() is State.DOWN
    scene.signal(ALIVE)
    scene.ask(OK)
    for _ in range(10):
        scene.after(1.0).board.learn(CASE, status(503, duration_s=60.0), scene.now)
    assert scene.state() is State.HEALTHY


def test_a_retry_after_is_honoured_within_reason() -> None:
    """The canary waits as long as the upstream asks for, but not for an hour."""
    scene = Scene()
    scene.take_down(OVERLOADED)
    scene.after(6.0).ask(status(529, "overloaded_error", retry_after_s=3600.0))
    assert scene.after(20.0).ask(OK).kind == "closed"
    assert scene.after(11.0).ask(OK).kind == "canary"


def test_an_honest_guess_when_to_come_again() -> None:
    """It grows with the outage, and is never nothing."""
    scene = Scene()
    scene.take_down(REFUSED)
    guesses = [scene.ask().retry_after_s]
    for pause in (60.0, 600.0, 3600.0):
        scene.after(pause).signal(DEAD)
        guesses.append(scene.ask(infers=False).retry_after_s)
    assert guesses == sorted(guesses, key=lambda guess: guess or 0)
    assert (guesses[0], guesses[-1]) == (1, 120)


@pytest.mark.parametrize(("age_s", "ceiling_s"), [(1.0, 2.0), (300.0, 6.0), (86_400.0, 60.0)])
def test_probes_come_more_rarely_with_time(age_s: float, ceiling_s: float) -> None:
    """A fiftieth of the outage's age, with equal jitter."""
    scene = Scene()
    scene.take_down(REFUSED)
    outage_began = next(change.at for change in scene.changes if change.after is State.SUSPECT)
    now = outage_began + age_s
    assert scene.board.probe_delay_s("cloud", now, 0.0) == pytest.approx(ceiling_s / 2)
    assert scene.board.probe_delay_s("cloud", now, 0.999) < ceiling_s


def test_one_models_outage_is_over_by_its_own_success() -> None:
    """Another family's answers prove nothing about it."""
    scene, large = Scene(), model_scope("cloud", "large")
    while scene.state(large) is not State.DOWN:
        scene.after(20.0).ask(OVERLOADED, family="large")
        scene.ask(OK, family="small")
    scene.after(1.0).ask(OK, family="small")
    assert scene.state(large) is State.DOWN
    assert scene.after(30.0).ask(OK, family="large").kind == "canary"
    assert scene.state(large) is State.HEALTHY
