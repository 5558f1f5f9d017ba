"""From samples to verdicts."""

import json

import pytest
from healthy_path.report import OURS, Judgement, Target, as_json, judge, median_of, ratio, render

TWO_KB = "cpu_us/messages-2kb"


def test_the_median_forgives_one_disturbed_round() -> None:
    """The value of a measure is the median of its rounds."""
    assert median_of({OURS: {TWO_KB: [400.0, 9000.0, 410.0]}}, OURS, TWO_KB) == 410.0


def test_what_was_not_measured_has_no_median() -> None:
    """A measure without samples is unknown, and so is one of somebody who is absent."""
    assert median_of({OURS: {TWO_KB: []}}, OURS, TWO_KB) is None
    assert median_of({}, OURS, TWO_KB) is None


def test_a_ratio_compares_medians() -> None:
    """A ratio says how many times as much as we the peer spends."""
    samples = {OURS: {TWO_KB: [100.0, 300.0, 200.0]}, "LiteLLM": {TWO_KB: [9000.0]}}
    assert ratio(samples, "LiteLLM", TWO_KB) == 45.0


@pytest.mark.parametrize("ours", [[], [0.0], [-2.0]])
def test_a_ratio_to_nothing_is_unknown(ours: list[float]) -> None:
    """Where our cost is missing or too small to be seen no ratio is claimed."""
    assert ratio({OURS: {TWO_KB: ours}, "LiteLLM": {TWO_KB: [9000.0]}}, "LiteLLM", TWO_KB) is None


@pytest.mark.parametrize(
    ("found", "verdict"), [(39.9, "FAIL"), (40.0, "PASS"), (41.0, "PASS"), (None, "UNKNOWN")]
)
def test_a_peer_must_spend_enough(found: float | None, verdict: str) -> None:
    """A ratio passes from its limit upward, and what is unknown passes never."""
    target = Target(key=TWO_KB, peer="LiteLLM", at_least=40)
    assert Judgement(target, found).verdict == verdict


@pytest.mark.parametrize(("found", "verdict"), [(0.6, "PASS"), (0.7, "PASS"), (0.71, "FAIL")])
def test_we_must_not_spend_too_much(found: float, verdict: str) -> None:
    """A ceiling passes up to its limit."""
    assert Judgement(Target(key="added_p50_ms", at_most=0.7), found).verdict == verdict


def test_targets_of_peers_are_judged_by_ratio_and_others_by_our_value() -> None:
    """Each target finds its own figure among the samples."""
    samples = {OURS: {TWO_KB: [100.0], "rss_mb": [45.0]}, "Portkey": {TWO_KB: [900.0]}}
    targets = (Target(key=TWO_KB, peer="Portkey", at_least=8), Target(key="rss_mb", at_most=60))
    assert [judgement.found for judgement in judge(samples, targets)] == [9.0, 45.0]


def test_the_report_names_what_could_not_be_measured() -> None:
    """A peer that is missing is told, and its targets are not passed over."""
    text = render({OURS: {TWO_KB: [100.0]}}, ["LiteLLM is not here: run with --install"])
    assert "- LiteLLM is not here: run with --install" in text
    assert "UNKNOWN CPU µs, 2 KB: LiteLLM spends at least 40 x as much -> not measured" in text


def test_the_report_shows_spread_and_ratios() -> None:
    """A cell shows the median with its extremes, and a peer's cost against ours."""
    text = render({OURS: {TWO_KB: [90.0, 100.0, 130.0]}, "nginx": {TWO_KB: [40.0]}}, [])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["CPU µs, 2 KB", "100 (90-130)", "40"] in rows
    assert ["CPU µs, 2 KB", "0.4"] in rows


def test_the_json_report_keeps_every_sample() -> None:
    """What is written for machines survives JSON whole."""
    samples = {OURS: {TWO_KB: [90.0, 100.0]}, "nginx": {TWO_KB: [40.0]}}
    report = json.loads(json.dumps(as_json(samples, ["stopped early"], {"cores": 2})))
    assert report["samples"] == samples
    assert report["medians"][OURS][TWO_KB] == 95.0
    assert report["failures"] == ["stopped early"]
    assert report["facts"] == {"cores": 2}
