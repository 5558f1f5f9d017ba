"""What serves, in simulated trouble: small episodes of what `scripts/bench/outages.py` plays."""

import json
from pathlib import Path

import outages
import pytest
from outage_sim.episode import play, stage
from outage_sim.figures import Figures, figures
from outage_sim.rules.fallback import climbed
from outage_sim.rules.registry import RULES
from outage_sim.world import WELL, Condition, refused, silence, status, unresolved

from fallback.core.health import NETWORK, upstream_scope

MINUTELY, SECONDLY = 1 / 60, 1.0
UPSTREAM = upstream_scope("cloud")


def ours(shape: str, rate: float, episodes: int) -> Figures:
    stages = [stage(shape, rate=rate, seed=seed) for seed in range(1, episodes + 1)]
    return figures(stages, [play(scene, RULES["fallback"]) for scene in stages])


def test_a_dead_upstream_is_found_at_one_request_a_minute() -> None:
    """Every time, and before half of the peers' five failures in a row could come."""
    found = ours("dead", MINUTELY, 10)
    assert found.found == 1.0
    assert found.detect_s is not None
    assert found.detect_s < 150.0


def test_a_lost_network_is_nobody_elses_outage() -> None:
    """Only the network is called down, not the provider behind it."""
    assert set(ours("network-lost", MINUTELY, 10).named) == {"network"}


def test_one_model_down_leaves_the_others_alone() -> None:
    """No request for the well model is kept from its upstream."""
    figures = ours("one-model-down", SECONDLY, 2)
    assert set(figures.named) == {"cloud/large"}
    assert figures.false_downs_a_day == 0.0


@pytest.mark.parametrize("shape", ["bad-key", "poison", "rate-limit-storm"])
@pytest.mark.parametrize("rate", [MINUTELY, SECONDLY])
def test_what_is_no_outage_closes_nothing(shape: str, rate: float) -> None:
    """Keys, limits and poison requests are their senders' affair."""
    assert ours(shape, rate, 2).false_downs_a_day == 0.0


def test_silence_is_waited_for_only_until_the_hedge() -> None:
    """Where a peer waits for its deadline, the local tier is asked long before."""
    silent = ours("silent", SECONDLY, 2)
    assert silent.longest_s <= 10.0
    assert silent.vain < 60


class TestLadder:
    def test_all_in_place_is_a_sign_of_life(self) -> None:
        """Of the upstream's edge, and of the network with it."""
        alive = {evidence.scope for evidence in climbed(WELL) if evidence.alive}
        assert alive == {UPSTREAM, NETWORK}

    @pytest.mark.parametrize("fault", [refused(), silence(), status(503)])
    def test_a_dead_edge_beside_a_living_witness_is_the_upstreams(self, fault: object) -> None:
        """The network is cleared by the witness."""
        evidence = climbed(Condition(probe=fault))  # type: ignore[arg-type]
        assert [each.scope for each in evidence if each.weight > 0] == [UPSTREAM]

    def test_nothing_reached_is_the_network(self) -> None:
        """The upstream stays innocent."""
        (evidence,) = climbed(Condition(probe=unresolved(), online=False))
        assert (evidence.scope, evidence.alive) == (NETWORK, False)


def test_the_program_prints_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One shape at one rate: every rule has its line, and the figures are in the file too."""
    file = tmp_path / "figures.json"
    wanted = ["--shape", "dead-for-a-minute", "--rate", "1/min", "--quick", "--json", str(file)]
    monkeypatch.setattr("sys.argv", ["outages.py", *wanted])
    assert outages.main() == 0
    printed = capsys.readouterr().out
    assert printed.startswith("\n### dead-for-a-minute: every request gets a 503")
    assert all(f"| {name} " in printed for name in RULES)
    assert set(json.loads(file.read_text())["dead-for-a-minute"]["1/min"]) == set(RULES)
