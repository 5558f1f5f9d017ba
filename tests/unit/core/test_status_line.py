"""How things stand, in one line."""

from __future__ import annotations

import pytest

from fallback.core.ports import EngineStatus, ModelIdentity
from fallback.core.status_line import Unwell, status_line
from fallback.core.times import span

MODEL = ModelIdentity(
    name="qwen", sha256=None, quantization="Q4_0", context_tokens=1, engine="llama.cpp"
)
READY = EngineStatus(state="ready", model=MODEL)
DOWN = Unwell("anthropic", "down", 754.0)


@pytest.mark.parametrize(
    ("unwell", "local", "well", "line"),
    [
        ([], READY, True, "fallback: cloud well, local ready"),
        ([], EngineStatus(state="off"), True, "fallback: cloud well, local off"),
        ([], EngineStatus(state="starting"), False, "fallback: cloud well, local loading"),
        ([], EngineStatus(state="failed"), False, "fallback: cloud well, local NOT ready"),
        ([DOWN], READY, False, "fallback: anthropic down 13 min; local answers (qwen)"),
        ([DOWN], EngineStatus(state="off"), False, "fallback: anthropic down 13 min; local off"),
        (
            [Unwell("network", "suspect", 3.2), DOWN],
            EngineStatus(state="failed"),
            False,
            "fallback: network suspect 3 s, anthropic down 13 min; local NOT ready",
        ),
    ],
)
def test_the_line(unwell: list[Unwell], local: EngineStatus, well: bool, line: str) -> None:
    """What is not well and for how long, and whether the local tier stands in."""
    assert status_line(unwell, local) == (well, line)


@pytest.mark.parametrize(("seconds", "text"), [(-1, "0 s"), (119, "119 s"), (7300, "2.0 h")])
def test_durations(seconds: float, text: str) -> None:
    """As exact as a person wants them."""
    assert span(seconds) == text
