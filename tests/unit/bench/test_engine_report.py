"""From samples to ratios, verdicts and tables."""

import json

import pytest
from engine_peer.report import OURS, Judgement, Measure, as_json, judge, ratios, render, table

PEER = "llama-server"
SPEED = Measure(key="speed", title="tokens/s", at_least=1.0)
WAIT = Measure(key="wait", title="wait, s", digits=2, better="less", at_least=1.0)
SHARE = Measure(key="share", title="valid, %", better=None, from_=100)


def test_ratio_within_rounds() -> None:
    """A ratio compares the two sides of one round, so that a machine that slows down for both
    changes nothing."""
    samples = {OURS: {"speed": [100.0, 10.0]}, PEER: {"speed": [50.0, 5.0]}}
    assert ratios(samples, SPEED) == (2.0, 2.0)


def test_less_is_better() -> None:
    """Half the wait is twice as good."""
    assert ratios({OURS: {"wait": [1.0]}, PEER: {"wait": [2.0]}}, WAIT) == (2.0,)


def test_missing_rounds() -> None:
    """Where rounds are missing the medians are compared."""
    samples = {OURS: {"speed": [10.0, 30.0, 20.0]}, PEER: {"speed": [10.0]}}
    assert ratios(samples, SPEED) == (2.0,)


@pytest.mark.parametrize("theirs", [[], [0.0], [-1.0]])
def test_no_ratio_to_nothing(theirs: list[float]) -> None:
    """Where a side has nothing that was measured no ratio is claimed."""
    assert ratios({OURS: {"speed": [1.0]}, PEER: {"speed": theirs}}, SPEED) == ()


def test_another_rival() -> None:
    """A measure may compare with somebody else than the peer."""
    measure = Measure(key="speed", title="tokens/s", versus="without", at_least=1.5)
    samples = {OURS: {"speed": [3.0]}, PEER: {"speed": [30.0]}, "without": {"speed": [2.0]}}
    assert ratios(samples, measure) == (1.5,)
    assert "1.50 than without" in table(samples, [measure])


@pytest.mark.parametrize(
    ("measure", "found", "verdict"),
    [
        (SPEED, 0.99, "FAIL"),
        (SPEED, 1.0, "PASS"),
        (SPEED, None, "UNKNOWN"),
        (Measure(key="s", title="s", at_most=0.5), 0.5, "PASS"),
        (Measure(key="s", title="s", at_most=0.5), 0.51, "FAIL"),
        (SHARE, 99.9, "FAIL"),
        (SHARE, 100.0, "PASS"),
    ],
)
def test_verdict(measure: Measure, found: float | None, verdict: str) -> None:
    """A target holds up to its limit, and what is unknown never does."""
    assert Judgement(measure, found).verdict == verdict


def test_bounds_are_about_us() -> None:
    """A bound is on our own value; what has no target is not judged."""
    told = Measure(key="told", title="told", better=None)
    samples = {OURS: {"share": [100.0, 50.0, 100.0]}, PEER: {"share": [0.0]}}
    (judgement,) = judge(samples, [SHARE, told])
    assert (judgement.found, judgement.verdict) == (100.0, "PASS")


def test_table() -> None:
    """A row has each side's median and spread, and the ratio's; empty rows are left out."""
    samples = {OURS: {"speed": [10.0, 30.0, 20.0]}, PEER: {"speed": [10.0, 10.0, 10.0]}}
    head, _, row = table(samples, [SPEED, WAIT]).splitlines()
    assert [cell.strip() for cell in head.split("|")[1:-1]] == ["", OURS, PEER, "times better"]
    assert "20.0 (10.0-30.0)" in row
    assert "2.00 (1.00-3.00)" in row


def test_report() -> None:
    """The report has a table for each case, every target, and what could not be measured."""
    samples = {OURS: {"speed": [10.0]}, PEER: {"speed": [10.0]}}
    text = render(samples, {"At full speed": [SPEED, WAIT]}, ["a note"], ["a failure"])
    for part in ("At full speed", "PASS    tokens/s", "UNKNOWN wait, s", "- a note", "- a failure"):
        assert part in text


def test_json() -> None:
    """Machines get every sample, and JSON they can read."""
    samples = {OURS: {"speed": [10.0, 20.0, 40.0]}, PEER: {"speed": [10.0, 10.0, 10.0]}}
    report = as_json(samples, {"case": [SPEED]}, [], [], {"cores": 2})
    assert report["ratios"] == {"speed": [1.0, 2.0, 4.0]}
    assert report["medians"][OURS] == {"speed": 20.0}
    assert json.loads(json.dumps(report))["targets"][0]["verdict"] == "PASS"
