"""What must hold in every history. A failure prints its steps, and a decorator that replays it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from scene import ALIVE, BROKEN, CLOUD, DEAD, OK, OVERLOADED, REFUSED, Scene, failure, status
from test_board import HTML, NETWORK_ALIVE, NO_NETWORK

from fallback.core.health import NETWORK, Admission, Case, Evidence, State
from fallback.core.outcome import AttemptFacts, Failure, Outcome, Verdict, hedged_away, slowed

SLOW = hedged_away(AttemptFacts(phase="content", status=200, duration_s=4.0))
SILENT = hedged_away(AttemptFacts(phase="headers", duration_s=8.0))
TROUBLE = [
    BROKEN,
    OVERLOADED,
    REFUSED,
    HTML,
    SLOW,
    SILENT,
    slowed(status(200, duration_s=30.0)),
    status(500, duration_s=0.3),
    status(529, "overloaded_error", retry_after_s=3600.0),
    failure(Failure.DNS),
]
INNOCENT = [
    status(400, "invalid_request_error"),
    status(401),
    status(403),
    status(404),
    status(402),
    status(429, "rate_limit_error", retry_after_s=20.0),
    status(429, "insufficient_quota"),
    status(503, "cmek_key_disabled"),
    failure(Failure.CLIENT_GONE),
]
PAGE = Evidence(scope=CLOUD, source="status-page", weight=1.0, summary="API: major outage")
SEVERITY = {State.HEALTHY: 0, State.SUSPECT: 1, State.RECOVERING: 2, State.DOWN: 3}
FAMILIES = ["", "large", "small"]

cases = st.builds(
    Case,
    upstream=st.sampled_from(["cloud", "other", "here"]),
    family=st.sampled_from(FAMILIES) | st.text("abc", max_size=4),
    credential=st.sampled_from(["", "3f2a9c"]) | st.text("0123", max_size=4),
    infers=st.sampled_from([True, True, True, False]),
)
pauses = st.sampled_from([0.0, 0.01, 0.5, 4.0, 60.0, 700.0, 90_000.0])


class HealthMachine(RuleBasedStateMachine):
    """A board under any mixture of requests, signals and time."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.board = self.scene.board

    @rule(seconds=pauses)
    def time_passes(self, seconds: float) -> None:
        self.scene.after(seconds)

    @rule(target=running, case=cases)
    def a_request_asks(self, case: Case) -> tuple[Case, Admission]:
        admission = self.board.admit(case, self.scene.now)
        if admission.kind == "canary":
            again = self.board.admit(case, self.scene.now)
            assert again.kind != "canary", "there is one lease"
        if admission.kind == "closed":
            assert admission.retry_after_s is not None
            assert 1 <= admission.retry_after_s <= 120
        return case, admission

    @rule(request=consumes(running), outcome=st.sampled_from([OK, *TROUBLE]))
    def it_ends(self, request: tuple[Case, Admission], outcome: Outcome) -> None:
        case, admission = request
        self.board.learn(case, outcome, self.scene.now, fingerprint=lambda: "body")
        self.board.release(admission, self.scene.now)

    @rule(request=consumes(running), outcome=st.sampled_from(INNOCENT))
    def it_ends_by_its_clients_fault(
        self, request: tuple[Case, Admission], outcome: Outcome
    ) -> None:
        case, _ = request
        before = self._states()
        self.board.learn(case, outcome, self.scene.now)
        after = self._states()
        key = f"{case.upstream}#{case.credential}"
        worse = [
            name
            for name, state in after.items()
            if SEVERITY[state] > SEVERITY[before.get(name, State.HEALTHY)]
            and before.get(name) is not State.DOWN
        ]
        assert worse in ([], [key]), "no mistake of a client's counts against an upstream"
        assert worse == [] or outcome.verdict is Verdict.CREDENTIAL

    @rule(
        family=st.sampled_from(FAMILIES),
        outcome=st.sampled_from(TROUBLE),
        gap_s=st.sampled_from([0.01, 4.0, 60.0]),
    )
    def trouble_strikes(self, family: str, outcome: Outcome, gap_s: float) -> None:
        """Enough of it to take something down; some of its requests never end."""
        case = Case(upstream="cloud", family=family)
        for number in range(10):
            admission = self.board.admit(case, self.scene.after(gap_s).now)
            if admission.kind != "closed" and number % 5 != 4:
                self.board.learn(case, outcome, self.scene.now)
                self.board.release(admission, self.scene.now)

    @rule(request=running)
    def its_first_content_comes(self, request: tuple[Case, Admission]) -> None:
        self.board.begun(request[0], self.scene.now, started=self.scene.now - 1.0)

    @rule(request=consumes(running))
    def it_is_lost(self, request: tuple[Case, Admission]) -> None:
        """Nobody ever hears of it again, its lease included."""

    @rule(evidence=st.sampled_from([ALIVE, DEAD, NO_NETWORK, NETWORK_ALIVE, PAGE]))
    def a_signal_comes(self, evidence: Evidence) -> None:
        self.scene.signal(evidence)

    @rule(family=st.sampled_from(FAMILIES), probed=st.booleans())
    def all_is_well_again(self, family: str, probed: bool) -> None:
        """From any state, if probes and requests succeed, it is healthy within ten minutes."""
        case = Case(upstream="cloud", family=family)
        for _ in range(120):
            self.scene.after(5.0)
            if probed and self.board.state("cloud") in (State.SUSPECT, State.DOWN):
                self.scene.signal(NETWORK_ALIVE)
                self.scene.signal(ALIVE)
            admission = self.board.admit(case, self.scene.now)
            if admission.kind != "closed":
                self.board.learn(case, OK, self.scene.now)
        assert self.board.admit(case, self.scene.now).state is State.HEALTHY, repr(self._states())
        assert self.board.outage_of("cloud", family) is None

    @invariant()
    def everything_is_bounded(self) -> None:
        views = self.board.views(self.scene.now)
        assert len(views) <= 4 + 3 * 2 * 64
        for view in views.values():
            assert len(view.story) <= 20
            assert 0.0 <= view.score <= 1.0
            assert (view.outage is None) is (view.state is State.HEALTHY)

    @invariant()
    def everything_can_be_explained(self) -> None:
        for scope in {change.scope for change in self.scene.changes} | {CLOUD, NETWORK}:
            assert all(self.board.explain(scope, self.scene.now))
        assert 0.0 < self.board.probe_delay_s("cloud", self.scene.now, 0.5) <= 60.0

    @invariant()
    def every_change_is_told_in_turn(self) -> None:
        last: dict[str, State] = {}
        for change in self.scene.changes:
            assert change.before is last.get(str(change.scope), State.HEALTHY)
            assert change.after is not change.before
            last[str(change.scope)] = change.after

    def _states(self) -> dict[str, State]:
        return {name: view.state for name, view in self.board.views(self.scene.now).items()}


TestHealthMachine = HealthMachine.TestCase
TestHealthMachine.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
