"""When the next tier starts beside a silent cloud."""

from typing import Any

import pytest

from fallback.core.health import Admission, State
from fallback.core.hedging import HedgeSettings, hedge_delay_s

WELL = Admission(kind="open")
SUSPECT = Admission(kind="open", state=State.SUSPECT)
CANARY = Admission(kind="canary", state=State.RECOVERING)
ASKED: dict[str, Any] = {"streams": True, "max_tokens": None, "patience_s": None}


@pytest.mark.parametrize(
    ("learned", "admission", "asked", "delay_s"),
    [
        (None, WELL, {}, 8.0),
        (3.5, WELL, {}, 3.5),
        (None, WELL, {"streams": False}, 30.0),
        (None, WELL, {"streams": False, "max_tokens": 400}, 18.0),
        (12.0, SUSPECT, {}, 2.0),
        (1.5, SUSPECT, {}, 1.5),
        (12.0, CANARY, {}, 0.0),
        (12.0, WELL, {"patience_s": 9.0}, 3.0),
        (2.0, WELL, {"patience_s": 600.0}, 2.0),
    ],
)
def test_the_delay_follows_what_is_known(
    learned: float | None, admission: Admission, asked: dict[str, Any], delay_s: float
) -> None:
    """Learned latency, the upstream's health, the answer's length and the client's patience."""
    found = hedge_delay_s(HedgeSettings(), learned, admission, **{**ASKED, **asked})
    assert found == delay_s


def test_hedging_can_be_switched_off() -> None:
    """Then nobody ever starts beside the cloud."""
    assert hedge_delay_s(HedgeSettings(enabled=False), 1.0, CANARY, **ASKED) is None
