"""What a person reads who was woken by it."""

from scene import ALIVE, BROKEN, CLOUD, OK, OVERLOADED, REFUSED, Scene, status
from test_board import KEY, LARGE, NO_NETWORK

from fallback.core.health import NETWORK, Case, Scope


def told(scene: Scene, scope: Scope = CLOUD) -> str:
    return "\n".join(scene.board.explain(scope, scene.now))


def test_a_well_upstream_needs_few_words() -> None:
    """And what was never seen is well."""
    scene = Scene()
    assert told(scene).startswith("cloud is well.")
    assert (
        told(scene, LARGE) == "The model large at cloud is well: nothing was ever held against it."
    )


def test_suspicion_says_how_much_more_it_takes() -> None:
    """The reader knows whether to worry."""
    scene = Scene()
    scene.ask(BROKEN)
    text = told(scene.after(30.0))
    assert "may be in trouble since" in text
    assert "upstream-503 (1)" in text
    assert "after 2 more failed requests in a row" in text


def test_an_outage_says_since_when_why_and_what_comes_next() -> None:
    """In this order, with the last events and their times below."""
    scene = Scene()
    scene.take_down(REFUSED)
    text = told(scene.after(60.0))
    assert "cloud is down since" in text
    assert "(60 s)" in text
    assert "unreachable-refused (3)" in text
    assert "Its edge does not answer" in text
    assert "suspect -> down" in text


def test_a_live_edge_and_a_relapse_are_told() -> None:
    """Why it takes longer now."""
    scene = Scene()
    for _ in range(2):
        scene.take_down(BROKEN)
        scene.signal(ALIVE)
        assert "Only a real request can tell" in told(scene)
        while scene.after(1.0).ask(OK).kind == "closed":
            pass
        scene.ask(OK)
    assert "failed again 1 times soon after a return" in told(scene)


def test_recovery_says_who_tries() -> None:
    """The next request, not an operator."""
    scene = Scene()
    scene.take_down(REFUSED)
    scene.signal(ALIVE)
    assert "The next request tries it" in told(scene)


def test_my_own_troubles_are_told_as_mine() -> None:
    """No provider is blamed for the network or the key."""
    scene = Scene()
    scene.signal(NO_NETWORK)
    assert told(scene, NETWORK).startswith("The network of this machine is down")
    for _ in range(4):
        scene.board.learn(Case(upstream="cloud", credential="3f2a9c"), status(401), scene.now)
    assert "only its owner can mend it" in told(scene, KEY)
    for _ in range(8):
        scene.after(60.0).ask(OVERLOADED, family="large")
    assert told(scene, LARGE).startswith("The model large at cloud is down")
